"""Peak activation memory and bytes moved, against sums by hand."""

import pytest
import torch
from torch import Tensor, nn

from saa_lite.costs import count
from saa_lite.models import create_model
from saa_lite.nn import make_conv


def conv(c_in: int, c_out: int, **options: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=False, **options)


def test_a_chain_needs_the_largest_input_and_output() -> None:
    net = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 16), conv(16, 4))
    peak = count(net, (1, 3, 10, 10)).peak
    assert peak.bytes == 4 * (8 + 16) * 100
    assert peak.layer == "3"


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(8, 8), conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).relu())


def test_a_shortcut_is_held() -> None:
    peak = count(Residual(), (1, 8, 10, 10)).peak
    assert (peak.bytes, peak.layer) == (4 * 3 * 800, "b")


def test_norms_and_activations_overwrite_what_nothing_else_needs() -> None:
    inplace = nn.Sequential(conv(3, 8), nn.ReLU(inplace=True), nn.BatchNorm2d(8))
    plain = nn.Sequential(conv(3, 8), nn.ReLU(), nn.BatchNorm2d(8))
    shape = (1, 3, 10, 10)
    assert count(inplace, shape).peak.bytes == count(plain, shape).peak.bytes == 4 * 11 * 100

    class Needed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            return y + y.relu().mean()

    assert count(Needed(), (10, 10)).peak.bytes == pytest.approx(4 * 200, abs=8)


def test_views_share_and_copies_do_not() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).view(-1).unsqueeze(0)

    class Copies(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x])

    assert count(Views(), (4, 25)).peak.bytes == 400
    assert count(Copies(), (4, 25)).peak.bytes == 1200


class Forks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = conv(3, 8), conv(3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.early(x), self.late(x).relu()


def test_every_result_is_held_to_the_end() -> None:
    peak = count(Forks(), (1, 3, 10, 10)).peak
    assert (peak.bytes, peak.layer) == (4 * (3 + 8 + 2) * 100, "late")


def test_places_of_maxima_that_nobody_reads_are_not_held() -> None:
    shape = (1, 3, 10, 10)
    assert count(nn.MaxPool2d(2), shape).peak.bytes == 4 * 3 * (100 + 25)
    both = nn.MaxPool2d(2, return_indices=True)
    assert count(both, shape).peak.bytes == 4 * 3 * (100 + 25) + 8 * 3 * 25


def test_of_mobilenet_by_hand() -> None:
    """The second block's expansion of the 8 maps of 80² to 48, and its stride-2 result."""
    peak = count(create_model("mobilenet_v2_w035", 100), 160).peak
    assert peak.bytes == 4 * 48 * (80**2 + 40**2)
    assert peak.layer == "blocks.1.depthwise.conv"


def test_with_and_without_numbers_agree() -> None:
    net = create_model("resnet20", 10, "shift")
    blank, real = count(net, 32), count(net, 32, real=True)
    assert blank == real


def test_bytes_moved_follow_the_widths() -> None:
    moved = {
        kind: count(make_conv(kind, 4, 8, 1, bias=False), (1, 4, 5, 5)).bytes_moved
        for kind in ("conv", "adder", "shift", "binary")
    }
    assert moved["conv"] == moved["adder"] == 4 * (100 + 32 + 200)
    assert moved["shift"] == 4 * (100 + 200) + 5 * 32 / 8
    assert moved["binary"] == (100 + 32 + 3 * 200) / 8
