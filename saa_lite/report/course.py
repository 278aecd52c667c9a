"""The notebooks as a course: what each asks, how long it takes, what it needs, what it gives.

README's table and the map of notebook 00 are made from this; a test holds title and minutes against
the notebooks themselves.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from saa_lite.report.tables import markdown_table


@dataclass(frozen=True)
class Chapter:
    """One notebook.

    Attributes:
        name: of the file, without its suffix.
        title: as in its first line, behind the number.
        question: which it answers.
        minutes: to read it with a pencil; running it takes two more at most.
        needs: numbers of the notebooks before it.
        after: what a reader can do then.
    """

    name: str
    title: str
    question: str
    minutes: int
    needs: tuple[str, ...]
    after: str

    @property
    def number(self) -> str:
        """The part of the name before the title, such as ``06a``."""
        return self.name.partition("_")[0]

    @property
    def subject(self) -> str:
        """The title up to its first colon or comma, such as ``Deployment``."""
        return re.split("[:,]", self.title, maxsplit=1)[0]


COURSE = (
    Chapter("00_start_here", "Start here",
            "What is here, and what do the words mean?", 10, (),
            "find your way, and read a row of the scorecard"),
    Chapter("01_addernet_gradients", "AdderNet: a layer that only adds, and its gradients",
            "How can a layer learn whose derivative is only a sign?", 40, (),
            "compute an adder layer and its three gradients by hand"),
    Chapter("02_what_adder_layers_see", "What adder layers see, how they learn, how fast they are",
            "Does a network of distances see the world differently?", 30, ("01",),
            "tell rays from clusters by a number, and say why adders are slow here"),
    Chapter("03_weight_distributions",
            "Weight distributions: Gaussian, Laplace, or just the start?",
            "Is the shape of trained weights learned, or left over from the start?", 35, ("01",),
            "fit both distributions, and not be misled by a histogram"),
    Chapter("04_weight_remapping", "Weight remapping: one tensor for two kinds of layer",
            "How can one weight serve a convolution and an adder layer?", 50, ("01", "03"),
            "remap a weight by hand, and separate its scale from its shape"),
    Chapter("05_hybrid_augmentation", "Hybrid augmentation: a tiny network inside a large one",
            "How is a network grown around another, and cut out again?", 20, ("01", "04"),
            "say which weights each pass reaches, and check an export bit by bit"),
    Chapter("06a_how_an_adder_network_starts", "How an adder network starts",
            "Is the operator to blame, or step, start and training time?", 30, ("01",),
            "choose η and a start for your own adder network"),
    Chapter("06b_does_augmentation_help", "Does augmentation help?",
            "Does training inside a larger network help, and when?", 25, ("05", "06a"),
            "read a test that was fixed beforehand, and its open ends"),
    Chapter("07_two_stage_search", "A search in two stages",
            "Does evolution beat drawing at random, under an energy budget?", 20, ("05", "10"),
            "run a search that goes on where it was stopped"),
    Chapter("08_distillation", "In-place distillation: a teacher that shares your mistakes",
            "Does a teacher that shares its pupil's weights help or harm?", 20, ("05",),
            "prove two losses to be one, and tell why sharing hurts"),
    Chapter("09_training_cost", "What augmented training costs",
            "Where do the time and the memory of an augmented step go?", 15, ("05",),
            "predict both from arithmetic"),
    Chapter("10_operations_and_energy", "What a network costs: operations, memory, energy",
            "How much of an energy claim is arithmetic?", 25, ("01",),
            "count any network, and take an energy claim apart"),
    Chapter("11_adder_quantisation", "Adder quantisation: one scale for two kinds of numbers",
            "How do small integers work where scales do not factor out?", 40, ("01",),
            "quantise an adder network, and prove that the clamp loses nothing"),
    Chapter("12_adder_vision_transformer",
            "An adder vision transformer, and what others do about four bits",
            "Can attention compare by distance, and who rounds best?", 40, ("11",),
            "say why rounding to the nearest is not best"),
    Chapter("13_segmentation", "Segmentation: a class for every pixel",
            "What does it take to label every pixel without products?", 20, ("01", "06a"),
            "compute mean IoU by hand, and find a network's confusions"),
    Chapter("14_deployment", "Deployment: C without a multiplication, and who proves it",
            "Can a network do entirely without, and how is that proved?", 15, ("11",),
            "write a network as C, and let a linker prove that it multiplies nothing"),
)  # fmt: skip


def course_table(*, folder: str = "", after: bool = False, short: bool = False) -> str:
    """The course as Markdown, a row for each notebook.

    Args:
        folder: of the notebooks, seen from the page that shows the table, with a slash behind it.
        after: also what a reader can do afterwards.
        short: the first part of each title alone.
    """
    return markdown_table([_row(chapter, folder, after, short) for chapter in COURSE])


def _row(chapter: Chapter, folder: str, after: bool, short: bool) -> dict[str, Any]:
    title = chapter.subject if short else chapter.title
    row: dict[str, Any] = {
        "notebook": f"[{chapter.number} {title}]({folder}{chapter.name}.ipynb)",
        "the question": chapter.question,
        "minutes": chapter.minutes,
        "needs": ", ".join(chapter.needs) or "—",
    }
    return row | {"afterwards you can": chapter.after} if after else row


def code_of(number: str, *sections: int) -> str:
    """The imports of a notebook and the code of some of its sections, without panels.

    For notebooks of solutions, which go on where an exercise left off.

    Args:
        number: of the notebook, such as ``"06a"``.
        sections: their numbers.

    Raises:
        UsageError: there is no such notebook, or no notebooks at all.
    """
    from saa_lite.report.notebooks import notebook_paths  # noqa: PLC0415  (Jupyter)

    (path,) = notebook_paths([f"{number}_"])
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        if cell["cell_type"] == "code" and cell["metadata"].get("section") in (None, *sections):
            text, _, _ = f"\n{''.join(cell['source'])}".partition("\npanel(")  # ends its cell
            parts += [line for line in text.splitlines() if not line.startswith("%")]
    return "\n".join(parts)
