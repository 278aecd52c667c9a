"""A layer's input on one grid, whose step can be learned, with quantisation dropped at random."""

import torch
from torch import Tensor, nn

from saa_lite.quantize.uniform import Grid, search_grid


class InputQuantizer(nn.Module):
    """One step and offset for a whole tensor, unsigned codes of ``bits`` bits.

    The step is ``initial_step``·``scale``. Its gradient is that of LSQ (ICLR 2020, eq. 3), see
    :meth:`~saa_lite.quantize.uniform.Grid.straight`; LSQ's factor on it does nothing
    under Adam. Learning the relative ``scale`` rather than the step is our reading: the papers'
    learning rate fits the activations of ImageNet networks, and others have other magnitudes.

    Attributes:
        enabled: hand the input through if False.
        keep: probability that an element is quantised; below 1 only while a method learns.
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
        quantized = Grid(self.step, self.zero, self.low, self.high).straight(x)
        if self.keep == 1.0:
            return quantized
        return torch.where(torch.rand_like(x) < self.keep, quantized, x)

    def extra_repr(self) -> str:
        return f"codes={self.low}…{self.high}, enabled={self.enabled}"


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
