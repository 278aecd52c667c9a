"""Networks of the papers: ``create_model(name, ...)``, ``list_models()``, ``describe(name)``."""

from saa_lite.models import (
    deit,
    lenet,
    mcunet,
    mobilenet,
    mobilenet_v3,
    proxylessnas,
    resnet,
    resnet_imagenet,
    vgg,
)
from saa_lite.models.blocks import CONV_KINDS
from saa_lite.models.calm import calm_start
from saa_lite.models.inverted import rectify_bottlenecks
from saa_lite.models.registry import ModelInfo, create_model, describe, list_models
from saa_lite.models.weights import load_weights

__all__ = [
    "CONV_KINDS",
    "ModelInfo",
    "calm_start",
    "create_model",
    "deit",
    "describe",
    "lenet",
    "list_models",
    "load_weights",
    "mcunet",
    "mobilenet",
    "mobilenet_v3",
    "proxylessnas",
    "rectify_bottlenecks",
    "resnet",
    "resnet_imagenet",
    "vgg",
]
