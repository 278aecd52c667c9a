"""What inputs of layers look like: ranges measured on calibration images.

The range r_x is a quantile of |x| instead of its maximum, so that a few outliers do not stretch the
codes of all others (outlier clamp). Nie et al. state it in two ways. Supplement: X̃[round(α(n − 1))]
of the sorted |x|. Released code: X̃[int((round(nα) − 1)·α)], where α acts twice (α = 0.9997 gives
the quantile 0.9994). Both take the greatest over the batches, and at least 0.001.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from saa_lite.errors import UsageError
from saa_lite.quantize.calls import inputs_seen
from saa_lite.train import evaluation_mode

QUANTILES = ("supplement", "code")
SMALLEST_RANGE = 1e-3  # released code
BRIGHTEST = 20  # of normalised images; a standard deviation of a twentieth would be needed


@dataclass
class InputRange:
    """What one layer has read so far.

    Attributes:
        bound: r_x, the quantile of |x|, greatest over the batches; 0 before the first.
        least, greatest: of all x.
    """

    bound: float = 0.0
    least: float = math.inf
    greatest: float = -math.inf

    @property
    def signed(self) -> bool:
        """Whether any input was negative."""
        return self.least < 0


def check_images(argument: str, images: Tensor) -> None:
    """Raise :class:`UsageError` unless the images [N, …] are finite floating-point numbers.

    Warns:
        UserWarning: where they look like pixels of 0 to 255 that nobody normalised.
    """
    if len(images) == 0:
        raise UsageError(f"{argument} holds no images; got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise UsageError(
            f"{argument} must hold normalised images in floating point; got {images.dtype} "
            "(saa_lite.data.normalize makes pixels into them)"
        )
    broken = ~images.flatten(1).isfinite().all(1) if images.dim() > 1 else ~images.isfinite()
    if bool(broken.any()):
        first = int(broken.nonzero()[0])
        raise UsageError(
            f"{argument} must hold finite numbers; {int(broken.sum())} of {len(images)} images "
            f"hold NaN or infinity, the first is images[{first}]"
        )
    least, most = images.aminmax()
    if least >= 0 and most > BRIGHTEST:
        warnings.warn(
            f"{argument} has values from {least:g} to {most:g}, as pixels have that were not "
            "normalised; the network was trained with normalised ones (saa_lite.data.normalize)",
            UserWarning,
            stacklevel=3,
        )


def check_read(name: str, values: Tensor) -> None:
    """Raise :class:`UsageError` unless a layer read something, and finite numbers only."""
    if values.numel() == 0 or not bool(values.isfinite().all()):
        raise UsageError(f"layer {name!r} must read finite numbers to be calibrated; it did not")


def quantile_index(count: int, alpha: float, rule: str = "supplement") -> int:
    """Which of ``count`` sorted values is the quantile, from 0."""
    if rule == "supplement":
        return round(alpha * (count - 1))
    return max(0, int((round(count * alpha) - 1) * alpha))


@torch.no_grad()
def calibrate(
    model: nn.Module,
    names: Iterable[str],
    batches: Sequence[Tensor],
    alpha: float,
    rule: str = "supplement",
    progress: bool = False,
) -> dict[str, InputRange]:
    """Run the batches through the model in evaluation mode and measure the named layers' inputs.

    Args:
        batches: images, as the model takes them.
        alpha, rule: the quantile, see above.

    Raises:
        UsageError: a layer read nothing, or something that is not a finite number.
    """
    ranges = {name: InputRange() for name in names}

    def note(name: str, input: Tensor) -> None:
        _widen(ranges[name], name, input, alpha, rule)

    with evaluation_mode(model), inputs_seen(model, ranges, note):
        for images in tqdm(batches, disable=not progress, desc="calibrate", unit="batch"):
            model(images)
    for name, found in ranges.items():
        if found.bound == 0:
            raise UsageError(
                f"layer {name!r} was not called by the calibration batches, so its range is unknown"
            )
    return ranges


def _widen(found: InputRange, name: str, input: Tensor, alpha: float, rule: str) -> None:
    values = input.detach().float().flatten()
    check_read(name, values)
    index = quantile_index(len(values), alpha, rule)
    bound = _sorted_at(values.abs(), index)
    found.bound = max(found.bound, bound, SMALLEST_RANGE)
    found.least = min(found.least, values.min().item())
    found.greatest = max(found.greatest, values.max().item())


def _sorted_at(values: Tensor, index: int) -> float:
    """The value at ``index`` once they are sorted, without sorting."""
    if values.device.type != "cpu":
        return values.kthvalue(index + 1).values.item()
    return float(np.partition(values.numpy(), index)[index])  # six times as fast as kthvalue
