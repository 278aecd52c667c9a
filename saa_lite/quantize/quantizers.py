"""What stands before a layer: its weights on a grid per filter, its input on one grid.

**Weights** are rounded to nearest or, by AdaRound, to whichever neighbour serves best.

AdaRound (ICML 2020): the quantised weight is step·clip(⌊w/step⌋ + h(v)), where the rectified
sigmoid h(v) = clip((ζ − γ)·σ(v) + γ, 0, 1), ζ = 1.1, γ = −0.1, is learned per weight (eqs. 22, 23).
It starts where the weight itself lies between its two neighbours. A regulariser
Σ 1 − |2h − 1|^β drives it to 0 or 1 (eq. 24); large β leave the middle free, small ones do not.

**Inputs** have one step, which can be learned, and their quantisation can be dropped at random.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from saa_lite.quantize.uniform import Grid, search_grid

ZETA, GAMMA = 1.1, -0.1
BETA_FROM, BETA_TO = 20.0, 2.0
WARM_UP = 0.2  # share of the iterations without regulariser
MODES = ("off", "hard", "soft")


def rectified_sigmoid(v: Tensor) -> Tensor:
    """h(v), from 0 to 1, both of which it reaches."""
    return (torch.sigmoid(v) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def inverse_rectified_sigmoid(h: Tensor) -> Tensor:
    """The v of h(v) = ``h``, for h from 0 to 1."""
    return torch.logit((h - GAMMA) / (ZETA - GAMMA))


def regulariser(h: Tensor, beta: float) -> Tensor:
    """Σ 1 − |2h − 1|^β, a scalar: 0 if every h is 0 or 1."""
    return (1 - (2 * h - 1).abs().pow(beta)).sum()


def annealed_beta(iteration: int, iterations: int) -> float | None:
    """β of one iteration, 20 → 2 in equal steps; None during the warm-up."""
    start = WARM_UP * iterations
    if iteration < start:
        return None
    progress = (iteration - start) / max(iterations - 1 - start, 1)
    return BETA_FROM + (BETA_TO - BETA_FROM) * progress


class WeightQuantizer(nn.Module):
    """The weight [T, …] of one layer on a grid of its own for each of the T filters.

    Attributes:
        mode: ``"off"`` hands the weight through, ``"hard"`` gives what ``codes`` say, ``"soft"``
            what ``v`` says between :meth:`soften` and :meth:`harden`.
        step, zero: [T, 1, …]; codes: uint8, shape of the weight.
    """

    step: Tensor
    zero: Tensor
    codes: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.bits, self.mode = bits, "hard"
        grid = search_grid(weight, bits, per_filter=True)
        self.low, self.high = grid.low, grid.high
        self.register_buffer("step", grid.step)
        self.register_buffer("zero", grid.zero)
        self.register_buffer("codes", grid.codes(weight.detach()).to(torch.uint8))
        self.v: nn.Parameter | None = None
        self.lower: Tensor | None = None  # codes of the lower neighbours while v is learned
        self.h: Tensor | None = None  # h(v) of the last pass, which the regulariser charges for

    @property
    def grid(self) -> Grid:
        return Grid(self.step, self.zero, self.low, self.high)

    def soften(self, weight: Tensor) -> nn.Parameter:
        """Make the rounding of ``weight`` learnable; it starts at the weight itself."""
        scaled = weight.detach() / self.step
        lower = scaled.floor()
        self.v = nn.Parameter(inverse_rectified_sigmoid(scaled - lower))
        self.lower, self.mode = lower + self.zero, "soft"
        return self.v

    def forward(self, weight: Tensor) -> Tensor:
        if self.mode == "off":
            return weight
        if self.mode == "hard":
            return self.grid.values(self.codes.to(weight.dtype))
        self.h = rectified_sigmoid(self._v())
        return self.grid.values(self._rounded(self.h))

    def charge(self, beta: float) -> Tensor:
        """The regulariser of the roundings that the last pass used."""
        assert self.h is not None, "a pass in mode soft comes first"
        return regulariser(self.h, beta)

    def undecided(self) -> float:
        """Share of weights whose h lies more than 0.05 from 0 and from 1."""
        h = rectified_sigmoid(self._v().detach())
        return float(((h > 0.05) & (h < 0.95)).float().mean())

    def harden(self) -> None:
        """Take the neighbour that h is nearer to, for good."""
        up = (rectified_sigmoid(self._v().detach()) >= 0.5).to(self.step.dtype)
        self.codes.copy_(self._rounded(up))
        self.v = self.lower = self.h = None
        self.mode = "hard"

    def _v(self) -> nn.Parameter:
        assert self.v is not None, "soften() comes first"
        return self.v

    def _rounded(self, up: Tensor) -> Tensor:
        """Codes: ``up`` (0 to 1) above the lower neighbour."""
        assert self.lower is not None
        return (self.lower + up).clamp(self.low, self.high)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, mode={self.mode!r}"


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
