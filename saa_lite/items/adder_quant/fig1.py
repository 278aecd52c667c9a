"""Inputs and weights of one adder layer before and after quantisation, on one scale, 4 bits.

QSSF with the scale of the weights or of the activations, and redistribution with a single group as
in the figure. ``weights_clamped`` and ``inputs_clamped`` are the shares beyond the range (over
clamp), the entropies say how many of the bits carry something (bits waste). Only redistribution
compensates what it clamps. All methods read the same calibration images.
``accuracy`` is with the statistics of batch norm taken anew, as in the released code;
``accuracy_without_reestimation`` without, where any constant that is lost shows.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from saa_lite.data import Batches, ImageSet, normalization
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.select import one_configuration
from saa_lite.items.training import digits_config, load_splits, seeded_model, train_unit
from saa_lite.published import PublishedNumber
from saa_lite.quantize import quantize
from saa_lite.quantize.statistics import CodeUse, input_use, weight_use
from saa_lite.records import Record
from saa_lite.train import evaluate
from saa_lite.viz.code_use import code_use_figure

METHODS = ("qssf-weights", "qssf-activations", "redistribution")
FULL = "adder"  # the network before quantisation
LAST = {FULL: "input_range"} | dict.fromkeys(METHODS, "weight_entropy")  # recorded last
BINS = 60
LOGGED_SEED = 0  # whose histograms the figure shows
Row = dict[str, float | None]


@dataclass(frozen=True)
class Settings:
    """Everything but ``dataset``, ``model`` and ``seeds`` is part of the configuration hash."""

    dataset: str
    model: str
    layer: str
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    batch_size: int = 64
    crop_padding: int = 2
    calibration_batches: int = 10
    bits: int = 4
    groups: int = 1
    alpha: float = 0.9992


PROFILES = {
    "smoke": Settings("digits", "lenet5_bn", "layer3.conv", 100, 50, 1, 1, batch_size=20),
    "laptop": Settings("digits", "lenet5_bn", "layer3.conv", 1_297, 500, 20, 5),
    "full": Settings("mnist", "lenet5_bn", "layer3.conv", 60_000, 10_000, 20, 5),
}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Per seed: train, then quantise the same network in every way."""
    for seed in range(settings.seeds):
        units = {method: _unit(context, settings, method, seed) for method in (FULL, *METHODS)}
        if not all(unit.done("accuracy", LAST[unit.method]) for unit in units.values()):
            yield from _measure(settings, context, seed)


def _unit(context: Context, settings: Settings, method: str, seed: int) -> Unit:
    outside = ("dataset", "model", "seeds")
    recipe = {name: value for name, value in asdict(settings).items() if name not in outside}
    return context.unit(
        method=method,
        model=settings.model,
        dataset=settings.dataset,
        seed=seed,
        epochs=settings.epochs,
        settings=recipe,
    )


def _measure(settings: Settings, context: Context, seed: int) -> Iterator[Record]:
    unit = _unit(context, settings, FULL, seed)
    sets = load_splits(
        context, settings.dataset, settings.train_images, settings.test_images, size=32
    )
    model = seeded_model(unit, sets[0])
    config = digits_config(unit, settings.batch_size, settings.crop_padding)
    history = train_unit(unit, model, *sets, config)
    images = calibration_images(unit, sets[0], settings)
    read = layer_input(model, settings.layer, images[0])
    yield unit.record("accuracy", 100 * history[-1]["test_accuracy"], "%")
    weight = model.get_submodule(settings.layer).get_parameter("weight").detach()
    for name, numbers in (("weight", weight), ("input", read)):
        log = _histogram(numbers) if seed == LOGGED_SEED else None
        yield unit.record(f"{name}_range", numbers.abs().max().item(), "", log=log)
    for method in METHODS:
        unit = _unit(context, settings, method, seed)
        yield from _quantized(unit, settings, model, sets, images)


def calibration_images(unit: Unit, train_set: ImageSet, settings: Settings) -> list[Tensor]:
    """The first batches of the training set, in its own order as in the released code."""
    batches = Batches(train_set, settings.batch_size, device=unit.context.device, drop_last=True)
    found = [images for _, images, _ in batches.epoch(0)]
    return found[: settings.calibration_batches]


def _quantized(
    unit: Unit,
    settings: Settings,
    model: nn.Module,
    sets: tuple[ImageSet, ImageSet],
    images: list[Tensor],
) -> Iterator[Record]:
    endings = {"": True, "_without_reestimation": False}
    for ending, reestimate in endings.items():
        network = quantize(
            model,
            images,
            method=unit.method,
            bits=settings.bits,
            groups=settings.groups,
            alpha=settings.alpha,
            reestimate=reestimate,
        )
        accuracy = _accuracy(network, sets, unit)
        yield unit.record(f"accuracy{ending}", 100 * accuracy, "%")
        if not reestimate:  # statistics of batch norm leave this layer's input as calibrated
            yield from _codes(unit, network, settings.layer, images[0])


def _codes(unit: Unit, network: nn.Module, name: str, images: Tensor) -> Iterator[Record]:
    """Over clamp and bits waste of one layer with a single group."""
    layer: nn.Module = network.get_submodule(name)
    read = layer_input(network, name, images)
    (inputs,), (weights,) = input_use(layer, read), weight_use(layer)  # type: ignore[arg-type]
    for kind, used in (("input", inputs), ("weight", weights)):
        log = _shares(used) if unit.seed == LOGGED_SEED else None
        yield unit.record(f"{kind}s_clamped", 100 * used.clamped, "%")
        yield unit.record(f"{kind}_entropy", used.entropy, "bits", log=log)


def _accuracy(network: nn.Module, sets: tuple[ImageSet, ImageSet], unit: Unit) -> float:
    mean, std = normalization(sets[0])
    tested = evaluate(network, sets[1], device=unit.context.device, mean=mean, std=std)
    return tested["accuracy"]


@torch.no_grad()
def layer_input(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """What a layer reads when the network, in evaluation mode, sees the images."""
    seen: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda layer, args: seen.append(args[0].detach())
    )
    try:
        model.eval()(images)
    finally:
        handle.remove()
    return seen[0]


def _histogram(numbers: Tensor) -> list[Row]:
    """Centre and share of equally wide bins."""
    values = numbers.detach().float().cpu().flatten()
    counts, edges = torch.histogram(values, BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    return _rows(centres, counts / len(values))


def _shares(used: CodeUse) -> list[Row]:
    return _rows(used.values.cpu(), used.shares.cpu())


def _rows(values: Tensor, shares: Tensor) -> list[Row]:
    pairs = zip(values.tolist(), shares.tolist(), strict=True)
    return [{"value": value, "share": share} for value, share in pairs]


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Histograms of the largest budget; the source prints no number."""
    return code_use_figure(one_configuration(records, "weight_entropy", METHODS), METHODS)


ITEM = built("adder-quant/fig1", profiles=PROFILES, run=run, draw=draw)
