"""What `saa-lite bench` measured, as one picture: every way to compute a layer, by its time."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from saa_lite.bench.contenders import ADDER_KERNEL, limit_of
from saa_lite.bench.measure import EMULATED, Comparison, Report
from saa_lite.viz.style import COLOURS, panels, styled

OTHER = "#888888"
MARKS = {  # contender → marker and colour
    "ours, channels_last": ("o", COLOURS["adder"]),
    "ours": ("o", COLOURS["adder"]),
    "ours, uint8": ("s", COLOURS["adder"]),
    "torch.compile": ("v", OTHER),
    "scipy cdist": ("P", OTHER),
    "torch.cdist": ("D", OTHER),
    "AdderNet formulation": ("X", OTHER),
}
NAMES = {
    "ours, channels_last": "ours, float32",
    "ours, uint8": "ours, uint8 (exact)",
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


# The whole call, the kernel in it, what the kernel's operations take.
OURS = ("ours, channels_last", ADDER_KERNEL, limit_of(ADDER_KERNEL))
SHADES = {
    "call: Python, checks, a new output": 0.25,
    "kernel: packing, loads, borders": 0.55,
    "its operations alone, without memory": 1.0,
}
THICKNESS = 0.36


@styled
def parts_figure(reports: Sequence[Report]) -> Figure:
    """Call, kernel and bare operations of every layer's forward pass, over the convolution's time.

    One panel for each benchmark, with its processor and the length of its vectors.

    The bare operations of ours are timed in the same rounds; the convolution's are its
    multiply-adds at the rate of the report's limit. The convolution has no separate kernel.
    """
    figure, axes = panels(1, len(reports), height=4.2, sharex=True, sharey=True)
    for axis, report in zip(axes, reports, strict=True):
        layers = forward_layers(report)
        for row, one in enumerate(layers.values()):
            times = [one.over_convolution(one[name]) for name in OURS]
            _overlaid(axis, row - THICKNESS / 2, times, "adder", tuple(SHADES.values()))
            whole_and_least = [1.0, convolution_floor(report, one)]
            _overlaid(axis, row + THICKNESS / 2, whole_and_least, "conv", (0.25, 1.0))
        axis.axvline(1, color=COLOURS["conv"], linewidth=1.2)
        axis.set_xlabel("time ÷ convolution's")
        axis.set_yticks(range(len(layers)), list(layers), fontsize=8)
        axis.set_ylim(len(layers) - 0.5, -0.5)
        axis.set_title(short_name(report), fontsize=9)
    handles = [Patch(color="#444444", alpha=shade, label=text) for text, shade in SHADES.items()]
    colours = {"adder, float32": "adder", "convolution, float32": "conv"}
    handles += [Patch(color=COLOURS[key], label=text) for text, key in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def forward_layers(report: Report) -> dict[str, Comparison]:
    """Forward passes of single layers, by layer; whole networks left out."""
    found = {case: one for (case, work), one in report.comparisons().items() if work == "forward"}
    return {case: one for case, one in found.items() if one.ours.distances is not None}


def short_name(report: Report) -> str:
    """Processor and vectors, for a title."""
    processor = report.device.partition(" (")[0].replace("(R)", "").replace(" Processor", "")
    emulated = ", emulated" if EMULATED in report.versions else ""
    width = f"{report.vector_bits}-bit vectors" if report.vector_bits else "vectors not recorded"
    return f"{processor}\n{width}{emulated}"


def convolution_floor(report: Report, one: Comparison) -> float:
    """The multiply-adds of a layer at the processor's limit, over the convolution's time."""
    assert one.ours.distances is not None
    least = one.ours.distances / report.limits["convolution"] / report.threads
    return least / one.convolution.seconds.median


def _overlaid(
    axis: Axes, place: float, times: list[float], kind: str, shades: tuple[float, ...]
) -> None:
    """Bars over each other, each a part of the one before it."""
    for time, shade in zip(times, shades, strict=True):
        axis.barh(place, time, THICKNESS * 0.9, color=COLOURS[kind], alpha=shade, linewidth=0)
