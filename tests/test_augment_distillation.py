"""In-place distillation: the step's gradient against one written-out loss, and the same bits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from augment_samples import CONFIG, begun, model, small_target, train
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from train_samples import assert_same_run, stopped_in_step

from saa_lite.augment import AugmentConfig, AugmentedNet, AugmentedTraining, augment
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.nn import AdderConv2d
from saa_lite.train import Distillation
from saa_lite.train.run import Run

ALPHA, WEIGHT = 0.6, 0.3


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_of(
    net: AugmentedNet, distillation: Distillation, **changes: Any
) -> tuple[Run, AugmentedTraining]:
    return begun(net, AugmentedTraining(ALPHA, distillation=distillation), **changes)


def gradients(net: AugmentedNet) -> dict[str, Tensor]:
    return {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}


def expected(
    net: AugmentedNet, configuration: Any, cut: list[tuple[Tensor, Tensor]], given: Distillation
) -> dict[str, Tensor]:
    """Of L itself, one graph for everything; D from softmax and log as they are written."""
    count = sum(len(labels) for _, labels in cut)
    parts = [part for part in net.modules() if hasattr(part, "begin")]
    for part in parts:
        part.begin()
    for images, labels in cut:
        with net.configured(configuration):
            wide = net(images)
        logits = net(images)
        q, p = logits.softmax(1), (given.teacher(images) if given.teacher else wide).softmax(1)
        p = p.detach() if given.detach else p
        own = p * p.log() if given.criterion == "kl" else 0.0
        divergence = (own - p * q.log()).sum() / (4 if given.reduction == "mean" else 1)
        labelled = F.cross_entropy(logits, labels, reduction="sum")
        augmented = F.cross_entropy(wide, labels, reduction="sum")
        loss = (1 - given.weight) * labelled + given.weight * divergence + ALPHA * augmented
        (loss / count).backward()
    for part in parts:
        part.finish()
    return gradients(net)


def cases() -> dict[str, Distillation]:
    torch.manual_seed(3)
    return {
        "kl": Distillation(WEIGHT),
        "ce": Distillation(WEIGHT, "ce"),
        "mean": Distillation(WEIGHT, reduction="mean"),
        "without labels": Distillation(1.0),
        "attached kl": Distillation(WEIGHT, detach=False),
        "attached ce": Distillation(WEIGHT, "ce", detach=False),
        "external": Distillation(WEIGHT, teacher=small_target("conv", 5).eval()),
    }


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", ["conv", "shift", "adder"])
@pytest.mark.parametrize("case", cases())
def test_the_gradient_of_a_step_is_that_of_the_whole_loss(
    case: str, kind: str, accumulate: int
) -> None:
    """AdderNet's adaptive rate, once per step, included."""
    remap = None if kind == "conv" else "analytic"
    ours, theirs = (model(kind, remap=remap) for _ in range(2))
    given = cases()[case]
    run, training = run_of(ours, given, accumulate=accumulate)
    _, images, labels = next(run.batches.epoch(0))
    totals = training.backward(run, images, labels)
    other, _ = run_of(theirs, given)
    cut = list(zip(images.chunk(accumulate), labels.chunk(accumulate), strict=True))
    right = expected(other.model, training.configuration(run), cut, given)
    found = gradients(ours)
    assert found.keys() == right.keys()
    for name, gradient in found.items():
        # A map's parameters receive means over all weights, in which these nearly cancel.
        scale = max(right[name].abs().max().item(), 0.02)
        assert (gradient - right[name]).abs().max().item() < 2e-4 * scale, name
    assert totals.shape == (6,)
    assert totals[[2, 5]].tolist() == [16, 16]


