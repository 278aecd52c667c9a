"""The operators: what a layer computes, as users call it.

Read :mod:`.reference` first, the definitions; then :mod:`.adder`, :mod:`.shift` and :mod:`.binary`,
the operators with their gradients. :mod:`.adder_kernels` says which kernel computes what; those of
a CPU are in :mod:`saa_lite.kernels`.
"""

from saa_lite.ops.adder import adder_conv2d, adder_linear
from saa_lite.ops.adder_u8 import adder_conv2d_u8
from saa_lite.ops.binary import binary_sign, binary_weight
from saa_lite.ops.shift import (
    fixed_point,
    fixed_point_codes,
    shift_codes,
    shift_power,
    shift_quantize,
)
from saa_lite.ops.shift_integer import shift_conv2d, shift_scale

__all__ = [
    "adder_conv2d",
    "adder_conv2d_u8",
    "adder_linear",
    "binary_sign",
    "binary_weight",
    "fixed_point",
    "fixed_point_codes",
    "shift_codes",
    "shift_conv2d",
    "shift_power",
    "shift_quantize",
    "shift_scale",
]
