"""Plain-array sets: what is read, and one clear sentence for everything that is not."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from saa_lite.data import load_dataset
from saa_lite.data.arrays import KNOWN
from saa_lite.data.public import PUBLIC
from saa_lite.errors import DataError, UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def write(folder, split="train", name="made", **arrays):
    path = folder / f"{name}-{split}.npz"
    np.savez(path, **({"images": IMAGES, "labels": LABELS} | arrays))
    return path


def load(folder, split="train", **arguments):
    return load_dataset("made", split, root=folder, **arguments)


def test_pixels_labels_and_default_names(tmp_path):
    write(tmp_path)
    made = load(tmp_path)
    assert np.array_equal(made.images.permute(0, 2, 3, 1).numpy(), IMAGES)
    assert made.labels.tolist() == LABELS.tolist()
    assert made.class_names == ("0", "1", "2")
    assert (made.name, made.split, made.masks) == ("made", "train", None)


@pytest.mark.parametrize("shape", [(12, 6, 6), (12, 6, 6, 1)])
def test_grey_images_have_one_channel(tmp_path, shape):
    write(tmp_path, images=IMAGES[..., 0].reshape(shape))
    assert np.array_equal(load(tmp_path).images[:, 0].numpy(), IMAGES[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_any_integer_labels(tmp_path, dtype):
    write(tmp_path, labels=LABELS.astype(dtype))
    assert load(tmp_path).labels.dtype == torch.int64


def test_names_masks_and_unknown_keys(tmp_path):
    masks = RNG.integers(0, 6, (12, 6, 6), dtype=np.uint8)
    write(tmp_path, class_names=np.array(["a", "b", "c", "d"]), masks=masks, lossless=LABELS)
    made = load(tmp_path)
    assert made.class_names == ("a", "b", "c", "d")
    assert np.array_equal(made.masks.numpy(), masks)


def test_prefix_environment_and_public_name(tmp_path, monkeypatch):
    images = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    write(tmp_path, name="cifar10", images=images, labels=np.arange(12) % 10)
    by_prefix = load_dataset(f"arrays:{tmp_path / 'cifar10'}")
    monkeypatch.setenv("SAA_DATA_ROOT", str(tmp_path))
    by_name = load_dataset("cifar10")
    assert by_name.name == by_prefix.name == "cifar10"
    assert torch.equal(by_name.images, by_prefix.images)


def test_both_splits_have_the_same_classes(tmp_path):
    write(tmp_path)
    write(tmp_path, "test", labels=np.zeros(12, dtype=int))
    assert load(tmp_path, "test").num_classes == load(tmp_path).num_classes == 3


def test_num_classes_of_a_set_without_names(tmp_path):
    write(tmp_path)
    assert load(tmp_path, num_classes=7).num_classes == 7
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.1; found 0\.\.2"):
        load(tmp_path, num_classes=2)


def test_num_classes_must_fit_the_names(tmp_path):
    write(tmp_path, class_names=np.array(["a", "b", "c"]))
    with pytest.raises(UsageError, match="made has 3 classes; got num_classes=10"):
        load(tmp_path, num_classes=10)


def test_count_and_size(tmp_path):
    write(tmp_path)
    made = load(tmp_path, count=6, size=12)
    assert made.images.shape == (6, 3, 12, 12)
    assert torch.bincount(made.labels).tolist() == [2, 2, 2]


BAD_ARRAYS = {
    "float images": ({"images": IMAGES / 255}, r"images must be uint8 .* found float64 \[12, 6, 6"),
    "deep images": (
        {"images": IMAGES.astype(np.uint16) * 257},
        r"found uint16 \[12, 6, 6, 3\]; scale them to 0\.\.255 first, as only you know",
    ),
    "signed images": ({"images": IMAGES.astype(np.int16)}, "found int16 .* scale them"),
    "logical images": ({"images": IMAGES > 127}, "found bool .* scale them"),
    "flat images": ({"images": IMAGES.reshape(12, -1)}, r"images must be uint8 .*\[12, 108\]"),
    "channels first": ({"images": IMAGES.transpose(0, 3, 1, 2)}, r"found uint8 \[12, 3, 6, 6\]"),
    "four channels": ({"images": IMAGES.repeat(2, 3)[..., :4]}, r"found uint8 \[12, 6, 6, 4\]"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "is empty"),
    "no pixels": ({"images": IMAGES[:, :0]}, "is empty"),
    "too few labels": ({"labels": LABELS[:-1]}, r"shape \[12\], one per image; found int64 \[11\]"),
    "one-hot labels": ({"labels": np.eye(3, dtype=int)[LABELS]}, r"found int64 \[12, 3\]"),
    "float labels": ({"labels": LABELS / 2}, "labels must be integers .* found float64"),
    "text labels": ({"labels": LABELS.astype(str)}, "labels must be integers"),
    "negative label": ({"labels": LABELS - 1}, r"labels must lie in 0\.\.1; found -1\.\.1"),
    "label without name": ({"class_names": np.array(["a", "b"])}, r"must lie in 0\.\.1; found 0"),
    "deep masks": (
        {"masks": np.zeros((12, 6, 6), np.uint16)},
        "masks must be uint8 .* found uint16",
    ),
    "float masks": ({"masks": np.zeros((12, 6, 6))}, r"masks must be uint8 of shape \[12, 6, 6\]"),
    "small masks": ({"masks": np.zeros((12, 3, 3), np.uint8)}, r"found uint8 \[12, 3, 3\]"),
    "object labels": ({"labels": np.array([None] * 12)}, "it holds pickled objects"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays(tmp_path, arrays, message):
    path = write(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["images", "labels"])
def test_missing_array(tmp_path, key):
    arrays = {"images": IMAGES, "labels": LABELS}
    del arrays[key]
    np.savez(tmp_path / "made-train.npz", **arrays)
    with pytest.raises(DataError, match=f"no '{key}' found"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
def test_truncated_file(tmp_path, keep):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"made-train\.npz cannot be read: it is truncated or not"):
        load(tmp_path)


def test_a_flipped_byte_is_noticed(tmp_path):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="truncated or not"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04N."])
def test_other_files_under_that_name(tmp_path, content):
    (tmp_path / "made-train.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read: it is truncated or not an \.npz"):
        load(tmp_path)


def test_a_single_array_under_that_name(tmp_path):
    with (tmp_path / "made-train.npz").open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(DataError, match=r"not an \.npz file"):
        load(tmp_path)


def test_a_folder_under_that_name(tmp_path):
    (tmp_path / "made-train.npz").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*made-train\.npz"):
        load_dataset(f"arrays:{tmp_path / 'made'}")


def test_missing_files_are_named(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match=r"made-test\.npz does not exist"):
        load(tmp_path, "test")
    with pytest.raises(DataError, match=r"nothing-train\.npz does not exist"):
        load_dataset(f"arrays:{tmp_path / 'nothing'}")


def test_permission_denied(tmp_path, monkeypatch):
    path = write(tmp_path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*made-train\.npz: Permission denied"):
        load(tmp_path)


def test_class_names_differ_between_splits(tmp_path):
    write(tmp_path, class_names=np.array(["a", "b", "c"]))
    write(tmp_path, "test", class_names=np.array(["a", "c", "b"]))
    with pytest.raises(DataError, match="class_names differ between the train and the test file"):
        load(tmp_path)


def known_set(name: str, **changes):
    """A set under a known name that is what it says, but for ``changes``."""
    classes, shape = {"cifar100": (100, (32, 32, 3)), "mnist": (10, (28, 28))}[name]
    images = np.zeros((2 * classes, *shape), np.uint8)
    return {"name": name, "images": images, "labels": np.arange(2 * classes) % classes} | changes


@pytest.mark.parametrize("name", ["cifar100", "mnist"])
def test_known_sets_that_are_what_they_say(tmp_path, name):
    write(tmp_path, **known_set(name))
    assert (
        len(load_dataset(name, root=tmp_path)) == 2 * load_dataset(name, root=tmp_path).num_classes
    )


def test_every_public_set_is_known():
    assert set(KNOWN) == set(PUBLIC)


OTHER_SETS = {
    "ten classes": ({"labels": np.arange(200) % 10}, "cifar100 has 100 classes; found 10"),
    "ten names": (
        {"labels": np.arange(200) % 10, "class_names": np.array(list("abcdefghij"))},
        "cifar100 has 100 classes; found 10",
    ),
    "too many": ({"labels": np.arange(200) % 120}, "cifar100 has 100 classes; found 120"),
    "small": ({"images": np.zeros((200, 8, 8, 3), np.uint8)}, "are 32×32 in 3 channels; found 8×8"),
    "oblong": ({"images": np.zeros((200, 32, 16, 3), np.uint8)}, "found 32×16 in 3 channels"),
    "grey": ({"images": np.zeros((200, 32, 32), np.uint8)}, "found 32×32 in 1 channel"),
}


@pytest.mark.parametrize(("changes", "message"), OTHER_SETS.values(), ids=OTHER_SETS)
def test_other_arrays_under_a_known_name(tmp_path, changes, message):
    path = write(tmp_path, **known_set("cifar100", **changes))
    for name in ("cifar100", f"arrays:{tmp_path / 'cifar100'}"):
        with pytest.raises(DataError, match=message) as caught:
            load_dataset(name, root=tmp_path)
        assert str(path) in str(caught.value)


def test_photographs_of_a_known_set_have_any_size(tmp_path):
    images, labels = np.zeros((101, 9, 12, 3), np.uint8), np.arange(101)
    write(tmp_path, name="food101", images=images, labels=labels)
    assert load_dataset("food101", root=tmp_path, size=6).images.shape == (101, 3, 6, 6)
    write(tmp_path, name="food101", images=images[..., 0], labels=labels)
    with pytest.raises(DataError, match="any size in 3 channels; found 9×12 in 1 channel"):
        load_dataset("food101", root=tmp_path)
