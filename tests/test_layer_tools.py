"""The table of tools in docs/layers.md: every cell is run, on all kinds of layer of its column."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.feature_extraction import create_feature_extractor

from saa_lite.errors import UsageError
from saa_lite.nn import adaptive_lr, convert
from saa_lite.quantize import quantize, to_integer

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
COLUMNS = {
    "adder": ("adder",),
    "shift, shift-ps": ("shift", "shift-ps"),
    "binary": ("binary",),
    "quantised adder": ("quantised",),
    "integer adder": ("integer",),
}
ALL = {"keep_first": False, "keep_last": False}


@pytest.fixture(autouse=True)
def _quiet_adder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", ["said"])


def rows() -> dict[str, dict[str, str]]:
    """tool → column → what its cell says, without the mark of a footnote."""
    lines = PAGE[PAGE.index("| tool | ") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    header = cells[0][1:]
    return {
        row[0].replace("`", ""): {
            column: cell.rstrip(" ¹") for column, cell in zip(header, row[1:], strict=True)
        }
        for row in cells[2:]
    }


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def network(kind: str, *, train: bool = False) -> nn.Sequential:
    """A layer and its norm; in evaluation mode unless a training pass is asked for.

    Quantised layers train in training mode only; the norm stays as it is in either.
    """
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten())
    return made(plain, kind, train)


def made(plain: nn.Module, kind: str, train: bool = False) -> nn.Sequential:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = convert(plain, kind if kind in ("shift", "shift-ps", "binary") else "adder", **ALL)
        if kind in ("quantised", "integer"):
            found = quantize(found, [images(8)], edges="float")
    found = to_integer(found) if kind == "integer" else found.eval()
    if train and kind == "quantised":
        found[0].train()
    return found


def gradients(net: nn.Module, x: Tensor) -> dict[str, Tensor | None]:
    net.zero_grad()
    net(x).square().sum().backward()
    return {name: p.grad for name, p in net.named_parameters()}


def backward(kind: str) -> None:
    net, x = network(kind, train=True), images().requires_grad_()
    found = gradients(net, x)
    assert found
    assert all(g is not None and g.abs().sum() > 0 for g in found.values())
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def autocast(kind: str) -> None:
    net, x = network(kind), images()
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x)
    torch.testing.assert_close(found.float(), net(x), rtol=0.05, atol=0.05)


def compiled(kind: str) -> None:
    net, x = network(kind, train=True), images()
    torch._dynamo.reset()
    found = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(found(x), net(x))
    expected = gradients(copy.deepcopy(net), x)
    found(x).square().sum().backward()
    for name, value in expected.items():
        torch.testing.assert_close(net.get_parameter(name).grad, value)


def exported(kind: str) -> None:
    net, x = network(kind), images()
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    other = images(5)
    torch.testing.assert_close(program.module()(other), net(other))


def transformed(kind: str) -> None:
    net, x = network(kind, train=True), images()
    weights = dict(net.named_parameters())

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        output: Tensor = functional_call(net, parameters, (image[None],))
        return output.square().sum()

    each = vmap(grad(loss), (None, 0))(weights, x)
    for name, whole in gradients(net, x).items():
        torch.testing.assert_close(each[name].sum(0), whole, rtol=1e-3, atol=1e-3)


def forward_mode(kind: str) -> None:
    layer, (x, along) = network(kind, train=True)[0], (images(), images().flip(0))
    leaf = x.clone().requires_grad_()
    _, slope = jvp(lambda a: layer(a).sin().sum(), (x,), (along,))
    layer(leaf).sin().sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(slope, (leaf.grad * along).sum(), rtol=1e-3, atol=1e-3)
    assert slope != 0


def second_derivatives(kind: str) -> None:
    layer, x = network(kind, train=True)[0], images().requires_grad_()
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def traced(kind: str) -> None:
    net, x = network(kind), images()
    graph = torch.fx.symbolic_trace(net)
    assert graph.get_submodule("0") is net[0]
    assert torch.equal(graph(x), net(x))
    assert torch.equal(create_feature_extractor(net, ["1"])(x)["1"], net[1](net[0](x)))


def replicated(kind: str) -> None:
    """What ``torch.nn.parallel.replicate`` makes of a layer for each device, without one."""
    layer, x = network(kind)[0], images()
    replica = layer._replicate_for_data_parallel()
    for name, tensor in [*layer._parameters.items(), *layer._buffers.items()]:
        setattr(replica, name, None if tensor is None else tensor * 1)
    assert torch.equal(replica(x), layer(x))


def distributed_parallel(kind: str) -> None:
    net, x = network(kind, train=True), images()
    expected = gradients(net, x)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(net)
        assert torch.equal(parallel(x), net(x))
        parallel.zero_grad()
        parallel(x).square().sum().backward()
        for name, value in expected.items():
            torch.testing.assert_close(net.get_parameter(name).grad, value)
    finally:
        distributed.destroy_process_group()


def stored(kind: str) -> None:
    net, x = network(kind), images()
    state = io.BytesIO()
    torch.save(net.state_dict(), state)
    state.seek(0)
    other = copy.deepcopy(net)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(torch.load(state, weights_only=True))
    for same in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), other):
        assert torch.equal(same(x), net(x))


def channels_last(kind: str) -> None:
    net, x = network(kind), images()
    expected = net(x)
    net.to(memory_format=torch.channels_last)
    moved = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(moved), expected)


def fused(kind: str) -> None:
    net, x = network(kind), images()
    torch.testing.assert_close(fuse_conv_bn_eval(net[0], net[1])(x), net[1](net[0](x)))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.TransformerEncoderLayer(6, 2, 16, batch_first=True)
        self.linear1, self.linear2 = self.encoder.linear1, self.encoder.linear2

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.encoder(x.flatten(1, 2))
        return found


def encoded(kind: str) -> None:
    net, x = made(Encoder(), kind), images()
    expected = net(x).detach()  # with gradients on, torch does not fuse
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected)
        calls: list[Tensor] = []
        net.linear1.register_forward_hook(lambda module, args, output: calls.append(output))
        assert type(net.linear1) is not nn.Linear
        net(x)
    assert calls


TOOLS: dict[str, Callable[[str], None]] = {
    "backward()": backward,
    "autocast": autocast,
    "torch.compile": compiled,
    "torch.export": exported,
    "torch.func.grad, per sample vmap(grad)": transformed,
    "torch.func.jvp, jacfwd": forward_mode,
    "second derivatives": second_derivatives,
    "torch.fx, create_feature_extractor": traced,
    "DataParallel": replicated,
    "DistributedDataParallel": distributed_parallel,
    "state_dict, deepcopy, pickle": stored,
    "channels_last": channels_last,
    "fuse_conv_bn_eval": fused,
    "nn.TransformerEncoderLayer": encoded,
}


def cases() -> Iterator[tuple[str, str, str]]:
    for tool, row in rows().items():
        for column, cell in row.items():
            yield from ((tool, kind, cell) for kind in COLUMNS[column])


def test_the_table_has_all_tools_and_kinds() -> None:
    assert list(rows()) == list(TOOLS)
    assert all(list(row) == list(COLUMNS) for row in rows().values())
    assert {cell for *_, cell in cases()} == {"works", "refused"}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize(("tool", "kind", "cell"), [*cases()])
def test_a_cell_says_what_happens(tool: str, kind: str, cell: str) -> None:
    if cell == "works":
        TOOLS[tool](kind)
        return
    with pytest.raises((UsageError, NotImplementedError), match=r"not defined|no deriv|cannot be"):
        TOOLS[tool](kind)
