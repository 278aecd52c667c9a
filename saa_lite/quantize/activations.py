"""A layer's input on one grid, whose step can be learned, with quantisation dropped at random."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saa_lite.quantize.uniform import Grid, search_grid

BYTE = 256


class InputQuantizer(nn.Module):
    """One step and offset for a whole tensor, unsigned codes of ``bits`` bits.

    The step is ``initial_step``·``scale``. Its gradient is that of LSQ (ICLR 2020, eq. 3), see
    :meth:`~saa_lite.quantize.uniform.Grid.straight`; LSQ's factor on it does nothing
    under Adam. Learning the relative ``scale`` rather than the step is our reading: the papers'
    learning rate fits the activations of ImageNet networks, and others have other magnitudes.

    Attributes:
        enabled: hand the input through if False.
        keep: probability that an element is quantised; below 1 only while a method learns steps.
    """

    initial_step: Tensor
    zero: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.low, self.high = grid.low, grid.high
        self.enabled, self.keep = True, 1.0
        self.register_buffer("initial_step", grid.step.reshape(()))
        self.register_buffer("zero", grid.zero.reshape(()))
        self.scale = nn.Parameter(torch.ones_like(self.initial_step), requires_grad=False)

    @property
    def step(self) -> Tensor:
        """Scalar; never 0 or negative, wherever learning went."""
        return self.initial_step * self.scale.clamp_min(0.01)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        if self.keep == 1.0 and not self.scale.requires_grad:
            return Grid(self.step, self.zero, self.low, self.high).straight(x)
        kept = None if self.keep == 1.0 else draw_kept(x, self.keep)
        learned: Tensor = _Learned.apply(x, self.step, self.zero, self.low, self.high, kept)
        return learned

    def extra_repr(self) -> str:
        return f"codes={self.low}…{self.high}, enabled={self.enabled}"


class _Learned(torch.autograd.Function):
    """:meth:`Grid.straight` where ``kept`` is 1, the input where it is 0, with their gradients.

    Autograd walks through a dozen tensors for that, and chance makes ``torch.where`` as slow as
    a convolution of 16 channels. Here a pass in place each is left, and one gradient of the step.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, zero: Tensor, low: int, high: int, kept: Tensor | None
    ) -> Tensor:
        scaled = (x / step).add_(zero)
        codes = scaled.clamp(low, high)
        inside = codes == scaled
        codes.round_()
        quantized = (codes - zero).mul_(step)
        per_step = codes.sub_(scaled.masked_fill_(~inside, zero))  # d(quantized) / d(step)
        ctx.save_for_backward(inside, per_step, kept)
        return quantized if kept is None else mixed(quantized, x, kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        inside, per_step, kept = ctx.saved_tensors
        reached = gradient if kept is None else gradient * kept
        passed = reached * inside
        if kept is not None:
            passed += gradient - reached
        return passed, (reached * per_step).sum(), None, None, None, None


def draw_kept(x: Tensor, keep: float) -> Tensor:
    """1 with probability ``keep``, to 1/256, else 0; shape, strides and dtype of ``x``.

    A byte per element: drawing a float for each takes as long as a convolution.
    """
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
    drawn = words.random_(-(2**63), None).view(torch.uint8)[: x.numel()]
    like = torch.empty_like(x)
    return like.copy_(drawn.as_strided(x.shape, like.stride()) < round(keep * BYTE))


def mixed(first: Tensor, second: Tensor, kept: Tensor) -> Tensor:
    """``first`` where ``kept`` is 1 and ``second`` where it is 0, in the place of ``first``."""
    return first.mul_(kept).add_(second * (1 - kept))


class InputSample:
    """Range of a layer's inputs over all batches, and some of the values.

    Which values depends on nothing but the number of inputs: methods and seeds that are compared
    start from the same grid.
    """

    PER_BATCH = 8192

    def __init__(self) -> None:
        self.low: Tensor | None = None
        self.high: Tensor | None = None
        self.values: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(0)

    def add(self, x: Tensor) -> None:
        low, high = x.aminmax()
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        flat = x.flatten()
        if len(flat) > self.PER_BATCH:
            chosen = torch.randint(len(flat), (self.PER_BATCH,), generator=self.generator)
            flat = flat[chosen.to(x.device)]
        self.values.append(flat)

    def quantizer(self, bits: int) -> InputQuantizer:
        """The grid of the least mean |error|^2.4 on the sample."""
        assert self.low is not None
        assert self.high is not None
        grid = search_grid(torch.cat(self.values), bits, ends=(self.low, self.high))
        return InputQuantizer(grid)
