"""Floor 0, image sets: load them, augment them in batches, deal them out reproducibly."""

from saa_lite.data.augment import (
    Augment,
    color_jitter,
    random_crop,
    random_flip,
    random_resized_crop,
)
from saa_lite.data.batches import Batches, normalization, normalize
from saa_lite.data.folders import as_image_set
from saa_lite.data.image_set import ImageSet
from saa_lite.data.load import list_datasets, load_dataset

__all__ = [
    "Augment",
    "Batches",
    "ImageSet",
    "as_image_set",
    "color_jitter",
    "list_datasets",
    "load_dataset",
    "normalization",
    "normalize",
    "random_crop",
    "random_flip",
    "random_resized_crop",
]
