"""The hybrid layer: its wide weight with the target framed, and the equality of the export."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from saa_lite.records import Record
from saa_lite.viz.augmented import name_of
from saa_lite.viz.style import COLOURS, headline, panels, styled


@styled
def hybrid_figure(records: Sequence[Record], methods: Sequence[str]) -> Figure:
    """Per method: wide weight on the left; logits inside and exported on the right.

    Args:
        records: metrics "weight" and "export_difference" with logs, and the counted sizes.
        methods: one row each.
    """
    figure, axes = panels(len(methods), 2, height=3.3, width_ratios=[1.7, 1])
    for row, method in enumerate(methods):
        found = {record.metric: record for record in records if record.method == method}
        draw_weight(axes[2 * row], found["weight"])
        draw_logits(axes[2 * row + 1], found)
    first = next(iter(records))
    headline(figure, f"One 1×1 layer of MobileNetV2-w0.35 and its export, {first.dataset}")
    return figure


def draw_weight(axis: Axes, record: Record) -> None:
    """Two colour scales, one inside the frame and one outside: the weights differ in size."""
    rows = record.log or []
    shape = tuple(int(max(float(r[k] or 0) for r in rows)) + 1 for k in ("row", "column"))
    weight = np.array([float(r["weight"] or 0) for r in rows]).reshape(shape)
    free = np.array([bool(r["free"]) for r in rows]).reshape(shape)
    for part, colours in ((free, "PuOr"), (~free, "Greys")):
        values = weight if part is free else np.abs(weight)
        limit = float(np.quantile(np.abs(weight[part]), 0.95)) or 1.0
        low = -limit if part is free else 0.0
        axis.imshow(np.ma.masked_where(~part, values), cmap=colours, vmin=low, vmax=limit,
                    aspect="auto", interpolation="nearest")  # fmt: skip
    n, m = int(free.sum(0).max()), int(free.sum(1).max())
    colour = COLOURS[record.method]
    axis.add_patch(Rectangle((-0.5, -0.5), m, n, fill=False, edgecolor=colour, linewidth=3))
    axis.grid(False)
    axis.set_xlabel(f"inputs: {m} of the target, then {shape[1] - m}")
    axis.set_ylabel(f"outputs: {n}, then {shape[0] - n}")
    axis.set_title(f"{name_of(record.method)}: the framed weights are exported", fontsize=10)


def draw_logits(axis: Axes, found: dict[str, Record]) -> None:
    """Each logit of the target against the exported one: all of them on the diagonal."""
    record = found["export_difference"]
    rows = record.log or []
    pairs = np.array([[float(r["target"] or 0), float(r["exported"] or 0)] for r in rows])
    axis.plot(*pairs.T, "o", markersize=4, color=COLOURS[record.method], alpha=0.6)
    limits = [float(pairs.min()), float(pairs.max())]
    axis.plot(limits, limits, color="#555555", linewidth=1)
    axis.set_xlabel("logit of the target inside")
    axis.set_ylabel("logit of the export")
    axis.set_title(f"largest difference: {record.value:g}", fontsize=10)
    sizes = [f"{found[f'{k}_parameters'].value:,.0f}" for k in ("augmented", "target")]
    text = (
        f"{sizes[0]} parameters trained,\n{sizes[1]} exported\n"
        f"file {found['exported_bytes'].value:,.0f} bytes,\n"
        f"of the plain network {found['plain_bytes'].value:,.0f}"
    )
    axis.annotate(text, (0.97, 0.05), xycoords="axes fraction", ha="right", fontsize=8)
