"""The C code gives PyTorch's bits: host, all operators; a planted fault is named."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from deploy_samples import exported, images, logits, network
from torch import nn

from saa_lite.deploy import integer_network, lower, write_source
from saa_lite.deploy.export import export
from saa_lite.deploy.host import SANITIZERS, HostNetwork, compiler
from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="no C compiler here: neither cc, gcc, clang nor the extra deploy"
)
# All bits with the networks that compile in a second or two; the whole grid takes an hour.
CASES = [
    ("resnet8", "adder", 4, 16),
    ("resnet8", "shift", 8, 16),
    ("resnet8", "shift-ps", 3, 16),
    ("resnet8", "binary", 5, 16),
    ("resnet8", "conv", 6, 16),
    ("lenet5_bn", "adder", 2, 32),
    ("lenet5_bn", "shift", 7, 32),
    ("lenet5_bn", "binary", 8, 32),
]


@needs_compiler
@pytest.mark.parametrize(("name", "conv", "bits", "size"), CASES)
def test_c_gives_the_bits_of_pytorch(name: str, conv: str, bits: int, size: int) -> None:
    graph = exported(name, conv, bits, size)
    source = write_source(graph)
    given = images(40, size, seed=3)
    found = HostNetwork(source, (*SANITIZERS, "-O1")).logits(given)
    wanted = logits(graph, given).numpy()
    assert len(np.unique(wanted)) > 50  # not a network that says nothing
    assert np.array_equal(found, wanted)
    assert source.arena.bytes == source.arena.predicted
    assert source.multiplications == 0
    without_comments = re.sub(r"/\*.*?\*/", "", source.code, flags=re.DOTALL)
    assert "*" not in without_comments


@needs_compiler
def test_depthwise_layers_and_linear_bottlenecks_give_the_bits_of_pytorch() -> None:
    graph = exported("mobilenet_v2_tiny", "adder", 4, 16)
    given = images(20, 16, seed=3)
    found = HostNetwork(write_source(graph), ("-O0",)).logits(given)
    assert np.array_equal(found, logits(graph, given).numpy())


@needs_compiler
@pytest.mark.parametrize("multiply", [False, True])
def test_the_layout_for_four_bytes_at_once_is_portable(multiply: bool) -> None:
    for conv in ("adder", "conv"):
        graph = exported("resnet8", conv)
        given = images(20, seed=4)
        source = write_source(graph, lanes=True, multiply=multiply)
        assert np.array_equal(HostNetwork(source).logits(given), logits(graph, given).numpy())


def test_the_integer_network_is_the_quantised_one_where_nothing_is_added() -> None:
    """LeNet has no additions: behind the stem, the twin sums the integers of quantize() itself."""
    from saa_lite.quantize import quantize  # noqa: PLC0415

    given = images(30, 32, seed=6)
    plain = network("lenet5_bn", "adder", 32)
    quantised = quantize(plain, [images(8, 32)], bits=5, groups=1).double()
    graph = exported("lenet5_bn", "adder", 5, 32)
    step = float(graph.logits.grid.step)
    with torch.no_grad():
        wanted = quantised(given.double())
    codes = (wanted / step + 0.5).floor().clamp(graph.logits.grid.low, graph.logits.grid.high)
    assert torch.equal(codes.long(), logits(graph, given))


def test_the_same_network_gives_the_same_text() -> None:
    plain = network("resnet8", "shift")
    first, second = (
        write_source(lower(integer_network(plain, [images(8)], bits=3), (3, 16, 16)))
        for _ in range(2)
    )
    assert (first.header, first.code) == (second.header, second.code)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = AdderConv2d(3, 4, 3, bias=False)
        self.gate = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(self.conv(x)).flatten(1)


class Scaled(Gated):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.conv(x) * 2).flatten(1)


REFUSED = [
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten()), r"layer '1' \(Sigmoid\)"),
    (Gated(), r"layer 'gate' \(SiLU\)"),
    (nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.Flatten()), "layer '0' must .* dilation"),
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2), nn.Flatten()), "layer '1' must have"),
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()), "layer '1' must"),
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), "pooling '2'"),
]


@pytest.mark.parametrize(("refused", "said"), REFUSED)
def test_what_cannot_be_exported_is_named_and_nothing_is_written(
    refused: nn.Module, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        export(refused, [images(4)], images(2), tmp_path / "out")
    assert not list(tmp_path.glob("**/*.*"))


def test_arithmetic_outside_of_layers_is_refused() -> None:
    scaled = Scaled()
    scaled.gate = nn.ReLU()
    with pytest.raises(UsageError, match="mul behind layer 'conv' cannot be exported"):
        integer_network(scaled, [images(4)])


def test_other_arguments_are_refused() -> None:
    plain = network("resnet8", "adder")
    with pytest.raises(UsageError, match="bits must be an integer from 2 to 8; got 9"):
        integer_network(plain, [images(4)], bits=9)
    with pytest.raises(UsageError, match="at least one batch of images"):
        integer_network(plain, [])
    with pytest.raises(UsageError, match="target must be one of 'host', 'rv32i'"):
        export(plain, [images(4)], images(2), "nowhere", target="avr")


@needs_compiler
def test_the_folder_checks_itself(tmp_path: Path) -> None:
    plain = network("resnet8", "binary")
    report = export(plain, [images(8)], images(9, seed=7), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"net.h", "net.c", "golden.h", "check.c", "Makefile", "README.md"}
    command = compiler()
    assert command is not None
    made = [*command, "-std=c99", "-Wall", "-Wextra", "-Werror", "net.c", "check.c", "-o", "check"]
    subprocess.run(made, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "check"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout[:9]) == (0, "8 images:")
    golden = (tmp_path / "golden.h").read_text()
    crc = re.search(r"golden_crcs\[\d+\] = \{\n +(0x[0-9a-f]+)u", golden)
    assert crc
    (tmp_path / "golden.h").write_text(golden.replace(crc[1], "0x12345678", 1))
    subprocess.run(made, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "check"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (1, "layer conv1 gives other bits than PyTorch\n")
    text = (tmp_path / "README.md").read_text()
    assert "Multiplications in inner loops, per image: 0." in text
    assert f"RAM: {report.predicted_ram} bytes" in text


@pytest.mark.parametrize(("conv", "said"), [
    ("adder", r"normalised\n   pixel divided by 0x[\da-fp.-]+, rounded, plus 8, from 0 to 15\."),
    ("shift", r"normalised\n   pixel divided by 0x[\da-fp.-]+, rounded, from -8 to 7\."),
    ("binary", r"one bit, 1 where a\n   normalised pixel is not negative; a pixel begins a byte\."),
])  # fmt: skip
def test_the_header_says_what_an_input_is(conv: str, said: str) -> None:
    """Networks whose very first layer is the operator, so that inputs are its codes."""
    assert re.search(said, write_source(exported("lenet5_bn", conv, 4, 32)).header)


def test_settled_norms_have_both_signs() -> None:
    """Or the tests above would not see channels that fall."""
    graph = exported("resnet8", "adder")
    falls = [output.stairs.down for layer in graph.layers for output in layer.outputs]
    assert any(down.any() and not down.all() for down in falls)
