"""Batches are pure functions of (seed, epoch, step)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saa_lite.data import Augment, Batches, ImageSet, load_dataset, normalization
from saa_lite.data.batches import PUBLISHED_NORMALIZATION
from saa_lite.data.seeds import mix
from saa_lite.errors import UsageError

NAMES = tuple("0123456789")


def numbered(count=23, name="made", split="train", channels=3):
    """Image i is filled with grey level i, so pixels tell which image they are."""
    labels = torch.arange(count) % 10
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None]
    return ImageSet(name, split, images.repeat(1, channels, 8, 8), labels, NAMES)


def plain(image_set, batch_size=5, **arguments):
    """Batches whose float pixels are the grey levels."""
    channels = image_set.in_channels
    level = {"mean": [0.0] * channels, "std": [1 / 255] * channels}
    return Batches(image_set, batch_size, **(level | arguments))


def levels(batches):
    """The grey level of each image of epoch 0."""
    return (
        torch.cat([images[:, 0, 0, 0] for _, images, _ in batches.epoch(0)]).round().int().tolist()
    )


def test_without_shuffle_the_order_is_the_sets_own():
    assert levels(plain(numbered())) == list(range(23))


def test_an_epoch_shows_each_image_once_with_its_label():
    batches = plain(numbered(), shuffle=True)
    seen = levels(batches)
    assert sorted(seen) == list(range(23))
    assert seen != list(range(23))
    for _, images, labels in batches.epoch(0):
        assert (images[:, 0, 0, 0].round().long() % 10).tolist() == labels.tolist()


@pytest.mark.parametrize(("drop_last", "steps", "last"), [(False, 5, 3), (True, 4, 5)])
def test_last_batch(drop_last, steps, last):
    batches = plain(numbered(), shuffle=True, drop_last=drop_last)
    sizes = [len(labels) for _, _, labels in batches.epoch(0)]
    assert len(batches) == len(sizes) == steps
    assert sizes[-1] == last


def test_starting_late_gives_the_tail_of_the_epoch():
    made = load_dataset("digits", count=70)
    batches = Batches(made, 16, shuffle=True, seed=3, augment=Augment())
    whole = list(batches.epoch(2))
    fresh = Batches(made, 16, shuffle=True, seed=3, augment=Augment())
    tail = list(fresh.epoch(2, start_step=3))
    assert [step for step, _, _ in tail] == [3, 4]
    for (_, images, labels), (_, again, labels_again) in zip(whole[3:], tail, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)
    assert list(batches.epoch(2, start_step=len(batches))) == []


def test_epochs_may_be_read_in_any_order_and_interleaved():
    batches = Batches(load_dataset("digits", count=40), 10, shuffle=True, augment=Augment())
    alone = [images for _, images, _ in batches.epoch(1)]
    pairs = list(zip(batches.epoch(0), batches.epoch(1), strict=True))
    assert all(torch.equal(a, b[1]) for a, (_, b) in zip(alone, pairs, strict=True))


def test_seed_and_epoch_change_order_and_augmentation():
    def first(seed, epoch, shuffle=True, augment=None):
        batches = plain(numbered(), 23, seed=seed, shuffle=shuffle, augment=augment)
        return next(batches.epoch(epoch))[1]

    assert not torch.equal(first(0, 0), first(1, 0))
    assert not torch.equal(first(0, 0), first(0, 1))
    same_order = {"shuffle": False, "augment": Augment()}
    assert torch.equal(first(0, 0, **same_order), first(0, 0, **same_order))
    assert not torch.equal(first(0, 0, **same_order), first(1, 0, **same_order))
    assert not torch.equal(first(0, 0, **same_order), first(0, 1, **same_order))


def test_steps_are_augmented_differently():
    same = numbered(20)
    same.images[:] = same.images[7]
    batches = plain(same, 10, augment=Augment(crop_padding=4))
    (_, one, _), (_, two, _) = batches.epoch(0)
    assert not torch.equal(one, two)


def test_the_global_generator_is_neither_read_nor_moved():
    batches = Batches(load_dataset("digits", count=20), 5, shuffle=True, augment=Augment())
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = [images for _, images, _ in batches.epoch(0)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert all(torch.equal(a, b[1]) for a, b in zip(one, batches.epoch(0), strict=True))


def test_normalised_pixels_have_mean_0_and_deviation_1():
    _, images, _ = next(Batches(load_dataset("digits", count=64), 64).epoch(0))
    assert images.dtype == torch.float32
    assert abs(images.mean()) < 1e-4
    assert abs(images.std() - 1) < 1e-4


def test_normalisation_equals_the_formula():
    mean, std = PUBLISHED_NORMALIZATION["cifar10"]
    made = numbered(name="cifar10")
    batches = Batches(made, 23)
    assert (batches.mean, batches.std) == (mean, std)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    expected = (made.images / 255 - mean) / std
    torch.testing.assert_close(next(batches.epoch(0))[1], expected, rtol=1e-5, atol=1e-6)


def test_padding_is_black_before_normalisation():
    white = numbered(4)
    white.images[:] = 255
    batches = Batches(white, 4, augment=Augment(), mean=[0.5] * 3, std=[0.25] * 3)
    _, images, _ = next(batches.epoch(0))
    assert [round(value, 5) for value in images.unique().tolist()] == [-2, 2]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("augment", [None, Augment()])
def test_memory_format(channels_last, augment):
    batches = plain(numbered(), channels_last=channels_last, augment=augment)
    _, images, _ = next(batches.epoch(0))
    assert images.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert images.is_contiguous() != channels_last


def test_test_batches_need_the_training_sets_normalisation():
    train, test = numbered(), numbered(split="test")
    with pytest.raises(UsageError, match="need mean and std of the training set"):
        Batches(test, 5)
    mean, std = normalization(train)
    assert Batches(test, 5, mean=mean, std=std).mean == mean
    Batches(numbered(name="cifar100", split="test"), 5)


def test_a_constant_channel_does_not_divide_by_zero():
    flat = numbered(3)
    flat.images[:] = 90
    _, images, _ = next(Batches(flat, 3).epoch(0))
    torch.testing.assert_close(images, torch.zeros_like(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more; got 0"),
        ({"mean": [0.5] * 3}, "given together"),
        ({"mean": [0.5], "std": [0.5]}, r"mean must have one value per channel \(3\); got 1"),
        ({"mean": [0.5] * 3, "std": [0.5, 0.5, 0.0]}, "std must be positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        Batches(numbered(), **({"batch_size": 5} | arguments))


def test_mix_is_fixed_and_separates_neighbours():
    # A changed hash would silently change every recorded run.
    assert mix(0, 0, 0) == 2558736989570252433
    assert mix(1, 2, 3) == 15020427595393229491
    grid = {mix(s, e, t) for s in range(20) for e in range(20) for t in range(20)}
    assert len(grid) == 8000
    assert len({value & 0xFFFFFFFF for value in grid}) > 7980
    assert mix(1, 2) != mix(2, 1)


@given(st.lists(st.integers(-(2**70), 2**70), max_size=5))
def test_mix_gives_64_bits_of_any_integers(parts):
    assert 0 <= mix(*parts) < 2**64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_sees_the_same_batches():
    made = load_dataset("digits", count=64)
    on_cpu, on_gpu = (
        Batches(made, 16, shuffle=True, augment=Augment(), device=device).epoch(1)
        for device in ("cpu", "cuda")
    )
    for (_, a, labels_a), (_, b, labels_b) in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-6, atol=1e-6)
        assert torch.equal(labels_a, labels_b.cpu())
