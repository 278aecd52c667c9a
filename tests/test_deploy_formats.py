"""ONNX and ``torch.export``: the same bits where integers allow it, else a stated tolerance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploy_samples import exported, grouped, images, logits, network
from torch import nn

from saa_lite.deploy import formats, onnx_functions
from saa_lite.deploy.formats import TOLERANCE, export_file
from saa_lite.deploy.onnx_float import onnx_float_model
from saa_lite.deploy.onnx_functions import DOMAIN, FUNCTIONS, missing_onnx, run_onnx
from saa_lite.deploy.onnx_model import first_difference, onnx_model
from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d
from saa_lite.quantize import quantize

needs_onnx = pytest.mark.skipif(
    bool(missing_onnx()), reason=f"the extra deploy is not installed: {missing_onnx()}"
)
INTEGERS = [
    ("resnet8", "adder", 4, 16),
    ("resnet8", "conv", 6, 16),
    ("lenet5_bn", "shift", 7, 32),
    ("lenet5_bn", "binary", 8, 32),
]


@needs_onnx
@pytest.mark.parametrize(("name", "conv", "bits", "size"), INTEGERS)
def test_onnxruntime_gives_the_bits_of_pytorch(name: str, conv: str, bits: int, size: int) -> None:
    graph = exported(name, conv, bits, size)
    model, given = onnx_model(graph), images(12, size, seed=3)
    assert first_difference(model, graph, given) is None
    codes, found = run_onnx(model, given, ["codes", "logits"])
    assert np.array_equal(codes, logits(graph, given).numpy())
    with torch.no_grad():
        assert np.array_equal(found, graph.network(given.double()).numpy())


@needs_onnx
def test_another_runtime_gives_them_too() -> None:
    """onnx's own evaluator, in NumPy, on depthwise and grouped layers."""
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415  (an extra)

    graph, given = grouped(), images(3, 16, seed=3)
    model = onnx_model(graph)
    assert first_difference(model, graph, given) is None
    (codes,) = ReferenceEvaluator(model).run(["codes"], {"images": given.numpy()})
    assert np.array_equal(codes, logits(graph, given).numpy())


@needs_onnx
@pytest.mark.parametrize("layer", range(5))
def test_a_fault_in_any_layer_of_the_model_is_named(layer: int) -> None:
    import onnx  # noqa: PLC0415  (an extra)

    graph = exported("lenet5_bn", "shift", 7, 32)
    model, name = onnx_model(graph), graph.layers[layer].name
    held = next(c for c in model.graph.initializer if c.name == f"{name}:0:base")
    wrong = onnx.numpy_helper.to_array(held) + (1 << 24)  # out of reach of any sum
    held.CopyFrom(onnx.numpy_helper.from_array(wrong, held.name))
    assert first_difference(model, graph, images(2, 32, seed=3)) == name


@needs_onnx
def test_operators_are_functions_of_standard_operators() -> None:
    used = set()
    for conv in ("adder", "shift", "binary", "conv"):
        model = onnx_model(exported("resnet8", conv, 6 if conv == "conv" else 4))
        used |= {node.op_type for node in model.graph.node if node.domain == DOMAIN}
        defined: list[str] = []
        for function in model.functions:  # one calls only what stands before it
            ours = [node.op_type for node in function.node if node.domain == DOMAIN]
            assert set(ours) <= set(defined)
            defined.append(function.name)
    assert used >= {"AdderSums", "ShiftSums", "BinarySums", "Products", "Staircase", "Quantise"}
    body = {node.op_type for f in model.functions if f.name == "AdderSums" for node in f.node}
    assert body & {"Mul", "MatMul", "Conv", "Gemm"} == set()
    assert defined == list(FUNCTIONS)


