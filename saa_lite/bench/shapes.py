"""The layers that are timed: those of ResNet-20 and MobileNetV2, and two awkward ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

BATCH = 32


@dataclass(frozen=True)
class Shape:
    """A "same"-padded layer ``channels`` → ``filters`` on ``size``² pixels."""

    name: str
    channels: int
    filters: int
    size: int
    kernel: int
    stride: int = 1
    batch: int = BATCH

    @property
    def geometry(self) -> tuple[int, int]:
        """Stride and padding."""
        return self.stride, self.kernel // 2

    @property
    def distances(self) -> int:
        """How many |x − w|, or multiply-accumulates, one forward pass takes."""
        outputs = self.batch * self.filters * (-(-self.size // self.stride)) ** 2
        return outputs * self.channels * self.kernel**2

    def tensors(self, layout: torch.memory_format = torch.channels_last) -> tuple[Tensor, Tensor]:
        """Normal input and filters, the same numbers every time."""
        generator = torch.Generator().manual_seed(0)
        size = (self.batch, self.channels, self.size, self.size)
        x = torch.randn(size, generator=generator).contiguous(memory_format=layout)
        w = torch.randn(self.filters, self.channels, *[self.kernel] * 2, generator=generator)
        return x, w

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        k, size = self.kernel, self.size
        return f"{self.name}  {k}×{k} {self.channels}→{self.filters} @{size}²{stride}"


SHAPES = (
    Shape("a", 16, 16, 32, 3),
    Shape("b", 64, 64, 8, 3),
    Shape("c", 96, 16, 16, 1),
    Shape("d", 16, 96, 16, 1),
    Shape("e", 192, 320, 4, 1),
    Shape("f", 16, 32, 32, 3, stride=2),
    Shape("g", 24, 40, 16, 3),
)
