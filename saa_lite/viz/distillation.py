"""In-place distillation drawn: who teaches whom, what one image teaches, and a teacher's faults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from saa_lite.viz.augmented import PASSES, draw_passes
from saa_lite.viz.sketch import INK, arrow, box, canvas
from saa_lite.viz.style import COLOURS, counted, legend_below, panels, styled

Array = NDArray[np.float64]
TARGET, WIDE, CUT = COLOURS["shift"], COLOURS["conv"], COLOURS["aug-shift"]
LABEL = COLOURS["adder"]
BINS = 10
FEWEST = 5  # images in a bin of a reliability picture


@styled
def idea_figure() -> Figure:
    """The two passes of a step, three losses, and the arrow that detaching cuts. Without data."""
    figure, axis = canvas(10, 4, 3.5)
    axis.add_patch(Rectangle((1.5, 0.5), 2.4, 3.0, color=WIDE, alpha=0.25))
    axis.add_patch(Rectangle((1.5, 0.5), 1.0, 1.2, color=TARGET, alpha=0.55))
    axis.text(2.7, 2.9, "wide network A\n(multiplies)", ha="center", va="center", fontsize=9)
    axis.text(2.0, 1.1, "target T\n(shifts)", ha="center", va="center", fontsize=9)
    box(axis, (0.55, 2.0), "image x")
    box(axis, (5.3, 2.9), "soft label  $p_A$", WIDE)
    box(axis, (5.3, 1.1), "answer  $p_T$", TARGET)
    box(axis, (8.9, 2.0), "label  y", LABEL)
    for start, end in (
        ((1.0, 2.0), (1.5, 2.0)), ((3.9, 2.9), (4.45, 2.9)), ((2.5, 1.1), (4.55, 1.1)),
    ):  # fmt: skip
        arrow(axis, start, end)
    _loss(axis, ((8.5, 2.3), (6.2, 2.9)), (7.5, 2.85), "CE")
    _loss(axis, ((8.5, 1.7), (6.1, 1.1)), (7.55, 1.12), "(1 − w) · CE")
    _loss(axis, ((5.1, 2.55), (5.1, 1.45)), (4.55, 2.0), "w · D")
    cut = {"arrowstyle": "-|>", "color": CUT, "linestyle": ":", "lw": 2}
    axis.annotate("", (5.6, 2.55), (5.6, 1.45), arrowprops=cut)
    axis.plot([5.42, 5.78], [1.85, 2.15], color=CUT, linewidth=3)
    axis.plot([5.42, 5.78], [2.15, 1.85], color=CUT, linewidth=3)
    axis.text(5.9, 2.0, "detached:\nD leaves A alone", color=CUT, fontsize=8, va="center")
    axis.text(2.7, 0.2, "one set of weights", ha="center", fontsize=8, color=INK)
    return figure


def _loss(
    axis: Axes,
    way: tuple[tuple[float, float], tuple[float, float]],
    place: tuple[float, float],
    text: str,
) -> None:
    arrow(axis, *way)
    axis.text(*place, text, ha="center", va="center", fontsize=9)


def softened(logits: ArrayLike, temperature: float = 1.0) -> Array:
    """Softmax of logits [..., classes] over a temperature."""
    scaled = np.asarray(logits, dtype=float) / temperature
    shares = np.exp(scaled - scaled.max(-1, keepdims=True))
    result: Array = shares / shares.sum(-1, keepdims=True)
    return result


@dataclass(frozen=True)
class Lesson:
    """What one image teaches; D is τ² times that of logits divided by τ, as is usual.

    Attributes:
        teacher, student: softened distributions [classes].
        from_labels, from_teacher: gradients at the student's logits of (1 − w)·CE and of w·D.
        at_teacher: gradient of w·D at the teacher's logits, which detaching throws away.
        divergence: D.
        scale: the largest of the first two at w = 0 and at w = τ = 1; of the image alone.
    """

    teacher: Array
    student: Array
    from_labels: Array
    from_teacher: Array
    at_teacher: Array
    divergence: float
    scale: float


def lesson(
    wide: ArrayLike,
    target: ArrayLike,
    label: int,
    weight: float,
    criterion: str,
    temperature: float,
) -> Lesson:
    """One image's logits [classes] of the augmented pass and of the target → what is taught.

    Args:
        criterion: ``"kl"``, or else cross-entropy.
    """
    p, q = softened(wide, temperature), softened(target, temperature)
    sharp = softened(target)
    missed = sharp - np.eye(len(sharp))[label]
    surprise = (np.log(p) if criterion == "kl" else 0.0) - np.log(q)
    divergence = temperature**2 * float((p * surprise).sum())
    centred = surprise - (p * surprise).sum()
    return Lesson(
        p,
        q,
        (1 - weight) * missed,
        weight * temperature * (q - p),
        weight * temperature * p * centred,
        divergence,
        float(np.abs([missed, sharp - softened(wide)]).max()),
    )


@styled
def lesson_figure(given: Lesson, label: int) -> Figure:
    """Soft labels; both pulls at the student's logits and their sum; that at the teacher's.

    A pull is a negative gradient. The axes stay where they are while only w and D change.
    """
    figure, axes = panels(1, 3, height=3.3)
    places = np.arange(len(given.teacher))
    for shift, values, colour, name in (
        (-0.2, given.teacher, WIDE, "wide network A"), (0.2, given.student, TARGET, "target T"),
    ):  # fmt: skip
        axes[0].bar(places + shift, values, 0.4, color=colour, label=name)
    axes[0].plot([label], [1.0], "*", color=LABEL, markersize=12, label="label y")
    axes[0].set_ylim(0, 1.1)
    axes[0].set_title("soft labels", fontsize=10)
    for shift, values, colour, name in (
        (-0.2, given.from_labels, LABEL, "pull of the label"),
        (0.2, given.from_teacher, WIDE, "pull of the teacher"),
    ):
        axes[1].bar(places + shift, -values, 0.4, color=colour, label=name)
    total = given.from_labels + given.from_teacher
    reach = 1.05 * max(given.scale, np.abs([total, given.from_teacher, given.at_teacher]).max())
    axes[1].plot(places, -total, "kD", markersize=4, label="their sum")
    axes[1].set_title("pull at T's logits", fontsize=10)
    axes[2].bar(places, -given.at_teacher, 0.6, color=CUT, label="if not detached")
    axes[2].set_title("pull at A's logits", fontsize=10)
    for axis in axes[1:]:
        axis.axhline(0, color=INK, linewidth=1)
        axis.set_ylim(-reach, reach)
    for axis in axes:
        axis.set_xticks(places)
        axis.set_xlabel("class")
    legend_below(figure, axes, columns=4)
    return figure


@dataclass(frozen=True)
class Sharing:
    """Of the errors of a target: those on which another network gives the very same wrong answer.

    Attributes:
        label: of the row.
        own: percentage shared with its own wide network.
        other: percentage shared with that of the run of another seed.
        errors: how many there are.
    """

    label: str
    own: float
    other: float
    errors: int


@styled
def sharing_figure(rows: Sequence[Sharing]) -> Figure:
    """Two bars per row: the wide network around the target, and one that never met it."""
    figure, (axis,) = panels(1, 1, height=1.2 + 0.8 * len(rows))
    for place, row in enumerate(rows):
        axis.barh(place - 0.2, row.own, 0.38, color=WIDE, label="its own wide network")
        axis.barh(place + 0.2, row.other, 0.38, color="#999999",
                  label="the wide network of the other seed")  # fmt: skip
        for y, value in ((place - 0.2, row.own), (place + 0.2, row.other)):
            axis.text(value + 1, y, f"{value:.0f} %", va="center", fontsize=9)
    names = [f"{row.label}\n{row.errors} errors" for row in rows]
    axis.set_yticks(range(len(rows)), names)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, 100)
    axis.set_xlabel("of the target's errors: same wrong answer, %")
    legend_below(figure, [axis])
    return figure


def reliability(logits: ArrayLike, labels: ArrayLike) -> tuple[Array, Array, Array, float]:
    """Confidence against accuracy.

    Args:
        logits: [N,classes]; ``labels``: [N].

    Returns:
        Mean confidence, accuracy and number of images of each bin of equal width that holds at
        least :data:`FEWEST`; and the mean of |confidence − accuracy| over all images' bins.
    """
    shares = softened(logits)
    sure, right = shares.max(1), shares.argmax(1) == np.asarray(labels)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    filled = [bins == b for b in np.unique(bins)]
    error = sum(abs(sure[b].mean() - right[b].mean()) * b.sum() for b in filled) / len(sure)
    shown = [b for b in filled if b.sum() >= FEWEST]
    means = (np.array([values[b].mean() for b in shown]) for values in (sure, right))
    confidence, accuracy = means
    return confidence, accuracy, np.array([float(b.sum()) for b in shown]), float(error)


@styled
def reliability_figure(answers: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]]) -> Figure:
    """One panel per heading; below the diagonal a network is surer than it should be.

    Args:
        answers: heading → label of a curve → logits [N,classes] and labels [N].
    """
    figure, axes = panels(1, len(answers), height=3.7, sharey=True)
    for axis, (heading, curves) in zip(axes, answers.items(), strict=True):
        axis.plot([0, 100], [0, 100], color=INK, linewidth=1, label="as sure as right")
        for (name, (logits, labels)), colour in zip(
            curves.items(), (WIDE, TARGET, CUT), strict=False
        ):
            confidence, accuracy, count, _ = reliability(logits, labels)
            axis.plot(100 * confidence, 100 * accuracy, color=colour, label=name)
            axis.scatter(100 * confidence, 100 * accuracy, s=8 + 240 * count / count.sum(),
                         color=colour, alpha=0.6)  # fmt: skip
        axis.set_title(heading, fontsize=10)
        axis.set_xlabel("confidence, %")
        axis.set_xlim(0, 102)
        axis.set_ylim(0, 102)
    axes[0].set_ylabel("accuracy, %")
    legend_below(figure, axes)
    return figure


@styled
def passes_figure(logs: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> Figure:
    """Training accuracy of both passes per epoch, one panel per heading.

    Args:
        logs: heading → one log per seed; none, "not run yet" stands in the panel.
    """
    figure, axes = panels(1, len(logs), height=3.3, sharey=True)
    for axis, (heading, runs) in zip(axes, logs.items(), strict=True):
        if runs:
            draw_passes(axis, runs, TARGET)
        else:
            axis.set_xticks([])
            axis.text(0.5, 0.5, "not run yet", transform=axis.transAxes, ha="center", fontsize=11,
                      color="#777777")  # fmt: skip
        axis.set_title(f"{heading}, {counted(len(runs), 'seed')}", fontsize=10)
        axis.set_xlabel("epoch")
    for name, style, _ in PASSES:
        axes[0].plot([], [], style, color="#555555", linewidth=2.5, label=name)
    axes[0].set_ylabel("training accuracy, %")
    axes[0].set_ylim(0, 102)
    legend_below(figure, axes[:1])
    return figure
