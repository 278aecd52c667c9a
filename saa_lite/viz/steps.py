"""Accuracy of adder networks against η, the length of the step that their weights take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullLocator

from saa_lite.viz.style import COLOURS, headline, legend_below, panels, styled

# Alone and inside an augmented network a start keeps its colour and marker.
LOOKS = {
    "adder": ("AdderNet's start, N(0, 1)", COLOURS["adder"], "o"),
    "adder-calm": ("calm start", COLOURS["adder-calm"], "s"),
    "adder-annealed": ("squared distances first", COLOURS["shiftadd"], "^"),
    "adder-normalised": ("weights as wide as inputs", COLOURS["binary"], "D"),
    "aug-adder": ("remapped", COLOURS["aug-adder"], "v"),
    "aug-adder-raw": ("N(0, 1), rate once a step", COLOURS["adder"], "o"),
    "aug-adder-raw-pass": ("N(0, 1), rate in each pass", COLOURS["adder"], "P"),
    "aug-adder-calm-raw": ("calm start", COLOURS["adder-calm"], "s"),
}
LEVELS = {
    "conv": ("convolution", "-"),
    "signs-frozen": ("fixed random signs", ":"),
    "adder-calm-frozen": ("calm start, frozen", "--"),
    "adder-frozen": ("N(0, 1), frozen", "-."),
}


@dataclass(frozen=True)
class Sweep:
    """One arm at several steps.

    Attributes:
        arm: its name.
        etas: root mean square of the gradient that moves an adder weight, ascending.
        values: per step, accuracies in %, one per seed.
        intervals: per step, 95 %, or None below two seeds.
    """

    arm: str
    etas: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    intervals: tuple[tuple[float, float] | None, ...]


@styled
def steps_figure(
    sweeps: Mapping[str, Sequence[Sweep]],
    title: str,
    tested: str,
    levels: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """One panel per group of arms, with the same scales; what all have in common is named below.

    Args:
        sweeps: by the panel's heading.
        tested: on which images, for the axis.
        levels: by heading and arm, mean accuracies in % of arms that have no step, drawn across.
    """
    figure, axes = panels(1, len(sweeps), height=4.4, sharey=True)
    for axis, (heading, group) in zip(axes, sweeps.items(), strict=True):
        for sweep in group:
            _draw(axis, sweep)
        for arm, level in (levels or {}).get(heading, {}).items():
            label, style = LEVELS[arm]
            axis.axhline(level, color="#333333", linestyle=style, linewidth=1.2, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({eta for sweep in group for eta in sweep.etas}))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("η, step of an adder weight")
        axis.set_title(heading, fontsize=10)
    axes[0].set_ylabel(f"accuracy on {tested}, %")
    legend_below(figure, axes, columns=3)
    headline(figure, title)
    return figure


def _draw(axis: Axes, sweep: Sweep) -> None:
    label, colour, marker = LOOKS.get(sweep.arm, (sweep.arm, COLOURS["published"], "x"))
    means = [sum(values) / len(values) for values in sweep.values]
    dashed = "--" if sweep.arm.endswith("-pass") else "-"
    axis.plot(sweep.etas, means, dashed, color=colour, marker=marker, markersize=6, label=label)
    for eta, interval in zip(sweep.etas, sweep.intervals, strict=True):
        if interval is not None:
            axis.plot([eta, eta], interval, color=colour, linewidth=2, alpha=0.6)
