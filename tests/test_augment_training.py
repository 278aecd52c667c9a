"""Augmented training through the one loop: α = 0, resume, records, re-estimation."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from augment_samples import CONFIG, images, model, small_target, train
from train_samples import StoppedError, assert_same_run, stopped_in_step

from saa_lite.augment import AugmentedTraining, Mutation, export, method
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.train import Method, load_checkpoint, loop, save_checkpoint


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("kind", ["conv", "shift", "adder"])
def test_alpha_0_is_plain_training(kind: str, sort: bool) -> None:
    plain = small_target(kind)
    history = train(plain)
    wide = model(kind, depth=1)
    augmented = train(wide, AugmentedTraining(alpha=0, sort=sort))
    for left, right in zip(history, augmented, strict=True):
        assert left | {"seconds": 0} == right | {"seconds": 0}
    alone = export(wide)
    for name, value in small_target(kind).state_dict().items():
        trained = plain.state_dict()[name]
        if kind == "shift" and trained.dim() == 4 and "stage" in name:
            continue  # the export holds ±2^p; compared below by what they compute
        assert torch.equal(alone.state_dict()[name], trained), name
        moved = trained.dtype != torch.int64 and trained.numel() > 4
        assert not moved or not torch.equal(trained, value), name
    with torch.no_grad():
        assert torch.equal(alone.eval()(images()), plain.eval()(images()))


def test_alpha_changes_the_target_and_both_passes_are_recorded() -> None:
    finals = []
    for alpha in (0.0, 0.5, 1.0):
        wide = model()
        history = train(wide, AugmentedTraining(alpha=alpha))
        assert ("augmented_loss" in history[0]) == (alpha > 0)
        finals.append(wide.net.stage1[0].conv1.layer.weight.detach().clone())
    assert history[-1]["augmented_loss"] != history[-1]["train_loss"] > 0
    assert 0 <= history[-1]["augmented_accuracy"] <= 1
    assert len({value.sum().item() for value in finals}) == 3


STATEFUL = {
    "plain": ({}, {}),
    "everything": (
        {
            "kind": "adder",
            "remap": "analytic",
            "depth": 1,
            "mutation": Mutation(start=0, every=1, blend=0),
        },
        {"sort": True, "width_epochs": 0.7, "batch_norm_images": 16},
    ),
}


@pytest.mark.parametrize("case", STATEFUL)
def test_killed_and_resumed_gives_the_same_bits(case: str, tmp_path: Path, monkeypatch) -> None:
    options, settings = STATEFUL[case]
    config = replace(CONFIG, epochs=3)

    def run(seed: int, folder: Path | None):
        net = model(seed=seed, **options)
        return net, train(net, AugmentedTraining(**settings), config, folder, checkpoint_every=1)

    whole = run(0, None)
    with stopped_in_step(4, monkeypatch):
        run(0, tmp_path)
    resumed = run(9, tmp_path)  # other weights: everything comes from the checkpoint
    assert_same_run(whole, resumed)
    with torch.no_grad():
        x = images()
        assert torch.equal(export(whole[0]).eval()(x), export(resumed[0]).eval()(x))


class Sorts:
    """At which updates channels are sorted, and a stop around one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, stop_before: int = 99, stop_in: int = 99) -> None:
        self.update, self.seen = 0, []
        self.stops, self.originals = (stop_before, stop_in), (loop.train_step, method.sort_channels)
        patch.setattr(loop, "train_step", self.step)
        patch.setattr(method, "sort_channels", self.sort)

    def step(self, *arguments):
        if self.update == self.stops[0]:
            raise StoppedError
        totals = self.originals[0](*arguments)
        self.update += 1
        return totals

    def sort(self, *arguments):
        self.seen.append(self.update)
        self.originals[1](*arguments)
        if self.update == self.stops[1]:
            raise StoppedError


@pytest.mark.parametrize(
    ("sort_every", "expected"), [(0, [0, 2]), (1, [1, 2, 3]), (3, [3]), (4, [])]
)
def test_sorting_by_updates_begins_after_the_first_and_ends_with_the_widths(
    sort_every: int, expected: list[int], monkeypatch
) -> None:
    """Two updates an epoch, widths drawn in the first two of four epochs."""
    sorts = Sorts(monkeypatch)
    training = AugmentedTraining(sort=True, sort_every=sort_every, width_epochs=0.5)
    train(model(), training, replace(CONFIG, epochs=4))
    assert sorts.seen == expected


