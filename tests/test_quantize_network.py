"""quantize() as people call it: accuracy, time, own networks, training, wrong arguments."""

import pytest
import torch
from quantize_samples import CONFIG, accuracy, adder_network, calibration, digits, trained
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from saa_lite.errors import UsageError
from saa_lite.models import create_model
from saa_lite.nn import AdderConv2d, AdderLinear, convert
from saa_lite.ops import adder_conv2d
from saa_lite.quantize import METHODS, quantize
from saa_lite.quantize.adder_layers import QuantizedAdder
from saa_lite.train import TrainConfig, train

GROUPED = ("redistribution", "non-negative")


@pytest.mark.parametrize("method", GROUPED)
def test_eight_bits_lose_under_half_a_point(method: str) -> None:
    """Mean over three networks of about 98 %; a single image is 0.2 points."""
    drops = [
        accuracy(trained(seed))
        - accuracy(quantize(trained(seed), calibration(), bits=8, method=method))
        for seed in range(3)
    ]
    assert accuracy(trained()) > 95
    assert sum(drops) / 3 < 0.5


def test_redistribution_beats_one_scale_at_three_bits() -> None:
    found = {m: accuracy(quantize(trained(), calibration(), bits=3, method=m)) for m in METHODS}
    assert found["redistribution"] > found["qssf-weights"] + 10
    assert found["redistribution"] > found["qssf-both"] + 10
    assert found["redistribution"] > 90


@pytest.mark.parametrize("method", METHODS)
def test_more_bits_err_less(method: str) -> None:
    images = calibration()[0]
    with torch.no_grad():
        expected = trained()[:4](images)
        errors = [
            (
                quantize(trained(), calibration(), bits=b, method=method, alpha=1.0)[:4](images)
                - expected
            )
            .square()
            .mean()
            .item()
            for b in (2, 4, 8)
        ]
    if method == "qssf-activations":  # weights beyond the inputs' range stay over-clamped
        assert errors[2] < errors[0]
    else:
        assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_batch_norm_absorbs_the_compensation() -> None:
    """METHODS §9: re-estimation hides it, without re-estimation it decides."""
    images = calibration()[0]
    found = {}
    for reestimate in (True, False):
        for compensate in (True, False):
            options = {"bits": 6, "alpha": 0.9, "compensate": compensate}
            network = quantize(trained(), calibration(), reestimate=reestimate, **options)
            with torch.no_grad():
                found[reestimate, compensate] = network[:6](images)
    first_layer = (found[True, True] - found[True, False]).abs().max()
    assert first_layer < 1e-3
    assert (found[False, True] - found[False, False]).abs().max() > 0.1


