"""One tap of each kind, drawn: a product, a distance, a shift. The kit's subject in one picture."""

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle

from saa_lite.costs.energy import price
from saa_lite.costs.operations import FORMS, KINDS, PER_TAP
from saa_lite.viz.pixels import Figure
from saa_lite.viz.style import COLOURS, WIDTH, styled

INPUT, WEIGHT = 6, 0.6
BITS = 4  # places of the numbers that are drawn; the input fills three of them
OPERATORS = {"multiply": "conv", "adder": "adder", "shift": "shift"}


@dataclass(frozen=True)
class Paper:
    """What a drawing is printed on."""

    ground: str
    ink: str
    faint: str


LIGHT = Paper("#ffffff", "#222222", "#d0d0d0")
DARK = Paper("#0d1117", "#e6e6e6", "#4a4f57")


def results() -> dict[str, float]:
    """What one tap adds to the sum, by operator, for the input and the weight of the drawing."""
    return {
        "multiply": INPUT * WEIGHT,
        "adder": -abs(INPUT - WEIGHT),
        "shift": INPUT * 2.0 ** _places(),
    }


def tap_energy(operator: str) -> float:
    """Arithmetic of one tap in pJ, 32-bit numbers, with every addition counted."""
    number = FORMS[operator][0]
    kinds = zip(KINDS, PER_TAP[operator], strict=True)
    return sum(count * price(kind, number, 32) for kind, count in kinds if count)


def _places() -> int:
    """The power of two that the weight is rounded to, as DeepShift rounds: on the logarithm."""
    return round(math.log2(WEIGHT))


@styled
def taps_figure(*, dark: bool = False) -> Figure:
    """An input of 6 meets a weight of 0.6 three times. Without data.

    Args:
        dark: for a page with a dark ground.
    """
    paper = DARK if dark else LIGHT
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained", facecolor=paper.ground)
    axes = figure.subplots(1, 3)
    titles = ("Convolution: multiply", "AdderNet: measure a distance", "DeepShift: shift bits")
    found, draw = results(), (_product, _distance, _shift)
    below = (
        f"x · w = {found['multiply']:g}",
        f"−|x − w| = {found['adder']:g}".replace("-", "−"),
        f"w ≈ ½, so x >> {-_places()} = {found['shift']:g}",
    )
    for axis, title, function, text, (operator, colour) in zip(
        axes, titles, draw, below, OPERATORS.items(), strict=True
    ):
        axis.set_axis_off()
        axis.set_xlim(-0.7, 6.9)
        axis.set_ylim(-2.9, 3.4)
        hue = _mixed(COLOURS[colour], "#ffffff", 0.35) if dark else COLOURS[colour]
        axis.set_title(title, color=hue, fontweight="bold", loc="center")
        function(axis, hue, paper)
        axis.text(3.1, -1.6, text, ha="center", color=paper.ink, fontsize=13)
        axis.text(3.1, -2.6, _bill(operator), ha="center", color=paper.ink, fontsize=9)
    return figure


def _mixed(colour: str, other: str, share: float) -> str:
    """A colour with a share of another in it."""
    r, g, b = (
        (1 - share) * x + share * y for x, y in zip(to_rgb(colour), to_rgb(other), strict=True)
    )
    return to_hex((r, g, b))


def _bill(operator: str) -> str:
    """The operations of one tap and what they cost, in 32 bits."""
    names = {"multiply": "product", "add": "addition", "shift": "shift"}
    form = {"float": "float32", "integer": "32-bit fixed point"}[FORMS[operator][0]]
    parts = [
        f"{count} {names[kind]}{'s' if count > 1 else ''}"
        for kind, count in zip(KINDS, PER_TAP[operator], strict=True)
        if count
    ]
    return f"{' + '.join(parts)}, {form}: {tap_energy(operator):.2g} pJ"


def _product(axis: Axes, colour: str, paper: Paper) -> None:
    """An area, x long and w high, over the unit squares that it is measured in."""
    for place in range(INPUT):
        axis.add_patch(Rectangle((place, 0.4), 1, 1, fill=False, edgecolor=paper.faint))
    axis.add_patch(Rectangle((0, 0.4), INPUT, WEIGHT, color=colour, alpha=0.75))
    axis.text(INPUT / 2, -0.2, f"x = {INPUT}", ha="center", va="center", color=paper.ink)
    axis.text(-0.1, 1.65, f"w = {WEIGHT}", ha="left", color=paper.ink)


def _distance(axis: Axes, colour: str, paper: Paper) -> None:
    """Two places on a number line and the way between them."""
    axis.plot([0, INPUT + 0.5], [0.4, 0.4], color=paper.faint, linewidth=1.5)
    for place in range(INPUT + 1):
        axis.plot([place, place], [0.3, 0.5], color=paper.faint, linewidth=1.5)
    arrow = {"arrowstyle": "<|-|>", "color": colour, "lw": 3, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (INPUT, 1.0), (WEIGHT, 1.0), arrowprops=arrow)
    for value, text in ((float(INPUT), f"x = {INPUT}"), (WEIGHT, f"w = {WEIGHT}")):
        axis.plot(value, 0.4, "o", color=colour, markersize=8)
        axis.text(value, -0.2, text, ha="center", va="center", color=paper.ink)


def _shift(axis: Axes, colour: str, paper: Paper) -> None:
    """The bits of x, and the same ones where w's power of two moves them."""
    for row, number, name in ((1.7, INPUT, f"x = {INPUT}"), (0.0, int(results()["shift"]), "")):
        for place, bit in enumerate(f"{number:0{BITS}b}"):
            left = 1.3 + 0.9 * place
            face = colour if bit == "1" else "none"
            axis.add_patch(Rectangle((left, row), 0.8, 0.8, facecolor=face, edgecolor=paper.faint))
            ink = paper.ground if bit == "1" else paper.ink
            axis.text(left + 0.4, row + 0.38, bit, ha="center", va="center", color=ink)
        axis.text(1.1, row + 0.38, name, ha="right", va="center", color=paper.ink)
    arrow = {"arrowstyle": "-|>", "color": paper.ink, "lw": 1.3}
    for place in (1, 2):
        left = 1.7 + 0.9 * place
        axis.annotate("", (left - 0.9 * _places(), 0.83), (left, 1.68), arrowprops=arrow)
    axis.text(5.15, 1.22, f"w = {WEIGHT}", ha="left", va="center", color=paper.ink)
