"""Whole networks: one forward pass and one training step, adder against CNN."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.bench.contenders import formulation
from saa_lite.models import create_model
from saa_lite.nn import AdderConv2d, attach_adaptive_lr

Call = Callable[[], object]
FORMULATION_BATCH = 4  # the published formulation takes minutes for a whole batch


class FormulationConv2d(AdderConv2d):
    """An adder layer that computes as the published code does."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, padding = self.stride[0], int(self.padding[0])
        output = formulation(input, weight, stride, padding)
        return output if bias is None else output + bias[:, None, None]


@dataclass(frozen=True)
class Network:
    """A registered model, its image size and the batch it is timed with."""

    model: str
    size: int
    batch: int


NETWORKS = (Network("resnet20", 32, 128), Network("mobilenet_v2_w035", 32, 32))


def network_calls(network: Network) -> dict[tuple[str, str], tuple[Call, int]]:
    """Call and batch size by kind of pass ("forward", "training step") and contender."""
    calls: dict[tuple[str, str], tuple[Call, int]] = {}
    for method in ("convolution", "ours"):
        kind = "conv" if method == "convolution" else "adder"
        for name, call in _passes(_model(network, kind), network, network.batch).items():
            calls[name, method] = call, network.batch
    published = _as_published(_model(network, "adder"))
    for name, call in _passes(published, network, FORMULATION_BATCH).items():
        calls[name, "AdderNet formulation"] = call, FORMULATION_BATCH
    return calls


def _model(network: Network, kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(network.model, 10, kind, small_input=True)
    return model.to(memory_format=torch.channels_last)


def _as_published(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if type(layer) is AdderConv2d and layer.groups == 1:
            layer.__class__ = FormulationConv2d
    return model


def _passes(model: nn.Module, network: Network, batch: int) -> dict[str, Call]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, *[network.size] * 2, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    attach_adaptive_lr(optimizer, model)

    def forward() -> Tensor:
        model.eval()
        with torch.no_grad():
            return model(images)

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return {"forward": forward, "training step": step}
