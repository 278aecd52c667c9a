"""The drawn set: frozen pixels, honest masks, nothing but shape and pattern to learn from."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from saa_lite import files
from saa_lite.data import load_dataset, paint, shapes
from saa_lite.data.paint import FILLS, SILHOUETTES
from saa_lite.data.shapes import DIFFICULTY, MASK_NAMES, draw_scenes, load_shapes
from saa_lite.errors import UsageError

CLEAN = replace(DIFFICULTY, noise=0.0, clutter=0, occlusion=0.0, texture=0.0)
GOLDEN = {
    10: "4d71393f67ab541f920541510cf1ffebe28891f18189d20495e31313a5342a24",
    100: "4cd6b64ac721960a5147fdbaac4a2f1195d552edf706c17b131f75dd4cec52b5",
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def draw(count=40, size=32, num_classes=10, stream=1, difficulty=DIFFICULTY):
    """Images and masks as one pair of arrays."""
    chunks = draw_scenes(count, size, num_classes, stream, difficulty)
    return tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))


@pytest.mark.parametrize("num_classes", [10, 100])
def test_the_pixels_are_frozen(num_classes):
    made = load_dataset("shapes", num_classes=num_classes, count=100)
    pixels = hashlib.sha256(made.images.numpy().tobytes() + made.masks.numpy().tobytes())
    assert pixels.hexdigest() == GOLDEN[num_classes], (
        "the drawing changed: every tracked result on `shapes` would have to be measured again"
    )


@pytest.mark.parametrize(("num_classes", "size"), [(10, 32), (100, 24), (10, 33)])
def test_shapes_dtypes_and_names(num_classes, size):
    made = load_dataset("shapes", "test", num_classes=num_classes, size=size, count=150)
    assert made.images.shape == (150, 3, size, size)
    assert made.masks.shape == (150, size, size)
    assert made.num_classes == len(set(made.class_names)) == num_classes
    assert made.masks.max() < len(MASK_NAMES) == 6
    counts = torch.bincount(made.labels, minlength=num_classes)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("num_classes", "split", "count"), [(10, "train", 10_000), (10, "test", 2_000)]
)
def test_default_counts(monkeypatch, num_classes, split, count):
    drawn = []

    def note(count, size, *rest):
        drawn.append(count)
        yield np.zeros((count, 3, size, size), np.uint8), np.zeros((count, size, size), np.uint8)

    monkeypatch.setattr("saa_lite.data.shapes.draw_scenes", note)
    made = load_dataset("shapes", split, num_classes=num_classes)
    assert drawn == [count]
    assert torch.bincount(made.labels).tolist() == [count // num_classes] * num_classes


def test_a_smaller_set_begins_a_larger_one():
    large, small = draw(count=300), draw(count=7)
    assert all(np.array_equal(a[:7], b) for a, b in zip(large, small, strict=True))


def test_drawing_in_other_chunks_changes_nothing(monkeypatch):
    expected = draw(count=30, size=9)
    monkeypatch.setattr(shapes, "CHUNK_PIXELS", 4 * 81)
    assert all(np.array_equal(a, b) for a, b in zip(expected, draw(count=30, size=9), strict=True))


def test_seeds_splits_and_class_numbers_are_independent_draws():
    variants = [
        load_shapes(split, num_classes=classes, count=200, seed=seed).images
        for split in ("train", "test")
        for classes in (10, 100)
        for seed in (0, 1)
    ]
    seen = [image.numpy().tobytes() for images in variants for image in images]
    assert len(set(seen)) == len(seen)


def test_scenes_are_the_same_at_every_size():
    _, small = draw(count=60, size=32, difficulty=CLEAN)
    _, large = draw(count=60, size=96, difficulty=CLEAN)
    assert (small == large[:, 1::3, 1::3]).mean() > 0.985


def test_masks_cover_the_object_and_nothing_else():
    """Repainting the object changes the pixels of the mask, and none outside its blurred edge."""
    plain, masks = draw(count=200, size=48, difficulty=CLEAN)
    filled, masks_again = draw(count=200, size=48, difficulty=replace(CLEAN, texture=1.0))
    assert np.array_equal(masks, masks_again)
    changed = (plain != filled).any(1)
    beside = changed & ~grow(masks > 0)
    assert beside.sum() < 0.002 * changed.sum(), "more than the tips of thin objects"
    assert not (beside & ~grow(grow(grow(masks > 0)))).any()
    assert all(changed[i][masks[i] > 0].any() for i in range(200))


def test_masks_tell_object_from_ground_by_colour():
    images, masks = draw(count=100, size=48, difficulty=CLEAN)
    luma = (images * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1) / 255
    for picture, mask in zip(luma, masks, strict=True):
        inside, outside = picture[~grow(mask == 0)], picture[~grow(mask > 0)]
        assert np.ptp(inside) < 0.02, "a plain object has one colour"
        assert abs(inside.mean() - outside.mean()) > 0.05


def grow(mask):
    """``mask`` [..., H, W] and its neighbours."""
    out = mask.copy()
    out[..., 1:, :] |= mask[..., :-1, :]
    out[..., :-1, :] |= mask[..., 1:, :]
    across = out.copy()
    out[..., 1:] |= across[..., :-1]
    out[..., :-1] |= across[..., 1:]
    return out


def test_mask_values_are_the_family_of_the_class():
    made = load_dataset("shapes", count=100)
    assert all(
        set(mask.unique().tolist()) <= {0, y // 2 + 1}
        for mask, y in zip(made.masks, made.labels.tolist(), strict=True)
    )
    hundred = load_dataset("shapes", num_classes=100, count=100)
    assert hundred.masks.amax((1, 2)).tolist() == [y // 20 + 1 for y in hundred.labels.tolist()]


def test_occluded_pixels_leave_the_mask():
    _, free = draw(count=100, difficulty=CLEAN)
    _, barred = draw(count=100, difficulty=replace(CLEAN, occlusion=1.0))
    assert not ((barred > 0) & (free == 0)).any()
    hidden = 1 - (barred > 0).sum((1, 2)) / (free > 0).sum((1, 2))
    assert 0.1 < hidden.mean() < 0.4
    assert hidden.max() < 0.75, "an object is hidden"


def test_the_object_lies_within_the_image():
    _, masks = draw(count=300, difficulty=CLEAN)
    assert (masks > 0).sum((1, 2)).min() > 20
    edge = masks[:, [0, -1]].any((1, 2)) | masks[:, :, [0, -1]].any((1, 2))
    assert edge.mean() < 0.05


def test_noise_has_the_stated_deviation():
    quiet, _ = draw(count=50, difficulty=CLEAN)
    noisy, _ = draw(count=50, difficulty=replace(CLEAN, noise=10.0))
    middle = (quiet > 60) & (quiet < 195)  # where nothing is clipped
    difference = (noisy.astype(int) - quiet)[middle]
    assert abs(difference.mean()) < 0.1
    assert 9.7 < difference.std() < 10.3


def test_colour_alone_does_not_give_the_class_away():
    """A nearest-mean classifier on the mean colour stays near the 10 % of chance."""
    train, test = (
        load_dataset("shapes", split, count=2000, size=16) for split in ("train", "test")
    )
    features = [made.images.float().mean((2, 3)) for made in (train, test)]
    means = torch.stack([features[0][train.labels == k].mean(0) for k in range(10)])
    guesses = torch.cdist(features[1], means).argmin(1)
    assert (guesses == test.labels).float().mean() < 0.16


def upright(function, size=65, **arguments):
    axis = np.linspace(-1.2, 1.2, size, dtype=np.float32)
    u, v = np.broadcast_arrays(axis[None, None, :], axis[None, :, None])
    return function(u.copy(), v.copy(), **arguments)[0]


def test_silhouettes_are_different_and_fill_the_unit_disc():
    inside = {name: upright(function) <= 0 for name, function in SILHOUETTES.items()}
    axis = np.linspace(-1.2, 1.2, 65)
    beyond = axis[None] ** 2 + axis[:, None] ** 2 > 1.25**2
    for name, mask in inside.items():
        assert 0.1 < mask.mean() < 0.6, name
        assert not (mask & beyond).any(), name
        for other, theirs in inside.items():
            overlap = (mask & theirs).sum() / (mask | theirs).sum()
            assert name == other or overlap < 0.85, (name, other)


@pytest.mark.parametrize("name", SILHOUETTES)
def test_distances_do_not_exceed_the_true_ones(name):
    """Neighbouring values differ by no more than the step, so edges are one pixel wide."""
    distance = upright(SILHOUETTES[name], size=129)
    step = 2.4 / 128
    for axis in (0, 1):
        assert np.abs(np.diff(distance, axis=axis)).max() < step * 1.01


def test_patterns_are_different_on_a_square():
    signs = {}
    for name, function in FILLS.items():
        distance = SILHOUETTES["square"]
        signs[name] = upright(lambda u, v, f=function, d=distance: f(u, v, d(u, v)), size=64) > 0
    assert not signs["plain"].any()
    # "shaded" has the line of "halved" in the middle of a soft run.
    assert np.array_equal(signs.pop("shaded"), signs["halved"])
    names = list(signs)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            assert (signs[name] != signs[other]).mean() > 0.08, (name, other)


def test_palette_keeps_the_contrast():
    chance = paint.Chance(np.random.Philox(key=1), 500)
    lumas = np.stack([paint._luma(colour) for colour in paint.palette(chance, 3, 0.2)])
    gaps = np.diff(np.sort(lumas, axis=0), axis=0)
    assert gaps.min() > 0.199
    assert 0.09 < lumas.min() < lumas.max() < 0.93


def test_chance_is_uniform_and_reaches_every_index():
    chance = paint.Chance(np.random.Philox(key=2), 4000)
    assert np.bincount(chance.index(9), minlength=9).min() > 350
    values = chance.uniform(-2, 3)
    assert values.dtype == np.float32
    assert -2 <= values.min() < -1.98 < 2.98 < values.max() < 3
    turns = chance.turn(0.25)
    assert set(turns // 256) == {0, 3}


def test_the_cache_is_used(cache, monkeypatch):
    first = load_shapes("train", count=20)
    assert [path.suffix for path in cache.iterdir()] == [".npz"]
    monkeypatch.setattr("saa_lite.data.shapes.draw_scenes", None)  # drawing would now fail
    again = load_shapes("train", count=20)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)


def test_every_parameter_has_its_own_cache_file(cache):
    default = {"count": 20, "size": 16, "num_classes": 10, "seed": 0}
    for change in ({}, {"count": 21}, {"size": 17}, {"num_classes": 100}, {"seed": 1}):
        load_shapes("train", **(default | change))
    load_shapes("test", **default)
    load_shapes("train", **default, difficulty=CLEAN)
    assert len(list(cache.iterdir())) == 7


@pytest.mark.parametrize("damage", ["truncated", "empty", "other arrays", "wrong shape"])
def test_a_damaged_cache_is_drawn_anew(cache, damage):
    first = load_shapes("train", count=20)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        key = "images" if damage == "wrong shape" else "else"
        np.savez(path, **{key: np.zeros((1, 3, 4, 4), np.uint8), "masks": np.zeros(3)})
    assert torch.equal(load_shapes("train", count=20).images, first.images)
    assert path.read_bytes() == whole


def test_without_a_writable_cache_it_is_drawn_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SAA_CACHE", str(tmp_path / "file" / "cache"))
    assert files.cache_dir() == tmp_path / "file" / "cache"
    assert torch.equal(load_shapes("train", count=5).images, load_shapes("train", count=5).images)


def test_a_full_disk_leaves_nothing_behind(cache, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    assert len(load_shapes("train", count=5)) == 5
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 20}, "num_classes must be one of 10, 100; got 20"),
        ({"size": 4}, r"size must be 8\.\.512 pixels; got 4"),
        ({"size": 600}, r"size must be 8\.\.512 pixels; got 600"),
        ({"count": 0}, "count must be 1 or more images; got 0"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        load_dataset("shapes", **arguments)
