"""Strided 1 × 1 convolutions of few channels: every layer trains, in a process that survives it."""

import os
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
import torch
from adder_samples import Case, error
from one_sized_samples import by_patches, ordered
from torch import nn
from torch.nn import functional as F

from saa_lite.nn import make_conv
from saa_lite.ops import adder_torch, convolution, reference
from saa_lite.ops.convolution import conv2d, overruns, weight_gradient
from saa_lite.train.config import survives_channels_last

ORDERS = [ordered(order) for order in permutations(range(4))]
POINT = Case(4, 6, (9, 8), (1, 1), stride=(2, 3))


@pytest.mark.parametrize("padding", [(0, 0), "valid"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_same_convolution(padding: Any, layout: str) -> None:
    x, w = (t.requires_grad_() for t in POINT.tensors(torch.float32, layout))
    bias = torch.arange(6.0)
    y = conv2d(x, w, bias, POINT.stride, padding, (1, 1), 1)
    right = by_patches(POINT, x, w) + bias.view(-1, 1, 1)
    grad = torch.randn(y.shape)
    wanted = torch.autograd.grad(right, (x, w), grad.double())
    for ours, theirs in zip(
        (y, *torch.autograd.grad(y, (x, w), grad)), (right, *wanted), strict=True
    ):
        assert error(ours, theirs.detach()) <= 1e-6
    one = conv2d(x[0], w, bias, POINT.stride, padding, (1, 1), 1)
    assert error(one, right[0].detach()) <= 1e-6


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_order_in_memory(groups: int, dtype: torch.dtype) -> None:
    """Orders that torch's own grouped convolution reads in two ways at once."""
    for size, kernel in [((9, 1), (1, 1)), ((1, 4), (1, 1)), ((9, 1), (3, 1)), ((1, 1), (1, 1))]:
        padding = kernel[0] // 2, kernel[1] // 2
        case = Case(4, 8, size, kernel, padding=padding, groups=groups)
        x, w = (t.to(dtype) for t in case.tensors(torch.float32))
        right = by_patches(case, x.requires_grad_(), w.requires_grad_())
        grad = torch.randn(right.shape, dtype=dtype)
        wanted = [right, *torch.autograd.grad(right, (x, w), grad.double())]
        for of_images, of_weights in product(ORDERS, repeat=2):
            images, weights = of_images(x.detach()), of_weights(w.detach())
            images, weights = images.requires_grad_(), weights.requires_grad_()
            y = conv2d(images, weights, None, case.stride, padding, (1, 1), groups)
            got = [y, *torch.autograd.grad(y, (images, weights), of_images(grad))]
            weight_grad = weight_gradient(grad, images.detach(), weights.detach(), case.geometry)
            for ours, theirs in zip([*got, weight_grad], [*wanted, wanted[2]], strict=True):
                assert error(ours.detach(), theirs.detach()) <= 1e-6


def test_the_adder_gradient_behind_it() -> None:
    x, w = POINT.tensors(torch.float32, "channels_last")
    grad = torch.randn(2, 6, 5, 3)
    ours = adder_torch.weight_full_gradient(grad, x, w, POINT.geometry)
    right = reference.adder_weight_gradient(grad, x, w, *POINT.geometry)
    assert error(ours, right) <= 1e-6


@pytest.mark.parametrize(
    "case",
    [
        Case(16, 6, (8, 8), (1, 1), stride=(2, 2)),
        Case(4, 6, (8, 8), (1, 1)),
        Case(4, 6, (8, 8), (1, 1), stride=(2, 2), padding=(1, 1)),
        Case(4, 6, (8, 8), (1, 1), stride=(2, 2), groups=2),
        Case(4, 6, (8, 8), (1, 3), stride=(2, 2)),
        Case(4, 6, (8, 8), (3, 1), stride=(2, 1)),
    ],
    ids=str,
)
def test_all_others_are_left_as_they_are(case: Case) -> None:
    channels, geometry = case.channels, (case.stride, case.padding, case.groups)
    assert not overruns(channels, case.kernel, *geometry)
    x, w = case.tensors(torch.float32, "channels_last")
    assert torch.equal(conv2d(x, w, None, *case.geometry), F.conv2d(x, w, None, *case.geometry))


@pytest.mark.parametrize(
    ("layer", "survives"),
    [
        (nn.Conv2d(15, 8, 1, stride=2), False),
        (nn.Conv2d(15, 8, 1, stride=(1, 2), padding="valid"), False),
        (nn.ConvTranspose2d(16, 15, 1, stride=2, output_padding=1), False),
        (nn.LazyConv2d(8, 1, stride=2), False),
        (nn.ConvTranspose2d(15, 16, 1, stride=2, output_padding=1), True),
        (nn.Conv2d(16, 8, 1, stride=2), True),
        (nn.Conv2d(15, 8, 1), True),
        (make_conv("shift-ps", 3, 8, 1, stride=2), True),
        (make_conv("adder", 3, 8, 1, stride=2), True),
    ],
    ids=str,
)
def test_which_networks_train_in_channels_last(layer: nn.Module, survives: bool) -> None:
    network = nn.Sequential(nn.Sequential(layer), nn.Flatten())
    assert survives_channels_last(network, torch.device("cpu")) is survives
    assert survives_channels_last(network, torch.device("cuda"))


# Sizes at which the convolutions themselves do not survive on processors with AVX2 or AVX-512.
LAYERS = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import torch
from torch import nn
from quantize_samples import quantized_layer
from saa_lite.augment.config import Axis
from saa_lite.augment.unit import WideConv
from saa_lite.nn import AdderConv2d, make_conv
from saa_lite.quantize.calibrate import InputRange
from saa_lite.quantize.layers import install, quantized_layers
from saa_lite.quantize.layers import NearestConv2d

torch.manual_seed(0)

def adder():
    return make_conv("adder", 4, 8, 1, stride=2, bias=False, adaptive_lr="off")

def learned_rounding():
    network = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2, bias=False))
    install(network, {"0": 4}, {}, {})
    for layer in quantized_layers(network):
        layer.weight_quantizer.soften(layer.weight)
    return network

