"""ShiftAddNAS's learned map: thirty bins, one coefficient each, and two KL terms in the loss."""

import torch
from torch import Tensor, nn

from saa_lite.augment.remap_curve import SCALE, Number
from saa_lite.augment.remap_modules import Remap, kl_to_gaussian, kl_to_laplace
from saa_lite.errors import UsageError, check_choice

STARTS = ("normal", "ones")


class BinsRemap(Remap):
    """T(w) = c_j·w, j the bin of w among equal bins of [min w, max w] (ShiftAddNAS, ICML 2022).

    Follows the released code (``hytra_ops_ws_dist.py``) but for two slips: there the largest
    weight falls into no bin and becomes 0, here it belongs to the last one; and here each layer
    has coefficients of its own. Within a bin T is a straight line through the origin, so T jumps
    from bin to bin, and no coefficient moves a weight off 0.

    The penalty KL(w ‖ N(mean, std²)) + KL(T(w) ‖ Laplace(0, scale)) stands in the paper; the
    released code has none.

    Args:
        bins: 30 in the released code.
        start: ``"normal"``, coefficients from N(0, 1) as released, or ``"ones"``, the identity.
        scale: b of the penalty's Laplace distribution.
    """

    def __init__(self, *, bins: int = 30, start: str = "normal", scale: float = SCALE) -> None:
        super().__init__()
        if type(bins) is not int or bins < 1:
            raise UsageError(f"bins must be an integer above 0; got {bins!r}")
        if not scale > 0:
            raise UsageError(f"scale must be positive; got {scale!r}")
        check_choice("start", start, STARTS)
        self.scale = scale
        self.coefficients = nn.Parameter(
            torch.randn(bins) if start == "normal" else torch.ones(bins)
        )

    def extra_repr(self) -> str:
        return f"bins={self.coefficients.numel()}"

    @torch.no_grad()
    def fit(self, weight: Tensor, target: Tensor) -> "BinsRemap":
        """Set every coefficient so that T(weight) is nearest to ``target``, in least squares."""
        w, wanted = weight.flatten(), target.flatten()
        index, zeros = self._index(w), w.new_zeros(self.coefficients.numel())
        products = zeros.index_add(0, index, w * wanted)
        squares = zeros.index_add(0, index, w * w)
        known = squares > 0
        self.coefficients[known] = (products[known] / squares[known]).to(self.coefficients.dtype)
        return self

    def penalty(
        self, weight: Tensor, mean: Number | None = None, std: Number | None = None
    ) -> Tensor:
        """The two divergences, a differentiable scalar."""
        wide, mean, std = self._prepared(weight, mean, std)
        mapped = self._map(wide, mean, std)
        return kl_to_gaussian(wide, mean, std) + kl_to_laplace(mapped, self.scale)

    def _map(self, weight: Tensor, mean: Number, std: Number) -> Tensor:
        return weight * self.coefficients[self._index(weight)]

    def _index(self, weight: Tensor) -> Tensor:
        w, bins = weight.detach(), self.coefficients.numel()
        width = (w.max() - w.min()).clamp_min(torch.finfo(w.dtype).tiny)
        return ((w - w.min()) / width * bins).long().clamp(max=bins - 1)
