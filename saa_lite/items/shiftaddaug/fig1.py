"""What is shared, what is exported: Figure 1, drawn from a real model.

A MobileNetV2 is trained for a moment inside its augmented model, then exported. The picture shows
the wide weight of one layer as that layer reads it, the multiplication-free target framed, and the
logits of the target inside the augmented model against those of the exported network, which must
be the same to the last bit. How much is stored, and how much is left, is counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from saa_lite.augment import AugmentedNet, export
from saa_lite.augment.unit import WideConv
from saa_lite.data import ImageSet
from saa_lite.items import augmented
from saa_lite.items.augmented import Settings as Training
from saa_lite.items.base import Context, Unit
from saa_lite.items.recipes import RECIPES
from saa_lite.items.registry import built
from saa_lite.items.select import one_configuration
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import save_checkpoint
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
                    aspect="auto", interpolation="nearest",
                    extent=(0.5, shape[1] + 0.5, shape[0] + 0.5, 0.5))  # fmt: skip
    n, m = int(free.sum(0).max()), int(free.sum(1).max())
    colour = COLOURS[record.method]
    axis.add_patch(Rectangle((0.5, 0.5), m, n, fill=False, edgecolor=colour, linewidth=3))
    axis.grid(False)
    axis.set_xticks([1, m, *range(5 * (m // 5) + 10, shape[1] + 1, 10)])
    axis.set_yticks([1, n, *range(5 * (n // 5) + 10, shape[0] + 1, 5)])
    axis.set_xlabel(f"input channel; the target has {m} of {shape[1]}")
    axis.set_ylabel(f"output channel;\nthe target has {n} of {shape[0]}")
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
    axis.annotate(text, (0.97, 0.05), xycoords="axes fraction", ha="right", fontsize=8,
                  bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9})  # fmt: skip


METHODS = ("aug-shift", "aug-adder")
LAYER = "blocks.0.project.conv"  # 8 outputs from 16 inputs: seen weight by weight
SHOWN_IMAGES = 8


@dataclass(frozen=True)
class Settings(Training):
    """As in the accuracy items; a few steps on the embedded digits are enough."""


PROFILES = {
    "smoke": Settings(
        "digits", "mobilenet_v2_w035", 32, True, 40, 20, epochs=1, seeds=1, batch_size=20,
        crop_padding=2, flip=False, width=(1.0, 1.5), expand=(1.0, 1.5), batch_norm_images=40,
    ),
    "laptop": Settings(
        "digits", "mobilenet_v2_w035", 16, True, 640, 100, epochs=1, seeds=1, batch_size=32,
        lr=0.005, crop_padding=1, flip=False, batch_norm_images=640,
    ),
    "full": Settings(
        "cifar100", "mobilenet_v2_w035", 160, False, 50_000, 10_000, epochs=10, seeds=1,
        batch_size=128,
    ),
}  # fmt: skip


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Train, export, compare and count."""
    for unit in augmented.units(context, settings, METHODS):
        if not unit.done("export_difference", "exported_bytes", "weight"):
            yield from _measure(unit, settings)


def _measure(unit: Unit, settings: Settings) -> Iterator[Record]:
    run = augmented.trained(unit, settings)
    model, test_set = run.model, run.test_set
    assert isinstance(model, AugmentedNet)
    alone = export(model)
    rows = logit_rows(model, alone, test_set)
    yield unit.record("export_difference", max(abs(r["target"] - r["exported"]) for r in rows), "",
                      log=rows)  # fmt: skip
    layer = model.net.get_submodule(LAYER)
    assert isinstance(layer, WideConv)
    yield unit.record("weight", layer.outputs.target, "channels", log=weight_rows(layer))
    for name, module in (("target", alone), ("augmented", model)):
        count = sum(parameter.numel() for parameter in module.parameters())
        yield unit.record(f"{name}_parameters", count, "parameters")
    operator = RECIPES[unit.method].operator
    plain = create_model(
        unit.model, test_set.num_classes, operator, small_input=settings.small_input,
        in_channels=test_set.in_channels,
    )  # fmt: skip
    yield unit.record("plain_bytes", file_bytes(plain), "bytes")
    yield unit.record("exported_bytes", file_bytes(alone), "bytes")


@torch.no_grad()
def logit_rows(model: nn.Module, alone: nn.Module, test_set: ImageSet) -> list[dict[str, float]]:
    """Every logit of some images, from the target inside the model and from the export."""
    images = test_set.images[:SHOWN_IMAGES].float() / 255
    images = images.to(next(model.parameters()).device)
    inside, outside = (net.eval()(images).flatten().tolist() for net in (model, alone))
    return [{"target": a, "exported": b} for a, b in zip(inside, outside, strict=True)]


@torch.no_grad()
def weight_rows(layer: WideConv) -> list[dict[str, float]]:
    """The wide weight of a 1×1 layer as it is read: ``free`` is 1 in the target's rectangle."""
    n, m = layer.outputs.target, layer.inputs.target
    wide = layer.weight(0, layer.outputs.largest, 0, layer.inputs.largest)[:, :, 0, 0].clone()
    wide[:n, :m] = layer.multiplication_free(n, m)[:, :, 0, 0]
    return [
        {"row": i, "column": j, "weight": value, "free": float(i < n and j < m)}
        for i, line in enumerate(wide.tolist())
        for j, value in enumerate(line)
    ]


def file_bytes(model: nn.Module) -> int:
    """Size of a checkpoint of the network."""
    with TemporaryDirectory() as folder:
        return save_checkpoint(Path(folder), model).stat().st_size


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Wide weights and equal logits of both operators."""
    return hybrid_figure(one_configuration(records, "export_difference", METHODS), METHODS)


ITEM = built("shiftaddaug/fig1", profiles=PROFILES, run=run, draw=draw)
