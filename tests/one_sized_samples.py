"""Geometries with sizes of one, and tensors whose strides say little about their order.

A dimension of size one has no stride that counts: such a tensor may be contiguous and channels_last
at once, and may carry any number as that stride. Whatever infers an order from strides is tried on
these.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any

import torch
from adder_samples import Case
from hypothesis import strategies as st
from ops_samples import LAYOUTS
from torch import Tensor
from torch.nn import functional as F

Choose = Callable[[Sequence[int]], int]


def odd_strides(t: Tensor) -> Tensor:
    """The same memory; dimensions of size one claim to be 7 numbers apart."""
    steps = [7 if size == 1 else step for size, step in zip(t.shape, t.stride(), strict=True)]
    return t.as_strided(t.shape, steps)


def ordered(order: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """The same numbers, in memory in another order of the dimensions: tokens made to maps, say."""
    back = sorted(range(len(order)), key=order.__getitem__)
    return lambda t: t.permute(*order).contiguous().permute(*back)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = LAYOUTS | {
    "odd strides": odd_strides,
    "channels_last, odd strides": lambda t: odd_strides(LAYOUTS["channels_last"](t)),
    "every second channel": lambda t: t.repeat_interleave(2, 1)[:, ::2],
    "every second row": lambda t: t.repeat_interleave(2, 2)[:, :, ::2],
    "behind others": lambda t: torch.cat([t, t])[len(t) :],
    "channels_last, behind others": lambda t: LAYOUTS["channels_last"](torch.cat([t, t]))[len(t) :],
    "inner pixels": lambda t: F.pad(t, (1, 2, 2, 1))[:, :, 2:-1, 1:-2],
    "channels_last, inner pixels": lambda t: LAYOUTS["channels_last"](F.pad(t, (1, 1, 1, 1)))[
        :, :, 1:-1, 1:-1
    ],
}
VIEWS |= {f"order {order}": ordered(order) for order in permutations(range(4))}


def one_sized(choose: Choose) -> Case:
    """Any convolution in which images, kernel or channels have a side of one."""
    kernel, stride, padding, dilation = (
        (choose(options), choose(options))
        for options in ((1, 2, 3, 4), (1, 1, 2, 3), (0, 0, 1, 2), (1, 1, 2))
    )
    drawn = [choose((1, 1, 2, 5)) for _ in range(2)]
    least = [dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i] for i in (0, 1)]
    size = max(drawn[0], least[0]), max(drawn[1], least[1])
    channels, filters = choose((1, 2, 3, 17)), choose((1, 2, 5, 20))
    batch = choose((1, 1, 3)) if 1 in (*size, *kernel, channels, filters) else 1
    return Case(
        channels, filters, size, kernel, stride, padding, dilation, choose((1, 1, 2)), batch
    )


@st.composite
def one_sized_cases(draw: st.DrawFn) -> Case:
    return one_sized(lambda options: draw(st.sampled_from(options)))


def sweep(seed: int, count: int) -> Iterator[tuple[Case, Callable[[Tensor], Tensor]]]:
    """``count`` cases, and what turns a tensor into some view of itself, another at each call."""
    chosen = random.Random(seed)

    def view(t: Tensor) -> Tensor:
        return VIEWS[chosen.choice(sorted(VIEWS))](t)

    for _ in range(count):
        yield one_sized(chosen.choice), view


def by_patches(case: Case, x: Tensor, w: Tensor) -> Tensor:
    """Σ x·w over every window in float64, patch by patch; no convolution is called."""
    kernel, geometry = case.kernel, (case.dilation, case.padding, case.stride)
    outputs: list[Any] = [
        filters.double().flatten(1) @ F.unfold(images.double(), kernel, *geometry)
        for images, filters in zip(x.chunk(case.groups, 1), w.chunk(case.groups), strict=True)
    ]
    reach = [case.dilation[i] * (case.kernel[i] - 1) + 1 for i in (0, 1)]
    rows, columns = (
        (case.size[i] + 2 * case.padding[i] - reach[i]) // case.stride[i] + 1 for i in (0, 1)
    )
    return torch.cat(outputs, 1).unflatten(2, (rows, columns))
