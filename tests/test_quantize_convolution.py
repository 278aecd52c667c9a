"""AdaRound, BRECQ and QDrop against rounding to nearest, on networks trained here."""

import itertools

import pytest
import torch
from convolution_samples import accuracy, calibration, settle_norms, small_network, trained_network
from model_samples import build, images_for, weekly_but
from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.models import create_model
from saa_lite.quantize import quantize_convolution
from saa_lite.quantize.calls import find_blocks, ordered_layers, trace_calls
from saa_lite.quantize.fold import fold_batch_norm
from saa_lite.quantize.layers import QuantizedLayer, input_quantizers, quantized_layers
from saa_lite.quantize.reconstruction import fisher_weights

METHODS = ("nearest", "adaround", "brecq", "qdrop")
LEARNED = METHODS[1:]
SEEDS = (0, 1, 2)


def quantize(model: nn.Module, images: Tensor, method: str, **options) -> nn.Module:
    options = {"iterations": 60, "progress": False} | options
    return quantize_convolution(model, images, method, **options)


def accuracies(method: str, **options) -> Tensor:
    networks = [
        quantize(trained_network(seed), calibration(seed), method, seed=seed, **options)
        for seed in SEEDS
    ]
    return torch.tensor([accuracy(network) for network in networks])


def test_rounding_that_is_learned_beats_nearest_at_two_bits() -> None:
    options = {"bits": 2, "activation_bits": None}
    gain = accuracies("adaround", **options) - accuracies("nearest", **options)
    assert (gain > 0).all()
    assert gain.mean() > 0.02


@pytest.mark.parametrize("method", ["brecq", "qdrop"])
def test_block_reconstruction_beats_nearest_with_quantised_activations(method: str) -> None:
    options = {"bits": 2, "activation_bits": 3}
    gain = accuracies(method, **options) - accuracies("nearest", **options)
    assert (gain > 0).all()
    assert gain.mean() > 0.02


def test_eight_bits_change_next_to_nothing() -> None:
    network = quantize(trained_network(0), calibration(0), "nearest", bits=8, activation_bits=8)
    assert abs(accuracy(network) - accuracy(trained_network(0))) <= 0.004


def mixed_images(seed: int) -> Tensor:
    """[128,6,8,8]: channels that depend on each other and are not centred, as behind a ReLU.

    On white noise the error of an output is that of the weights, and nearest is best already.
    """
    generator = torch.Generator().manual_seed(seed)
    mixture = torch.randn(6, 6, generator=generator)
    images = torch.randn(128, 6, 8, 8, generator=generator)
    return torch.einsum("ij,njhw->nihw", mixture, images).relu() + 0.2


