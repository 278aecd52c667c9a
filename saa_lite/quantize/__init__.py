"""Post-training quantisation."""

from saa_lite.quantize.convolution import quantize_convolution
from saa_lite.quantize.fold import fold_batch_norm

__all__ = ["fold_batch_norm", "quantize_convolution"]
