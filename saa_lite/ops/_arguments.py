"""Checks and shape arithmetic that all convolution operators share."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from saa_lite.errors import UsageError
from saa_lite.kernels.geometry import Geometry, Pair

Side = int | Sequence[int]
FLOATS = (torch.float32, torch.float64)
MOST_KNOWN = 4096
_PASSED: set[tuple[object, ...]] = set()  # arguments of plain calls that raised no error


def geometry_of(stride: Side, padding: Side, dilation: Side, groups: int) -> Geometry:
    """The arguments of a user as one object; the groups are not looked at yet."""
    return Geometry(
        _pair("stride", stride, 1),
        _pair("padding", padding, 0),
        _pair("dilation", dilation, 1),
        groups,
    )


def _pair(name: str, value: Side, minimum: int) -> Pair:
    """Expand an int or a sequence of one or two ints to ``(rows, columns)``; check the minimum."""
    if type(value) is int and value >= minimum:  # nearly always; every call of a layer comes here
        return value, value
    if type(value) is tuple and len(value) == 2:  # as layers of torch.nn store it
        rows, columns = value
        if type(rows) is type(columns) is int and rows >= minimum and columns >= minimum:
            return value
    given = tuple(value) if isinstance(value, Iterable) else (value,)
    wrong = len(given) not in (1, 2) or any(
        isinstance(v, bool) or not isinstance(v, (Integral, torch.SymInt)) for v in given
    )
    if wrong:
        raise UsageError(f"{name} must be an int or a pair of ints; got {value!r}")
    given = tuple(v if isinstance(v, torch.SymInt) else int(v) for v in given)  # NumPy's integers
    rows, columns = given if len(given) == 2 else given * 2
    if rows < minimum or columns < minimum:
        raise UsageError(f"{name} must be at least {minimum}; got {value!r}")
    return rows, columns


def check_convolution(
    operator: str,
    input: Tensor,
    weight: Tensor,
    dtypes: Sequence[torch.dtype],
    geometry: Geometry,
    plain: bool,
) -> None:
    """Tensors, dtypes, devices, shapes, groups; what a plain call passed once it passes again."""
    key = None
    if plain:
        kinds = input.dtype, weight.dtype, input.device, weight.device, type(geometry.groups)
        key = operator, input.shape, weight.shape, geometry, kinds
        if key in _PASSED:
            return
    check_tensors(operator, input=(input, dtypes), weight=(weight, dtypes))
    if input.dtype != weight.dtype:
        raise TypeError(
            f"{operator}: input and weight must share a dtype; got {input.dtype} and {weight.dtype}"
        )
    check_conv_shapes(operator, input, weight, geometry)
    if key:
        if len(_PASSED) >= MOST_KNOWN:
            _PASSED.clear()
        _PASSED.add(key)


def check_tensors(operator: str, **given: tuple[Tensor, Sequence[torch.dtype]]) -> None:
    """Each a tensor of one of its dtypes, all on one device."""
    for name, (tensor, dtypes) in given.items():
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise TypeError(f"{operator}: {name} must be a torch.Tensor; got {kind}")
        if tensor.dtype not in dtypes:
            allowed = " or ".join(str(dtype) for dtype in dtypes)
            raise TypeError(f"{operator}: {name} must be {allowed}; got {tensor.dtype}")
    devices = [str(tensor.device) for tensor, _ in given.values()]
    if len(set(devices)) > 1:
        *names, last = given
        raise UsageError(
            f"{operator}: {', '.join(names)} and {last} must be on one device; "
            f"got {', '.join(devices[:-1])} and {devices[-1]}"
        )


def check_conv_shapes(operator: str, input: Tensor, weight: Tensor, geometry: Geometry) -> None:
    """Ranks, channels, groups and kernel size of a two-dimensional convolution."""
    if input.dim() != 4:
        raise UsageError(
            f"{operator}: input must have shape [batch, channels, rows, columns]; "
            f"got {list(input.shape)}"
        )
    if weight.dim() != 4:
        raise UsageError(
            f"{operator}: weight must have shape [filters, channels / groups, rows, columns]; "
            f"got {list(weight.shape)}"
        )
    _check_groups(operator, input, weight, geometry.groups)
    _check_kernel_fits(operator, input, weight, geometry)


def _check_groups(operator: str, input: Tensor, weight: Tensor, groups: int) -> None:
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise UsageError(f"{operator}: groups must be an int of at least 1; got {groups!r}")
    if weight.shape[0] % groups:
        raise UsageError(
            f"{operator}: the number of filters must be divisible by groups={groups}; "
            f"got {weight.shape[0]}"
        )
    if input.shape[1] != weight.shape[1] * groups:
        raise UsageError(
            f"{operator}: input must have {weight.shape[1] * groups} channels "
            f"(weight {list(weight.shape)}, groups={groups}); got {input.shape[1]}"
        )


def _check_kernel_fits(operator: str, input: Tensor, weight: Tensor, geometry: Geometry) -> None:
    if min(weight.shape[2:]) < 1:
        raise UsageError(
            f"{operator}: the kernel must be at least 1 × 1; got {list(weight.shape[2:])}"
        )
    if min(geometry.output_shape(input.shape, weight.shape)[2:]) < 1:
        raise UsageError(
            f"{operator}: the kernel {list(weight.shape[2:])} with dilation "
            f"{list(geometry.dilation)} must fit into the padded input; got input "
            f"{list(input.shape[2:])}, padding {list(geometry.padding)}"
        )


def layout_of(images: Tensor) -> torch.memory_format:
    """channels_last for images stored so, else contiguous."""
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    plain = images.is_contiguous() or not channels_last
    return torch.contiguous_format if plain else torch.channels_last


def walks_channels_last(
    layout: torch.memory_format, input_shape: Sequence[int], output_shape: Sequence[int]
) -> bool:
    """Whether kernels walk over input and output, both laid out so, as [B, H, W, C].

    [B, C, 1, 1] lies in memory as [B, 1, 1, C] does, and as that it fills more of a vector. An
    output of more pixels has only one order, so both sides must be of one pixel.
    """
    one_pixel = tuple(input_shape[2:]) == tuple(output_shape[2:]) == (1, 1)
    return one_pixel or layout == torch.channels_last


def registered(
    name: str, tensors: str, options: tuple[str, ...], compute: Any, like: Any = None
) -> Any:
    """``compute(*tensors, geometry, *options)`` as an operator that takes stride, padding, …

    Args:
        tensors: their names; options: types and names, of what follows the groups.
        like: an empty result, for fake tensors; default: as a convolution, in the input's dtype.
    """
    names = tensors.split()
    sides = [f"int[] {side}" for side in ("stride", "padding", "dilation")]
    given = [*(f"Tensor {tensor}" for tensor in names), *sides, "int groups", *options]

    def operator(*args: Any) -> Tensor:
        found, sides, others = args[: len(names)], args[len(names) :][:4], args[len(names) + 4 :]
        result: Tensor = compute(*found, Geometry.of(*sides), *others)
        return result

    schema = f"({', '.join(given)}) -> Tensor"
    found = torch.library.custom_op(f"saa_lite::{name}", operator, mutates_args=(), schema=schema)
    found.register_fake(like or output_like())
    return found


def output_like(dtype: torch.dtype | None = None) -> Callable[..., Tensor]:
    """What a registered convolution returns, for ``register_fake``: shape, dtype and layout.

    Its arguments are input, weight, any other tensors, stride, padding, dilation and any others.
    """

    def empty(input: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        sides = [value for value in rest if isinstance(value, (list, tuple))]
        shape = Geometry.of(*sides[:3], 1).output_shape(input.shape, weight.shape)
        return input.new_empty(shape, dtype=dtype).contiguous(memory_format=layout_of(input))

    return empty
