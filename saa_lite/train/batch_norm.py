"""Re-estimate the running statistics of batch norm from data.

Needed whenever weights change after training: a sub-network cut from a wide one (NetAug's official
code does so before every evaluation), or quantised weights.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.data.batches import image_batches
from saa_lite.errors import UsageError
from saa_lite.train.evaluate import evaluation_mode


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[Any]) -> None:
    """Replace running mean and variance by their plain average over ``batches``.

    A norm that no batch passes through (the unused part of a wide network) keeps what it had.
    Every batch counts the same (``momentum=None``, a cumulative average), so a small last batch
    counts too much: leave it out. While estimating, only batch norm is in training mode, dropout
    is off. Weights, modes and momenta are afterwards what they were.

    Args:
        batches: normalised images [B, C, H, W], or tuples that hold them, such as those of a
            ``DataLoader`` or of ``Batches.epoch``.

    Raises:
        TypeError: a batch holds no tensor.
        UsageError: ``batches`` is empty, or no series of batches.
    """
    iterator = image_batches("batches", batches)
    first = next(iterator, None)
    if first is None:
        raise UsageError("batches must hold at least one batch to estimate statistics from")
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    before = [{k: v.clone() for k, v in norm.named_buffers()} for norm in norms]
    with evaluation_mode(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None
        try:
            for batch in chain([first], iterator):
                model(batch)
        finally:
            for norm, momentum, buffers in zip(norms, momenta, before, strict=True):
                norm.momentum = momentum
                if not norm.num_batches_tracked:
                    norm.load_state_dict(buffers, strict=False)
