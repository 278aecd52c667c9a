"""Remappings as modules, and how far weights are from the distributions that they map between.

**How far a set of weights is from a normal or a Laplace distribution, in nats per weight.**

Two estimates of KL(sample ‖ Q). :func:`kl_to_gaussian` and :func:`kl_to_laplace` are differentiable
and serve as loss terms, as ShiftAddNAS (ICML 2022) describes them. That paper's released code holds
no such term, so the estimator is our reading: entropy from the spacings of the sorted sample
(Vasicek, 1976). :func:`binned_kl_to_laplace` counts in bins; it stays finite for rounded weights,
whose true divergence from a density is infinite.

**Remappings as modules: weights in, weights out, statistics of the layer measured on the way.**

All share one call, ``remap(weight, mean=None, std=None)``. Mean and standard deviation are those
of the given weight, one pair per layer, detached: training does not pull on the ruler (our
reading; the source is silent). Where several layers share a wider weight, hand theirs over.

ShiftAddAug, eq. 5, puts a learned map FC between the two distribution functions,
F_l⁻¹(FC(F_g(w))), and says no more about it. :class:`AnalyticRemap` has none;
:class:`AffineRemap` and :class:`MatrixRemap` are our readings. FC acts on z = (w − mean)/std or
on logit F_g(w), never on F_g(w) itself, which a linear map would move out of (0, 1).
"""

import math

import torch
from torch import Tensor, nn

from saa_lite.augment.remap_curve import SCALE, Number, standard_laplace
from saa_lite.errors import UsageError, check_choice
from saa_lite.ops.shift import check_float, shift_quantize, smallest_shift

SPACING = 10  # order statistics on each side; bias and spread below 0.003 from 2,000 weights up
SMALLEST = 5  # weights from which an entropy is estimated at all


