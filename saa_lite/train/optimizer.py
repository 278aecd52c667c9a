"""The optimiser of a run, its state as tensors and plain numbers, and its learning rate.

The rate is a pure function of the step: nothing to save, nothing to restore.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from saa_lite.errors import CheckpointError, UsageError
from saa_lite.train.config import TrainConfig


def learning_rate(step: int, peak: float, total_steps: int, warmup_steps: int = 0) -> float:
    """Rate of optimiser step ``step`` (0-based): linear warm-up, then a cosine down towards 0.

    During warm-up ``peak · (step + 1) / warmup_steps``; afterwards
    ``½ · peak · (1 + cos(π t))`` with t running from 0 towards 1 over the steps that are left.
    AdderNet's official code uses the same cosine, but changes the rate once an epoch.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * done))


# DeepShift-PS parameters hold exponents and signs: decay would pull 2^p towards 2^0.
UNDECAYED = ("shift", "sign")


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """SGD with (Nesterov) momentum or RAdam over the trainable parameters of ``model``.

    Raises:
        UsageError: there are none, as in an exported network.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise UsageError(
            f"{type(model).__name__} has no parameter that requires a gradient, so there is "
            "nothing to train; an exported network is frozen until requires_grad_(True)"
        )
    spared = undecayed(model, config)
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in trained if name not in spared]},
        {"params": [p for name, p in trained if name in spared], "weight_decay": 0.0},
    ]
    groups[0]["weight_decay"] = config.weight_decay
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "radam":
        return torch.optim.RAdam(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def undecayed(model: nn.Module, config: TrainConfig) -> set[str]:
    """Names of the parameters that weight decay spares."""
    return {
        name
        for name, parameter in model.named_parameters()
        # A norm's scale and a bias have one axis, a remapping's scalar has none.
        if name.rpartition(".")[2] in UNDECAYED or not (config.decay_norms or parameter.dim() > 1)
    }


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def pack_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split the state into tensors named ``"<parameter index>.<name>"`` and JSON values.

    Works for every optimiser whose state per parameter is tensors and plain numbers, such as SGD
    (momentum) and the Adam family (moments, step counts).
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"groups": state["param_groups"], "scalars": scalars}


def unpack_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Undo :func:`pack_optimizer` into an optimiser over the same parameters.

    Raises:
        CheckpointError: it holds other parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, Any]] = {}
    for index, entries in plain["scalars"].items():
        states.setdefault(int(index), {}).update(entries)
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = _as_layout_of(parameters, int(index), value)
    try:
        optimizer.load_state_dict({"state": states, "param_groups": plain["groups"]})
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"the checkpoint's optimiser does not fit: {error}") from error


def _as_layout_of(parameters: list[Tensor], index: int, value: Tensor) -> Tensor:
    """A moment buffer in its parameter's memory format, as it was before it was saved.

    Element-wise kernels may round differently in their vector body and in their scalar tail, so
    the order of the elements in memory is part of a bit-equal resume.
    """
    if index >= len(parameters) or parameters[index].shape != value.shape:
        return value
    return torch.empty_like(parameters[index], dtype=value.dtype).copy_(value)
