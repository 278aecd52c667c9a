"""One training on several processes, step by step the same as one process that accumulates.

Started by torchrun, every process holds the whole network and the whole data set. A batch is cut
into as many micro-batches as one process would accumulate, ``accumulate`` times the number of
processes, and each process takes some that lie side by side. Before the optimiser steps, their
gradients are added up in one message, so that whatever looks at the gradient then, such as
AdderNet's adaptive rate or a loss scale, sees that of the whole batch. Running statistics of batch
norm are brought to where they would be if one process had seen all micro-batches in turn.

Order, augmentation and rates are functions of (seed, epoch, step) as ever, so a training may be
resumed with another number of processes. Dropout draws the same masks in every process, and so
others than one process would. The first process writes; the folder has to be seen by all.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.errors import SaaLiteError, UsageError

Piece = tuple[Tensor, Tensor]  # images and labels of a micro-batch
PATIENCE = timedelta(minutes=30)  # for the slowest process, at the test after an epoch at most


def count() -> int:
    """How many processes train together; 1 for a training by itself."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0; the first reports and writes."""
    return dist.get_rank() if count() > 1 else 0


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Inside, processes that torchrun has started train together.

    Args:
        device: "cpu", or "cuda" for a GPU each.

    Yields:
        The device of this process; ``device`` itself where torchrun has started nothing.

    Raises:
        UsageError: a GPU was named that all would share.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield device
        return
    if device.startswith("cuda:"):
        raise UsageError(f"under torchrun each process has its GPU; say cuda instead of {device}")
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def share(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Those of a batch's micro-batches that this process takes; may be none of a small batch."""
    first, behind = (len(pieces) * place // count() for place in (rank(), rank() + 1))
    return pieces[first:behind]


def add_gradients(held: Sequence[Tensor]) -> None:
    """Add up the gradient of every tensor over the processes, all in one message."""
    if count() == 1 or not held:
        return
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in held]
    # What has no gradient in any process is not to be touched, not even by weight decay.
    present = parts[0].new_tensor([p.grad is not None for p in held])
    message = torch.cat([*parts, present])
    dist.all_reduce(message)
    *sums, present = message.split([*(p.numel() for p in held), len(held)])
    for tensor, total, somewhere in zip(held, sums, present.tolist(), strict=True):
        if somewhere:
            if tensor.grad is None:
                tensor.grad = torch.empty_like(tensor)
            tensor.grad.copy_(total.view(tensor.shape))


def add_up(numbers: Tensor) -> Tensor:
    """The sum over the processes, in place."""
    if count() > 1:
        dist.all_reduce(numbers)
    return numbers


def highest(number: int) -> int:
    """The largest of what the processes give."""
    if count() == 1:
        return number
    asked = torch.tensor(number, device=_device())
    dist.all_reduce(asked, dist.ReduceOp.MAX)
    return int(asked)


def start_together(model: nn.Module, updates: int) -> None:
    """Give all processes the network of the first.

    Args:
        updates: how many the checkpoint has behind it that this process found.

    Raises:
        SaaLiteError: another process found another one.
    """
    if count() == 1:
        return
    if highest(updates) != -highest(-updates):
        raise SaaLiteError(
            f"process {rank()} found a checkpoint after {updates} updates, another process one "
            "after a different number: all must see the same folder"
        )
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.data, 0)


@contextmanager
def statistics_in_turn(model: nn.Module) -> Iterator[None]:
    """Around the micro-batches of a pass: batch norm's running statistics, as if seen in turn.

    With momentum m, n updates take a statistic r to (1 − m)ⁿ·r + x, where x does not depend on r.
    So the next process, had it begun at s instead of r, would have ended (1 − m)ⁿ·(s − r) higher.

    Raises:
        UsageError: a norm averages over all batches (momentum=None), where this does not hold.
    """
    if count() == 1:
        yield
        return
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        yield
        return
    if any(norm.momentum is None for norm in norms):
        raise UsageError("on several processes batch norm needs a momentum; got None")
    sizes = torch.tensor([2 * norm.num_features for norm in norms], device=_device())
    kept = torch.tensor([1 - (norm.momentum or 0) for norm in norms], device=_device()).double()
    before = _statistics(norms)
    yield
    after = _statistics(norms)
    everyone = [torch.empty_like(after) for _ in range(count())]
    dist.all_gather(everyone, after)
    reached = before.clone()
    for found in everyone:
        updates = (found - before)[: len(norms)]
        powers = (kept**updates).repeat_interleave(sizes)
        earlier = (reached - before)[len(norms) :]
        reached = found + torch.cat([(reached - before)[: len(norms)], powers * earlier])
    for norm, updates in zip(norms, reached[: len(norms)], strict=True):
        norm.get_buffer("num_batches_tracked").data.copy_(updates)
    for norm, values in zip(norms, reached[len(norms) :].split(sizes.tolist()), strict=True):
        for name, value in zip(("running_mean", "running_var"), values.chunk(2), strict=True):
            norm.get_buffer(name).data.copy_(value)


def _statistics(norms: Sequence[_BatchNorm]) -> Tensor:
    """How often each norm was updated, then mean and variance of all, float64."""
    counters = torch.stack([norm.get_buffer("num_batches_tracked") for norm in norms])
    values = [norm.get_buffer(f"running_{kind}") for norm in norms for kind in ("mean", "var")]
    return torch.cat([counters.double(), *(value.double() for value in values)])


def _device() -> torch.device:
    """Where messages lie: NCCL sends only between GPUs."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
