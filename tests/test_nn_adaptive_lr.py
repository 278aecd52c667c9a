"""AdderNet's adaptive learning rate: where it acts, what it ignores, what it refuses."""

import copy
import gc
import math
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d, AdderLinear, adaptive_gradient, adaptive_lr, attach_adaptive_lr


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


IMAGES = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(1)).double()
LABELS = torch.arange(8) % 5


def network(mode: str = "step", seed: int = 0) -> nn.Sequential:
    """Stem in multiplication, adder convolution, adder linear; double, to compare closely."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 1),
        AdderConv2d(3, 4, 3, adaptive_lr=mode),
        nn.BatchNorm2d(4, momentum=1.0),
        nn.Flatten(),
        AdderLinear(16, 5, adaptive_lr=mode),
        nn.LayerNorm(5),
    ).double()
    model(IMAGES)  # fills the running statistics that evaluation mode uses
    return model


def loss_of(model: nn.Module, part: slice = slice(None)) -> torch.Tensor:
    return nn.functional.cross_entropy(model(IMAGES[part]), LABELS[part])


def rms(tensor: torch.Tensor) -> float:
    return tensor.square().mean().sqrt().item()


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    return [
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01),
        torch.optim.Adam(model.parameters(), lr=0.01),
        torch.optim.RAdam(model.parameters(), lr=0.01),
    ]


@pytest.mark.parametrize("which", range(3))
def test_step_leaves_gradients_of_rms_eta(which: int) -> None:
    model = network()
    model[4].eta = 0.05
    optimizer = optimizers(model)[which]
    attach_adaptive_lr(optimizer, model)
    loss_of(model).backward()
    untouched = [model[0].weight.grad.clone(), model[4].bias.grad.clone()]
    direction = model[1].weight.grad.clone()
    optimizer.step()
    assert rms(model[1].weight.grad) == pytest.approx(0.2)
    assert rms(model[4].weight.grad) == pytest.approx(0.05)
    assert torch.equal(model[0].weight.grad, untouched[0])
    assert torch.equal(model[4].bias.grad, untouched[1])
    cosine = nn.functional.cosine_similarity(direction.flatten(), model[1].weight.grad.flatten(), 0)
    assert cosine == pytest.approx(1)


def test_one_backward_per_step_makes_both_places_equal() -> None:
    step, backward = network("step"), network("backward")
    for model in (step, backward):
        optimizer = optimizers(model)[0]
        if model is step:
            attach_adaptive_lr(optimizer, model)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
    for mine, theirs in zip(step.parameters(), backward.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def step_size(mode: str, micro_batches: int, scale: float = 1.0) -> torch.Tensor:
    """Change of an adder weight in one plain SGD step, eval mode so that batches are additive."""
    model = network(mode).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    if mode == "step":
        attach_adaptive_lr(optimizer, model)
    before = model[1].weight.detach().clone()
    size = len(IMAGES) // micro_batches
    for start in range(0, len(IMAGES), size):
        (scale * loss_of(model, slice(start, start + size)) / micro_batches).backward()
    optimizer.step()
    return before - model[1].weight.detach()


def test_accumulation_equals_one_batch_only_in_step_mode() -> None:
    torch.testing.assert_close(step_size("step", 4), step_size("step", 1))
    assert rms(step_size("step", 4)) == pytest.approx(0.2)
    assert rms(step_size("backward", 1)) == pytest.approx(0.2)
    assert rms(step_size("backward", 4)) > 0.3  # four full-size gradients, partly aligned


@settings(max_examples=20, deadline=None, derandomize=True)
@given(exponent=st.integers(-8, 8))
def test_scaling_the_loss_changes_nothing(exponent: int) -> None:
    torch.testing.assert_close(step_size("step", 1, 10.0**exponent), step_size("step", 1))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unscale_first", [False, True])
def test_grad_scaler(fused: bool, unscale_first: bool) -> None:
    """Fused optimisers unscale inside their step, after the hook; the others before it."""
    model = network().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
    attach_adaptive_lr(optimizer, model)
    before = model[1].weight.detach().clone()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(loss_of(model)).backward()
    if unscale_first:
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert rms(before - model[1].weight.detach()) == pytest.approx(0.2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler_on_cuda(fused: bool) -> None:
    model = network().eval().float().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
    attach_adaptive_lr(optimizer, model)
    before = model[1].weight.detach().clone()
    scaler = torch.amp.GradScaler("cuda")
    scaler.scale(model(IMAGES.float().cuda()).square().mean()).backward()
    scaler.step(optimizer)
    assert rms(before - model[1].weight.detach()) == pytest.approx(0.2, rel=1e-4)


def test_closure_gradients_are_normalised() -> None:
    model = network().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    attach_adaptive_lr(optimizer, model)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    for call in (lambda: optimizer.step(closure), lambda: optimizer.step(closure=closure)):
        before = model[1].weight.detach().clone()
        assert call() > 0
        assert rms(before - model[1].weight.detach()) == pytest.approx(0.2)


def test_weight_decay_comes_after() -> None:
    model = network().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.5)
    attach_adaptive_lr(optimizer, model)
    before = model[1].weight.detach().clone()
    loss_of(model).backward()
    optimizer.step()
    expected = model[1].weight.grad + 0.5 * before
    assert rms(model[1].weight.grad) == pytest.approx(0.2)
    torch.testing.assert_close(before - model[1].weight.detach(), expected)


def test_attach_is_idempotent_extends_and_removes() -> None:
    model, other = network(), network(seed=1)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=1.0)
    handle = attach_adaptive_lr(optimizer, model)
    assert attach_adaptive_lr(optimizer, model) is handle
    assert len(handle) == len(optimizer._optimizer_step_pre_hooks) * 2 == 2
    assert attach_adaptive_lr(optimizer, other[1]) is handle
    assert len(handle) == 3
    assert model[1].weight in handle
    assert other[4].weight not in handle
    handle.remove()
    handle.remove()
    loss_of(model).backward()
    raw = model[1].weight.grad.clone()
    optimizer.step()
    assert torch.equal(model[1].weight.grad, raw)
    assert attach_adaptive_lr(optimizer, model) is not handle


def test_eta_argument_overrides_and_attribute_is_read_each_step() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    attach_adaptive_lr(optimizer, model, eta=0.5)
    attach_adaptive_lr(optimizer, model[4])
    for eta in (0.3, 0.7):
        model[4].eta = eta
        loss_of(model).backward()
        optimizer.step()
        assert rms(model[1].weight.grad) == pytest.approx(0.5)
        assert rms(model[4].weight.grad) == pytest.approx(eta)
        optimizer.zero_grad()


def test_two_optimizers_share_a_network() -> None:
    model = network()
    first = torch.optim.SGD(model[1].parameters(), lr=1.0)
    second = torch.optim.Adam([*model[0].parameters(), *model[4].parameters()])
    assert len(attach_adaptive_lr(first, model)) == len(attach_adaptive_lr(second, model)) == 1


def test_zero_missing_and_frozen_gradients() -> None:
    model = network()
    model[4].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    assert len(attach_adaptive_lr(optimizer, model)) == 1
    optimizer.step()  # no gradient yet
    assert model[1].weight.grad is None
    (0 * loss_of(model)).backward()
    optimizer.step()
    assert torch.equal(model[1].weight.grad, torch.zeros_like(model[1].weight))
    backward = network("backward")
    (0 * loss_of(backward)).backward()
    assert torch.equal(backward[1].weight.grad, torch.zeros_like(backward[1].weight))


@pytest.mark.parametrize("mode", ["off", "backward"])
def test_other_modes_are_left_alone_by_the_hook(mode: str) -> None:
    model = network(mode)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    assert len(attach_adaptive_lr(optimizer, model)) == 0
    loss_of(model).backward()
    assert (rms(model[1].weight.grad) == pytest.approx(0.2)) == (mode == "backward")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_adaptive_gradient_is_an_identity_with_rms_eta(dtype: torch.dtype) -> None:
    weight = torch.randn(40, 30, dtype=dtype, requires_grad=True)
    output = adaptive_gradient(weight, 0.2)
    assert torch.equal(output, weight)
    output.backward(torch.full_like(weight, 3000))  # its norm overflows float16
    assert rms(weight.grad.double()) == pytest.approx(0.2, rel=1e-2)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_backward_mode_compiles_and_copies(backend: str) -> None:
    layer = AdderLinear(6, 4, adaptive_lr="backward")
    for other in (copy.deepcopy(layer), torch.compile(layer, backend=backend, fullgraph=True)):
        layer.zero_grad()
        other(torch.randn(3, 6)).square().sum().backward()
        assert rms(next(other.parameters()).grad) == pytest.approx(0.2, rel=1e-5)


def test_nothing_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", [])  # so that weights are watched
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    attach_adaptive_lr(optimizer, model)
    watched = [weakref.ref(model[1]), weakref.ref(optimizer)]
    del model, optimizer
    gc.collect()
    assert [ref() for ref in watched] == [None, None]


def attach_with(**arguments: float) -> None:
    model = network()
    attach_adaptive_lr(torch.optim.SGD(model.parameters(), lr=1.0), model, **arguments)


def attach_to_another_copy() -> None:
    model = network()
    attach_adaptive_lr(torch.optim.SGD(model.parameters(), lr=1.0), copy.deepcopy(model))


def attach_parametrised() -> None:
    model = network()
    nn.utils.parametrizations.weight_norm(model[1])
    attach_adaptive_lr(torch.optim.SGD(model.parameters(), lr=1.0), model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (attach_to_another_copy, "holds none of the module's 2 adder weights"),
        (lambda: attach_with(eta=0.0), "eta must be a positive finite number; got 0.0"),
        (lambda: attach_with(eta=math.inf), "eta must be a positive finite number; got inf"),
        (attach_parametrised, "'1' is parametrised.*adaptive_lr='backward'"),
    ],
)
def test_wrong_attachments_are_named(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
