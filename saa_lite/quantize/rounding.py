"""Weights on a grid, rounded to nearest or, by AdaRound, to whichever neighbour serves best.

AdaRound (ICML 2020): the quantised weight is step·clip(⌊w/step⌋ + h(v)), where the rectified
sigmoid h(v) = clip((ζ − γ)·σ(v) + γ, 0, 1), ζ = 1.1, γ = −0.1, is learned per weight (eqs. 22, 23).
It starts where the weight itself lies between its two neighbours. A regulariser
Σ 1 − |2h − 1|^β drives it to 0 or 1 (eq. 24); large β leave the middle free, small ones do not.
"""

import torch
from torch import Tensor, nn

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
