"""Slider panels drawn beforehand: the web site's move without a kernel.

The same ``draw`` and ``numbers`` that a live panel calls are called here for every position of a
small grid of one or two controls; the others keep their start. A page shows one picture of them and
its line of numbers, and a few lines of script (``site/frames.js``) exchange both.
"""

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from saa_lite.errors import UsageError
from saa_lite.viz import panel as live
from saa_lite.viz.panel import (
    Choice,
    Controls,
    Draw,
    Numbers,
    Slider,
    default_state,
    numbers_line,
    unbroken,
)
from saa_lite.viz.pixels import save_webp

LIMIT = 40  # frames of a panel
TELLING = (("map", "w"), ("bits", "method"), ("centre", "width"), ("multiply", "memory"))
"""Pairs of controls that tell more than the first two of the panel that has them."""


@dataclass(frozen=True)
class Moved:
    """A control of a page.

    Attributes:
        label: beside it.
        values: as text, in order.
        start: the place of its first value among them.
        options: whether its values are named options.
    """

    label: str
    values: tuple[str, ...]
    start: int
    options: bool


@dataclass(frozen=True)
class Frames:
    """A panel as a page shows it.

    Attributes:
        controls: which move; the frames lie in the order of their products, the last one fastest.
        numbers: a line of each frame.
        still: labels and values of the controls that do not move.
    """

    controls: tuple[Moved, ...]
    numbers: tuple[str, ...]
    still: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def start(self) -> int:
        """The frame that is shown first."""
        return reduce(lambda n, c: n * len(c.values) + c.start, self.controls, 0)

    @classmethod
    def read(cls, path: Path) -> "Frames":
        """What :func:`record` has written beside the pictures."""
        found = json.loads(path.read_text(encoding="utf-8"))
        moved = [Moved(**{**c, "values": tuple(c["values"])}) for c in found["controls"]]
        return cls(tuple(moved), tuple(found["numbers"]), tuple(found["still"]))


def grid(controls: Controls, limit: int = LIMIT) -> dict[str, tuple[Any, ...]]:
    """The controls that move and the values of each, start included; at most ``limit`` products.

    A choice keeps all its options; sliders share what is left, and one of few steps leaves the
    others more.

    Raises:
        UsageError: the options alone have more products.
    """
    pairs = (pair for pair in TELLING if set(pair) <= set(controls))
    names = next(pairs, tuple(controls)[:2])
    found: dict[str, tuple[Any, ...]] = {}
    sliders: dict[str, Slider] = {}
    for name in names:
        control = controls[name]
        if isinstance(control, Choice):
            found[name] = tuple(control.options)
        else:
            sliders[name] = control
    left = limit // prod(map(len, found.values()))
    if not left:
        raise UsageError(f"{' × '.join(found)} have more than {limit} products")
    for number, name in enumerate(sorted(sliders, key=lambda name: sliders[name].steps)):
        share = int(left ** (1 / (len(sliders) - number)) + 1e-9)
        found[name] = _spread(sliders[name], max(1, share))
        left //= len(found[name])
    return {name: found[name] for name in names}


def _spread(slider: Slider, count: int) -> tuple[float, ...]:
    """Some values from one end to the other, on the steps, the nearest one moved to the start."""
    most = min(count, slider.steps + 1)
    places = [round(n * slider.steps / max(1, most - 1)) for n in range(most)]
    start = round((slider.value - slider.low) / slider.step)
    nearest = min(range(most), key=lambda n: abs(places[n] - start))
    places[nearest] = start
    return tuple(slider.snapped(slider.low + place * slider.step) for place in places)


def record(draw: Draw, controls: Controls, numbers: Numbers | None, folder: Path) -> Frames:
    """Draw every position of :func:`grid` into ``folder``, ``00.webp`` and so on, with an index.

    Args:
        draw: as of a live panel.
        controls: as of a live panel.
        numbers: as of a live panel.
        folder: is made.
    """
    folder.mkdir(parents=True)
    moved = grid(controls)
    lines = []
    for place, values in enumerate(product(*moved.values())):
        state = default_state(controls) | dict(zip(moved, values, strict=True))
        save_webp(draw(**state), folder / f"{place:02d}.webp")
        lines.append("" if numbers is None else numbers_line(numbers(**state)))
    found = Frames(
        tuple(_moved(name, controls[name], values) for name, values in moved.items()),
        tuple(lines),
        tuple(f"{c.label or n} {c.text(c.value)}" for n, c in controls.items() if n not in moved),
    )
    (folder / "frames.json").write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def _moved(name: str, control: Slider | Choice, values: Sequence[Any]) -> Moved:
    texts = tuple(control.text(value) for value in values)
    start = texts.index(control.text(control.value))
    return Moved(control.label or name, texts, start, isinstance(control, Choice))


def record_panels(folder: str | Path) -> None:
    """From here on ``panel`` shows nothing and records: into ``folder/1``, ``folder/2`` and so on.

    For a kernel that has not imported ``panel`` yet.
    """
    made: list[Frames] = []

    def panel(
        draw: Draw, controls: Controls, *, numbers: Numbers | None = None, height: str = ""
    ) -> None:
        made.append(record(draw, controls, numbers, Path(folder) / str(len(made) + 1)))

    live.panel = panel


def page_html(frames: Frames, address: str) -> str:
    """Controls, numbers and picture for a page; without scripts the start stays, controls hidden.

    Args:
        frames: of the panel.
        address: of the folder with the pictures, as seen from the page.
    """
    rows = "".join(map(_control_html, frames.controls))
    sizes = ",".join(str(len(control.values)) for control in frames.controls)
    still = f"Here these stay: {', '.join(frames.still)}. " if frames.still else ""
    note = f"{still}Drawn beforehand; in JupyterLab everything moves, in all steps."
    return (
        f'<div class="frames" data-address="{html.escape(address)}" data-sizes="{sizes}">\n'
        f'<div class="frames-controls" hidden>{rows}</div>\n'
        f"<pre>{html.escape(unbroken(frames.numbers[frames.start]))}</pre>\n"
        f'<img src="{html.escape(address)}/{frames.start:02d}.webp" alt="The panel\'s picture">\n'
        f"<p>{html.escape(note)}</p>\n"
        f'<script type="application/json">{_inside_script(frames.numbers)}</script>\n</div>'
    )


def _control_html(control: Moved) -> str:
    label, last = html.escape(control.label), len(control.values) - 1
    if control.options:
        options = "".join(
            f'<option value="{place}"{" selected" * (place == control.start)}>'
            f"{html.escape(value)}</option>"
            for place, value in enumerate(control.values)
        )
        return f"<label><span>{label}</span><select>{options}</select></label>"
    texts = html.escape(json.dumps(control.values))
    return (
        f'<label><span>{label}</span><input type="range" min="0" max="{last}" step="1" '
        f'value="{control.start}" data-texts="{texts}">'
        f"<output>{html.escape(control.values[control.start])}</output></label>"
    )


def _inside_script(numbers: Sequence[str]) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps([*map(unbroken, numbers)], ensure_ascii=False).replace("<", "\\u003c")
