"""Drawings of segmentation: scores of methods, classes and confusions.

Masks laid over pictures, as saa-lite predict writes them, come first.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import PercentFormatter

from saa_lite.data.image_set import VOID
from saa_lite.errors import UsageError
from saa_lite.records import Record
from saa_lite.viz.augmented import name_of
from saa_lite.viz.style import COLOURS, CYCLE, counted, panels, styled

VOID_COLOUR = (0, 0, 0)


def class_colours(count: int) -> np.ndarray:
    """uint8 [count, 3]: grey for the first class, then a colour for each."""
    colours = [np.array(to_rgb("#808080"))]
    for number in range(count - 1):
        turn, place = divmod(number, len(CYCLE))
        base = np.array(to_rgb(CYCLE[place]))
        colours.append(base * 0.6 ** (turn % 2) + (0.35 * (1 - base) if turn % 3 == 2 else 0))
    return np.rint(255 * np.clip(colours[:count], 0, 1)).astype(np.uint8)


def overlay(image: np.ndarray, mask: np.ndarray, count: int, opacity: float = 0.5) -> np.ndarray:
    """An image under the colours of its mask, uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3] or grey [H, W].
        mask: classes of ``0 .. count - 1``, or ``VOID``, [H, W].
        opacity: of the colours, from 0 to 1.

    Raises:
        UsageError: another size, or an opacity out of range.
    """
    if not 0 <= opacity <= 1:
        raise UsageError(f"opacity must be from 0 to 1; got {opacity}")
    shown = np.repeat(image[:, :, None], 3, 2) if image.ndim == 2 else image
    if shown.shape[:2] != mask.shape:
        raise UsageError(
            f"image and mask must have one size; got {shown.shape[:2]} and {mask.shape}"
        )
    table = np.zeros((VOID + 1, 3), np.float64)
    table[:count] = class_colours(count)
    share = opacity * ((mask != 0) & (mask != VOID))[:, :, None]
    return np.rint((1 - share) * shown + share * table[mask]).astype(np.uint8)


def palette_of(count: int) -> list[int]:
    """256 colours in a row, as Pillow's ``putpalette`` takes them."""
    colours = np.zeros((VOID + 1, 3), np.uint8)
    colours[:count] = class_colours(count)
    colours[VOID] = VOID_COLOUR
    return [int(value) for value in colours.ravel()]


ORDER = ("conv", "shift", "aug-shift", "adder-calm", "aug-adder-calm")


@styled
def scores_figure(records: Sequence[Record], score: str, energy: str) -> Figure:
    """Per data set: one dot per training, a bar at the mean; right, mean score against energy."""
    sets = sorted({r.dataset for r in records if r.metric == score})
    figure, axes = panels(len(sets) or 1, 2, height=2.6, width_ratios=[1.5, 1.0])
    for row, dataset in enumerate(sets):
        found = [r for r in records if r.dataset == dataset]
        values = {m: _values(found, score, m) for m in _methods(found, score)}
        left, right = axes[2 * row], axes[2 * row + 1]
        for place, (method, scores) in enumerate(values.items()):
            colour = COLOURS.get(method, "#555555")
            left.plot(scores, [place] * len(scores), "o", color=colour, alpha=0.7)
            left.plot(fmean(scores), place, "|", color=colour, markersize=18, markeredgewidth=2)
            if joules := _values(found, energy, method):
                right.plot(fmean(joules), fmean(scores), "o", color=colour, markersize=8)
                right.annotate(name_of(method), (fmean(joules), fmean(scores)), (6, 3),
                               textcoords="offset points", fontsize=8)  # fmt: skip
        left.set_yticks(range(len(values)), [name_of(method) for method in values])
        left.invert_yaxis()
        seeds = counted(max(map(len, values.values())), "seed")
        left.set(title=f"{dataset}: {seeds}", xlabel="mean IoU (%)")
        right.set(xlabel="energy per image (mJ, true bit widths)", ylabel="mean IoU (%)")
        right.margins(x=0.25, y=0.2)
    return figure


def _methods(records: Sequence[Record], metric: str) -> list[str]:
    known = {r.method for r in records if r.metric == metric}
    return [m for m in ORDER if m in known] + sorted(known - set(ORDER))


def _values(records: Sequence[Record], metric: str, method: str) -> list[float]:
    return [r.value for r in records if r.metric == metric and r.method == method]


