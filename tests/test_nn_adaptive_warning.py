"""Training an adder layer that nothing normalises says so, once per process."""

import copy
import pickle
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from saa_lite.nn import AdderLinear, adaptive_lr, attach_adaptive_lr


def test_training_without_either_says_so_once() -> None:
    """In a process of its own, with warnings as the interpreter sets them."""
    script = """
        import torch
        from saa_lite.nn import AdderLinear
        for layer in [AdderLinear(4, 2), AdderLinear(4, 2)] * 2:
            layer(torch.randn(3, 4)).sum().backward()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    assert run.stderr.count("UserWarning") == run.stderr.count("attach_adaptive_lr(optimizer") == 1


def renewed(layer: AdderLinear) -> AdderLinear:
    layer.weight = nn.Parameter(torch.ones(2, 4))
    return layer


UNATTACHED_COPIES = {
    "copied": lambda layer, optimizer: copy.deepcopy(layer),
    "pickled": lambda layer, optimizer: pickle.loads(pickle.dumps(layer)),
    "compiled": lambda layer, optimizer: torch.compile(copy.deepcopy(layer), backend="eager"),
    "new weight": lambda layer, optimizer: renewed(layer),
    "removed": lambda layer, optimizer: attach_adaptive_lr(optimizer, layer).remove() or layer,
}


@pytest.mark.parametrize("how", UNATTACHED_COPIES)
def test_warning_knows_who_is_attached(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive_lr, "_said_once", [])
    attached, off = AdderLinear(4, 2), AdderLinear(4, 2, adaptive_lr="off")
    backward, frozen = AdderLinear(4, 2, adaptive_lr="backward"), AdderLinear(4, 2)
    frozen.weight.requires_grad_(False)
    optimizer = torch.optim.SGD(attached.parameters(), lr=0.1)
    attach_adaptive_lr(optimizer, attached)
    for quiet in (attached, off, backward, frozen):
        quiet(torch.randn(3, 4)).sum().backward()
    with torch.no_grad():
        AdderLinear(4, 2)(torch.randn(3, 4))
    layer = UNATTACHED_COPIES[how](attached, optimizer)
    with pytest.warns(UserWarning, match="no optimizer normalises its gradient") as caught:
        layer(torch.randn(3, 4)).sum().backward()
    layer(torch.randn(3, 4)).sum().backward()
    assert len(caught) == 1


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
@pytest.mark.parametrize("attach", [True, False])
def test_sharded_weights_are_known_to_be_attached(
    attach: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fully_shard``: the optimiser holds shards, each pass uses a parameter gathered for it."""
    from torch import distributed  # noqa: PLC0415 - only where it is available
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    monkeypatch.setattr(adaptive_lr, "_said_once", [])
    torch.manual_seed(0)
    whole = AdderLinear(4, 2)
    sharded, x = copy.deepcopy(whole), torch.randn(3, 4)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        fully_shard(sharded, mesh=distributed.init_device_mesh("cpu", (1,)))
        for layer in (whole, sharded):
            optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
            expectation: Any = pytest.warns(UserWarning, match="no optimizer normalises")
            if attach or layer is whole:
                assert len(attach_adaptive_lr(optimizer, layer)) == 1
                expectation = nullcontext()
            with expectation:
                layer(x).sum().backward()
            optimizer.step()
        same = torch.allclose(sharded.weight.full_tensor(), whole.weight)  # type: ignore[operator]
        assert same == attach
    finally:
        distributed.destroy_process_group()
