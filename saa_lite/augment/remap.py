"""Weight remapping: one tensor serves a convolution and a multiplication-free layer.

Convolution weights look normal and are small, adder weights look Laplacian and are as large as
their inputs (ShiftAddAug, figures 2 and 3). Remapping lets both read one shared tensor::

    remap = make_remap("analytic")                  # b = 1/√2, learned
    y = adder_conv2d(x, remap(conv.weight))         # gradients reach conv.weight and b

The curve itself is :func:`gaussian_to_laplace`, its way back :func:`laplace_to_gaussian`.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from saa_lite.augment.remap_bins import BinsRemap
from saa_lite.augment.remap_curve import SCALE, gaussian_to_laplace, laplace_to_gaussian
from saa_lite.augment.remap_modules import (
    AffineRemap,
    AnalyticRemap,
    MatrixRemap,
    NoRemap,
    Remap,
    RescaleRemap,
    ShiftRemap,
)
from saa_lite.errors import UsageError, check_choice

__all__ = ["REMAPS", "SCALE", "Remap", "gaussian_to_laplace", "laplace_to_gaussian", "make_remap"]

REMAPS: dict[str, Callable[..., Remap]] = {
    "none": NoRemap,
    "rescale": RescaleRemap,
    "analytic": AnalyticRemap,
    "affine-z": partial(AffineRemap, "z"),
    "affine-logit": partial(AffineRemap, "logit"),
    "matrix": MatrixRemap,
    "bins": BinsRemap,
    "shift": ShiftRemap,
}


def make_remap(name: str, **options: Any) -> Remap:
    """A remapping by its name; see the classes in :mod:`saa_lite.augment.remap_modules`.

    Args:
        name: one of :data:`REMAPS`: "none" and "rescale" are controls, "shift" rounds to ±2^p.
        options: of the class, e.g. ``scale``, ``learn_scale``, ``kernel_size`` ("matrix" needs
            it), ``bins``, ``bits``.

    Raises:
        UsageError: unknown name or option, or an option that the map needs is missing.
    """
    check_choice("name", name, REMAPS)
    parameters = inspect.signature(REMAPS[name]).parameters.values()
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "no options"
            raise UsageError(f"the remapping {name!r} takes {listed}; got {option!r}")
    if name == "matrix" and "kernel_size" not in options:
        raise UsageError("the remapping 'matrix' needs kernel_size; it was not given")
    return REMAPS[name](**options)
