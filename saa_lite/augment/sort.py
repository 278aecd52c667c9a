"""Put the most important channels first, where the target is.

As NetAug's official code: inside each block, in descending order of the L1 norm of the weights
that consume a channel; block outputs keep their order. Unlike NetAug, the optimiser's state moves
along, so that momentum goes on pulling at the weight it was collected for.

Within a homogeneous network this changes nothing but the order. In a hybrid one a channel that
changes sides changes its operator too, and the function jumps. For adder targets the norms of both
sides cannot be compared: stored weights that are read through a widening remapping need to move
little, while convolutions around them grow. After an epoch every inner channel of the target is
exchanged, which costs accuracy (``shiftaddaug/fig4``, unsorted arms). Weights that are not remapped
are thirty times as large as the convolutions', and no channel is. The source has important channels
"reordered" and says neither when nor by which measure.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from saa_lite.augment.config import Axis
from saa_lite.augment.depthwise import WideDepthwise, WideLinear
from saa_lite.augment.network import AugmentedNet, check_augmented
from saa_lite.augment.unit import WideConv


class Block(NamedTuple):
    """A stored tensor and where it lies in the wide one."""

    tensor: Tensor
    row: int
    column: int


class Wide(NamedTuple):
    """A wide tensor in blocks, ordered along dimension ``dim``.

    ``fresh`` is what a channel finds that comes from where no block is.
    """

    blocks: list[Block]
    dim: int
    fresh: float = 0.0


def sort_channels(
    model: AugmentedNet, optimizer: Optimizer | None = None, *, within: bool = False
) -> dict[str, Tensor]:
    """Sort the channels inside every block, and the optimiser's state with them.

    Args:
        within: let no channel change sides, so that the function stays the same.

    Returns:
        Per axis its permutation: new channel i was channel ``permutation[i]``.

    Raises:
        UsageError: another model.
    """
    check_augmented(model, "sort_channels")
    orders = {}
    for axis in model.axes:
        if axis.is_inner and axis.largest > axis.target:
            order = descending(importance(model, axis), axis.target if within else 0)
            for wide in wide_tensors(model, axis):
                permute(wide, order, optimizer)
            orders[axis.name] = order
    return orders


def descending(scores: Tensor, split: int) -> Tensor:
    """Order of falling scores, [:split] and [split:] each on their own; ties keep their order."""
    parts = [scores[:split], scores[split:]]
    first, second = (part.argsort(descending=True, stable=True) for part in parts)
    return torch.cat([first, second + split])


@torch.no_grad()
def importance(model: AugmentedNet, axis: Axis) -> Tensor:
    """Σ|W| over everything that reads a channel, [axis.largest]."""
    total = torch.zeros(axis.largest)
    for unit in model.modules():
        if isinstance(unit, WideConv) and unit.inputs is axis:
            total += consumed(unit, model.config.importance).cpu()
    return total


def consumed(unit: WideConv, measure: str) -> Tensor:
    """L1 norm of the columns of a consumer's wide weight.

    ``"remapped"``: the target's rows as the multiplication-free operator would read them, those
    columns included that are multiplicative now; otherwise two scales would be compared.
    """
    weight = unit.weight(0, unit.outputs.largest, 0, unit.inputs.largest)
    if measure == "remapped" and unit.is_multiplication_free:
        n = unit.outputs.target
        weight = torch.cat([unit.multiplication_free(n), weight[n:]])
    return weight.abs().float().sum((0, 2, 3))


def wide_tensors(model: AugmentedNet, axis: Axis) -> Iterator[Wide]:
    """Everything that has to be permuted with ``axis``."""
    n = axis.target
    for unit in model.modules():
        if isinstance(unit, (WideConv, WideDepthwise)) and writes(unit, axis):
            yield Wide(rows_of(unit), 0)
            yield from norms_of(unit, n)
        if isinstance(unit, WideConv) and unit.inputs is axis:
            rows = unit.outputs.target
            yield Wide(present([(unit.layer.weight, 0, 0), (unit.right, 0, n)]), 1)
            yield Wide(present([(unit.below, rows, 0)]), 1)
        if isinstance(unit, WideLinear) and unit.inputs is axis:
            yield Wide(present([(unit.layer.weight, 0, 0), (unit.right, 0, n)]), 1)


def writes(unit: WideConv | WideDepthwise, axis: Axis) -> bool:
    """Whether the output channels of ``unit`` are ``axis``."""
    return (unit.outputs if isinstance(unit, WideConv) else unit.axis) is axis


def rows_of(unit: WideConv | WideDepthwise) -> list[Block]:
    """Blocks of the weight as rows are permuted."""
    n, m = unit.layer.weight.shape[:2]
    right = unit.right if isinstance(unit, WideConv) else None
    return present([(unit.layer.weight, 0, 0), (right, 0, m), (unit.below, n, 0)])


def present(blocks: list[tuple[Tensor | None, int, int]]) -> list[Block]:
    return [Block(tensor, row, column) for tensor, row, column in blocks if tensor is not None]


def norms_of(unit: WideConv | WideDepthwise, n: int) -> Iterator[Wide]:
    """Scale, shift and running statistics; norms of the first n channels alone are refreshed."""
    norm = unit.norm
    for first in (norm.target, norm.cross, norm.conv):
        if first is None:
            continue
        rest = norm.rest if first is norm.target else None
        for name, fresh in (("weight", 1.0), ("bias", 0.0), *STATISTICS):
            tail = None if rest is None else getattr(rest, name)
            yield Wide(present([(getattr(first, name), 0, 0), (tail, n, 0)]), 0, fresh)


STATISTICS = (("running_mean", 0.0), ("running_var", 1.0))


def permute(wide: Wide, order: Tensor, optimizer: Optimizer | None) -> None:
    """Reorder one wide tensor and, where it is trained, its optimiser state."""
    if not wide.blocks:
        return
    reorder(wide, order)
    if optimizer is not None:
        for moments in moments_of(wide, optimizer):
            reorder(moments, order)


def moments_of(wide: Wide, optimizer: Optimizer) -> list[Wide]:
    """The optimiser's tensors of the same shape as the blocks, in the same places.

    A block that has had no gradient yet gets the state of one whose gradients were all 0.
    """
    known = next((s for b in wide.blocks if (s := optimizer.state.get(b.tensor))), None)
    if known is None:
        return []
    for block in wide.blocks:
        if not optimizer.state.get(block.tensor):
            optimizer.state[block.tensor] = {k: blank(v, block.tensor) for k, v in known.items()}
    names = [k for k, value in known.items() if isinstance(value, Tensor) and value.dim()]
    return [
        Wide([b._replace(tensor=optimizer.state[b.tensor][name]) for b in wide.blocks], wide.dim)
        for name in names
    ]


def blank(value: Any, parameter: Tensor) -> Any:
    """A moment of ``parameter`` that is still 0, or a copy of a step count."""
    if isinstance(value, Tensor) and value.dim():
        return torch.zeros_like(parameter)
    return copy.deepcopy(value)


@torch.no_grad()
def reorder(wide: Wide, order: Tensor) -> None:
    """Assemble the blocks, permute along ``dim``, and store them again."""
    first = wide.blocks[0].tensor
    ends = [
        [b.row + b.tensor.shape[0], *(b.column + n for n in b.tensor.shape[1:2])]
        for b in wide.blocks
    ]
    sizes = [max(extent) for extent in zip(*ends, strict=True)] + list(first.shape[2:])
    sizes[wide.dim] = len(order)
    whole = first.new_full(sizes, wide.fresh)
    for block in wide.blocks:
        window(whole, block).copy_(block.tensor)
    whole = whole.index_select(wide.dim, order.to(whole.device))
    for block in wide.blocks:
        block.tensor.copy_(window(whole, block))


def window(whole: Tensor, block: Block) -> Tensor:
    """The part of ``whole`` that is ``block``."""
    part = whole.narrow(0, block.row, block.tensor.shape[0])
    return part if block.tensor.dim() == 1 else part.narrow(1, block.column, block.tensor.shape[1])
