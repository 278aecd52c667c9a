"""Learning from a trained network: losses and gradients against written-out sums."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from train_samples import CONFIG, assert_same_run, make_model, make_set, stopped_in_step

from saa_lite.errors import CheckpointError, UsageError
from saa_lite.train import Distillation, DistilledTraining
from saa_lite.train import train as fit

CRITERIA = ("kl", "ce")


def logits(seed: int, images: int = 5, classes: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = 3 * torch.randn(images, classes, dtype=torch.float64, generator=generator)
    return values.requires_grad_()


def shares(row: list[float]) -> list[float]:
    total = math.fsum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def written_out(criterion: str, student: Tensor, teacher: Tensor) -> list[float]:
    """D of every image."""
    found = []
    for left, right in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = shares(left), shares(right)
        own = math.fsum(a * math.log(a) for a in p) if criterion == "kl" else 0.0
        found.append(own - math.fsum(a * math.log(b) for a, b in zip(p, q, strict=True)))
    return found


@pytest.mark.parametrize(("reduction", "divided"), [("batchmean", 1), ("mean", 7)])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_loss_and_both_its_gradients(criterion: str, reduction: str, divided: int) -> None:
    """At the student p_T − p_A; at the teacher p_A·(log(p_A/p_T) − D), for CE without log p_A."""
    student, teacher = logits(0), logits(1)
    attached = Distillation(0.5, criterion, detach=False, reduction=reduction)
    found = attached.divergence(student, teacher)
    each = written_out(criterion, student, teacher)
    assert found.item() == pytest.approx(math.fsum(each) / divided, rel=1e-12)
    at_student, at_teacher = torch.autograd.grad(found, (student, teacher))
    q, p = (
        torch.tensor([shares(row) for row in x.tolist()], dtype=torch.float64)
        for x in (student, teacher)
    )
    torch.testing.assert_close(at_student, (q - p) / divided, rtol=0, atol=1e-14)
    surprise = (p.log() if criterion == "kl" else 0) - q.log()
    expected = p * (surprise - torch.tensor(each, dtype=torch.float64)[:, None]) / divided
    torch.testing.assert_close(at_teacher, expected, rtol=0, atol=1e-13)
    detached = replace(attached, detach=True).divergence(student, teacher)
    assert detached == found
    assert torch.autograd.grad(detached, (student, teacher), allow_unused=True)[1] is None


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_with_a_detached_teacher_both_have_the_same_gradient_to_the_bit(kind: torch.dtype) -> None:
    student, teacher = logits(0, 64, 100).detach().to(kind), logits(1, 64, 100).detach().to(kind)
    found = []
    for criterion in CRITERIA:
        learner = student.clone().requires_grad_()
        labelled = nn.functional.cross_entropy(learner, torch.arange(64), reduction="sum")
        loss = Distillation(0.3, criterion).loss(learner, teacher, labelled, 64)
        loss.backward()
        found.append(learner.grad)
    assert torch.equal(*found)
    assert found[0].abs().max() > 0


def test_very_sure_answers_leave_finite_gradients() -> None:
    for criterion in CRITERIA:
        student, teacher = (1e4 * logits(seed).float().detach() for seed in (0, 1))
        student.requires_grad_(), teacher.requires_grad_()
        found = Distillation(1.0, criterion, detach=False).divergence(student, teacher)
        gradients = torch.autograd.grad(found, (student, teacher))
        assert all(g.isfinite().all() for g in (found, *gradients))


def taught(distillation: Distillation, folder: Path | None = None, seed: int = 0, **options):
    model = make_model(seed=seed)
    labels = options.pop("labels", None)
    images = make_set("train")
    if labels is not None:
        images = replace(images, labels=labels)
    options = {"progress": False, "checkpoint": folder, "checkpoint_every": 1} | options
    method = DistilledTraining(distillation)
    return model, fit(model, images, make_set("test", 1), CONFIG, method=method, **options)


def test_a_weight_of_0_is_plain_training_and_of_1_needs_no_labels() -> None:
    teacher = make_model(seed=4)
    plain = make_model()
    history = fit(plain, make_set("train"), make_set("test", 1), CONFIG, progress=False)
    assert_same_run((plain, history), taught(Distillation(0, teacher=teacher)))
    whole = Distillation(1, teacher=teacher)
    first, others = taught(whole), taught(whole, labels=3 - make_set("train").labels)
    for name, value in first[0].state_dict().items():
        assert torch.equal(value, others[0].state_dict()[name]), name
    assert first[1][0]["train_loss"] != others[1][0]["train_loss"]  # that against the labels
    half = taught(Distillation(0.5, teacher=teacher))
    assert len({m[0].weight.sum().item() for m in (plain, first[0], half[0])}) == 3


def test_the_teacher_stays_as_it_is_and_answers_without_dropout() -> None:
    teacher = make_model(seed=4)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    left, right = (taught(Distillation(0.7, c, teacher=teacher)) for c in CRITERIA)
    assert_same_run(left, right)
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert not any(part.training for part in teacher.modules())
    assert all(p.grad is None for p in teacher.parameters())


def test_killed_and_resumed_gives_the_same_bits_with_the_same_teacher_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distillation(seed: int = 4) -> Distillation:
        return Distillation(0.7, teacher=make_model(seed=seed))

    whole = taught(distillation())
    with stopped_in_step(6, monkeypatch):
        taught(distillation(), tmp_path)
    with pytest.raises(CheckpointError, match=r"distillation\.teacher is '.*' there and '.*' here"):
        taught(distillation(5), tmp_path)
    assert_same_run(whole, taught(distillation(), tmp_path, seed=9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.1}, r"weight must be a number from 0 to 1; got 1\.1"),
        ({"weight": float("nan")}, "weight must be a number"),
        ({"weight": True}, "weight must be a number"),
        ({"criterion": "mse"}, r"criterion must be one of .*kl.*ce.*; got 'mse'"),
        ({"reduction": "sum"}, "reduction must be one of"),
        ({"detach": 0}, "detach must be True or False; got 0"),
        ({"teacher": "conv"}, "teacher must be a network or None; got 'conv'"),
        ({"teacher": nn.Flatten(), "detach": False}, "detach=False is for the augmented pass"),
    ],
)
def test_refused_settings(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Distillation(**({"weight": 0.3} | options))


def test_refused_teachers() -> None:
    for given in (Distillation(0.3), 0.3):
        with pytest.raises(UsageError, match="needs a Distillation with a network as teacher"):
            DistilledTraining(given)
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3))
    with pytest.raises(UsageError, match=r"must be \[8, 4\], as the student's are; got \[8, 3\]"):
        taught(Distillation(0.3, teacher=narrow))
