"""What each augmentation contributes (Figure 4, part b), and what reviewers asked beside it.

Part a, the two-stage search, is :mod:`saa_lite.items.shiftaddaug.two_stage`; here is part b.

Figure 4 names the augmentations: width, expansion, depth, and blocks that begin as convolutions.
Each is trained alone here, and all together, against direct training of the same target. Beside
them stand the questions that the reviews left open, one arm each: is remapping only another
parametrisation, does augmentation need it, is it only width, does a multiplicative target gain as
much, is a learned map better. Whether inherited weights beat retrained ones is the first pair
itself: AugShift keeps its weights from the augmented training, Shift is the same target retrained.

``laptop`` trains a ResNet-8 on 320 of the embedded digits, as it must be repeated for many arms
and seeds. The source's network and set are ``full``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from saa_lite.errors import UsageError, check_choice
from saa_lite.items import augmented
from saa_lite.items.base import Context
from saa_lite.items.recipes import GRID
from saa_lite.items.registry import built
from saa_lite.items.select import FAIR, Group, best_group, fair, train_images
from saa_lite.items.shiftaddaug import two_stage
from saa_lite.protocols import load_protocol
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.augmented import name_of
from saa_lite.viz.search import Difference, difference_figure

METHODS = (
    "shift", "aug-shift", "remap-shift", "aug-shift-raw", "aug-shift-free", "conv", "netaug",
    "aug-shift-affine", "aug-shift-width", "aug-shift-expand", "aug-shift-depth",
    "aug-shift-mutation", "aug-shift-all", "adder", "aug-adder", "remap-adder", "aug-adder-raw",
    "adder-calm", "aug-adder-calm", "remap-adder-calm", "aug-shift-unsorted",
    "aug-adder-unsorted", "aug-adder-calm-unsorted", "aug-adder-raw-unsorted",
    "aug-adder-calm-raw",
)  # fmt: skip

GRID_SEEDS = 3

Pair = tuple[str, str]
QUESTIONS: dict[str, tuple[Pair, ...]] = {
    "Does an augmentation help? (figure 4, part b)": (
        ("aug-shift-width", "shift"),
        ("aug-shift-expand", "shift"),
        ("aug-shift-depth", "shift"),
        ("aug-shift", "shift"),
        ("aug-shift-mutation", "shift"),
        ("aug-shift-all", "shift"),
        ("netaug", "conv"),
        ("aug-adder", "adder"),
    ),
    "Does it help without remapping, without sorting, from a calm start?": (
        ("aug-shift-raw", "shift"),
        ("aug-adder-raw", "adder"),
        ("aug-adder-unsorted", "adder"),
        ("aug-adder-calm", "adder-calm"),
        ("aug-adder-calm-unsorted", "adder-calm"),
        ("aug-adder-calm-raw", "adder-calm"),
    ),
    "What does remapping change?": (
        ("remap-shift", "shift"),
        ("aug-shift", "aug-shift-raw"),
        ("remap-adder", "adder"),
        ("aug-adder", "aug-adder-raw"),
        ("aug-adder-unsorted", "aug-adder-raw-unsorted"),
        ("aug-shift-affine", "aug-shift"),
    ),
    "What does augmentation add to remapping?": (
        ("aug-shift", "remap-shift"),
        ("aug-adder", "remap-adder"),
        ("aug-adder-calm", "remap-adder-calm"),
        ("aug-adder-calm-unsorted", "remap-adder-calm"),
    ),
    "What does sorting change?": (
        ("aug-shift", "aug-shift-unsorted"),
        ("aug-adder", "aug-adder-unsorted"),
        ("aug-adder-calm", "aug-adder-calm-unsorted"),
        ("aug-adder-raw", "aug-adder-raw-unsorted"),
    ),
    "Must the surroundings multiply?": (("aug-shift", "aug-shift-free"),),
    "What does the calm start change?": (("adder-calm", "adder"),),
}
"""Pairs of methods; the difference is the first's accuracy minus the second's."""


@dataclass(frozen=True)
class Settings(augmented.Settings):
    """Of part b as everywhere; nothing that is added here changes what a unit is.

    Attributes:
        parts: which parts of the figure are run.
        searches: protocols of part a.
    """

    parts: tuple[str, ...] = ("a", "b")
    searches: tuple[str, ...] = ()


PROFILES = {
    "smoke": Settings(
        "digits", "resnet8", 8, True, 20, 20, epochs=1, seeds=1, batch_size=10,
        crop_padding=1, flip=False, width=(1.0, 1.5), expand=(1.0, 1.5), batch_norm_images=20,
    ),
    "laptop": Settings(
        "digits", "resnet8", 8, True, 320, 500, epochs=5, seeds=5, batch_size=32,
        crop_padding=1, flip=False, batch_norm_images=320, searches=("search-digits",),
    ),
    "full": Settings(
        "cifar100", "mobilenet_v2_w035", 160, False, 50_000, 10_000, epochs=300, seeds=5,
        batch_size=128, warmup_epochs=5, crop_padding=20, searches=("search-c",),
    ),
}  # fmt: skip


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Part b: every arm of every seed, then the grid of multiples and α for fewer; then part a."""
    for part in settings.parts:
        check_choice("parts", part, ("a", "b"))
    if "b" in settings.parts:
        yield from run_arms(settings, context)
    if "a" in settings.parts:
        for name in settings.searches:
            yield from two_stage.run(load_protocol(name), context)


def run_arms(settings: Settings, context: Context) -> Iterator[Record]:
    """Part b."""
    grid = tuple(GRID.values())
    known = (*METHODS, *grid)
    yield from augmented.run(settings, context, METHODS, known=known)
    fewer = replace(settings, seeds=min(settings.seeds, GRID_SEEDS))
    yield from augmented.run(fewer, context, grid, known=known)


def draw(
    records: list[Record],
    published: list[PublishedNumber],
    questions: Iterable[str] = tuple(QUESTIONS),
) -> Figure:
    """Differences of accuracy per pair of arms; the source's figure prints no numbers for them.

    Args:
        questions: of :data:`QUESTIONS`, a panel each.

    Records of part a alone are drawn as :func:`two_stage.draw` does.
    """
    group = best_group(fair(records), FAIR, ("aug-shift", "shift"))
    if group is None and any("search" in record.settings for record in records):
        return two_stage.draw(records)
    if group is None:
        raise UsageError(
            f"{records[0].item} cannot be drawn: no seed has accuracy of aug-shift and shift"
        )
    first = group.records[0]
    cost = f"{first.epochs} epochs, {train_images(first):,} images"
    return difference_figure(
        {question: differences(group, QUESTIONS[question]) for question in questions},
        f"{first.model} on {first.dataset}, {cost}: mean difference and 95 % interval over seeds",
    )


def differences(group: Group, pairs: Iterable[Pair]) -> list[Difference]:
    """One row per pair, in percentage points, over the seeds that both arms have run."""
    values = {
        method: {seed: record.value for seed, record in runs.items()}
        for method, runs in group.by_method.items()
    }
    return [
        two_stage.paired(
            f"{name_of(first)} − {name_of(second)}", values.get(first, {}), values.get(second, {})
        )
        for first, second in pairs
    ]


ITEM = built("shiftaddaug/fig4", profiles=PROFILES, run=run, draw=draw)
