"""Where the time of a layer goes, from what `saa-lite bench` recorded."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from saa_lite.bench.contenders import ADDER_KERNEL, SHIFT_KERNEL, limit_of
from saa_lite.bench.measure import Comparison, Report
from saa_lite.viz.style import COLOURS, panels, styled

# One contender of each: the whole call, the kernel in it, what the kernel's operations take.
OURS = {
    "adder": ("ours, channels_last", ADDER_KERNEL, limit_of(ADDER_KERNEL)),
    "shift": ("ours, int8 shift", SHIFT_KERNEL, limit_of(SHIFT_KERNEL)),
}
TITLES = {"adder": "adder layer, float32", "shift": "shift layer, int8"}
SHADES = {
    "call: Python, checks, a new output": 0.25,
    "kernel: packing, loads, borders": 0.55,
    "its operations alone, without memory": 1.0,
}
THICKNESS = 0.36


@styled
def parts_figure(report: Report) -> Figure:
    """Call, kernel and bare operations of every layer's forward pass, over the convolution's time.

    The bare operations of ours are timed in the same rounds; the convolution's are its
    multiply-adds at the rate of the report's limit. The convolution has no separate kernel.
    """
    found = {case: one for (case, work), one in report.comparisons().items() if work == "forward"}
    layers = {case: one for case, one in found.items() if one.ours.distances is not None}
    figure, axes = panels(1, 2, height=3.9, sharey=True)
    for axis, (kind, contenders) in zip(axes, OURS.items(), strict=True):
        for row, one in enumerate(layers.values()):
            times = [one.over_convolution(one[name]) for name in contenders]
            _overlaid(axis, row - THICKNESS / 2, times, kind, tuple(SHADES.values()))
            whole_and_least = [1.0, convolution_floor(report, one)]
            _overlaid(axis, row + THICKNESS / 2, whole_and_least, "conv", (0.25, 1.0))
        axis.axvline(1, color=COLOURS["conv"], linewidth=1.2)
        axis.set_xlabel("time ÷ time of the convolution")
        axis.set_title(TITLES[kind])
    axes[0].set_yticks(range(len(layers)), list(layers), fontsize=8)
    axes[0].set_ylim(len(layers) - 0.5, -0.5)
    handles = [Patch(color="#444444", alpha=shade, label=text) for text, shade in SHADES.items()]
    colours = {"adder": "adder", "shift": "shift", "convolution, float32": "conv"}
    handles += [Patch(color=COLOURS[key], label=text) for text, key in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


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