def trained(distillation: Distillation | None, kind: str = "shift", **changes: Any):
    net = model(kind, remap=None if kind == "conv" else "analytic")
    method = AugmentedTraining(batch_norm_images=16, distillation=distillation)
    return net, train(net, method, replace(CONFIG, **changes))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("conv", {}),
        ("shift", {}),
        ("adder", {"accumulate": 2}),
        ("shift", {"amp": True}),
        ("conv", {"mixup": 0.4}),
    ],
)
def test_with_a_detached_teacher_one_seed_gives_one_curve(kind: str, changes: dict) -> None:
    kl, ce = (trained(Distillation(0.9, c), kind, **changes) for c in ("kl", "ce"))
    assert_same_run(kl, ce)


def test_all_else_gives_curves_of_their_own() -> None:
    """Without this, equal bits above could mean that D does not arrive."""
    given = [None, *(case for name, case in cases().items() if name != "ce")]
    nets = [trained(distillation, "conv", epochs=1)[0] for distillation in given]
    assert len({net.net.conv1.layer.weight.sum().item() for net in nets}) == len(given) == 7


@pytest.mark.parametrize("kind", ["conv", "adder"])
def test_a_weight_of_0_is_training_without_it(kind: str) -> None:
    assert_same_run(trained(None, kind), trained(Distillation(0.0), kind))
    without = AugmentedTraining().settings(model())
    assert AugmentedTraining(distillation=Distillation(0)).settings(model()) == without


@pytest.mark.parametrize("case", ["kl", "attached kl"])
def test_killed_and_resumed_gives_the_same_bits(case: str, tmp_path: Path, monkeypatch) -> None:
    def run(seed: int, folder: Path | None, name: str = case):
        net = model("adder", seed=seed, remap="analytic")
        method = AugmentedTraining(sort=True, batch_norm_images=16, distillation=cases()[name])
        return net, train(net, method, CONFIG, folder, checkpoint_every=1)

    whole = run(0, None)
    with stopped_in_step(3, monkeypatch):
        run(0, tmp_path)
    with pytest.raises(CheckpointError, match=r"augmentation\.distillation\.criterion is"):
        run(0, tmp_path, "attached ce" if case == "attached kl" else "ce")
    assert_same_run(whole, run(9, tmp_path))


class Held:
    """Bytes that graphs keep for their way back, at most at one time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __enter__(self) -> "Held":
        self._hooks = saved_tensors_hooks(lambda x: _Counted(self, x), lambda kept: kept.tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)


class _Counted:
    def __init__(self, held: Held, tensor: Tensor) -> None:
        self.held, self.tensor = held, tensor
        held.now += tensor.nbytes
        held.most = max(held.most, held.now)

    def __del__(self) -> None:
        self.held.now -= self.tensor.nbytes


def held(distillation: Distillation) -> int:
    run, training = run_of(model("conv"), distillation)
    _, images, labels = next(run.batches.epoch(0))
    with Held() as counted:
        training.backward(run, images, labels)
    return counted.most


def test_only_a_teacher_that_is_not_detached_costs_a_second_graph() -> None:
    without, detached, attached = (
        held(Distillation(0)), held(Distillation(0.3)), held(Distillation(0.3, detach=False)),
    )  # fmt: skip
    assert detached < 1.01 * without
    assert 1.4 * without < attached < 2.02 * without


def test_what_it_refuses() -> None:
    with pytest.raises(UsageError, match="teaches only where it is run; got alpha=0"):
        AugmentedTraining(0.0, distillation=Distillation(0.3))
    with pytest.raises(UsageError, match=r"distillation must be a Distillation or None; got 0\.3"):
        AugmentedTraining(distillation=0.3)
    net = model("conv")
    alone = AugmentedTraining(0.0, distillation=Distillation(0.3, teacher=small_target("conv")))
    assert alone.passes == ("train",)
    target = small_target("adder")
    for layer in target.modules():
        if isinstance(layer, AdderConv2d):
            layer.adaptive_lr = "pass"
    net = augment(target, AugmentConfig(width=(1.0, 1.5)))
    with pytest.raises(UsageError, match="adaptive_lr must not be 'pass'"):
        train(net, AugmentedTraining(distillation=Distillation(0.3, detach=False)))
    train(net, AugmentedTraining(distillation=Distillation(0.3)))
