"""The loop: it learns, repeats itself, accumulates, stops, and refuses what does not fit."""

import math
import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from saa_lite.data import ImageSet
from saa_lite.errors import UsageError
from saa_lite.models.blocks import activation
from saa_lite.nn import AdderConv2d, make_conv
from saa_lite.train import DivergenceError, Method, TrainConfig, evaluate, loop, train

CONFIG = TrainConfig(epochs=2, batch_size=16, lr=0.05, crop_padding=1, flip=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_set(split: str = "train", count: int = 64, size: int = 8, classes: int = 4) -> ImageSet:
    """Noise on one bright quadrant per class: a few steps suffice to learn something."""
    generator = torch.Generator().manual_seed(0 if split == "train" else 1)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 120, (count, 3, size, size), generator=generator)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label) % 4, 2)
        half = size // 2
        image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += 100
    return ImageSet("quadrants", split, images.to(torch.uint8), labels, tuple("abcd")[:classes])


def make_model(kind: str = "conv", norm: str = "batch", seed: int = 0) -> nn.Module:
    """Two layers, the second of the kind under test, and dropout; logits for 4 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8) if norm == "batch" else nn.GroupNorm(1, 8),
        activation(kind),
        make_conv(kind, 8, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8) if norm == "batch" else nn.GroupNorm(1, 8),
        nn.ReLU(),
        nn.Dropout(0.1 if norm == "batch" else 0.0),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )


def fit(model: nn.Module, config: TrainConfig = CONFIG, **options) -> list[dict]:
    return train(model, make_set(), make_set("test"), config, progress=False, **options)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@pytest.mark.parametrize("kind", ["conv", "adder", "shift", "shift-ps", "binary"])
def test_learns(kind: str) -> None:
    model = make_model(kind)
    history = fit(model, replace(CONFIG, epochs=6))
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    assert history[-1]["test_accuracy"] > 0.7
    assert not model.training


def test_history_says_what_happened() -> None:
    seen: list[dict] = []
    history = fit(make_model(), on_epoch=seen.append)
    assert history == seen
    assert [row["epoch"] for row in history] == [1, 2]
    assert list(history[0]) == [
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "seconds",
    ]
    assert [row["lr"] for row in history] == pytest.approx([0.05, 0.025])  # cosine at 0 and 1/2
    assert all(0 <= row["train_accuracy"] <= 1 and row["seconds"] > 0 for row in history)


def test_epochs_between_tests_have_no_test_in_their_rows() -> None:
    """The last is always tested; everything else is what it is with a test each epoch."""
    always = fit(make_model(), replace(CONFIG, epochs=5))
    for test_every, tested in ((2, [2, 4, 5]), (3, [3, 5]), (9, [5])):
        history = fit(make_model(), replace(CONFIG, epochs=5, test_every=test_every))
        assert [row["epoch"] for row in history if "test_accuracy" in row] == tested
        for row, whole in zip(history, always, strict=True):
            names = set(whole) - (
                {"test_loss", "test_accuracy"} if "test_loss" not in row else set()
            )
            assert set(row) == names
            assert without_time(row) == {k: v for k, v in without_time(whole).items() if k in names}


def test_last_row_is_the_returned_model() -> None:
    model, train_set = make_model(), make_set()
    history = fit(model)
    mean, std = train_set.statistics()
    tested = evaluate(model, make_set("test"), mean=mean, std=std)
    assert tested["accuracy"] == history[-1]["test_accuracy"]
    assert tested["loss"] == pytest.approx(history[-1]["test_loss"], rel=1e-6)


@pytest.mark.parametrize("kind", ["conv", "adder"])
def test_same_seed_same_bits(kind: str) -> None:
    models = [make_model(kind), make_model(kind), make_model(kind)]
    torch.manual_seed(1)
    first = fit(models[0])
    torch.manual_seed(2)  # the caller's generator plays no part
    assert [without_time(row) for row in fit(models[1])] == [without_time(row) for row in first]
    assert_same(weights(models[0]), weights(models[1]))
    fit(models[2], replace(CONFIG, seed=1))
    assert not torch.equal(models[0][0].weight, models[2][0].weight)


def without_time(row: dict) -> dict:
    return {key: value for key, value in row.items() if key != "seconds"}


def test_callers_generator_is_untouched() -> None:
    model = make_model()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(model)
    assert torch.equal(torch.rand(3), expected)


def test_other_thread_counts_agree_within_tolerance() -> None:
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model = make_model("adder")
        fit(model, replace(CONFIG, epochs=1))
        results.append(weights(model))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("kind", ["conv", "adder"])
def test_accumulation_changes_nothing_without_batch_norm(kind: str) -> None:
    """4 micro-batches of 8 against one batch of 32, leftover batch included; adder gradients are
    normalised once, after accumulation (the official placement would count four times)."""
    results = []
    for accumulate in (1, 4):
        model = make_model(kind, norm="group")
        config = replace(CONFIG, epochs=1, batch_size=24, accumulate=accumulate)
        history = fit(model, config)
        results.append((weights(model), history))
    for name, value in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert results[1][1][0]["train_loss"] == pytest.approx(results[0][1][0]["train_loss"], rel=1e-5)


def test_adder_gradients_have_rms_eta_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("adder")
    step, seen = loop.train_step, []

    def spy(run, images, labels):
        result = step(run, images, labels)
        seen.append(model[3].weight.grad.square().mean().sqrt().item())
        return result

    monkeypatch.setattr(loop, "train_step", spy)
    fit(model, replace(CONFIG, accumulate=2))
    assert len(seen) == 8
    assert seen == pytest.approx([0.2] * 8, rel=1e-5)


def test_mixed_precision_on_the_cpu() -> None:
    model = make_model()
    history = fit(model, replace(CONFIG, amp=True, epochs=6))
    assert history[-1]["test_accuracy"] > 0.7
    assert model[0].weight.dtype == torch.float32


def test_single_leftover_image_sits_out() -> None:
    """65 images in batches of 16: batch norm could not normalise the 65th alone."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4))
    config = replace(CONFIG, epochs=1)
    train(model, make_set(count=65), make_set("test"), config, progress=False)
    assert model[2].num_batches_tracked == 4