def nearest():
    layer = nn.Conv2d(4, 8, 1, stride=2, bias=False)
    layer.__class__ = NearestConv2d
    layer.quantize(InputRange(3.0, -3.0, 3.0), 8)
    return layer

def wide(kind):
    inputs, outputs = Axis("in", 2, (1.0, 2.0)), Axis("out", 4, (1.0, 2.0))
    inputs.activate(2.0), outputs.activate(2.0)
    layer = make_conv(kind, 2, 4, 1, stride=2, bias=False)
    return WideConv(layer, nn.BatchNorm2d(4), inputs, outputs)

layers = {kind: make_conv(kind, 4, 8, 1, stride=2, bias=False)
          for kind in ("shift", "shift-ps", "binary")}
layers |= {"adder": adder(), "adder, quantised": quantized_layer(adder(), 3.0, 4, signed=True),
           "learned rounding": learned_rounding(), "nearest": nearest(),
           "wide": wide("conv"), "wide shift": wide("shift"), "wide adder": wide("adder")}
x = torch.randn(8, 4, 128, 128)
for name, layer in layers.items():
    print(name, flush=True)
    layer.train()
    found = []
    for layout in (torch.contiguous_format, *[torch.channels_last] * 4):
        layer.zero_grad()
        seen = x.clone(memory_format=layout).requires_grad_()
        y = layer(seen)
        y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape))
        found.append([p.grad for p in layer.parameters() if p.grad is not None] + [seen.grad])
    assert len(found[0]) > 1, name
    for other in found[1:]:
        for ours, first in zip(other, found[0], strict=True):
            scale = first.abs().max()
            torch.testing.assert_close(ours / scale, first / scale, rtol=0, atol=1e-3)
"""

NETWORK = """
from saa_lite.data import ImageSet
from saa_lite.train import TrainConfig, train

images = torch.arange(32 * 3 * 128**2).view(32, 3, 128, 128).remainder(251).to(torch.uint8)
labels = torch.arange(32) % 2
sets = (ImageSet("noise", split, images, labels, ("a", "b")) for split in ("train", "test"))
torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 8, 1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
)
print("train", flush=True)
train(network, *sets, TrainConfig(epochs=2, batch_size=16, lr=0.01), progress=False)
"""


def test_training_survives() -> None:
    """In one process of its own, which says how far it came."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LAYERS + NETWORK],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, (
        f"{done.returncode} after {done.stdout[-200:]}{done.stderr[-2000:]}"
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_overlapping_calls_leave_tf32_as_the_first_found_it(order: tuple[int, ...]) -> None:
    """Autograd runs one thread per GPU; they may end in any order."""
    precision = torch.backends.cudnn.conv
    before, precision.fp32_precision = precision.fp32_precision, "tf32"
    try:
        calls = [convolution._no_tf32() for _ in order]
        for call in calls:
            call.__enter__()
        for place in order:
            assert precision.fp32_precision == "ieee"
            calls[place].__exit__(None, None, None)
        assert precision.fp32_precision == "tf32"
    finally:
        precision.fp32_precision = before