@needs_onnx
@pytest.mark.parametrize(
    ("name", "conv", "size"),
    [
        ("resnet8", "adder", 16),
        ("resnet8", "shift", 16),
        ("resnet8", "shift-ps", 16),
        ("lenet5_bn", "binary", 32),
        ("mobilenet_v2_tiny", "conv", 16),
    ],
)
def test_floating_point_is_within_the_tolerance(name: str, conv: str, size: int) -> None:
    plain, given = network(name, conv, size), images(6, size, seed=4)
    (found,) = run_onnx(onnx_float_model(plain, given), given, ["logits"])
    with torch.no_grad():
        wanted = plain(given).numpy()
    assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()
    assert len(np.unique(wanted.argmax(1))) > 1 or np.ptp(wanted) > 0.1


def test_torch_export_gives_the_bits_for_batches_of_any_size(tmp_path: Path) -> None:
    """Of the integers, and of the trained network itself."""
    plain, given = network("lenet5_bn", "adder", 32), images(5, 32, seed=4)
    tiny = lone(AdderConv2d(3, 4, 32, bias=False))
    wanted: dict[Any, Any] = {
        (plain, 5): exported("lenet5_bn", "adder", 5, 32).network(given.double()),
        (tiny, None): tiny(given).detach(),
    }
    for (written, bits), logits_of in wanted.items():
        report = export_file(
            written, [images(8, 32)], given, tmp_path, format="torch-export", bits=bits
        )
        assert (report.file, [p.name for p in tmp_path.iterdir()]) == ("net.pt2", ["net.pt2"])
        loaded = torch.export.load(tmp_path / "net.pt2").module()
        assert torch.equal(loaded(given), logits_of)
        assert torch.equal(loaded(given[:1]), logits_of[:1])


def lone(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.Flatten())


def annealed() -> nn.Module:
    layer = AdderConv2d(3, 4, 16, bias=False)
    layer.squared = 0.5
    return lone(layer)


REFUSED = [
    (lone(nn.Softplus()), 4, r"layer '0' \(Softplus\) cannot be exported"),
    (lone(nn.Softplus()), None, r"layer '0' \(Softplus\) cannot be exported"),
    (annealed(), None, "layer '0' must be a plain adder layer .* squared=0.5"),
    (
        quantize(lone(AdderConv2d(3, 4, 16, bias=False)), [images(4)], bits=4, groups=1),
        None,
        "layer '0' must be a plain adder layer .* got QuantizedAdderConv2d",
    ),
]


@needs_onnx
@pytest.mark.parametrize(("refused", "bits", "said"), REFUSED)
def test_what_cannot_be_written_is_named_and_nothing_is(
    refused: nn.Module, bits: int | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        export_file(refused, [images(4)], images(2), tmp_path / "a", format="onnx", bits=bits)
    assert not list(tmp_path.glob("a/*"))


@needs_onnx
def test_other_outputs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = network("lenet5_bn", "binary", 32)
    monkeypatch.setattr(formats, "TOLERANCE", 0.0)
    with pytest.raises(UsageError, match=r"off by .* of the greatest, more than 0"):
        export_file(plain, [], images(2, 32), tmp_path, format="onnx", bits=None)
    monkeypatch.setattr(formats, "first_difference", lambda *_: "fc")
    with pytest.raises(UsageError, match="layer 'fc' gives other bits in onnxruntime"):
        export_file(plain, [images(8, 32)], images(2, 32), tmp_path, format="onnx")
    assert not list(tmp_path.iterdir())


def test_mistakes_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lone(AdderConv2d(3, 4, 16, bias=False))
    with pytest.raises(UsageError, match="format must be one of 'onnx', 'torch-export'; got 'c'"):
        export_file(plain, [], images(2), tmp_path, format="c")
    with pytest.raises(UsageError, match="at least one image"):
        export_file(plain, [], images(0), tmp_path, format="torch-export")
    monkeypatch.setattr(onnx_functions, "PACKAGES", ("onnx", "no_such_runtime"))
    with pytest.raises(UsageError, match="no_such_runtime must be installed to write ONNX"):
        export_file(plain, [], images(2), tmp_path, format="onnx")
