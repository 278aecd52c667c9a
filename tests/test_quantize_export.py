"""Quantised and integer networks outside eager torch: exported programs, data-parallel replicas."""

import copy
import importlib
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from saa_lite.costs import count
from saa_lite.errors import UsageError
from saa_lite.nn import KINDS, AdderConv2d, AdderLinear, make_conv, make_linear
from saa_lite.quantize import quantize, quantize_convolution, to_integer

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(kind: str = "adder") -> nn.Module:
    """Groups of filters, borders that are written out, biases, a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        make_conv(kind, 3, 8, 3, padding=1, groups=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        make_conv(kind, 8, 12, 3, stride=2, groups=2, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(12),
        nn.Flatten(),
        make_linear(kind, 192, 5),
    ).eval()


@cache
def prepared(name: str) -> nn.Module:
    if name in KINDS:
        return network(name)
    if name == "convolution":
        options = {"iterations": 2, "progress": False}
        return quantize_convolution(network("conv"), IMAGES, "brecq", **options)
    if name == "nearest":
        return quantize(network("conv"), [IMAGES], method=name, layers="all")
    quantized = quantize(network(), [IMAGES], groups=3)
    return quantized if name == "quantised" else to_integer(quantized, name)


@torch.no_grad()
@pytest.mark.parametrize("name", ["adder", "quantised", "bytes", "int32", "nearest", "convolution"])
def test_exported_programs_give_the_same_for_batches_of_any_size(name: str) -> None:
    model, batch = prepared(name), torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(model, (IMAGES[:3],), dynamic_shapes=({0: batch},))
    other = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for images in (IMAGES[:3], other):
        assert torch.equal(exported.module()(images), model(images))


def replicas_of(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """What ``nn.DataParallel`` makes for two devices, by torch's own code but for the transport."""
    replicate = importlib.import_module("torch.nn.parallel.replicate")

    def on_each(tensors: list[Tensor], devices: list, detach: bool = False) -> list[list[Tensor]]:
        return [[(t.detach() if detach else t).clone() for t in tensors] for _ in devices]

    monkeypatch.setattr(replicate, "_broadcast_coalesced_reshape", on_each)
    monkeypatch.setattr(replicate, "_get_device_index", lambda device, optional: device)
    return replicate.replicate(model, [0, 1])


PREPARED = [*KINDS, "quantised", "bytes", "int32", "nearest", "convolution"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", PREPARED)
def test_replicas_compute_what_the_network_does(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy.deepcopy(prepared(name)).train(training)
    expected, trained = model(IMAGES), [p for p in model.parameters() if p.requires_grad]
    assert expected.requires_grad == (name != "convolution")
    for replica in replicas_of(model, monkeypatch):
        output = replica(IMAGES)
        assert torch.equal(output, expected)
        if name in ("bytes", "int32"):
            with pytest.raises(UsageError, match="sums of integers have no derivative"):
                output.sum().backward()
            continue
        if not output.requires_grad:
            continue
        theirs, ours = (
            torch.autograd.grad(y.square().sum(), trained, retain_graph=True, allow_unused=True)
            for y in (output, expected)
        )
        assert sum(gradient is not None for gradient in ours) >= 2
        pairs = zip(theirs, ours, strict=True)
        assert all(one is other or torch.equal(one, other) for one, other in pairs)


def test_state_of_other_groups_is_taken_over() -> None:
    """The sizes of the groups are numbers beside the state: they follow what is loaded."""
    layers = [
        nn.Sequential(AdderConv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), AdderLinear(6, 6))
        for _ in range(2)
    ]
    for layer, scales in zip(layers, ([1, 1, 1, 9, 9, 9], [1, 9, 9, 9, 9, 9]), strict=True):
        layer[0].weight.data = torch.tensor(scales).view(6, 1, 1, 1) * torch.ones(6, 3, 3, 3)
    one, other = (quantize(layer, [IMAGES], groups=2) for layer in layers)
    assert (one[0].sizes, other[0].sizes) == ([3, 3], [1, 5])
    other.load_state_dict(one.state_dict())
    assert other[0].sizes == [3, 3]
    with torch.no_grad():
        assert torch.equal(other(IMAGES), one(IMAGES))


@pytest.mark.parametrize("path", ["bytes", "int32"])
def test_integer_sums_are_counted(path: str) -> None:
    counted = count(prepared(path), IMAGES[:1])
    assert counted.taps == 27 * 8 * 64 + 36 * 12 * 16 + 192 * 5
    assert counted.count("multiply") < counted.taps / 10  # scales, not products
    assert not counted.unknown