@pytest.mark.parametrize("stop", [{"stop_before": 3}, {"stop_in": 3}, {"stop_before": 4}])
def test_killed_around_a_sort_and_resumed_gives_the_same_bits(
    stop: dict[str, int], tmp_path: Path, monkeypatch
) -> None:
    """Before update 3, which sorts, between its sort and its step, and right behind it."""
    config = replace(CONFIG, epochs=4)

    def run(seed: int, folder: Path | None):
        net, training = (
            model(seed=seed, remap="analytic"),
            AugmentedTraining(sort=True, sort_every=3),
        )
        return net, train(net, training, config, folder, checkpoint_every=1)

    whole = run(0, None)
    with monkeypatch.context() as patch:
        sorts = Sorts(patch, **stop)
        with pytest.raises(StoppedError):
            run(0, tmp_path)
    assert sorts.seen == ([] if stop == {"stop_before": 3} else [3])
    sorts = Sorts(monkeypatch)
    assert_same_run(whole, run(9, tmp_path))  # other weights: everything is in the checkpoint
    # Counted from where it goes on: 3 or 4 updates are done.
    assert sorts.seen == ([2] if stop == {"stop_before": 4} else [0, 3])


def test_settings_that_came_later_leave_older_checkpoints_alone() -> None:
    """At their defaults they are not written, so a run from before is still the same run."""
    settings = AugmentedTraining().settings(model())["augmentation"]
    assert not {"sort_every", "fan"} & set(settings)
    settings = AugmentedTraining(sort_every=2).settings(model(fan="wide"))["augmentation"]
    assert (settings["sort_every"], settings["fan"]) == (2, "wide")


def test_another_augmentation_is_refused(tmp_path: Path) -> None:
    train(model(), AugmentedTraining(), folder=tmp_path)
    message = r"another configuration: augmentation\.alpha is 1\.0 there and 0\.5 here;"
    with pytest.raises(CheckpointError, match=message):
        train(model(), AugmentedTraining(alpha=0.5), folder=tmp_path)


def test_statistics_are_the_targets_own_when_tested() -> None:
    """The passes share running statistics; before a test the target's are measured alone."""
    shared, measured = (model(seed=0) for _ in range(2))
    train(shared, AugmentedTraining(batch_norm_images=0))
    train(measured, AugmentedTraining(batch_norm_images=32))
    left, right = shared.net.conv1.norm, measured.net.conv1.norm
    assert torch.equal(left.target.weight, right.target.weight)  # training is not touched
    assert not torch.equal(left.target.running_mean, right.target.running_mean)
    assert torch.equal(left.rest.running_mean, right.rest.running_mean)


def test_mutation_ends_multiplication_free() -> None:
    wide = model("adder", mutation=Mutation(start=0, every=0, blend=1))
    train(wide, AugmentedTraining())
    assert wide.mutated.tolist() == [1, 1, 1]
    export(wide)
    late = model("adder", mutation=Mutation(start=0, every=1, blend=1))
    with pytest.raises(UsageError, match="ends in epoch 4"):
        train(late, AugmentedTraining())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha must be"),
        ({"alpha": "1"}, "alpha must be"),
        ({"width_epochs": 2.0}, "width_epochs must be"),
        ({"width_epochs": None}, "width_epochs must be"),
        ({"sort": "no"}, "sort must be True or False"),
        ({"sort_every": -1}, "sort_every must be an integer of at least 0; got -1"),
        ({"sort_every": True}, "sort_every must be an integer of at least 0; got True"),
        ({"batch_norm_images": -1}, "batch_norm_images must be"),
        ({"batch_norm_images": 1.5}, "batch_norm_images must be"),
    ],
)
def test_refused_settings(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AugmentedTraining(**options)


def test_only_augmented_models() -> None:
    with pytest.raises(UsageError, match="got CifarResNet"):
        train(small_target(), AugmentedTraining())


def test_plain_training_does_not_leave_the_augmentation_out() -> None:
    with pytest.raises(
        UsageError, match=r"AugmentedNet is trained by method=AugmentedTraining\(\)"
    ):
        train(model(), Method())


def test_an_exported_network_loads_to_the_same_bits_and_is_frozen(tmp_path: Path) -> None:
    """After training, that is, which leaves ``channels_last``; a file keeps no memory format."""
    wide = model("shift", remap="shift")
    train(wide, AugmentedTraining())
    alone = export(wide).eval()
    save_checkpoint(tmp_path, alone)
    loaded = small_target("shift").eval().to(memory_format=torch.channels_last)
    load_checkpoint(tmp_path, loaded)
    with torch.no_grad():
        x = images()
        assert torch.equal(alone(x), loaded(x))
        assert torch.equal(alone(x), wide.eval()(x))
    with pytest.raises(UsageError, match="nothing to train"):
        train(alone, Method())
