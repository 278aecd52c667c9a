"""The handwritten digits that ship with scikit-learn: a small real set, no download.

1,797 grey images of 8×8 pixels, 17 levels [UCI Optical Recognition of Handwritten Digits].
"""

import torch
from torch.nn import functional as F

from saa_lite.data.image_set import ImageSet

TEST_IMAGES = 500
LEVELS = 16  # pixels are counts 0..16


def load_digits(split: str, size: int = 32) -> ImageSet:
    """The digits as uint8 [N, 1, size, size]; a fixed stratified split, 1,297 train and 500 test.

    The 8×8 pixels are scaled to ``size`` bilinearly.
    """
    # scikit-learn takes a second to import; only this set needs it.
    from sklearn import datasets, model_selection  # noqa: PLC0415

    pixels, labels = datasets.load_digits(return_X_y=True)
    train, test = model_selection.train_test_split(
        range(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=0
    )
    chosen = train if split == "train" else test
    images = torch.from_numpy(pixels[chosen]).reshape(-1, 1, 8, 8) * (255 / LEVELS)
    if size != 8:
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return ImageSet(
        name="digits",
        split=split,
        images=images.round().clamp(0, 255).to(torch.uint8),
        labels=torch.from_numpy(labels[chosen]).long(),
        class_names=tuple("0123456789"),
    )
