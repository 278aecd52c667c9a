"""Quantisation of trained networks: adder layers on one shared scale, and convolutions.

Two doors with one vocabulary (``method``, ``bits``, ``edges``, ``progress``), as they do different
things with a network: :func:`quantize` leaves batch norm where it is, since an adder layer has no
factor to fold it into; :func:`quantize_convolution` folds it and learns how to round.
"""

from saa_lite.quantize.convolution import quantize_convolution
from saa_lite.quantize.fold import fold_batch_norm, unfold_batch_norm
from saa_lite.quantize.integer import to_integer
from saa_lite.quantize.network import METHODS, quantize
from saa_lite.quantize.schemes import group_filters, lossless_clamp

__all__ = [
    "METHODS",
    "fold_batch_norm",
    "group_filters",
    "lossless_clamp",
    "quantize",
    "quantize_convolution",
    "to_integer",
    "unfold_batch_norm",
]
