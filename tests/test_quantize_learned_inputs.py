"""Inputs whose step is learned: values and gradients of the short way, and what is dropped."""

import pytest
import torch
from torch import Tensor, nn

from saa_lite.quantize import quantize_convolution
from saa_lite.quantize.quantizers import InputQuantizer, draw_kept, mixed
from saa_lite.quantize.uniform import range_grid


def quantizer(bits: int = 3) -> InputQuantizer:
    """Codes from −0.5 to 1.5; the inputs below reach further on both sides."""
    return InputQuantizer(range_grid(torch.tensor(-0.5), torch.tensor(1.5), bits))


def images(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, 5, 6, generator=generator)


def gradients(outputs: Tensor, x: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 2, outputs.numel()).view(outputs.shape)
    return torch.autograd.grad((outputs * weights).sum(), (x, scale))


def learned(layer: InputQuantizer, x: Tensor) -> Tensor:
    layer.scale.requires_grad_()
    return layer(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_learning_computes_what_autograd_would(layout: torch.memory_format) -> None:
    layer = quantizer()
    x = images().contiguous(memory_format=layout).requires_grad_()
    found = learned(layer, x)
    straight = range_grid(torch.tensor(-0.5), torch.tensor(1.5), 3)
    step = layer.initial_step * layer.scale
    within = (x / step + straight.zero).clamp(0, 7)
    codes = within + (within.round() - within).detach()
    expected = (codes - straight.zero) * step
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        gradients(found, x, layer.scale), gradients(expected, x, layer.scale), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    layer.scale.requires_grad_(False)
    assert torch.equal(layer(x), found)  # in the end it computes the same bits


def test_a_dropped_element_is_the_input_and_passes_its_gradient() -> None:
    layer, x = quantizer(), images(1).requires_grad_()
    layer.keep = 0.5
    torch.manual_seed(3)
    found = learned(layer, x)
    dropped = found == x
    assert 0.3 < float(dropped.double().mean()) < 0.7
    layer.keep = 1.0
    whole = layer(x)
    assert torch.equal(found[~dropped], whole[~dropped])
    (gradient,) = torch.autograd.grad(found.sum(), x, retain_graph=True)
    assert torch.equal(gradient[dropped], torch.ones(int(dropped.sum())))
    clamped = ((x < -0.6) | (x > 1.6)) & ~dropped
    assert clamped.any()
    assert not gradient[clamped].any()
    # The step: of kept elements the code where it is the last one, else what rounding added.
    (of_scale,) = torch.autograd.grad(found.sum(), layer.scale)
    position = (x / layer.initial_step).detach()
    inside = (position + layer.zero >= 0) & (position + layer.zero <= 7)
    code = whole.detach() / layer.initial_step
    each = torch.where(inside, code - position, code) * ~dropped
    assert float(of_scale) == pytest.approx(float((each * layer.initial_step).sum()), rel=1e-4)


@pytest.mark.parametrize("keep", [0.5, 0.25])
def test_draws_keep_their_share_each_element_by_itself(keep: float) -> None:
    torch.manual_seed(0)
    like = torch.empty(5, 7, 31, 33).contiguous(memory_format=torch.channels_last)
    first, second = draw_kept(like, keep), draw_kept(like, keep)
    assert first.stride() == like.stride()
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert float(first.mean()) == pytest.approx(keep, abs=0.01)
    assert float((first * second).mean()) == pytest.approx(keep**2, abs=0.01)
    neighbours = first[..., 1:] * first[..., :-1]
    assert float(neighbours.mean()) == pytest.approx(keep**2, abs=0.01)


def test_mixed_takes_either_bit_for_bit() -> None:
    first, second, kept = images(2), images(3), (images(4) > 0).float()
    expected = torch.where(kept == 1, first, second)
    assert torch.equal(mixed(first.clone(), second, kept), expected)


class Viewing(nn.Module):
    """Reads its maps in the order in which they lie, so that channels_last ones end in an error."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x).relu()
        return self.last(maps.view(len(maps), -1))


def test_networks_that_take_views_are_quantised_too() -> None:
    torch.manual_seed(0)
    model, given = Viewing(), torch.randn(8, 3, 6, 6)
    with pytest.raises(RuntimeError, match="view"):
        model(given.contiguous(memory_format=torch.channels_last))
    copied = quantize_convolution(model, given, "qdrop", iterations=3, progress=False)
    assert copied(given).shape == (8, 5)
