"""From a sum to the next code: a staircase, found exactly and stored as one line per channel.

Between a layer's sum s and the code that the next layer reads lie a scale, a norm, an activation
and a quantiser. All of them are monotone, so their composition is a staircase in s: n thresholds
T_1 ≤ … ≤ T_n per channel, found by bisection on the very functions, float rounding included.

n numbers per channel are many (255 at 8 bits). But the thresholds of an affine map followed by
rounding lie on a line, rounded: with base = T_1 and two integers, slope A and phase P, ::

    T_(1+j) − base = floor((j·A + P) / 2^f),        j = 0 … n − 1

Whether such integers exist is decided exactly (a digital line), and they are checked at every
threshold. The code of s is then a count that needs no multiplication and no table: with
r = s − base ≥ 0 it is 1 + floor((((r + 1) << f) − 1 − P) / A), a division by shifts and
subtractions of as many steps as the code has bits. Thresholds that no sum can reach bind nothing.
Where a negative γ makes a channel fall, r = base − s.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saa_lite.errors import UsageError

Ints = np.ndarray
HALVINGS = 64  # of the interval in which a slope is sought


@dataclass(frozen=True)
class Staircase:
    """Codes of T channels, or of all alike (T = 1).

    Attributes:
        first: the least code; the count of thresholds passed is added to it.
        steps: n, thresholds per channel.
        down: bool [T], the code falls as the sum grows.
        base, slope, phase: int64 [T], the line; see above.
        fraction: f.
        width: 32 or 64, of the integers that the division needs.
        thresholds: int64 [T, n] in the direction in which codes rise, as they were found.
    """

    first: int
    steps: int
    down: Ints
    base: Ints
    slope: Ints
    phase: Ints
    fraction: int
    width: int
    thresholds: Ints

    @property
    def digits(self) -> int:
        """Steps of the division."""
        return max(1, int(self.steps - 1).bit_length())

    def counts(self, sums: Ints) -> Ints:
        """Thresholds that the sums [K, T] pass, by the formula that the C code evaluates."""
        rise = np.where(self.down, self.base - sums, sums - self.base)
        room = ((rise + 1) << self.fraction) - 1 - self.phase
        quotient = np.minimum(room // self.slope, (1 << self.digits) - 1)
        return np.where(rise < 0, 0, np.minimum(1 + quotient, self.steps))


def find_staircase(
    name: str, codes: Callable[[Tensor], Tensor], low: Ints, high: Ints
) -> Staircase:
    """The staircase of ``codes``, exact for all sums from ``low`` to ``high``.

    Args:
        name: of the layer, for the message.
        codes: sums, whole numbers in float64 [K, T] → codes [K, T], monotone in each channel.
        low, high: int64 [T], between which sums can lie.

    Raises:
        UsageError: the thresholds lie on no line that 62 bits can hold.
    """
    ends = np.stack([_codes_at(codes, low), _codes_at(codes, high)])
    down = ends[1] < ends[0]
    first, steps = int(ends.min()), int(ends.max() - ends.min())
    least, most = np.where(down, -high, low), np.where(down, -low, high)
    thresholds = _bisect(codes, first, steps, down, least, most)
    if not steps:
        nothing = np.ones_like(low)
        return Staircase(first, 0, down & False, high + 1, nothing, nothing, 0, 32, thresholds)
    found = _line(name, thresholds, least, most)
    base, slope, phase, fraction, width = found
    stairs = Staircase(
        first,
        steps,
        down,
        np.where(down, -base, base),
        slope,
        phase,
        fraction,
        width,
        thresholds,
    )
    _check(name, stairs, least, most)
    return stairs


def _codes_at(codes: Callable[[Tensor], Tensor], sums: Ints) -> Ints:
    """int64, as ``sums`` [T] or [K, T]."""
    rows = torch.from_numpy(np.atleast_2d(sums)).double()
    return codes(rows).long().numpy().reshape(sums.shape)


def _bisect(
    codes: Callable[[Tensor], Tensor], first: int, steps: int, down: Ints, least: Ints, most: Ints
) -> Ints:
    """The least rising sum [T, n] at which the code has risen by 1 … n; most + 1 if none has."""
    wanted = first + 1 + np.arange(steps)[:, None]
    below = np.broadcast_to(least, (steps, len(least))).copy()
    above = np.broadcast_to(most + 1, below.shape).copy()
    while bool((below < above).any()):
        middle = (below + above) >> 1
        reached = _codes_at(codes, np.where(down, -middle, middle)) >= wanted
        above = np.where(reached, middle, above)
        below = np.where(reached, below, np.minimum(middle + 1, above))
    return above.T


def _line(
    name: str, thresholds: Ints, least: Ints, most: Ints
) -> tuple[Ints, Ints, Ints, int, int]:
    """Base, slope, phase, fraction and width, with the narrower integers if they are enough."""
    base = thresholds[:, 0]
    reach = int((most + 1 - base).max()).bit_length()
    digits = max(1, int(thresholds.shape[1] - 1).bit_length())
    # The wide division begins with the slope shifted by all digits but one, the narrow does not.
    for width, bits, fraction in ((32, 32, 31 - reach), (64, 62, 60 - digits - reach)):
        if fraction < 0:
            continue
        slope, phase, found = _fit(thresholds, base, least, most, fraction)
        room = ((most + 1 - base) << fraction) - phase
        if found and int(slope.max()) < 1 << bits and int(room.max()) < 1 << bits:
            return base, slope, phase, fraction, width
    raise UsageError(
        f"the codes behind layer {name!r} lie on no line that 62 bits can hold; its norm or its "
        "scale is out of proportion to its sums"
    )


def _fit(
    thresholds: Ints, base: Ints, least: Ints, most: Ints, fraction: int
) -> tuple[Ints, Ints, bool]:
    """Slope and phase [T] at this fraction, and whether every channel has them.

    The phase must be at least D·2^f − j·A where a sum can lie below the threshold, and less than
    (D + 1)·2^f − j·A where one can lie at it. The first bound falls with A and the second falls
    with it, too; the pair that collides says whether A is too great or too small.
    """
    j = np.arange(thresholds.shape[1])
    distance = (thresholds - base[:, None]) << fraction
    can_miss, can_pass = thresholds > least[:, None], thresholds <= most[:, None]
    nowhere = np.int64(1) << 61
    small = np.ones_like(base)
    great = np.maximum((most + 2 - base) << fraction, 2)
    channels = np.arange(len(base))
    slope = small
    for _ in range(HALVINGS):
        slope = (small + great) >> 1
        line = j * slope[:, None]
        lower = np.where(can_miss, distance - line, -nowhere)
        upper = np.where(can_pass, distance + (1 << fraction) - 1 - line, nowhere)
        at_lower, at_upper = lower.argmax(1), upper.argmin(1)
        phase, ceiling = lower[channels, at_lower], upper[channels, at_upper]
        wrong = phase > ceiling
        if not wrong.any():
            break
        rise = wrong & (at_lower > at_upper)  # the line must be steeper
        fall = wrong & ~rise
        small = np.where(rise, slope + 1, np.where(wrong, small, slope))
        great = np.where(fall, slope - 1, np.where(wrong, great, slope))
        if bool((small > great).any()):
            return slope, phase, False
    free = phase <= -nowhere // 2  # nothing binds from below
    return slope, np.where(free, np.minimum(ceiling, 0), phase), not wrong.any()


def _check(name: str, stairs: Staircase, least: Ints, most: Ints) -> None:
    """The formula at every threshold that a sum can reach, and just below."""
    for offset in (0, -1):
        rising = np.clip(stairs.thresholds.T + offset, least, most)
        columns = zip(stairs.thresholds, rising.T, strict=True)
        passed = np.stack([np.searchsorted(t, at, "right") for t, at in columns], 1)
        sums = np.where(stairs.down, -rising, rising)
        assert (stairs.counts(sums) == passed).all(), f"the staircase behind {name} is not exact"
