"""The parts of training on their own: configuration, schedule, evaluation, batch norm."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from saa_lite.augment.remap import make_remap
from saa_lite.data import ImageSet
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.nn import AdderConv2d, ShiftPSConv2d
from saa_lite.train import TrainConfig, evaluate, evaluation_mode, learning_rate
from saa_lite.train import reestimate_batch_norm as reestimate
from saa_lite.train.optimizer import make_optimizer, pack_optimizer, unpack_optimizer


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    return


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be an integer of at least 1; got 0"),
        ("epochs", 1.5, "epochs must be an integer"),
        ("epochs", True, "epochs must be an integer"),
        ("batch_size", 1, "batch_size must be an integer of at least 2"),
        ("eval_batch_size", -1, "eval_batch_size must be an integer of at least 1"),
        ("lr", 0.0, r"lr must be a finite number above 0; got 0\.0"),
        ("lr", math.nan, "lr must be a finite number above 0; got nan"),
        ("lr", math.inf, "lr must be a finite number above 0; got inf"),
        ("lr", "0.1", "lr must be a finite number"),
        ("momentum", 1.0, "momentum must be a finite number of at least 0 and below 1; got 1"),
        ("momentum", 0.0, "nesterov=True needs a momentum above 0"),
        ("nesterov", 1, "nesterov must be True or False; got 1"),
        ("weight_decay", -1e-4, "weight_decay must be a finite number of at least 0"),
        (
            "warmup_epochs",
            3,
            "warmup_epochs must be a finite number of at least 0 and below epochs=3",
        ),
        ("label_smoothing", 1.0, "label_smoothing must be a finite number"),
        ("accumulate", 0, "accumulate must be an integer of at least 1"),
        ("accumulate", 65, "accumulate must leave two images .* of a batch of 128; got 65"),
        ("amp", "yes", "amp must be True or False"),
        ("seed", -1, "seed must be an integer of at least 0"),
        ("test_every", 0, "test_every must be an integer of at least 1; got 0"),
        ("mixup", 1.5, r"mixup must be a finite number from 0 to 1; got 1\.5"),
        ("decay_norms", 0, "decay_norms must be True or False; got 0"),
        ("crop_padding", -4, "crop_padding must be an integer of at least 0"),
        ("optimizer", "adam", "optimizer must be one of 'sgd', 'radam'; got 'adam'"),
    ],
)
def test_config_refuses(field: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(**({"epochs": 3} | {field: value}))


def test_learning_rate_values() -> None:
    rates = [learning_rate(step, 0.8, total_steps=12, warmup_steps=4) for step in range(12)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == pytest.approx(0.8)
    assert rates[8] == pytest.approx(0.4)  # half-way down the cosine
    assert rates[11] == pytest.approx(0.4 * (1 + math.cos(math.pi * 7 / 8)))
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_learning_rate_is_the_official_cosine_at_epoch_starts() -> None:
    """AdderNet, official main.py: 0.05·(1 + cos(πe/400)) for a peak of 0.1."""
    for epoch in (1, 100, 399):
        official = 0.05 * (1 + math.cos(math.pi * epoch / 400))
        assert learning_rate(epoch * 7, 0.1, total_steps=400 * 7) == pytest.approx(official)


def small_set(count: int = 10) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return ImageSet("noise", "test", images, torch.arange(count) % 5, tuple("abcde"))


def small_model() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(), nn.Flatten(), nn.Linear(24, 5)
    )


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_evaluate_averages_over_images(batch_size: int) -> None:
    """A mean of batch means would weigh the last, smaller batch too much."""
    image_set, model = small_set(), small_model()
    mean, std = image_set.statistics()
    tested = evaluate(model, image_set, batch_size=batch_size, mean=mean, std=std)
    view = (1, 3, 1, 1)
    pixels = image_set.images.double() / 255
    images = (pixels - torch.tensor(mean).double().view(view)) / torch.tensor(std).view(view)
    with torch.no_grad():
        logits = model.eval().double()(images)
    assert tested["loss"] == pytest.approx(F.cross_entropy(logits, image_set.labels).item(), 1e-5)
    assert tested["accuracy"] == (logits.argmax(1) == image_set.labels).double().mean().item()


def test_evaluate_restores_every_modules_mode() -> None:
    image_set, model = small_set(), small_model()
    mean, std = image_set.statistics()
    model.train()
    model[1].eval()  # frozen statistics, as in fine-tuning
    state = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, image_set, mean=mean, std=std)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_evaluation_mode_ends_after_errors_too() -> None:
    model = small_model()
    model[1].eval()
    with pytest.raises(RuntimeError), evaluation_mode(model):
        model(torch.zeros(2, 5, 4, 4))
    assert [module.training for module in model] == [True, False, True, True, True]


@pytest.mark.parametrize("as_triples", [False, True])
def test_reestimated_statistics_are_plain_averages(as_triples: bool) -> None:
    model = small_model()
    model[1].momentum = 0.3
    model[1].running_mean.fill_(7.0)  # must be forgotten
    weights = model[0].weight.clone()
    batches = [torch.randn(4, 3, 4, 4) + shift for shift in range(3)]
    labels = torch.zeros(4, dtype=torch.int64)
    given = [(i, b, labels) for i, b in enumerate(batches)] if as_triples else batches
    reestimate(model, iter(given))
    with torch.no_grad():
        maps = [model[0](batch) for batch in batches]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    variances = torch.stack([m.transpose(0, 1).flatten(1).var(1) for m in maps]).mean(0)
    torch.testing.assert_close(model[1].running_mean, means)
    torch.testing.assert_close(model[1].running_var, variances)
    assert model[1].momentum == 0.3
    assert all(module.training for module in model.modules())
    assert torch.equal(model[0].weight, weights)


def test_reestimation_says_that_one_value_has_no_variance() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12))
    before = model[1].running_mean.clone()
    with pytest.raises(UsageError, match=r"one value per channel at a norm.*two or more images"):
        reestimate(model, [torch.randn(1, 3, 2, 2)])
    assert torch.equal(model[1].running_mean, before)
    reestimate(nn.Sequential(nn.BatchNorm2d(3)), [torch.randn(1, 3, 2, 2)])  # four values


def test_reestimation_needs_a_batch_and_restores_after_errors() -> None:
    model = small_model().eval()
    before = model[1].running_mean.fill_(7.0).clone()
    with pytest.raises(UsageError, match="at least one batch"):
        reestimate(model, [])
    assert torch.equal(model[1].running_mean, before)
    with pytest.raises(RuntimeError):
        reestimate(model, [torch.zeros(2, 5, 4, 4)])
    assert model[1].momentum == 0.1
    assert not any(module.training for module in model.modules())


def test_weight_decay_spares_exponents_and_signs() -> None:
    model = nn.Sequential(ShiftPSConv2d(3, 4, 3), nn.BatchNorm2d(4))
    groups = make_optimizer(model, TrainConfig(epochs=1)).param_groups
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert spared == {id(model[0].shift), id(model[0].sign)}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def everything_that_decays_or_not() -> nn.ModuleDict:
    """Weights of every kind, norms with and without running statistics, biases, scalars."""
    parts = {
        "conv": nn.Conv2d(3, 4, 3),
        "shift": ShiftPSConv2d(3, 4, 3),
        "adder": AdderConv2d(3, 4, 3),
        "linear": nn.Linear(4, 2),
        "batch": nn.BatchNorm2d(4),
        "layer": nn.LayerNorm(4),
        "scale": make_remap("affine-z"),
        "matrix": make_remap("matrix", kernel_size=3),
    }
    return nn.ModuleDict(parts)


def test_norms_biases_and_scalars_may_be_spared_of_decay() -> None:
    """One step without a gradient multiplies what decays by 1 − lr·decay, and nothing else."""
    spared = {
        "conv.bias", "shift.shift", "shift.sign", "shift.bias", "adder.bias", "linear.bias",
        "batch.weight", "batch.bias", "layer.weight", "layer.bias",
        "scale.log_scale", "scale.gain", "scale.offset", "matrix.log_scale",
    }  # fmt: skip
    for decay_norms, expected in ((False, spared), (True, {"shift.shift", "shift.sign"})):
        model = everything_that_decays_or_not()
        config = TrainConfig(epochs=1, lr=0.5, weight_decay=0.2, decay_norms=decay_norms)
        optimizer = make_optimizer(model, config)
        kept = set()
        for parameter in model.parameters():
            parameter.data.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for name, parameter in model.named_parameters():
            value = parameter.unique().item()
            assert value in (1.0, pytest.approx(1 - 0.5 * 0.2 * 1.9)), name  # Nesterov: 1 + 0.9
            kept |= {name} if value == 1.0 else set()
        assert kept == expected


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RAdam", "NAdam"])
def test_optimiser_state_survives_packing(name: str) -> None:
    """A step after unpacking equals a step without it, bit for bit."""
    options = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {}
    models = [nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last) for _ in range(2)]
    optimizers = [getattr(torch.optim, name)(m.parameters(), lr=0.01, **options) for m in models]
    x = torch.randn(2, 4, 5, 5)

    def step(index: int) -> None:
        optimizers[index].zero_grad()
        models[index](x).square().sum().backward()
        optimizers[index].step()

    for _ in range(3):
        step(0)
    models[1].load_state_dict(models[0].state_dict())
    tensors, plain = pack_optimizer(optimizers[0])
    saved = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    unpack_optimizer(optimizers[1], saved, plain)
    restored, _ = pack_optimizer(optimizers[1])
    for key, value in tensors.items():  # memory format too: rounding may depend on it
        assert restored[key].stride() == value.stride(), key
    step(0)
    step(1)
    for left, right in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(left, right)


def test_optimiser_state_of_other_parameters_is_refused() -> None:
    tensors, plain = pack_optimizer(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1))
    other = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1)
    with pytest.raises(CheckpointError, match="optimiser does not fit"):
        unpack_optimizer(other, tensors, plain)
