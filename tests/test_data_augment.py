"""Batched augmentation against per-image definitions, and its invariances."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as V

from saa_lite.data import Augment, color_jitter, random_crop, random_flip, random_resized_crop
from saa_lite.data.augment import _random_boxes, _resize_matrix
from saa_lite.errors import UsageError

CHAINS = {
    "crop": lambda x, g: random_crop(x, g, padding=3),
    "flip": random_flip,
    "resized crop": random_resized_crop,
    "colour": color_jitter,
    "standard": Augment(),
    "everything": Augment(resized_crop=(0.2, 1), brightness=32 / 255, saturation=0.5),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch=16, channels=3, height=8, width=8):
    shape = (batch, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator(9), dtype=torch.uint8)


@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("shape", [(16, 3, 8, 8), (5, 1, 7, 9), (1, 3, 32, 32), (0, 3, 8, 8)])
def test_keeps_shape_dtype_and_input(augment, shape):
    images = pictures(*shape)
    before = images.clone()
    out = augment(images, generator())
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    assert torch.equal(images, before), "the input was changed"


@pytest.mark.parametrize("augment", CHAINS.values(), ids=CHAINS)
def test_follows_the_generator_alone(augment):
    images = pictures()
    strided = images.repeat_interleave(2, dim=3)[..., ::2]
    channels_last = images.contiguous(memory_format=torch.channels_last)
    expected = augment(images, generator(1))
    assert torch.equal(augment(images, generator(1)), expected)
    assert torch.equal(augment(strided, generator(1)), expected)
    assert torch.equal(augment(channels_last, generator(1)), expected)
    assert not torch.equal(augment(images, generator(2)), expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))
def test_random_crop_is_a_window_of_the_black_framed_image(padding, height, width, seed):
    images = pictures(4, 2, height, width)
    out = random_crop(images, generator(seed), padding)
    top, left = torch.randint(0, 2 * padding + 1, (2, 4), generator=generator(seed)).tolist()
    framed = F.pad(images, (padding,) * 4)
    for image, y, x, cropped in zip(framed, top, left, out, strict=True):
        assert torch.equal(cropped, image[:, y : y + height, x : x + width])


def test_random_crop_reaches_every_shift_equally():
    image = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    image[0, 0, 4, 4] = 255
    out = random_crop(image.expand(8100, 1, 9, 9), generator(), padding=4)
    hits = (out[:, 0] == 255).sum(0)  # one of 81 places each, 100 times on average
    assert hits.sum() == 8100
    assert 60 < hits.min() <= hits.max() < 140


def test_random_flip_mirrors_half_of_the_images():
    images = pictures(1000, 1, 2, 5)
    out = random_flip(images, generator())
    kept = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(-1)).flatten(1).all(1)
    assert bool((kept | mirrored).all())
    assert 440 < mirrored.sum() < 560


def test_flipping_twice_is_the_identity():
    images = pictures()
    assert torch.equal(random_flip(random_flip(images, generator(3)), generator(3)), images)


@pytest.mark.parametrize("box", [(0, 8, 0, 8), (2, 5, 1, 7), (3, 1, 0, 2), (0, 8, 5, 3)])
def test_resized_crop_equals_torchvision(box):
    top, tall, left, wide = (torch.tensor([value]) for value in box)
    images = pictures(1).float()
    rows, columns = _resize_matrix(top, tall, 8), _resize_matrix(left, wide, 8)
    ours = rows[:, None] @ images @ columns[:, None].transpose(2, 3)
    top, tall, left, wide = box
    theirs = V.resized_crop(images, top, left, tall, wide, [8, 8], antialias=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)


def test_boxes_have_the_requested_area_and_aspect():
    top, left, tall, wide = _random_boxes(4000, (64, 64), (0.25, 0.5), (3 / 4, 4 / 3), generator())
    assert bool(((top >= 0) & (left >= 0) & (top + tall <= 64) & (left + wide <= 64)).all())
    area, aspect = (tall * wide) / 64**2, wide / tall
    # Sides are whole pixels: allow half a pixel each.
    assert 0.24 < area.min() < 0.26
    assert 0.49 < area.max() < 0.515
    assert 0.72 < aspect.min() < 0.78
    assert 1.28 < aspect.max() < 1.39
    assert abs(aspect.log().mean()) < 0.01


def test_boxes_that_never_fit_fall_back_to_the_largest_central_one():
    top, left, tall, wide = _random_boxes(3, (10, 100), (1.0, 1.0), (3 / 4, 4 / 3), generator())
    assert tall.tolist() == [10] * 3
    assert wide.tolist() == [13] * 3
    assert top.tolist() == [0] * 3
    assert left.tolist() == [44] * 3


def test_full_box_is_the_identity():
    images = pictures(20)
    out = random_resized_crop(images, generator(), scale=(1, 1), ratio=(1, 1))
    assert torch.equal(out, images)


def test_colour_jitter_without_strength_is_the_identity():
    images = pictures()
    assert torch.equal(color_jitter(images, generator(), brightness=0, saturation=0), images)


def test_colour_jitter_equals_torchvision_for_each_image():
    images = pictures(12)
    out = color_jitter(images, generator(5), brightness=0.4, saturation=0.5)
    bright, colourful = 1 + (2 * torch.rand(2, 12, generator=generator(5)) - 1) * torch.tensor(
        [[0.4], [0.5]]
    )
    for image, b, s, changed in zip(images, bright, colourful, out, strict=True):
        expected = V.adjust_brightness(image.float() / 255, b.item())
        expected = V.adjust_saturation(expected, s.item()) * 255
        assert (changed - expected).abs().max() < 0.51


def test_colour_jitter_dims_grey_images_but_keeps_them_grey():
    grey = pictures(50, 1)
    out = color_jitter(grey, generator())
    ratio = out.double().mean((1, 2, 3)) / grey.double().mean((1, 2, 3))
    assert 0.87 < ratio.min() < 0.9
    assert 1.0 < ratio.max() < 1.13
    as_rgb = color_jitter(grey.expand(50, 3, 8, 8), generator())
    assert (as_rgb.int() - out.int()).abs().max() <= 1


def test_augment_without_steps_is_the_identity():
    images = pictures()
    assert Augment(crop_padding=0, flip=False)(images, generator()) is images


def test_augment_runs_the_steps_in_order():
    images = pictures()
    chained = Augment(crop_padding=2, brightness=0.3)(images, generator(4))
    shared = generator(4)
    by_hand = random_flip(random_crop(images, shared, 2), shared)
    assert torch.equal(chained, color_jitter(by_hand, shared, brightness=0.3, saturation=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop_padding": -1}, "crop_padding must be 0 or more"),
        ({"resized_crop": (0.5, 0.2)}, "resized_crop must be two rising shares"),
        ({"resized_crop": (0.0, 1.0)}, "resized_crop must be two rising shares"),
        ({"brightness": 1.5}, r"brightness must lie in 0\.\.1; got 1\.5"),
        ({"saturation": -0.1}, r"saturation must lie in 0\.\.1"),
    ],
)
def test_impossible_settings(arguments, message):
    with pytest.raises(UsageError, match=message):
        Augment(**arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CHAINS)
def test_the_gpu_draws_the_same(name):
    images = pictures(64, 3, 32, 32)
    on_cpu, on_gpu = (CHAINS[name](images.to(d), generator(1)) for d in ("cpu", "cuda"))
    assert on_gpu.is_cuda
    # Moved pixels are the same; sums may round differently, by one grey level.
    allowed = 0 if name in ("crop", "flip", "standard") else 1
    assert (on_gpu.cpu().int() - on_cpu.int()).abs().max() <= allowed
