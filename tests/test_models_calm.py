"""Remedies for deep adder networks: a calm start, and inputs behind a ReLU."""

import pytest
import torch
from torch import nn

from saa_lite.augment import AugmentConfig, augment, export
from saa_lite.errors import UsageError
from saa_lite.models import calm_start, create_model, rectify_bottlenecks
from saa_lite.nn import AdderConv2d, attach_adaptive_lr


def network(name: str = "mobilenet_v2_w035", kind: str = "adder") -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, 10, kind, small_input=True)


def adder_std(model: nn.Module) -> float:
    weights = [m.weight.detach().flatten() for m in model.modules() if isinstance(m, AdderConv2d)]
    return float(torch.cat(weights).std())


@torch.no_grad()
def likeness(model: nn.Module) -> float:
    """Correlation of the last features of images and of the same images with 5 % noise."""
    random = torch.Generator().manual_seed(1)
    images = torch.randn(32, 3, 32, 32, generator=random)
    noisy = images + 0.05 * torch.randn(images.shape, generator=random)
    features = model.train().forward_features(torch.cat([images, noisy]))
    clean, disturbed = (features - features.mean(0)).chunk(2)
    return float(torch.cosine_similarity(clean, disturbed).mean())


def test_images_stay_like_their_noisy_copies() -> None:
    model = network()
    own = likeness(model)
    calm_start(model)
    calm = likeness(model)
    assert own < 0.2
    assert likeness(network(kind="conv")) > own + 0.15
    assert calm > own + 0.3


@pytest.mark.parametrize("scale_eta", [True, False])
def test_a_step_is_as_large_beside_its_weight_as_before_or_so_many_times_smaller(
    scale_eta: bool,
) -> None:
    """Measured at the optimiser: change of the weights over their deviation, lr 0.1."""
    moved = []
    for spread in (None, 6.0):
        model = network("resnet8")
        if spread:
            calm_start(model, spread, zero_init_residual=False, scale_eta=scale_eta)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        attach_adaptive_lr(optimizer, model)
        layer = model.get_submodule("stage2.0.conv1")
        before = layer.weight.detach().clone()
        model(torch.randn(8, 3, 16, 16)).square().sum().backward()
        optimizer.step()
        moved.append(float((layer.weight.detach() - before).norm() / before.norm()))
    own, calm = moved
    assert own == pytest.approx(0.1 * 0.2, rel=0.02)
    assert calm == pytest.approx(own if scale_eta else own / 6, rel=0.02)


@pytest.mark.parametrize(("name", "branches"), [("mobilenet_v2_w035", 10), ("resnet20", 7)])
def test_weights_widen_and_identity_blocks_are_identities(name: str, branches: int) -> None:
    model = network(name)
    before = adder_std(model)
    calm_start(model, 3.0)
    assert adder_std(model) == pytest.approx(3 * before, rel=1e-3)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(not norm.weight.any() for norm in norms) == branches


def test_each_half_of_the_start_can_be_left_out() -> None:
    model = network()
    before = adder_std(model)
    calm_start(model, 1.0)
    assert adder_std(model) == before
    wide = network()
    calm_start(wide, zero_init_residual=False)
    norms = [m for m in wide.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.weight.all() for norm in norms)
    assert adder_std(wide) == pytest.approx(6 * before, rel=1e-3)


def test_a_remapped_target_starts_as_wide() -> None:
    own, calm = (
        augment(network(), AugmentConfig(remap="analytic", remap_spread=spread))
        for spread in (1.0, 6.0)
    )
    for narrow, wide in zip(shared(own), shared(calm), strict=True):
        assert widening(wide) == pytest.approx(6 * widening(narrow), rel=0.1)
        assert float(wide.gauge) == pytest.approx(widening(wide) ** -2, rel=1e-3)


def adder_inputs(model: nn.Module) -> dict[str, torch.Tensor]:
    """What each adder layer reads of two images, by name."""
    seen: dict[str, torch.Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, AdderConv2d):
            layer.register_forward_pre_hook(
                lambda _, args, name=name: seen.__setitem__(name, args[0].detach())
            )
    model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)))
    return seen


@pytest.mark.parametrize("name", ["mobilenet_v2_w035", "mcunet", "proxylessnas_w035"])
def test_behind_a_relu_no_adder_layer_reads_a_negative_number(name: str) -> None:
    """Before, all that read a bottleneck do; projections never did."""
    model, plain = network(name), network(name)
    rectify_bottlenecks(model)
    signed = {k for k, x in adder_inputs(plain).items() if (x < 0).any()}
    assert signed == {k for k in adder_inputs(plain) if "project" not in k}
    seen = adder_inputs(model)
    assert seen.keys() == adder_inputs(plain).keys()
    assert all((x >= 0).all() for x in seen.values())
    assert model.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():  # the shortcut carries both signs, as before
        block = next(b for b in model.eval().blocks if b.has_shortcut)
        x = torch.randn(2, block.project.conv.out_channels, 8, 8)
        branch = block.project(block.depthwise(block.expand[1:](x.clamp(min=0))))
        assert torch.equal(block(x), x + branch)


def test_a_rectified_target_is_augmented_and_exported_as_itself() -> None:
    model = network()
    rectify_bottlenecks(model)
    wide = augment(model, AugmentConfig(width=(1.0, 1.5), expand=(1.0, 1.5)))
    alone, images = export(wide), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(alone.eval()(images), model.eval()(images))
        with wide.configured(wide.largest):
            assert wide.train()(images).isfinite().all()


@torch.no_grad()
def widening(weight) -> float:
    """How much wider the adder reads the weight than it is stored."""
    return float(weight.free().std() / weight.layer.weight.std())


def shared(model: nn.Module) -> list:
    return [m for m in model.modules() if getattr(m, "remap", None) is not None]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: calm_start(network(), 0.0), "spread must be positive and finite; got 0.0"),
        (lambda: calm_start(network(kind="conv")), "there is none"),
        (lambda: rectify_bottlenecks(network("resnet8")), "inverted blocks .* got CifarResNet"),
        (lambda: AugmentConfig(remap="analytic", remap_spread=-1.0), "remap_spread must be"),
        (lambda: AugmentConfig(remap="bins", remap_spread=2.0), "needs a remap among"),
    ],
)
def test_errors_name_what_was_given(wrong, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        wrong()


def test_the_old_name_of_an_argument_is_taken_with_a_word() -> None:
    model = create_model("resnet8", 10, conv="adder")
    with pytest.warns(DeprecationWarning, match="give zero_init_residual=False"):
        calm_start(model, silent_branches=False)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.weight.eq(1).all() for norm in norms)
