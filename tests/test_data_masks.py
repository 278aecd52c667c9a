"""Sets with masks: drawn digit scenes, files beside pictures, plain arrays, torchvision's sets."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from saa_lite.data import load_dataset, public
from saa_lite.data.digits import LUMA, load_digit_scenes, load_digits
from saa_lite.data.image_set import VOID
from saa_lite.errors import DataError, UsageError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
NUMBERS = RNG.integers(0, 3, (6, 8), dtype=np.uint8)

# --- digit scenes --------------------------------------------------------------------------------


def test_scenes_are_a_function_of_seed_and_number():
    first, again = (load_digit_scenes("train", count=3) for _ in range(2))
    longer, other = load_digit_scenes("train", count=5), load_digit_scenes("train", count=3, seed=1)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)
    assert torch.equal(longer.images[:3], first.images)
    assert torch.equal(longer.labels[:3], first.labels)
    assert not torch.equal(other.images, first.images)
    assert first.images.shape == (3, 3, 64, 64)
    assert first.mask_names == ("ground", *"0123456789")
    # One number over all pixels: the drawing must not change by accident.
    assert int(longer.masks.long().sum()) == CHECKSUM


CHECKSUM = 11381


def test_a_digit_lies_where_its_mask_says():
    """Ink and ground differ in brightness by more than spots and noise."""
    found = load_dataset("digit-scenes", "test", count=8)
    luma = (found.images.float() / 255 * torch.tensor(LUMA).view(3, 1, 1)).sum(1)
    for picture, mask in zip(luma, found.masks, strict=True):
        ink, ground = picture[mask > 0], picture[mask == 0]
        assert abs(float(ink.median() - ground.median())) > 0.15
    assert set(found.masks.unique().tolist()) <= set(range(11))
    assert (found.masks > 0).double().mean() > 0.05
    shown = [set(mask.unique().tolist()) - {0} for mask in found.masks]
    assert all(1 <= len(digits) <= 4 for digits in shown)


def test_test_scenes_show_digits_that_training_never_does():
    pools = [{d.numpy().tobytes() for d in load_digits(s, 8).images} for s in ("train", "test")]
    assert not pools[0] & pools[1]
    assert not torch.equal(
        load_digit_scenes("train", count=2).images, load_digit_scenes("test", count=2).images
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count must be 1 or more images; got 0"),
        ({"size": 16}, "size must be at least 32 pixels for digit-scenes; got 16"),
        ({"num_classes": 11, "count": 1}, "digit-scenes has 10 classes; got num_classes=11"),
    ],
)
def test_scenes_that_are_not_drawn(options, message):
    with pytest.raises(UsageError, match=message):
        load_dataset("digit-scenes", **options)


# --- files beside pictures ---------------------------------------------------------------------


def written(root: Path, mask: Image.Image, picture: np.ndarray = PIXELS) -> Path:
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        Image.fromarray(picture).save(root / split / "images" / "a.png")
        mask.save(root / split / "masks" / "a.png")
    (root / "classes.txt").write_text("ground\nvoid\nroad\n")
    return root


def palette() -> Image.Image:
    mask = Image.fromarray(NUMBERS, "P")
    mask.putpalette([200, 3, 9, 7, 7, 7, 1, 2, 250])
    return mask


EXPECTED = torch.from_numpy(np.array([0, VOID, 1], np.uint8)[NUMBERS])


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(NUMBERS),
        Image.fromarray(NUMBERS.astype(np.uint16)),
        palette(),
        Image.fromarray(NUMBERS).convert("RGB"),
    ],
    ids=["grey", "16 bits", "palette", "grey in colour"],
)
def test_masks_are_read_as_numbers(tmp_path, mask):
    found = load_dataset(f"masks:{written(tmp_path, mask)}", "test")
    assert torch.equal(found.masks[0], EXPECTED)
    assert torch.equal(found.images[0], torch.from_numpy(PIXELS).permute(2, 0, 1))
    assert found.mask_names == ("ground", "road")
    assert (found.name, found.split, found.class_names) == (tmp_path.name, "test", ("scene",))


def test_pictures_and_masks_are_scaled_alike(tmp_path):
    """A picture that shows its mask: what is plain in it is the class at the same place."""
    tall = NUMBERS.repeat(4, 0).repeat(4, 1)
    picture = np.stack([tall * 100] * 3, 2)
    found = load_dataset(f"masks:{written(tmp_path, Image.fromarray(tall), picture)}", size=12)
    assert found.images.shape == (1, 3, 12, 12)
    shown = torch.tensor([0, VOID, 1])[torch.from_numpy(NUMBERS[:, 1:7]).long()]
    assert torch.equal(found.masks[0], shown.repeat_interleave(2, 0).repeat_interleave(2, 1).byte())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (NUMBERS[:5], r"a\.png is 8x5 pixels where its picture is 8x6"),
        (NUMBERS + 7, r"a\.png holds \d, which is no class; classes are 0\.\.2, and 255"),
        (NUMBERS.astype(np.uint16) + 300, "holds 30., which is no class"),
        (PIXELS, "is a picture in mode RGB; a mask holds one number per pixel"),
    ],
)
def test_masks_that_are_refused(tmp_path, mask, message):
    with pytest.raises(DataError, match=message):
        load_dataset(f"masks:{written(tmp_path, Image.fromarray(mask))}")


def test_folders_that_are_refused(tmp_path):
    folder = written(tmp_path, Image.fromarray(NUMBERS))
    name = f"masks:{folder}"
    (folder / "train" / "masks" / "a.png").rename(folder / "train" / "masks" / "b.png")
    with pytest.raises(DataError, match="masks has no file for a; every picture needs its mask"):
        load_dataset(name)
    Image.fromarray(PIXELS).save(folder / "train" / "images" / "b.png")
    (folder / "train" / "masks" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png is not a picture that Pillow can read"):
        load_dataset(name)
    (folder / "train" / "masks" / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match="images has no file for c"):
        load_dataset(name)
    (folder / "classes.txt").write_text("a\n\nb")
    with pytest.raises(DataError, match=r"classes\.txt must hold 1\.\.255 different names"):
        load_dataset(name)
    (folder / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"classes\.txt cannot be read .* must name the classes"):
        load_dataset(name)
    (folder / "classes.txt").write_text("a\nb\nc")
    (folder / "nothing").mkdir()
    (folder / "nothing" / "classes.txt").write_text("a")
    with pytest.raises(DataError, match=r"nothing.train.images is not a folder"):
        load_dataset(f"masks:{folder / 'nothing'}")


# --- arrays and torchvision's sets --------------------------------------------------------------


def test_camvids_arrays_have_no_labels_and_void_11(tmp_path):
    names = np.array([f"c{i}" for i in range(11)])
    images = RNG.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    masks = RNG.integers(0, 12, (4, 6, 8), dtype=np.uint8)
    frames = np.array(["f0", "f1", "f2", "f3"])
    for split in ("train", "test"):
        np.savez(
            tmp_path / f"camvid-{split}.npz", images=images, masks=masks, class_names=names,
            frames=frames,
        )  # fmt: skip
    found = load_dataset("camvid", root=tmp_path)
    assert found.mask_names == tuple(names)
    assert torch.equal(found.masks == VOID, torch.from_numpy(masks == 11))
    assert torch.equal(found.masks[found.masks < 11], torch.from_numpy(masks[masks < 11]))
    assert found.class_names == ("scene",)
    for split in ("train", "test"):
        np.savez(tmp_path / f"other-{split}.npz", images=images, masks=masks, class_names=names)
    with pytest.raises(DataError, match=r"masks must hold 0\.\.10, .* found 11"):
        load_dataset("other", root=tmp_path)


def test_a_void_that_is_no_number(tmp_path):
    images, masks = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    for split in ("train", "test"):
        np.savez(tmp_path / f"x-{split}.npz", images=images, masks=masks, void=np.array([1, 2]))
    with pytest.raises(DataError, match="void must be one integer"):
        load_dataset("x", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "numbers", "expected", "classes"),
    [("voc2012", [0, 20, 255], [0, 20, VOID], 21), ("oxford-pets", [1, 2, 3], [0, 1, VOID], 2)],
)
def test_torchvisions_sets(tmp_path, monkeypatch, name, numbers, expected, classes):
    files = [str(tmp_path / "p.png"), str(tmp_path / "m.png")]
    Image.fromarray(PIXELS).save(files[0])
    Image.fromarray(np.array(numbers, np.uint8)[NUMBERS]).save(files[1])
    made = {"images": files[:1], "masks": files[1:], "_images": files[:1], "_segs": files[1:]}
    monkeypatch.setitem(public.MASK_SETS, name, lambda *_: [SimpleNamespace(**made)])
    found = load_dataset(name, "test", root=tmp_path, size=6)
    assert torch.equal(found.masks[0].long(), torch.tensor(expected)[NUMBERS[:, 1:7].astype(int)])
    assert len(found.mask_names) == classes
    with pytest.raises(UsageError, match="photographs of many sizes: pass size="):
        load_dataset(name, root=tmp_path)
