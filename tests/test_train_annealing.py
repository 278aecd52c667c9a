"""Squared distances that give way to absolute ones, against sums that are written out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from augment_samples import model as augmented_model
from torch import Tensor
from torch.nn import functional as F
from train_samples import CONFIG, assert_same_run, make_model, make_set, stopped_in_step, train

from saa_lite.augment import AugmentedTraining, export
from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.nn.adder import squared_distance
from saa_lite.train import Annealing, Method, loop
from saa_lite.train import train as fit

GEOMETRIES = [(1, 0, 1, 1), (2, 1, 1, 1), ((2, 1), (1, 0), 1, 2), (1, 2, 2, 4)]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


def differences(x: Tensor, w: Tensor, stride, padding, dilation, groups) -> Tensor:
    """X − W of every tap, window and filter: [N, T, taps, positions]."""
    parts = zip(x.chunk(groups, 1), w.chunk(groups, 0), strict=True)
    return torch.cat(
        [
            F.unfold(image, w.shape[2:], dilation, padding, stride)[:, None]
            - filters.flatten(1)[None, :, :, None]
            for image, filters in parts
        ],
        1,
    )


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_squares_as_a_convolution(geometry) -> None:
    x, w = random(2, 4, 7, 6), random(8, 4 // geometry[3], 3, 2, seed=1)
    found = squared_distance(x, w, *geometry)
    expected = -differences(x, w, *geometry).square().sum(2) / 2
    torch.testing.assert_close(found.flatten(2), expected)
    assert found.shape == F.conv2d(x, w, None, *geometry).shape
    weights = random(*found.shape, seed=2).detach()
    ours = torch.autograd.grad((found * weights).sum(), (x, w))
    theirs = torch.autograd.grad((expected * weights.flatten(2)).sum(), (x, w))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("squared", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_on_the_way_the_weight_gradient_stays_and_the_clip_comes(geometry, squared: float) -> None:
    stride, padding, dilation, groups = geometry
    layer = AdderConv2d(
        4, 8, (3, 2), stride, padding, dilation, groups, bias=False, adaptive_lr="off"
    ).double()
    layer.squared = squared
    x = random(2, 4, 7, 6)
    output = layer(x)
    d = differences(x.detach(), layer.weight.detach(), *geometry)
    mixed = -squared * d.square() / 2 - (1 - squared) * d.abs()
    torch.testing.assert_close(output.flatten(2), mixed.sum(2))
    upstream = random(*output.shape, seed=3).detach()
    output.backward(upstream)
    g = upstream.flatten(2)[:, :, None]
    torch.testing.assert_close(layer.weight.grad.flatten(1), (g * d).sum((0, 3)))
    pull = g * (squared * -d + (1 - squared) * (-d).clamp(-1, 1))
    folded = [
        F.fold(part.sum(1), x.shape[2:], (3, 2), dilation, padding, stride)
        for part in pull.chunk(groups, 1)
    ]
    torch.testing.assert_close(x.grad, torch.cat(folded, 1))


def test_linear_layers_go_the_same_way() -> None:
    layer = AdderLinear(5, 3).double()
    layer.squared = 0.4
    x = random(2, 7, 5)
    d = x[..., None, :] - layer.weight
    expected = layer.bias - (0.4 * d.square() / 2 + 0.6 * d.abs()).sum(-1)
    torch.testing.assert_close(layer(x), expected)


def test_half_precision_does_not_cancel() -> None:
    x, w = random(1, 4, 5, 5).detach() + 100, random(2, 4, 3, 3).detach() + 100
    expected = squared_distance(x, w, (1, 1), (1, 1), (1, 1), 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = squared_distance(x.float(), w.float(), (1, 1), (1, 1), (1, 1), 1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-1)


def shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seen: list[float] = []
    step = loop.train_step

    def spy(run, images, labels):
        totals = step(run, images, labels)
        seen.append(next(m for m in run.model.modules() if isinstance(m, AdderConv2d)).squared)
        return totals

    monkeypatch.setattr(loop, "train_step", spy)
    return seen


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.5, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6] + 6 * [0.0]),
        (1.0, [1 - i / 12 for i in range(12)]),
    ],
)
def test_it_falls_linearly_over_its_share_and_nothing_is_left(
    share: float, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs of four updates; the network that is tested and returned has adder layers."""
    seen = shares(monkeypatch)
    model = make_model("adder")
    sets = make_set("train"), make_set("test", 1)
    fit(model, *sets, CONFIG, method=Annealing(share=share), progress=False)
    assert seen == pytest.approx(expected)
    assert [m.squared for m in model.modules() if isinstance(m, AdderConv2d)] == [0.0]


def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path, monkeypatch) -> None:
    def run(seed: int, folder: Path | None):
        net = make_model("adder", seed)
        options = {"checkpoint": folder, "checkpoint_every": 1, "progress": False}
        sets = make_set("train"), make_set("test", 1)
        return net, fit(net, *sets, CONFIG, method=Annealing(share=0.9), **options)

    whole = run(0, None)
    with stopped_in_step(6, monkeypatch):
        run(0, tmp_path)
    assert_same_run(whole, run(9, tmp_path))


def test_inside_an_augmented_model(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = shares(monkeypatch)
    net = augmented_model("adder")
    method = Annealing(AugmentedTraining(0.5))
    assert method.settings(net)["augmentation"]["alpha"] == 0.5
    assert method.settings(net)["annealing"] == 0.5
    sets = make_set("train"), make_set("test", 1)
    history = fit(net, *sets, replace(CONFIG, epochs=2), method=method, progress=False)
    assert seen == [1, 0.75, 0.5, 0.25, 0, 0, 0, 0]
    assert "augmented_loss" in history[0]
    assert all(m.squared == 0 for m in export(net).modules() if isinstance(m, AdderConv2d))


def test_what_it_refuses() -> None:
    for share in (0, 1.1, True, "half"):
        with pytest.raises(UsageError, match="share must be a number above 0 and at most 1; got"):
            Annealing(Method(), share)
    with pytest.raises(UsageError, match="models with adder layers; there is none"):
        train(None, method=Annealing())