@styled
def class_bars(scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """IoU of every class, one bar per method: method → class → 0..1."""
    classes = list(dict.fromkeys(name for found in scores.values() for name in found))
    figure, (axis,) = panels(height=3.2)
    width = 0.8 / len(scores)
    for i, (method, found) in enumerate(scores.items()):
        places = np.arange(len(classes)) + (i - (len(scores) - 1) / 2) * width
        heights = [found.get(name, 0.0) for name in classes]
        axis.bar(places, heights, width, color=COLOURS.get(method), label=name_of(method))
    axis.set_xticks(range(len(classes)), classes, rotation=30 if len(classes) > 11 else 0)
    axis.set(ylabel="IoU", ylim=(0, 1), title="IoU of every class")
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.legend(ncols=len(scores), loc="upper right")
    return figure


@styled
def confusion_picture(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """What the pixels of each true class (row) are called (column), in shares of the row."""
    figure, axes = panels(1, len(matrices), height=4.2, sharey=True)
    for axis, (method, matrix) in zip(axes, matrices.items(), strict=True):
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        drawn = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axis.grid(visible=False)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.set(title=name_of(method), xlabel="answer")
    axes[0].set_ylabel("in the mask")
    figure.colorbar(drawn, ax=list(axes), shrink=0.7, label="share of the class's pixels")
    return figure


@styled
def answers_figure(
    images: Sequence[np.ndarray],
    rows: Mapping[str, Sequence[np.ndarray]],
    count: int,
    opacity: float = 0.8,
) -> Figure:
    """Pictures in columns: above as they are, below under each row's masks of ``count`` classes."""
    figure, axes = panels(len(rows) + 1, len(images), height=1.5)
    for place, axis in enumerate(axes):
        row, column = divmod(place, len(images))
        image = images[column]
        if row:
            image = overlay(image, list(rows.values())[row - 1][column], count, opacity)
        axis.imshow(image)
        axis.set(xticks=[], yticks=[])
        if not column:
            title = ["image", *rows][row]
            axis.set_ylabel(title, rotation=0, ha="right", va="center")
    return figure


@styled
def sight_figure(
    image: np.ndarray, sights: Mapping[str, np.ndarray], place: tuple[int, int]
) -> Figure:
    """How strongly one pixel's answer depends on every pixel of the image, in powers of ten.

    Args:
        sights: title → absolute gradients [H, W].
        place: row and column of the pixel that answers.
    """
    figure, axes = panels(1, len(sights) + 1, height=2.8)
    axes[0].imshow(image)
    axes[0].set_title("image, and the pixel")
    for axis, (title, sight) in zip(axes[1:], sights.items(), strict=True):
        shares = np.log10(np.maximum(sight / sight.max(), 1e-6))
        drawn = axis.imshow(shares, cmap="cividis", vmin=-6, vmax=0)
        axis.set_title(title)
    for axis in axes:
        axis.plot(place[1], place[0], "+", color="white", markersize=12, markeredgewidth=2)
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
    figure.colorbar(
        drawn, ax=list(axes[1:]), shrink=0.8, label="gradient, log$_{10}$ of the largest"
    )
    return figure


BOXES = {  # text: centre, width
    "image\nH × W": ((0.7, 1.0), 1.0),
    "encoder": ((2.3, 1.0), 1.2),
    "encoder,\ndilated": ((4.2, 1.0), 1.3),
    "1 × 1, norm,\nReLU": ((6.2, 1.0), 1.3),
    "mean of the image,\n1 × 1, norm, sigmoid": ((6.2, 2.4), 2.2),
    "1 × 1, norm": ((8.4, 1.0), 1.2),
    "1 × 1, norm ": ((8.4, -0.5), 1.2),
    "logits\nH × W": ((11.3, 1.0), 1.1),
}
ARROWS = (
    ((1.2, 1.0), (1.7, 1.0), ""),
    ((2.9, 1.0), (3.55, 1.0), ""),
    ((4.85, 1.0), (5.55, 1.0), ""),
    ((4.85, 1.3), (5.1, 2.4), ""),
    ((6.85, 1.0), (7.8, 1.0), "×"),
    ((7.3, 2.4), (7.35, 1.15), ""),
    ((3.2, 0.7), (7.8, -0.5), "the finer map"),
    ((9.0, 1.0), (10.75, 1.0), "+, scaled up"),
    ((9.0, -0.5), (9.6, 0.9), ""),
)


@styled
def head_drawing() -> Figure:
    """The light head: what it reads of an encoder, and how its two answers come together."""
    figure, (axis,) = panels(height=2.6)
    for text, ((x, y), width) in BOXES.items():
        box = FancyBboxPatch(
            (x - width / 2, y - 0.35), width, 0.7, boxstyle="round,pad=0.05",
            facecolor="#e8eef7", edgecolor="#444444",
        )  # fmt: skip
        axis.add_patch(box)
        axis.text(x, y, text.strip(), ha="center", va="center", fontsize=9)
    for start, end, text in ARROWS:
        axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#444444"})
        if text:
            middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.18
            axis.text(*middle, text, ha="center", fontsize=9)
    axis.set(xlim=(0, 12), ylim=(-1.1, 3.0))
    axis.axis("off")
    return figure
