"""A small adder network trained on the embedded digits within seconds, and layers to quantise."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from saa_lite.data import Batches, ImageSet, load_dataset, normalization
from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.quantize.adder_layers import TWINS
from saa_lite.quantize.calibrate import InputRange
from saa_lite.quantize.schemes import grouped
from saa_lite.train import TrainConfig, evaluate, train

CONFIG = TrainConfig(epochs=4, batch_size=32, lr=0.05, crop_padding=0, flip=False)


@lru_cache
def digits(split: str) -> ImageSet:
    return load_dataset("digits", split, size=8)


def adder_network(seed: int = 0) -> nn.Module:
    """Images [B, 1, 8, 8] → logits [B, 10]; the second adder layer has a bias and a stride."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        AdderConv2d(8, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        AdderConv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


@lru_cache
def trained(seed: int = 0) -> nn.Module:
    """Shared by the tests: quantize() copies it, nothing else may change it."""
    network = adder_network(seed)
    with torch.enable_grad():  # also when a test without gradients asks first
        train(network, digits("train"), digits("test"), CONFIG, progress=False)
    return network


@lru_cache
def calibration() -> tuple[Tensor, ...]:
    """Ten batches of 128 training images."""
    batches = Batches(digits("train"), 128, drop_last=True)
    return tuple(images for _, images, _ in batches.epoch(0))


def accuracy(network: nn.Module) -> float:
    """In percent, over the 500 test images."""
    mean, std = normalization(digits("train"))
    return 100 * evaluate(network, digits("test"), mean=mean, std=std)["accuracy"]


def quantized_layer(
    layer: AdderConv2d | AdderLinear, bound: float, bits: int, groups: int = 1, *, signed: bool
) -> nn.Module:
    """The layer itself, by redistribution, for inputs whose quantile of |x| is ``bound``."""
    found = InputRange(bound, -bound if signed else 0.0, bound)
    scheme = grouped(layer.weight.detach(), found, bits, "redistribution", groups)
    layer.__class__ = TWINS[type(layer)]
    layer.quantize(scheme, compensate=True)
    return layer.eval()
