"""Networks of the papers: ``create_model(name, ...)``, ``list_models()``, ``describe(name)``.

Some come trained: ``create_model(..., weights=...)``, ``list_weights()``, ``weights_info(...)``.
"""

from saa_lite.models import (
    deit,
    lenet,
    mobilenet,
    mobilenet_v3,
    resnet,
    resnet_imagenet,
    vgg,
)
from saa_lite.models.blocks import CONV_KINDS
from saa_lite.models.calm import calm_start
from saa_lite.models.create import create_model
from saa_lite.models.inverted import rectify_bottlenecks
from saa_lite.models.registry import ModelInfo, describe, list_models
from saa_lite.models.segmenter import Segmenter, create_segmenter, label_pixels, list_encoders
from saa_lite.models.trained import WeightsInfo, WeightsName, list_weights, weights_info
from saa_lite.models.weights import load_weights

__all__ = [
    "CONV_KINDS",
    "ModelInfo",
    "Segmenter",
    "WeightsInfo",
    "WeightsName",
    "calm_start",
    "create_model",
    "create_segmenter",
    "deit",
    "describe",
    "label_pixels",
    "lenet",
    "list_encoders",
    "list_models",
    "list_weights",
    "load_weights",
    "mcunet",
    "mobilenet",
    "mobilenet_v3",
    "proxylessnas",
    "rectify_bottlenecks",
    "resnet",
    "resnet_imagenet",
    "vgg",
    "weights_info",
]
