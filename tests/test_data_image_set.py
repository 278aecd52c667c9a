"""ImageSet: checks, balanced subsets, exact statistics."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saa_lite.data import ImageSet
from saa_lite.errors import UsageError


def make(labels, classes=3, channels=3, size=4, **changes):
    labels = torch.tensor(labels, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    shape = (len(labels), channels, size, size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    names = tuple(f"class {i}" for i in range(classes))
    fields = {"images": images, "labels": labels, "class_names": names} | changes
    return ImageSet("made", "train", **fields)


def content(made):
    pairs = zip(made.images, made.labels.tolist(), strict=True)
    return [(image.numpy().tobytes(), label) for image, label in pairs]


def test_properties():
    made = make([0, 1, 2, 0], channels=1)
    assert (len(made), made.num_classes, made.in_channels) == (4, 3, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(2, 3, 4, 4)}, r"images must be a 4-dimensional torch\.uint8"),
        ({"images": torch.zeros(2, 4, 4, dtype=torch.uint8)}, "images must be a 4-dimensional"),
        ({"labels": torch.zeros(2)}, r"labels must be a 1-dimensional torch\.int64"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "got 3 labels for 2 images"),
        ({"labels": torch.tensor([0, 3])}, r"labels must lie in 0\.\.2; got 0\.\.3"),
        ({"labels": torch.tensor([-1, 0])}, r"labels must lie in 0\.\.2; got -1\.\.0"),
        ({"class_names": ()}, "class_names must name every class; got none"),
        ({"masks": torch.zeros(2, 4, 5, dtype=torch.uint8)}, r"masks must have shape \(2, 4, 4\)"),
        ({"masks": torch.zeros(2, 4, 4)}, "masks must be a 3-dimensional"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(make([0, 1]), **changes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 2**31), st.data())
def test_subset_is_balanced_nested_and_keeps_pairs_together(labels, seed, data):
    made = make(labels, classes=5)
    n = data.draw(st.integers(1, len(labels)))
    chosen = made.subset(n, seed)
    counts = torch.bincount(chosen.labels, minlength=5)
    available = torch.bincount(made.labels, minlength=5)
    # Dealt in turn: a class is behind the best supplied one by two or more only if it ran out.
    behind = counts < counts.max() - 1
    assert torch.equal(counts[behind], available[behind])
    pairs = content(made)
    smaller = made.subset((n + 1) // 2, seed)
    assert torch.equal(smaller.images, chosen.images[: len(smaller)])
    assert set(content(chosen)) <= set(pairs)
    assert len(set(content(chosen))) == n


def test_subset_is_deterministic_and_depends_on_the_seed():
    made = make([0, 1, 2] * 30)
    assert torch.equal(made.subset(30, 1).images, made.subset(30, 1).images)
    assert not torch.equal(made.subset(30, 1).images, made.subset(30, 2).images)
    assert made.subset(30).labels.unique_consecutive().numel() > 20, "classes lie in blocks"


def test_subset_takes_masks_along():
    masks = torch.arange(6, dtype=torch.uint8)[:, None, None].expand(6, 4, 4)
    images = masks[:, None].expand(6, 3, 4, 4).contiguous()
    chosen = make([0, 1, 2, 0, 1, 2], images=images, masks=masks).subset(4)
    assert torch.equal(chosen.images[:, 0], chosen.masks)


@pytest.mark.parametrize("n", [0, -1, 5])
def test_subset_of_impossible_size(n):
    with pytest.raises(UsageError, match=rf"must have 1\.\.4 images; got {n}"):
        make([0, 1, 2, 0]).subset(n)


def test_statistics_equal_those_of_the_pixels():
    made = make([0] * 20, size=7)
    pixels = made.images.double() / 255
    mean, std = made.statistics()
    torch.testing.assert_close(torch.tensor(mean).double(), pixels.mean((0, 2, 3)))
    expected = pixels.std((0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(std, dtype=torch.float64), expected, rtol=1e-12, atol=0)


def test_an_empty_set_has_no_statistics():
    with pytest.raises(UsageError, match="empty"):
        make([]).statistics()
