"""What quantisers cannot treat is refused, or named; what they treat is used."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune

from saa_lite.errors import UsageError
from saa_lite.nn import AdderLinear, adaptive_lr, convert
from saa_lite.quantize import fold_batch_norm, quantize, quantize_convolution, to_integer
from saa_lite.quantize.uniform import min_max_grid, range_grid


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


def rounded(network: nn.Module, images: Tensor, bits: int = 2) -> nn.Module:
    options = {"method": "nearest", "layers": "all", "edges": "float", "alpha": 1.0}
    return quantize(network, [images], bits=bits, **options)


def reconstructed(network: nn.Module, images: Tensor, bits: int = 2) -> nn.Module:
    options = {"bits": bits, "activation_bits": bits, "edges": "same"}
    return quantize_convolution(network, images, "nearest", progress=False, **options)


def silently(function, *args, **options) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


class Transformer(nn.Module):
    """Images as sequences of 16 tokens; the last tokens of each may be padding."""

    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(1, 16, 4, 4), nn.Linear(16, 3)
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        tokens = self.stem(x).flatten(2).mT
        return self.head(self.body(tokens, src_key_padding_mask=padded)[:, 0])


IMAGES = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
PADDED = torch.arange(16).expand(8, 16) > 11
CONVERTED = {"keep_first": False, "keep_last": False, "weights": "keep"}


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(
    "treat",
    [
        rounded,
        reconstructed,
        *(
            lambda network, images, kind=kind: convert(network, kind, **CONVERTED)
            for kind in ("adder", "shift", "shift-ps", "binary")
        ),
        lambda network, images: quantize(convert(network, "adder", **CONVERTED), [images]),
        lambda network, images: to_integer(
            quantize(convert(network, "adder", **CONVERTED), [images])
        ),
    ],
    ids=[
        *("nearest", "reconstructed", "adder", "shift", "shift-ps", "binary"),
        *("quantised adder", "integer adder"),
    ],
)
def test_fused_encoders_use_what_they_hold(treat, norm_first: bool) -> None:
    """The fused call is torch's own: without it, the layers are called one by one."""
    treated = silently(treat, Transformer(norm_first).eval(), IMAGES)
    for padded in (None, PADDED):
        with torch.no_grad():
            found = treated(IMAGES, padded)
            torch.backends.mha.set_fastpath_enabled(False)
            try:
                expected = treated(IMAGES, padded)
                plain = Transformer(norm_first).eval()(IMAGES, padded)
            finally:
                torch.backends.mha.set_fastpath_enabled(True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert (found - plain).abs().max() > 0.01


def test_rounded_encoder_layer_by_hand() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    network = nn.Sequential(nn.Linear(8, 8), layer, nn.Linear(8, 8))
    x = torch.randn(4, 5, 8)
    quantized = silently(rounded, network, x, 3)

    def by_hand(linear: nn.Linear, given: Tensor) -> Tensor:
        weight = min_max_grid(linear.weight, 3, per_filter=True).nearest(linear.weight)
        grid = range_grid(given.min(), given.max(), 3)
        return F.linear(grid.nearest(given), weight, linear.bias)

    with torch.no_grad():
        h = network[0](x)
        h = layer.norm1(h + layer.self_attn(h, h, h, need_weights=False)[0])
        exact = layer.linear1(h).relu()
        found = by_hand(layer.linear1, h).relu()
        grid = range_grid(exact.min(), exact.max(), 3)  # calibrated in full precision
        weight = min_max_grid(layer.linear2.weight, 3, per_filter=True).nearest(
            layer.linear2.weight
        )
        found = F.linear(grid.nearest(found), weight, layer.linear2.bias)
        expected = network[2](layer.norm2(h + found))
        torch.testing.assert_close(quantized(x), expected)


class Zoo(nn.Module):
    """One layer of each kind that nobody quantises here, between two that are."""

    class OwnLinear(nn.Linear):
        """A user's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up = nn.Conv2d(1, 4, 4, 4), nn.ConvTranspose2d(4, 4, 1)
        self.line, self.volume = nn.Conv1d(4, 4, 1), nn.Conv3d(1, 1, 1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent, self.cell = nn.LSTM(4, 4, batch_first=True), nn.GRUCell(4, 4)
        self.pair, self.own, self.head = nn.Bilinear(4, 4, 4), Zoo.OwnLinear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.stem(x)).flatten(2)
        x = self.volume(self.line(x)[:, None, None])[:, 0, 0].mT
        x = self.recurrent(self.attention(x, x, x)[0])[0][:, 0]
        return self.head(self.own(self.pair(x, self.cell(x))))


NAMED = (
    "ConvTranspose2d ('up'), Conv1d ('line'), Conv3d ('volume'), MultiheadAttention ('attention'), "
    "LSTM ('recurrent'), GRUCell ('cell'), Bilinear ('pair'), OwnLinear ('own')"
)


@pytest.mark.parametrize(
    ("treat", "function"),
    [
        (rounded, "quantize"),
        (reconstructed, "quantize_convolution"),
        (lambda network, images: convert(network, "shift"), "convert"),
    ],
)
def test_layers_that_are_left_are_named_in_one_sentence(treat, function: str) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        treat(Zoo().eval(), IMAGES)
    messages = [str(w.message) for w in said]
    assert messages[0] == f"{function}() leaves as they are: {NAMED}"
    assert said[0].filename == __file__
    assert len(messages) == (2 if function == "convert" else 1)  # nothing was left to convert


def test_adders_of_ones_own_are_named() -> None:
    class OwnAdder(AdderLinear):
        """A user's."""

    network = nn.Sequential(AdderLinear(8, 8), OwnAdder(8, 8), nn.Linear(8, 2))
    with pytest.warns(UserWarning, match=r"quantize\(\) leaves as they are: OwnAdder \('1'\)$"):
        quantized = quantize(network, [torch.randn(4, 8)])
    assert type(quantized[1]) is OwnAdder


class ReadsWeight(nn.Module):
    """A tied decoder: ``first`` is called, and read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.first = nn.BatchNorm2d(4), nn.Conv2d(1, 4, 4, 4)
        self.middle, self.spare = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(self.middle(self.norm(self.first(x))), self.first.weight)


@pytest.mark.parametrize("treat", [rounded, reconstructed])
def test_layers_that_are_read_stay(treat) -> None:
    network = ReadsWeight().eval()
    network.norm.running_mean.uniform_(-1, 1)
    if treat is rounded:
        del network.spare  # no batch reaches it, which quantize() refuses
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quantized = treat(network, IMAGES, 8)
    assert "reads the weight of 'first' itself" in str(said[0].message)
    assert type(quantized.first) is nn.Conv2d
    assert torch.equal(quantized.first.weight, network.first.weight)
    assert isinstance(quantized.norm, nn.BatchNorm2d)  # not folded into a weight that others read
    if treat is reconstructed:
        assert str(said[1].message).endswith("no calibration image reaches them: 'spare'")
        error = (quantized(IMAGES) - network(IMAGES)).abs().max() / network(IMAGES).abs().max()
        assert 0 < error < 0.02


class OnlyReads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.line.weight.T


def test_a_network_that_calls_no_layer_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no layer is left to quantise: .* of 'line' itself"):
        rounded(OnlyReads(), IMAGES)
    with pytest.raises(UsageError, match=r"at least one nn.Conv2d or nn.Linear; it uses none"):
        reconstructed(OnlyReads(), IMAGES)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.answer = nn.Embedding(6, 4), nn.Linear(4, 6)
        self.answer.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(input=self.table(x.flatten(1).abs().argmax(1) % 6) + x.mean())


def test_an_embedding_with_the_same_weight_keeps_it() -> None:
    network = Words().eval()
    quantized = reconstructed(network, IMAGES)
    assert torch.equal(quantized.table.weight, network.table.weight)
    assert len(quantized.answer.weight[0].unique()) <= 4
    assert not torch.equal(quantized.answer.weight, network.table.weight)


@pytest.mark.parametrize("treat", [rounded, reconstructed])
def test_compiled_networks(treat) -> None:
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(1, 4, 4, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
    network = nn.Sequential(part, nn.Flatten(), nn.Linear(64, 3)).eval()
    expected = treat(network, IMAGES)(IMAGES)
    for compiled in (
        torch.compile(network, backend="eager"),
        nn.Sequential(torch.compile(part, backend="eager"), *network[1:]).eval(),
    ):
        compiled(IMAGES)
        torch.testing.assert_close(treat(compiled, IMAGES)(IMAGES), expected)


def refusals() -> list:
    lazy = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    bias = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    parametrize.register_parametrization(bias[0], "bias", nn.Identity())
    old = nn.Sequential(prune.l1_unstructured(nn.Conv2d(1, 4, 3), "weight", 0.5))
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten())
    return [
        (lazy, r"layer '2' \(LazyLinear\) has no weight before its first pass; run the network"),
        (bias, r"the weight of layer '0' is parametrised"),
        (old, r"the weight of layer '0' is parametrised|cannot be copied"),
        (nn.DataParallel(plain), r"a network on one device; got DataParallel, so give it its \.mo"),
        (nn.Sequential(nn.DataParallel(plain)), r"got DataParallel, so give it 0\.module"),
    ]


@pytest.mark.parametrize("treat", [rounded, reconstructed])
@pytest.mark.parametrize(("network", "message"), refusals())
def test_refused_in_one_sentence(network: nn.Module, message: str, treat) -> None:
    with pytest.raises(UsageError, match=message):
        treat(network, IMAGES)


def broken(value: float) -> Tensor:
    images = IMAGES.clone()
    images[5, 0, 2, 3] = value
    return images


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_images_that_are_not_finite(value: float) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).eval()
    images, end = broken(value), r"1 of 8 images hold NaN or infinity, the first is images\[5\]"
    with pytest.raises(UsageError, match=f"calibration must hold finite numbers; {end}"):
        reconstructed(network, images)
    with pytest.raises(UsageError, match=f"images must hold finite numbers; {end}"):
        fold_batch_norm(network, images)
    batches = [IMAGES, images]
    with pytest.raises(UsageError, match=f"batch 1 must hold finite numbers; {end}"):
        quantize(network, batches, method="nearest", layers="all")


class Overflows(nn.Module):
    """Its outputs are finite again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x) / 0).nan_to_num()


def test_networks_whose_numbers_overflow() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).eval()
    network[1].weight.data[2] = torch.inf
    with pytest.raises(UsageError, match="model must give finite numbers on finite images"):
        reconstructed(network, IMAGES)
    with pytest.raises(UsageError, match="layer 'second' must read finite numbers to be calib"):
        reconstructed(Overflows(), IMAGES)