def entropy(w: Tensor) -> Tensor:
    """Differential entropy of the sample ``w`` in nats, a scalar; any shape, 5 weights or more.

    Mean of ln(w₍ᵢ₊ₘ₎ − w₍ᵢ₋ₘ₎) − ψ(k) + ψ(n + 1), k the number of spacings spanned (fewer at the
    ends): unbiased where the density is flat over k spacings. Equal weights count as one rounding
    step apart, so a discrete sample gives a large negative number, not −∞.
    """
    if w.numel() < SMALLEST:
        raise UsageError(f"w must hold at least {SMALLEST} weights; got {w.numel()}")
    ordered = w.flatten().sort().values
    n = ordered.numel()
    index = torch.arange(n, device=w.device)
    reach = min(SPACING, n // 4)
    high, low = (index + reach).clamp(max=n - 1), (index - reach).clamp(min=0)
    smallest = torch.finfo(w.dtype).eps * ordered.detach().abs().amax()
    gap = (ordered[high] - ordered[low]).clamp_min(smallest + torch.finfo(w.dtype).tiny)
    spanned = torch.digamma((high - low).to(w.dtype))
    return (gap.log() - spanned).mean() + torch.digamma(w.new_tensor(n + 1))


def kl_to_gaussian(w: Tensor, mean: Number, std: Number) -> Tensor:
    """KL(w ‖ N(mean, std²)), a differentiable scalar; noise may take it slightly below 0."""
    std = torch.as_tensor(std, dtype=w.dtype, device=w.device)
    density = -0.5 * ((w - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    return -entropy(w) - density.mean()


def kl_to_laplace(w: Tensor, scale: Number) -> Tensor:
    """KL(w ‖ Laplace(0, scale)), a differentiable scalar; noise may take it slightly below 0."""
    scale = torch.as_tensor(scale, dtype=w.dtype, device=w.device)
    return -entropy(w) + (w.abs() / scale).mean() + (2 * scale).log()


def binned_kl_to_laplace(w: Tensor, scale: float, bins: int = 64) -> float:
    """KL of the histogram over ``bins`` bins that Laplace(0, scale) fills equally; at most ln bins.

    A lower bound on the true divergence. n exact Laplace numbers give about (bins − 1)/(2n).
    """
    if bins % 2 or bins < 2:
        raise UsageError(f"bins must be an even number above 0; got {bins!r}")
    # F_l(w) is 1 − tail for w > 0 and tail below: counting tails needs no rounding near 1.
    tail = 0.5 * torch.exp(-w.detach().double().flatten().abs() / scale)
    index = (tail * bins).long().clamp(max=bins // 2 - 1)
    side = torch.where(w.flatten() > 0, bins - 1 - index, index)
    share = torch.bincount(side, minlength=bins).double() / w.numel()
    return float(torch.special.xlogy(share, share * bins).sum())


SPACES = ("z", "logit")


class Remap(nn.Module):
    """Base: measures and widens; ``_map`` of the subclasses does the work.

    ``penalty`` is a term for the loss, 0 unless the map has one.
    """

    def forward(
        self, weight: Tensor, mean: Number | None = None, std: Number | None = None
    ) -> Tensor:
        """Weight of any shape → weight of the same shape and dtype.

        Args:
            mean, std: of the source distribution; measured on ``weight`` where not given.
        """
        wide, mean, std = self._prepared(weight, mean, std)
        return self._map(wide, mean, std).to(weight.dtype)

    def penalty(
        self, weight: Tensor, mean: Number | None = None, std: Number | None = None
    ) -> Tensor:
        """What the map adds to the loss, a scalar in nats; 0 here."""
        return weight.new_zeros(())

    def _map(self, weight: Tensor, mean: Number, std: Number) -> Tensor:
        raise NotImplementedError

    def _prepared(
        self, weight: Tensor, mean: Number | None, std: Number | None
    ) -> tuple[Tensor, Number, Number]:
        check_float("weight", weight)
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        return (
            wide,
            wide.detach().mean() if mean is None else mean,
            _std(wide.detach()) if std is None else std,
        )


def _std(weight: Tensor) -> Tensor:
    """Standard deviation, kept off 0 so that equal weights all map near the centre."""
    finfo = torch.finfo(weight.dtype)
    floor = 8 * finfo.eps * weight.abs().amax() + finfo.tiny
    return torch.maximum(weight.std(correction=0), floor)


class NoRemap(Remap):
    """The shared weight as it is: the control of every comparison."""

    def _map(self, weight: Tensor, mean: Number, std: Number) -> Tensor:
        return weight


class ScaledRemap(Remap):
    """Base of the maps onto Laplace(0, b), b = exp(log_scale) learned per layer.

    Args:
        scale: b at the start. 1/√2 gives variance 1, that of a fresh adder filter, whereas
            convolution weights have standard deviations near 0.05 (our reading).
        learn_scale: False keeps b.
    """

    def __init__(self, *, scale: float = SCALE, learn_scale: bool = True) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise UsageError(f"scale must be positive and finite; got {scale!r}")
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)

    @property
    def scale(self) -> Tensor:
        """b, a positive scalar tensor."""
        return self.log_scale.exp()

    def _map(self, weight: Tensor, mean: Number, std: Number) -> Tensor:
        return self.scale * self._standard((weight - mean) / std)

    def _standard(self, z: Tensor) -> Tensor:
        """Standardised weights → weights for b = 1."""
        raise NotImplementedError


class RescaleRemap(ScaledRemap):
    """√2·b·z: the variance of Laplace(0, b), the shape unchanged. Control: is it only the scale?"""

    def _standard(self, z: Tensor) -> Tensor:
        return math.sqrt(2) * z


class AnalyticRemap(ScaledRemap):
    """Eq. 5 with FC the identity, :func:`~saa_lite.augment.remap.gaussian_to_laplace`."""

    def _standard(self, z: Tensor) -> Tensor:
        return standard_laplace(z)


class AffineRemap(ScaledRemap):
    """FC(s) = gain·s + offset, two learned numbers per layer, starting as the identity.

    Args:
        space: ``"z"`` or ``"logit"``, where s lives.
    """

    def __init__(self, space: str = "z", *, scale: float = SCALE, learn_scale: bool = True) -> None:
        super().__init__(scale=scale, learn_scale=learn_scale)
        check_choice("space", space, SPACES)
        self.space = space
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(0.0))

    def extra_repr(self) -> str:
        return f"space={self.space!r}"  # no learned number: checkpoints compare this text

    def _standard(self, z: Tensor) -> Tensor:
        if self.space == "z":
            return standard_laplace(self.gain * z + self.offset)
        logit = torch.special.log_ndtr(z) - torch.special.log_ndtr(-z)
        return _LaplaceOfLogit.apply(self.gain * logit + self.offset)


class _LaplaceOfLogit(torch.autograd.Function):
    """F_l⁻¹(sigmoid(s)) for scale 1: sgn(s)·ln((1 + e^|s|)/2), with slope sigmoid(|s|)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor) -> Tensor:
        a = s.abs()
        # (e^a − 1)/2 is the argument's distance from 1: exact near 0, where ln((1 + e^a)/2) is not.
        near = torch.log1p(torch.expm1(a.clamp(max=1)) / 2)
        far = a + torch.log1p((-a).exp()) - math.log(2)
        return torch.where(a < 1, near, far).copysign(s)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor
    ) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        (s,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * s.abs().sigmoid()


class MatrixRemap(ScaledRemap):
    """FC a d²×d² matrix on the taps of each kernel, one for the layer, starting as the identity.

    Precedent: the kernel transform of once-for-all (ICLR 2020). It acts on z.

    Args:
        kernel_size: d, or rows and columns; the last two dimensions of the weight.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        *,
        scale: float = SCALE,
        learn_scale: bool = True,
    ) -> None:
        super().__init__(scale=scale, learn_scale=learn_scale)
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(size) != 2 or min(size) < 1:
            raise UsageError(f"kernel_size must be one or two numbers above 0; got {kernel_size!r}")
        self.kernel_size = size
        self.matrix = nn.Parameter(torch.eye(math.prod(size)))

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}"

    def _standard(self, z: Tensor) -> Tensor:
        if z.shape[-2:] != self.kernel_size:
            raise UsageError(
                f"weight must end in the kernel size {list(self.kernel_size)}; got {list(z.shape)}"
            )
        return standard_laplace((z.flatten(-2) @ self.matrix.T.to(z.dtype)).reshape(z.shape))


class ShiftRemap(Remap):
    """The same curve with the scale kept, then rounded to ±2^p for a shift layer.

    b = std/√2, so the standard deviation stays that of the source: shift weights live between
    2^pmin and 1 and need no other scale. The rounding is DeepShift-Q's, straight-through gradient
    included, so the gradient is that of the curve.

    Args:
        bits: 2 to 6 per weight; see :func:`saa_lite.ops.shift.shift_quantize`.
    """

    def __init__(self, *, bits: int = 5) -> None:
        super().__init__()
        smallest_shift(bits)
        self.bits = bits

    def extra_repr(self) -> str:
        return f"bits={self.bits}"

    def _map(self, weight: Tensor, mean: Number, std: Number) -> Tensor:
        return shift_quantize(std * SCALE * standard_laplace((weight - mean) / std), self.bits)
