"""Plain calls go past torch's dispatcher; everything that watches or transforms does not."""

import torch
from adder_samples import Case, upstream
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from saa_lite.ops import adder_conv2d, adder_kernels
from saa_lite.ops._derivatives import is_plain

DENSE = Case(4, 6, (7, 9), (3, 3), padding=(1, 1))


class Watching(TorchDispatchMode):
    """Remembers the operators that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class Subclass(Tensor):
    """Some tensor subclass."""


def test_plain_calls_and_the_registered_operator_give_the_same_bits() -> None:
    x, w = (t.requires_grad_() for t in DENSE.tensors(torch.float32))
    plain = adder_conv2d(x, w, *DENSE.geometry)
    registered = adder_kernels.adder_operator(
        x, w, *map(list, DENSE.geometry[:3]), DENSE.groups, "full", "clip"
    )
    grad = upstream(plain)
    assert torch.equal(plain, registered)
    for one, other in zip(
        torch.autograd.grad(plain, (x, w), grad),
        torch.autograd.grad(registered, (x, w), grad),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_whatever_watches_or_traces_sees_the_operator() -> None:
    x, w = DENSE.tensors(torch.float32)
    with Watching() as watching:
        adder_conv2d(x, w, *DENSE.geometry)
    assert "saa_lite.adder_conv2d.default" in watching.seen
    graph = make_fx(lambda a, b: adder_conv2d(a, b, *DENSE.geometry))(x, w)
    assert "saa_lite.adder_conv2d" in graph.code
    assert is_plain(x, w)
    assert not is_plain(x.as_subclass(Subclass), w)
