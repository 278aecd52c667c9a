"""How alike an image and its noisy copy remain, block by block of untrained networks."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saa_lite.viz.augmented import name_of
from saa_lite.viz.style import COLOURS, legend_below, panels, styled


@styled
def likeness_figure(curves: Mapping[str, Sequence[float]]) -> Figure:
    """One line per network: correlation of the features behind each block, from the first on.

    Args:
        curves: method → correlation per block, −1 to 1.
    """
    figure, (axis,) = panels(1, 1, height=3.3)
    for method, values in curves.items():
        blocks = range(1, len(values) + 1)
        axis.plot(blocks, values, color=COLOURS[method], marker="o", markersize=4,
                  label=name_of(method))  # fmt: skip
    axis.axhline(0, color="#777777", linewidth=1)
    axis.set_ylim(-0.2, 1.05)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("block of MobileNetV2-w0.35, untrained")
    axis.set_ylabel("correlation with the noisy copy")
    legend_below(figure, [axis])
    return figure
