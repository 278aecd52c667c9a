"""Drawings of segmentation show the numbers that they are given."""

import numpy as np
import pytest

from saa_lite.data.image_set import VOID
from saa_lite.viz import segmentation as viz
from saa_lite.viz.segmentation import class_colours, palette_of

RNG = np.random.default_rng(0)


def test_every_row_shows_its_masks() -> None:
    images = RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    masks = RNG.integers(0, 4, (3, 8, 8), dtype=np.uint8)
    figure = viz.answers_figure(list(images), {"mask": masks, "answer": 0 * masks}, 4, 1.0)
    assert len(figure.axes) == 9
    assert np.array_equal(figure.axes[1].get_images()[0].get_array(), images[1])
    shown = np.asarray(figure.axes[4].get_images()[0].get_array())
    assert np.array_equal(shown[masks[1] == 3], class_colours(4)[masks[1][masks[1] == 3]])
    assert np.array_equal(figure.axes[8].get_images()[0].get_array(), images[2])  # all is ground


def test_bars_have_the_height_of_their_class() -> None:
    figure = viz.class_bars({"conv": {"a": 0.5, "b": 0.25}, "shift": {"b": 1.0}})
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [0.5, 0.25, 0.0, 1.0]


def test_rows_of_a_confusion_sum_to_one() -> None:
    matrix = np.array([[3, 1], [0, 0]])
    figure = viz.confusion_picture({"conv": matrix}, ("a", "b"))
    shares = np.asarray(figure.axes[0].get_images()[0].get_array())
    assert shares.tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_sight_is_drawn_in_powers_of_ten() -> None:
    sight = np.full((4, 4), 1e-3)
    sight[1, 2] = 1.0
    figure = viz.sight_figure(np.zeros((4, 4, 3), np.uint8), {"all": sight}, (1, 2))
    drawn = np.asarray(figure.axes[1].get_images()[0].get_array())
    assert drawn[1, 2] == 0
    assert drawn[0, 0] == pytest.approx(-3)


def test_the_drawing_names_every_part() -> None:
    (axis,) = viz.head_drawing().axes
    words = " ".join(text.get_text() for text in axis.texts)
    assert all(part in words for part in ("encoder", "dilated", "sigmoid", "finer map", "logits"))


def test_palettes_hold_void() -> None:
    colours = np.array(palette_of(3)).reshape(-1, 3)
    assert colours.shape == (256, 3)
    assert np.array_equal(colours[:3], class_colours(3))
    assert not colours[VOID].any()
