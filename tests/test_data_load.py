"""The one door, the embedded digits, and scaling."""

import pytest
import torch

from saa_lite.data import list_datasets, load_dataset
from saa_lite.data.image_set import ImageSet
from saa_lite.data.load import data_root
from saa_lite.data.pictures import resize_set
from saa_lite.errors import UsageError


def test_names():
    assert list_datasets() == [
        "shapes",
        "digits",
        "digit-scenes",
        "cifar10",
        "cifar100",
        "mnist",
        "flowers102",
        "food101",
        "voc2012",
        "oxford-pets",
    ]


@pytest.mark.parametrize("name", ["imagenet", "", "folder:", "arrays:", "Shapes"])
def test_unknown_names_list_the_known_ones(tmp_path, name):
    with pytest.raises(
        UsageError,
        match=r"unknown data set .* shapes, digits, digit-scenes, cifar10, .* folder:PATH",
    ):
        load_dataset(name, root=tmp_path)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_unknown_split(name):
    with pytest.raises(UsageError, match="split must be one of 'train', 'test'; got 'val'"):
        load_dataset(name, "val")


@pytest.mark.parametrize("size", [0, -3, 5000])
def test_impossible_size(size):
    with pytest.raises(UsageError, match=rf"size must be 1\.\.1024 pixels; got {size}"):
        load_dataset("digits", size=size)


def test_root_comes_from_the_argument_then_the_environment_then_the_project(tmp_path, monkeypatch):
    monkeypatch.delenv("SAA_DATA_ROOT", raising=False)
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    assert data_root() == tmp_path / "data"
    monkeypatch.setenv("SAA_DATA_ROOT", str(tmp_path / "env"))
    assert data_root() == tmp_path / "env"
    assert data_root(tmp_path / "argument") == tmp_path / "argument"


def test_digits_are_a_fixed_stratified_split():
    train, test = load_dataset("digits"), load_dataset("digits", "test")
    assert (len(train), len(test)) == (1297, 500)
    assert train.images.shape[1:] == (1, 32, 32)
    assert train.class_names == tuple("0123456789")
    for made in (train, test):
        share = torch.bincount(made.labels) / len(made)
        assert (share - 0.1).abs().max() < 0.005
    assert torch.equal(train.images, load_dataset("digits", seed=5).images)


def test_digits_are_disjoint_and_legible_at_8_pixels():
    train, test = (load_dataset("digits", split, size=8) for split in ("train", "test"))
    assert set(train.images.unique().tolist()) <= {round(k * 255 / 16) for k in range(17)}
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)
    # 1-nearest neighbour is known to read these digits almost perfectly.
    flat = [made.images.flatten(1).float() for made in (train, test)]
    guesses = train.labels[torch.cdist(flat[1], flat[0]).argmin(1)]
    assert (guesses == test.labels).float().mean() > 0.97


@pytest.mark.parametrize("size", [8, 28, 32])
def test_digits_keep_their_brightness_at_every_size(size):
    native, scaled = load_dataset("digits", size=8), load_dataset("digits", size=size)
    assert scaled.images.shape[2:] == (size, size)
    assert abs(native.statistics()[0][0] - scaled.statistics()[0][0]) < 0.02


def test_digits_num_classes():
    assert load_dataset("digits", num_classes=10, count=10).num_classes == 10
    with pytest.raises(UsageError, match="digits has 10 classes; got num_classes=100"):
        load_dataset("digits", num_classes=100)


def make(images, masks=None):
    labels = torch.zeros(len(images), dtype=torch.int64)
    return ImageSet("made", "train", images, labels, ("only",), masks)


def test_resize_takes_the_central_square():
    images = torch.zeros(2, 3, 8, 12, dtype=torch.uint8)
    images[..., 2:10] = 200
    resized = resize_set(make(images), 4).images
    assert resized.shape == (2, 3, 4, 4)
    assert resized.unique().tolist() == [200]


def test_resize_to_the_same_size_is_the_identity():
    made = make(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert resize_set(made, 8) is made


def test_resize_halves_and_doubles():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1500, 1, 4, 4), generator=generator, dtype=torch.uint8)
    doubled = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    constant = resize_set(make(images[..., :1, :1].expand(-1, -1, 4, 4).contiguous()), 9).images
    assert torch.equal(constant, images[..., :1, :1].expand(-1, -1, 9, 9))
    difference = resize_set(make(doubled), 4).images.int() - images.int()
    assert difference.float().mean().abs() < 1


def test_resize_keeps_mask_values():
    masks = torch.tensor([[0, 5], [3, 0]], dtype=torch.uint8)[None]
    made = make(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), masks)
    expected = masks.repeat_interleave(3, 1).repeat_interleave(3, 2)
    assert torch.equal(resize_set(made, 6).masks, expected)
