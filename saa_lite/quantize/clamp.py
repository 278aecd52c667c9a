"""The lossless clamp of weights (Nie et al., redistribution method; ours for non-negative inputs).

If low ≤ x ≤ high, then for every weight w::

    |x − w| = |x − clip(w, low, high)| + |w − clip(w, low, high)|

because the clipped weight lies between x and w. The second term does not depend on x: summed over
a filter it is a constant of that filter, and the sum holds whatever the window, padded zeros
included as long as low ≤ 0 ≤ high. With low = −S this is the published clamp; its constant is
Σ max(|w| − S, 0). With low = 0 and inputs x ≥ 0, behind a ReLU, negative weights vanish into the
constant as well, Σ [max(w − S, 0) + max(−w, 0)], and need no codes: our extension, whose idea is
also in the title of NN-AdderNet (DAC 2025).
"""

from torch import Tensor


def lossless_clamp(weight: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Clip the weights and return what has to be subtracted from the output for it.

    Args:
        weight: [T, ...], filters first.
        low, high: [T] each, bounds of the inputs that filter t sees; low ≤ 0 ≤ high.

    Returns:
        (clipped weights [T, ...], excess [T]), with −Σ|x − w| = −Σ|x − clipped| − excess.
    """
    shape = (-1, *[1] * (weight.dim() - 1))
    clipped = weight.clamp(low.reshape(shape), high.reshape(shape))
    return clipped, (weight - clipped).abs().flatten(1).sum(1)
