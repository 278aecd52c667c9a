"""Pictures of trained networks: every mark stands where its number is."""

import pytest
import torch

from saa_lite.viz.features import channels_figure, travel_figure
from saa_lite.viz.style import COLOURS

NETWORKS = {
    "conv": [
        {"travel": 2.0, "start": -0.13, "trained": -0.05},
        {"travel": 0.5, "start": -0.12, "trained": -0.06},
    ],
    "adder": [
        {"travel": 2.5, "start": -0.05, "trained": 0.02},
        {"travel": 2.6, "start": -0.04, "trained": 0.01},
    ],
}


def test_way_and_distribution_of_every_layer() -> None:
    figure = travel_figure(NETWORKS, "two layers")
    left, right = figure.axes
    lines = {line.get_color(): list(line.get_ydata()) for line in left.get_lines()}
    assert lines == {COLOURS["conv"]: [2.0, 0.5], COLOURS["adder"]: [2.5, 2.6]}
    marks = [list(line.get_ydata()) for line in right.get_lines()]
    assert marks[:4] == [[-0.13, -0.12], [-0.05, -0.06], [-0.05, -0.04], [0.02, 0.01]]
    assert left.get_ylim()[0] == 0
    assert figure.get_suptitle() == "two layers"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CNN", "AdderNet"]


def test_photo_and_channels() -> None:
    photo = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
    channels = {"conv": torch.randn(2, 8, 8), "adder": torch.randn(2, 8, 8) - 40}
    axes = channels_figure(photo, channels, "seen").axes
    assert len(axes) == 6
    for row, (method, maps) in enumerate(channels.items()):
        shown = [axis.images[0] for axis in axes[3 * row : 3 * row + 3]]
        assert torch.equal(torch.tensor(shown[0].get_array()), photo.permute(1, 2, 0))
        for image, one in zip(shown[1:], maps, strict=True):
            assert torch.tensor(image.get_array()).allclose(one)
            assert image.get_clim() == pytest.approx((one.min().item(), one.max().item()))
        assert axes[3 * row].get_ylabel() == {"conv": "CNN", "adder": "AdderNet"}[method]
