"""Folders of pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saa_lite.data import load_dataset
from saa_lite.errors import DataError, UsageError

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def paint(path, colour=(9, 9, 9), size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    """PATH/{train,test}/CLASS/*: 4 and 2 pictures per class, each of the class's colour."""
    for split, count in (("train", 4), ("test", 2)):
        for name, colour in COLOURS.items():
            for index in range(count):
                paint(tmp_path / split / name / f"{index}.png", colour)
    return tmp_path


def load(tree, split="train", **arguments):
    return load_dataset(f"folder:{tree}", split, **arguments)


@pytest.mark.parametrize(("split", "count"), [("train", 12), ("test", 6)])
def test_classes_are_the_sorted_folders(tree, split, count):
    made = load(tree, split)
    assert made.class_names == ("blue", "green", "red")
    assert made.images.shape == (count, 3, 8, 8)
    for image, label in zip(made.images, made.labels.tolist(), strict=True):
        assert tuple(image[:, 0, 0].tolist()) == COLOURS[made.class_names[label]]


def test_nested_folders_other_formats_and_modes(tree):
    paint(tree / "train" / "red" / "more" / "deep.bmp", COLOURS["red"])
    paint(tree / "train" / "red" / "palette.PNG", COLOURS["red"], mode="P")
    (tree / "train" / "red" / "notes.txt").write_text("not a picture, ignored")
    made = load(tree)
    assert torch.bincount(made.labels).tolist() == [4, 4, 6]
    assert made.images[made.labels == 2][:, 0].unique().tolist() == [255]


def test_hidden_files_and_folders_are_passed_over(tree):
    (tree / "train" / "red" / "._0.png").write_bytes(b"\0\5\x16\7")  # as macOS leaves them
    paint(tree / "train" / "blue" / ".thumbnails" / "small.png", size=(2, 2))
    paint(tree / "train" / ".ipynb_checkpoints" / "0-checkpoint.png")
    made = load(tree)
    assert made.class_names == tuple(COLOURS)
    assert torch.bincount(made.labels).tolist() == [4, 4, 4]
    for index in range(4):
        (tree / "train" / "red" / f"{index}.png").unlink()
    with pytest.raises(DataError, match=r"the class folder .*red has no picture in it"):
        load(tree)


def test_pictures_of_different_sizes_need_size(tree):
    odd = paint(tree / "train" / "blue" / "wide.png", size=(20, 10))
    with pytest.raises(DataError, match=r"wide\.png is 20x10 pixels .* pass size= to scale"):
        load(tree)
    assert load(tree, size=6).images.shape == (13, 3, 6, 6)
    odd.unlink()
    assert load(tree).images.shape == (12, 3, 8, 8)


def test_the_central_square_is_kept(tree):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 255
    Image.fromarray(pixels).save(tree / "train" / "blue" / "0.png")
    made = load(tree, size=4)
    assert made.images[0].unique().tolist() == [255]


def test_jpegs_are_scaled_without_losing_the_picture(tmp_path):
    ramp = np.linspace(0, 255, 400).astype(np.uint8)
    pixels = np.repeat(np.tile(ramp, (300, 1))[..., None], 3, 2)
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / split / "a" / "x.jpg", quality=95)
    image = load(tmp_path, size=30).images[0, 0].float()
    expected = 255 * (50 + (torch.arange(30) + 0.5) * 10) / 400
    assert (image - expected).abs().max() < 4


def test_count_reads_only_the_subset(tree):
    whole = load(tree)
    made = load(tree, count=6, seed=3)
    assert torch.bincount(made.labels).tolist() == [2, 2, 2]
    assert torch.equal(made.labels, whole.subset(6, 3).labels)
    for path in (tree / "train").rglob("*.png"):
        path.write_bytes(b"")  # every file is now damaged
    with pytest.raises(DataError):
        load(tree, count=1)
    with pytest.raises(UsageError, match=r"must have 1\.\.12 images; got 13"):
        load(tree, count=13)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"train is not a folder; pictures are expected as"):
        load(tmp_path)


def test_no_class_folders(tmp_path):
    paint(tmp_path / "train" / "loose.png")
    with pytest.raises(DataError, match="has no class folders in it"):
        load(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_pictures(tree, split):
    (tree / split / "violet").mkdir()
    (tree / split / "violet" / "readme.txt").write_text("soon")
    with pytest.raises(DataError, match=r"class folder .*violet has no picture .* \.jpg, \.jpeg"):
        load(tree)


def test_train_and_test_with_different_classes(tree):
    paint(tree / "test" / "violet" / "0.png")
    with pytest.raises(DataError, match="the same classes; only one of them has violet"):
        load(tree)


def test_a_folder_without_a_test_split_still_trains(tree):
    (tree / "test").rename(tree / "later")
    assert len(load(tree)) == 12
    with pytest.raises(DataError, match="test is not a folder"):
        load(tree, "test")


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "header only"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_unreadable_picture_is_named(tree, damage, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path = tree / "train" / "green" / f"broken.{suffix}"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    cut = {"empty": b"", "text": b"hello", "truncated": content[:-40], "header only": content[:24]}
    path.write_bytes(cut[damage])
    with pytest.raises(DataError, match=rf"green.broken\.{suffix}") as caught:
        load(tree, size=8)
    assert "\n" not in str(caught.value)


def test_a_picture_without_permission_is_named(tree, monkeypatch):
    original = Path.open

    def refuse(path, *args, **kwargs):
        if path.parent.name == "red":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"red.0\.png: Permission denied"):
        load(tree)