def test_no_micro_batch_of_a_single_image() -> None:
    """A last batch of 3 in micro-batches of 2 stays whole."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4))
    config = replace(CONFIG, epochs=1, batch_size=4, accumulate=2)
    train(model, make_set(count=7), make_set("test"), config, progress=False)
    assert model[2].num_batches_tracked == 2 + 1


def test_divergence_is_one_sentence_and_never_saved(tmp_path) -> None:
    with pytest.raises(
        DivergenceError, match=r"training diverged: the loss is .*lower lr"
    ) as error:
        fit(make_model(norm="group"), replace(CONFIG, lr=1e30), checkpoint=tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.glob("*.safetensors")) == []


def test_progress_bar_can_be_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    fit(make_model())
    assert capsys.readouterr().err == ""
    train(make_model(), make_set(), make_set("test"), replace(CONFIG, epochs=1))
    assert "4/4" in capsys.readouterr().err


def test_ctrl_c_finishes_the_step_saves_and_can_be_resumed(tmp_path, monkeypatch) -> None:
    expected = make_model("adder")
    history = fit(expected)
    step, count = loop.train_step, 0

    def interrupt_sixth(run, images, labels):
        nonlocal count
        count += 1
        if count == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(run, images, labels)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupt_sixth)
        with pytest.raises(KeyboardInterrupt):
            fit(make_model("adder"), checkpoint=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert count == 6
    resumed = make_model("adder", seed=9)
    again = fit(resumed, checkpoint=tmp_path)
    assert_same(weights(expected), weights(resumed))
    assert [without_time(row) for row in again] == [without_time(row) for row in history]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": Method}, "method must be a Method, such as .* got <class"),
        ({"device": "tpu"}, "device 'tpu' cannot be used"),
        ({"test_set": make_set("test", classes=3)}, "same num_classes; got 4 and 3"),
        ({"train_set": make_set(count=1)}, "at least 2 images"),
        ({"train_set": make_set(size=6)}, "the model does not take images of 3×6×6: "),
        ({"model": nn.Identity()}, r"logits for 4 classes; its output is \[1, 3, 8, 8\]"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(192, 3))}, "logits for 4 classes"),
    ],
)
def test_what_does_not_fit(changes: dict, message: str) -> None:
    arguments = {"model": make_model(), "train_set": make_set(), "test_set": make_set("test")}
    with pytest.raises(UsageError, match=message) as error:
        train(**(arguments | {"config": CONFIG, "progress": False} | changes))
    assert "\n" not in str(error.value)


def test_loss_scaling_refuses_gradients_normalised_in_backward() -> None:
    model = nn.Sequential(AdderConv2d(3, 4, 8, adaptive_lr="backward"), nn.Flatten())
    with pytest.raises(UsageError, match="amp=True cannot be combined"):
        fit(model, replace(CONFIG, amp=True))


def test_infinite_test_loss_is_recorded_as_none(monkeypatch) -> None:
    monkeypatch.setattr(
        "saa_lite.train.run.evaluate", lambda *_, **__: {"loss": math.inf, "accuracy": 0.0}
    )
    assert fit(make_model())[0]["test_loss"] is None