class OwnNetwork(nn.Module):
    """A user's: one layer used twice, a hook, keyword calls, a linear adder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.twice = AdderConv2d(6, 6, 3, padding=1)
        self.norm, self.flat = nn.BatchNorm2d(6), nn.BatchNorm1d(9)
        self.dense = AdderLinear(6, 9)
        self.head = nn.Linear(9, 4)
        self.seen: list[int] = []
        self.dense.register_forward_hook(lambda *_: self.seen.append(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.twice(self.stem(x).relu())).relu()
        x = self.norm(self.twice(input=x)).relu().mean((2, 3))
        return self.head(self.flat(self.dense(x)))


def test_all_adder_layers_of_a_trained_resnet20_are_quantised_and_progress_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = create_model("resnet20", conv="adder", weights="cifar10").eval()
    batches = list(torch.randn(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    quantized = quantize(network, batches, bits=4, progress=True)
    assert sum(isinstance(layer, QuantizedAdder) for layer in quantized.modules()) == 20
    shown = capsys.readouterr().err
    assert all(f"{bar}: 100%" in shown for bar in ("calibrate", "batch norm"))


@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_ones_own(method: str) -> None:
    torch.manual_seed(0)
    network = OwnNetwork().eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    batches = [(torch.randn(8, 3, 9, 9), torch.zeros(8)) for _ in range(2)]
    quantized = quantize(network, iter(batches), method=method, bits=5)
    assert type(quantized.stem) is nn.Conv2d
    assert isinstance(quantized.twice, AdderConv2d)
    assert f"{method}, bits=5" in repr(quantized.twice)
    with torch.no_grad():
        assert quantized(batches[0][0]).isfinite().all()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert type(network.twice) is AdderConv2d


def test_networks_of_the_registry_and_converted_ones() -> None:
    torch.manual_seed(0)
    images = [torch.randn(4, 3, 32, 32) for _ in range(2)]
    for network in (
        create_model("mobilenet_v2_w035", conv="adder"),
        convert(create_model("resnet20"), "adder"),
    ):
        quantized = quantize(network, images, bits=4)
        adders = [name for name, part in network.named_modules() if type(part) is AdderConv2d]
        swapped = [name for name, part in quantized.named_modules() if hasattr(part, "group_of")]
        assert swapped == adders
        with torch.no_grad():
            assert quantized(images[0]).isfinite().all()


def test_layers_behind_no_relu_keep_signed_codes() -> None:
    """A linear bottleneck hands on both signs: 'non-negative' falls back and says so."""
    torch.manual_seed(0)
    network = nn.Sequential(
        AdderConv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), AdderConv2d(4, 4, 1)
    )
    quantized = quantize(network, [torch.randn(8, 3, 4, 4)], method="non-negative")
    assert (quantized[0].method, quantized[0].input_codes) == ("redistribution", (-8, 7))
    assert (quantized[3].method, quantized[3].input_codes) == ("non-negative", (0, 15))


def test_multiplications_are_rounded_on_request() -> None:
    torch.manual_seed(0)
    network = create_model("resnet20", conv="conv").eval()
    images = [torch.randn(4, 3, 32, 32)]
    rounded = quantize(network, images, method="nearest", bits=3, layers="all")
    bits = [part.bits for part in rounded.modules() if hasattr(part, "bits")]
    assert bits == [8, *[3] * (len(bits) - 2), 8]
    kept = quantize(network, images, method="nearest", bits=3, layers="all", edges="float")
    assert len([part for part in kept.modules() if hasattr(part, "bits")]) == len(bits) - 2
    with torch.no_grad():
        error = (rounded(images[0]) - network(images[0])).abs().mean()
    assert 0 < error < 10


def test_training_mode_has_the_same_values_and_the_gradients_of_adder_layers() -> None:
    torch.manual_seed(0)
    layer = AdderConv2d(3, 5, 3, padding=1, adaptive_lr="off")
    inputs = torch.rand(2, 3, 6, 6)
    quantized = quantize(nn.Sequential(layer), [inputs], bits=3, alpha=0.7, groups=1)[0]
    expected = quantized(inputs)
    x = inputs.clone().requires_grad_()
    output = quantized.train()(x)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    arriving = torch.randn_like(output)
    output.backward(arriving)
    grid = quantized.input_grid(0)
    x_hat = grid.nearest(inputs).requires_grad_()
    w_hat = (quantized.quantized_weight()[0].detach() * grid.step).requires_grad_()
    adder_conv2d(x_hat, w_hat, padding=1).backward(arriving)
    torch.testing.assert_close(quantized.weight.grad, w_hat.grad)
    inside = (inputs > 0) & (inputs < quantized.bound)
    torch.testing.assert_close(x.grad, x_hat.grad * inside)
    assert 0.5 < inside.float().mean() < 0.9
    torch.testing.assert_close(quantized.bias.grad, arriving.sum((0, 2, 3)))


def test_training_mends_what_two_bits_broke() -> None:
    quantized = quantize(trained(), calibration(), bits=2)
    before = accuracy(quantized)
    config = TrainConfig(**{**CONFIG.as_settings(), "epochs": 2, "lr": 0.02})
    train(quantized, digits("train"), digits("test"), config, progress=False)
    assert accuracy(quantized) > before + 1
    assert accuracy(quantized) > 90
    assert quantized[3].bits == 2


def test_state_fits_another_network_quantised_alike() -> None:
    one, other = (
        quantize(network, calibration()[:2], bits=3) for network in (trained(), adder_network(5))
    )
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one(calibration()[0]), other(calibration()[0]))


def test_result_does_not_depend_on_mode_or_repetition() -> None:
    images = calibration()[0]
    network = adder_network(3).train()
    with torch.no_grad():
        first, second = (quantize(network, calibration()[:2])(images) for _ in range(2))
    assert torch.equal(first, second)
    assert network.training


WRONG = [
    ({"method": "qssf"}, "method must be one of 'nearest', 'qssf-weights'"),
    ({"bits": 9}, "bits must be an integer from 2 to 8; got 9"),
    ({"bits": 1}, "bits must be an integer from 2 to 8; got 1"),
    ({"groups": 0}, "groups must be an integer of at least 1; got 0"),
    ({"alpha": 0.0}, "alpha must be a number above 0 and at most 1; got 0.0"),
    ({"alpha": 1.5}, "alpha must be a number above 0 and at most 1; got 1.5"),
    ({"quantile": "median"}, "quantile must be one of 'supplement', 'code'; got 'median'"),
    ({"qssf_inputs": "u"}, "qssf_inputs must be one of 'signed', 'unsigned'; got 'u'"),
    ({"compensate": 1}, "compensate must be True or False; got 1"),
    ({"layers": "conv"}, "layers must be one of 'adder', 'all'; got 'conv'"),
    ({"edges": 8}, "edges must be one of '8-bit', 'float'; got 8"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        quantize(adder_network(), calibration()[:1], **options)


def test_wrong_networks_and_batches_are_named() -> None:
    images = [torch.randn(4, 3, 8, 8)]
    with pytest.raises(UsageError, match="at least one batch of images; got none"):
        quantize(adder_network(), [])
    with pytest.raises(TypeError, match="must be a tensor of images or a tuple"):
        quantize(adder_network(), [3])
    pixels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(UsageError, match=r"in floating point; got torch\.uint8 \(saa_lite\.data\."):
        quantize(adder_network(), [pixels])
    with pytest.raises(UsageError, match=r"be images \[B,C,H,W\]; got shape \(3, 8, 8\)"):
        quantize(adder_network(), [torch.randn(3, 8, 8)])
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; got str"):
        quantize("resnet20", images)
    with pytest.raises(UsageError, match="no adder layer to quantise; layers='all'"):
        quantize(nn.Sequential(nn.Conv2d(3, 4, 3)), images)
    with pytest.raises(UsageError, match=r"no nn.Conv2d, nn.Linear or adder layer"):
        quantize(nn.Sequential(nn.ReLU()), images, layers="all")
    with pytest.raises(UsageError, match="the weight of layer '0' is parametrised"):
        quantize(nn.Sequential(weight_norm(AdderConv2d(3, 4, 3))), images)
    broken = nn.Sequential(AdderConv2d(3, 4, 3))
    broken[0].weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(UsageError, match="weight of layer '0' must hold finite numbers"):
        quantize(broken, images)
    idle = OwnNetwork()
    idle.spare = AdderConv2d(3, 4, 3)
    with pytest.raises(UsageError, match="layer 'spare' was not called"):
        quantize(idle, images)
