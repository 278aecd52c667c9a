"""Mixup: what is drawn, what is computed, and that every pass of a step sees the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from augment_samples import model as augmented_model
from scipy.stats import beta, kstest
from torch import Tensor, nn
from torch.nn import functional as F
from train_samples import CONFIG, assert_same_run, make_set, stop_after, train

from saa_lite.augment import AugmentedTraining
from saa_lite.data.seeds import generator_for
from saa_lite.train import Method
from saa_lite.train import run as training_run
from saa_lite.train import train as fit
from saa_lite.train.task import draw_share, mixed

MIXING = replace(CONFIG, mixup=0.2)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    generator = generator_for(7)
    shares = [draw_share(alpha, generator) for _ in range(2000)]
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.01


def test_images_and_labels_are_mixed_alike_and_from_the_step_alone() -> None:
    """Images that say what their label is: both sides must tell the same mixture."""
    labels = torch.arange(12) % 4
    images = F.one_hot(labels, 4).float()[:, :, None, None].expand(12, 4, 3, 3).clone()
    images = images.to(memory_format=torch.channels_last)
    places = [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]
    seen = []
    for place in places:
        x, y = mixed(images, labels, 0.7, 4, place)
        assert x.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(x, y[:, :, None, None].expand_as(x))
        torch.testing.assert_close(y.sum(1), torch.ones(12))
        again = mixed(images, labels, 0.7, 4, place)
        assert torch.equal(x, again[0])
        assert torch.equal(y, again[1])
        seen.append(y)
    assert len({float(y.square().sum()) for y in seen}) == len(places)
    assert torch.equal(torch.stack(seen).sum((0, 1)).round(), torch.tensor([12.0] * 4))


class Seen(Method):
    """Keeps what a step is given."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []

    def backward(self, run, images, labels):
        self.batches.append((images, labels))
        return super().backward(run, images, labels)


def test_the_loss_is_that_of_both_labels_by_their_shares() -> None:
    """λ·CE(y) + (1 − λ)·CE(y'), smoothing in each, and right is who names the larger part."""
    config = replace(MIXING, epochs=1, batch_size=32, label_smoothing=0.1, warmup_epochs=0, lr=1e-9)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))  # two logits that no class has
    method = Seen()
    sets = make_set("train"), make_set("test", 1)
    (row,) = fit(model, *sets, config, method=method, progress=False)
    ((images, shares),) = method.batches
    assert shares.shape == (32, 4)
    with torch.no_grad():
        logits = model(images)
    loss = torch.zeros(())
    for label in range(4):
        each = F.cross_entropy(
            logits, torch.full((32,), label), label_smoothing=0.1, reduction="none"
        )
        loss = loss + (shares[:, label] * each).mean()
    assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
    right = (logits.argmax(1) == shares.argmax(1)).double().mean()
    assert row["train_accuracy"] == pytest.approx(right.item())


def test_it_mixes_in_training_and_nothing_else() -> None:
    plain, mixing = (train(None, config) for config in (CONFIG, MIXING))
    again = train(None, replace(MIXING, mixup=0.0))
    assert_same_run(plain, again)
    assert plain[1][0]["train_loss"] != mixing[1][0]["train_loss"]
    assert "mixup" not in CONFIG.as_settings()
    assert MIXING.as_settings()["mixup"] == 0.2


def test_both_passes_of_a_step_have_the_same_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    original = training_run.backward_pass

    def spy(run, images, labels, weight=1.0, **options):
        seen.append((images, labels))
        return original(run, images, labels, weight, **options)

    monkeypatch.setattr("saa_lite.augment.method.backward_pass", spy)
    sets = make_set("train"), make_set("test", 1)
    config = replace(MIXING, epochs=1, batch_size=16)
    fit(augmented_model(), *sets, config, method=AugmentedTraining(), progress=False)
    assert len(seen) == 4
    for (first, ours), (second, theirs) in (seen[:2], seen[2:]):
        assert ours.shape == (16, 4)
        assert torch.equal(first, second)
        assert torch.equal(ours, theirs)


def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    whole = train(None, MIXING)
    stop_after(1, tmp_path, MIXING)
    assert_same_run(whole, train(tmp_path, MIXING, seed=9))
