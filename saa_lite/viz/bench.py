"""What `saa-lite bench` measured, as one picture: every way to compute a layer, by its time."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saa_lite.bench.measure import Comparison, Report
from saa_lite.viz.style import COLOURS, panels, styled

OTHER = "#888888"
MARKS = {  # contender → marker and colour
    "ours, channels_last": ("o", COLOURS["adder"]),
    "ours": ("o", COLOURS["adder"]),
    "ours, uint8": ("s", COLOURS["adder"]),
    "ours, int8 shift": ("^", COLOURS["shift"]),
    "torch.compile": ("v", OTHER),
    "scipy cdist": ("P", OTHER),
    "torch.cdist": ("D", OTHER),
    "AdderNet formulation": ("X", OTHER),
}
NAMES = {
    "ours, channels_last": "ours, float32",
    "ours, uint8": "ours, uint8 (exact)",
    "ours, int8 shift": "ours, shift (exact)",
    "torch.compile": "formula, torch.compile",
    "AdderNet formulation": "AdderNet formulation",
}


@styled
def bench_figure(report: Report) -> Figure:
    """Time of every contender over that of the convolution, layers above, whole networks below.

    The scale is logarithmic; to the left of 1 is faster than the multiplying convolution.
    """
    figure, axes = panels(2, 2, height=2.5, sharex=True, gridspec_kw={"height_ratios": [2, 1]})
    parts = [(True, "forward"), (True, "forward + backward"), (False, "forward")]
    for axis, (layers, work) in zip(axes, [*parts, (False, "training step")], strict=True):
        _ratios(
            axis,
            {
                case: found
                for (case, kind), found in report.comparisons().items()
                if kind == work and (found.ours.distances is not None) == layers
            },
        )
        axis.set_title(work)
    for axis in axes[2:]:
        axis.set_xlabel("time ÷ time of the convolution")
    for axis in axes[1::2]:
        axis.set_yticklabels([])  # the rows of its neighbour
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=4)
    figure.suptitle(
        f"{report.device}, torch threads: {report.threads}", x=0.01, ha="left", fontsize=11
    )
    return figure


def _ratios(axis: Axes, comparisons: dict[str, Comparison]) -> None:
    """One row per layer or network, one mark per contender."""
    for contender, (marker, colour) in MARKS.items():
        places = [
            (found.over_convolution(found[contender]), row)
            for row, found in enumerate(comparisons.values())
            if contender in found
        ]
        if places:
            label = NAMES.get(contender, contender)
            axis.plot(*zip(*places, strict=True), marker, color=colour, label=label, alpha=0.9)
    axis.axvline(1, color=COLOURS["conv"], linewidth=1.2, label="convolution (CNN)")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    names = [case.replace("_", " ") for case in comparisons]
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