@pytest.mark.parametrize("seed", range(3))
def test_adaround_comes_near_the_best_of_all_roundings(seed: int) -> None:
    """Six weights a filter: all 2^6 roundings are tried."""
    torch.manual_seed(seed)
    layer, images, reports = nn.Conv2d(6, 8, 1), mixed_images(seed), []
    options = {"bits": 3, "activation_bits": None, "edges": "same", "seed": seed}
    learned = quantize(layer, images, "adaround", on_unit=reports.append, **options)
    nearest = quantize(layer, images, "nearest", **options)
    pixels = images.movedim(1, -1).flatten(0, 2)
    moments, weight = pixels.T @ pixels / len(pixels), layer.weight.detach().flatten(1)

    def error(codes: Tensor) -> Tensor:
        """Mean squared output error of each filter."""
        wrong = (codes - zero) * step - weight
        return ((wrong @ moments) * wrong).sum(1)

    quantizer = nearest.weight_quantizer
    step, zero = quantizer.step.flatten(1), quantizer.zero.flatten(1)
    lower = (weight / step).floor() + zero
    tried = (
        error((lower + torch.tensor(ups)).clamp(0, 7))
        for ups in itertools.product((0, 1), repeat=6)
    )
    best = torch.stack(list(tried)).amin(0).mean()
    found, start = (
        error(network.weight_quantizer.codes.flatten(1).float()).mean()
        for network in (learned, nearest)
    )
    assert start > 1.3 * best
    assert best <= found * (1 + 1e-5)
    assert found - best < 0.4 * (start - best)
    assert reports[0]["error"] == pytest.approx(float(found), rel=1e-3)
    assert reports[0]["error_before"] == pytest.approx(float(start), rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_every_weight_ends_on_its_code(method: str) -> None:
    model, images = trained_network(0), calibration(0, 64)
    network = quantize(model, images, method, bits=3, activation_bits=3, iterations=10)
    folded = fold_batch_norm(model, images)
    for name, layer in network.named_modules():
        if not isinstance(layer, QuantizedLayer):
            continue
        quantizer = layer.weight_quantizer
        codes = layer.weight / quantizer.step + quantizer.zero
        torch.testing.assert_close(codes, quantizer.codes.float(), atol=1e-3, rtol=0)
        scaled = folded.get_submodule(name).weight / quantizer.step + quantizer.zero
        scaled = scaled.clamp(0, 2**quantizer.bits - 1)
        assert ((codes - scaled).abs() < 1 + 1e-3).all(), name  # one of the two neighbours
        assert quantizer.v is None
        assert quantizer.mode == "hard"
    quantizers = input_quantizers(network)
    assert len(quantizers) == 6
    assert all(q.enabled and q.keep == 1 for q in quantizers)
    moved = any(float(q.scale) != 1 for q in quantizers)
    assert moved == (method in ("brecq", "qdrop"))


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits_and_the_rest_untouched(method: str) -> None:
    model, images = small_network(), torch.randn(64, 1, 8, 8)
    settle_norms(model).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    networks = [quantize(model, images, method, iterations=5, seed=s) for s in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    same, again, other = (network(images) for network in networks)
    assert torch.equal(same, again)
    assert torch.equal(same, other) == (method == "nearest")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_mode_does_not_matter(mode) -> None:
    model, images = settle_norms(small_network()), torch.randn(64, 1, 8, 8)
    expected = quantize(model, images, "brecq", iterations=3)
    with mode():
        found = quantize(model, images.clone(), "brecq", iterations=3)
        assert torch.equal(found(images), expected(images))


def test_bits_of_the_ends() -> None:
    for edges, expected in (("8-bit", [8, 3, 3, 3, 3, 8]), ("same", [3] * 6)):
        network = quantize(
            small_network(),
            torch.randn(8, 1, 8, 8),
            "nearest",
            bits=3,
            activation_bits=3,
            edges=edges,
        )
        layers = list(quantized_layers(network))
        assert [layer.weight_quantizer.bits for layer in layers] == expected
        assert [q.high for q in input_quantizers(network)] == [2**bits - 1 for bits in expected]
        codes = [int(layer.weight_quantizer.codes.max()) for layer in layers]
        assert all(code < 2**bits for code, bits in zip(codes, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "method"),
    weekly_but(
        {("resnet20", "brecq"), ("mobilenet_v2_w035", "adaround")},
        itertools.product(("resnet20", "mobilenet_v2_w035"), LEARNED),
    ),
)
def test_published_networks(name: str, method: str) -> None:
    torch.manual_seed(0)
    model, images = settle_norms(build(name)), images_for(name, 4)
    reports: list[dict] = []
    network = quantize(model, images, method, iterations=4, on_unit=reports.append)
    assert network(images).isfinite().all()
    units = {report["unit"] for report in reports}
    if method == "adaround":
        assert len(units) == len(list(quantized_layers(network)))
    elif name == "resnet20":
        blocks = [f"stage{s}.{b}" for s in (1, 2, 3) for b in (0, 1, 2)]
        assert units == {"conv1", *blocks, "classifier"}
    else:
        assert units == {"stem", *(f"blocks.{i}" for i in range(17)), "last", "classifier"}


def test_the_old_names_of_arguments_are_taken_with_a_word() -> None:
    model, images = settle_norms(small_network()), torch.randn(8, 1, 8, 8)
    fixed = {"activation_bits": None, "progress": False}
    today = quantize_convolution(model, images, bits=3, edges="same", **fixed)
    with pytest.warns(DeprecationWarning, match="is called") as said:
        before = quantize_convolution(model, images, weight_bits=3, eight_bit_ends=False, **fixed)
    assert torch.equal(today(images), before(images))
    assert [str(one.message).partition("; ")[2] for one in said] == [
        "give bits=3",
        "give edges='same'",
    ]
    with pytest.raises(UsageError, match="give one of them"):
        quantize_convolution(model, images, bits=3, weight_bits=3, **fixed)


def blocks_of(model: nn.Module, images: Tensor, named: list[str] | None = None) -> list[str]:
    calls = trace_calls(model, images)
    return find_blocks(model, calls, ordered_layers(model, calls), named)


def test_blocks_of_a_users_network() -> None:
    images = torch.randn(2, 1, 8, 8)
    assert blocks_of(small_network(), images) == ["0", "1", "3", "6"]
    named = ["3", "1.conv2"]
    assert blocks_of(small_network(), images, named) == ["0.0", "1.conv1", "1.conv2", "3", "6"]
    with pytest.raises(UsageError, match=r"blocks must name modules .* got 'layer1'"):
        blocks_of(small_network(), images, ["layer1"])
    with pytest.raises(UsageError, match=r"must not overlap; '1\.conv2' holds"):
        blocks_of(small_network(), images, ["1", "1.conv2"])


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.left(x) + self.right(y)


class UsesTwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.join, self.head = TwoInputs(), nn.Conv2d(4, 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.join(x, x)).flatten(1)


def test_a_module_with_two_inputs_is_taken_apart() -> None:
    model, images = UsesTwoInputs(), torch.randn(4, 1, 8, 8)
    assert blocks_of(model, images) == ["join.left", "join.right", "head"]
    assert quantize(model, images, "qdrop", iterations=2)(images).shape == (4, 4)


def test_fisher_weights_follow_what_the_answer_depends_on() -> None:
    """Of two channels only the first reaches the logits."""
    torch.manual_seed(0)
    block, head = nn.Conv2d(1, 2, 1), nn.Linear(2, 3)
    head.weight.data[:, 1] = 0
    reference = nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    quantized = quantize(reference, torch.randn(8, 1, 4, 4), "nearest", edges="same")
    weights = fisher_weights(reference, quantized, "0", torch.randn(8, 1, 4, 4), 4)
    assert float(weights.mean()) == pytest.approx(1)
    assert weights[:, 1].unique().numel() == 1
    assert (weights[:, 0] > weights[:, 1]).all()


def shared() -> nn.Module:
    layer = nn.Conv2d(1, 1, 3, padding=1)
    return nn.Sequential(layer, nn.ReLU(), layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet20"}, "model must be a torch.nn.Module; got str"),
        ({"model": nn.ReLU()}, "at least one nn.Conv2d or nn.Linear; it uses none"),
        ({"model": shared()}, "layer '0' is used 2 times in one pass"),
        (
            {"model": create_model("lenet5_bn", conv="adder", in_channels=1)},
            "layer 'layer1.conv' is of kind 'adder'",
        ),
        ({"method": "gptq"}, "method must be one of 'nearest', .* got 'gptq'"),
        ({"bits": 1}, "bits must be an integer of 2 to 8; got 1"),
        ({"bits": None}, "bits must be an integer of 2 to 8; got None"),
        ({"activation_bits": 9}, "activation_bits must be an integer of 2 to 8; got 9"),
        ({"iterations": 0}, "iterations must be an integer of at least 1; got 0"),
        ({"calibration": torch.ones(4, 1, 8, 8, dtype=torch.uint8)}, "got torch.uint8"),
        ({"calibration": [1]}, "calibration must be a tensor of normalised images; got list"),
        ({"calibration": torch.ones(1, 1, 8, 8)}, r"two images .* got shape \(1, 1, 8, 8\)"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    given = {"model": small_network(), "calibration": torch.randn(4, 1, 8, 8)} | options
    with pytest.raises(UsageError, match=message):
        quantize_convolution(**given, progress=False)
