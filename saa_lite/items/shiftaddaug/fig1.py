"""What is shared, what is exported: Figure 1, drawn from a real model.

A MobileNetV2 is trained for a moment inside its augmented model, then exported. The picture shows
the wide weight of one layer as that layer reads it, the multiplication-free target framed, and the
logits of the target inside the augmented model against those of the exported network, which must
be the same to the last bit. How much is stored, and how much is left, is counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from torch import nn

from saa_lite.augment import AugmentedNet, export
from saa_lite.augment.unit import WideConv
from saa_lite.data import ImageSet
from saa_lite.items import augmented
from saa_lite.items.augmented import Settings as Training
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.recipes import RECIPES
from saa_lite.items.select import one_configuration
from saa_lite.models import create_model
from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.train import save_checkpoint
from saa_lite.viz.hybrid import hybrid_figure

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
    wide[:n, :m] = layer.as_free(n, m)[:, :, 0, 0]
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
