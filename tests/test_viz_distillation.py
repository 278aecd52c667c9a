"""What one image teaches, against autograd; calibration and shared errors against hand counts."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from saa_lite.train import Distillation
from saa_lite.viz.distillation import (
    Sharing,
    lesson,
    lesson_figure,
    passes_figure,
    reliability,
    reliability_figure,
    sharing_figure,
)

LABEL, WEIGHT = 2, 0.7


def logits() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.randn(5, dtype=torch.float64, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("criterion", ["kl", "ce"])
def test_the_lesson_has_the_gradients_of_the_loss(criterion: str, temperature: float) -> None:
    wide, target = (x.requires_grad_() for x in logits())
    given = lesson(wide.detach(), target.detach(), LABEL, WEIGHT, criterion, temperature)
    labelled = (1 - WEIGHT) * F.cross_entropy(target[None], torch.tensor([LABEL]))
    softer = Distillation(1.0, criterion, detach=False)
    D = temperature**2 * softer.divergence(target[None] / temperature, wide[None] / temperature)
    assert given.divergence == pytest.approx(D.item(), rel=1e-12)
    (from_labels,) = torch.autograd.grad(labelled, target)
    from_teacher, at_teacher = torch.autograd.grad(WEIGHT * D, (target, wide))
    for found, right in (
        (given.from_labels, from_labels),
        (given.from_teacher, from_teacher),
        (given.at_teacher, at_teacher),
    ):
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-13)


def test_the_criterion_moves_nothing_that_reaches_the_student() -> None:
    kl, ce = (lesson(*logits(), LABEL, WEIGHT, criterion, 2.0) for criterion in ("kl", "ce"))
    assert np.array_equal(kl.from_teacher, ce.from_teacher)
    assert not np.allclose(kl.at_teacher, ce.at_teacher)
    assert kl.scale == ce.scale == lesson(*logits(), LABEL, 0.1, "kl", 5.0).scale


def test_pulls_fit_into_their_picture() -> None:
    given = lesson(*logits(), LABEL, 1.0, "ce", 8.0)
    axes = lesson_figure(given, LABEL).axes
    largest = max(np.abs(values).max() for values in (given.from_teacher, given.at_teacher))
    assert axes[1].get_ylim()[1] == axes[2].get_ylim()[1] > largest
    bars = [bar.get_height() for bar in axes[2].patches]
    np.testing.assert_allclose(bars, -given.at_teacher)


def test_reliability_of_a_network_that_is_surer_than_right() -> None:
    """20 answers of confidence 0.9, half of them right, and 2 of 0.6, which are no curve."""
    odds = np.log([9.0, 1.5])
    answers = np.array([[odds[0], 0.0]] * 20 + [[odds[1], 0.0]] * 2)
    labels = np.array([0, 1] * 10 + [0, 0])
    confidence, accuracy, count, error = reliability(answers, labels)
    assert (confidence.round(12).tolist(), accuracy.tolist(), count.tolist()) == (
        [0.9],
        [0.5],
        [20.0],
    )
    assert error == pytest.approx((20 * 0.4 + 2 * 0.4) / 22)
    (axis,) = reliability_figure({"test": {"a network": (answers, labels)}}).axes
    assert axis.lines[1].get_ydata().tolist() == [50.0]


def test_shared_errors_and_curves_are_drawn_as_given() -> None:
    (axis,) = sharing_figure([Sharing("AugShift", 60.0, 20.0, 75)]).axes
    assert [bar.get_width() for bar in axis.patches] == [60.0, 20.0]
    log = [{"train_accuracy": 0.5, "augmented_accuracy": 0.6}] * 3
    there, missing = passes_figure({"origin": [log], "KL": []}).axes
    assert there.lines[0].get_ydata().tolist() == [50.0] * 3
    assert [text.get_text() for text in missing.texts] == ["not run yet"]
