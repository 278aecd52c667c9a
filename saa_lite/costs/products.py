"""Products among torch's operators: their taps, their loops, and which arithmetic they take."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from saa_lite.costs.operations import Product, count_bits
from saa_lite.costs.row_stationary import Loops, as_matrix_product

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Operand:
    """What is known of the numbers in a tensor: "float", "fixed", "shift" or "binary", and bits."""

    number: str
    bits: int


@dataclass(frozen=True)
class Found:
    """A product before the widths of its operands are known."""

    loops: Loops
    inputs: Tensor
    weights: Tensor
    operator: str = ""  # empty: the operands decide
    weight_operand: Operand | None = None  # instead of what is known of ``weights``


def product(found: Found, input: Operand, weight: Operand, output: Tensor) -> Product:
    """Put loops and operands together; the operands of a multiplication decide what it takes."""
    weight = found.weight_operand or weight
    operator = found.operator or _operator(input, weight)
    inner = found.loops.channels * math.prod(found.loops.kernel)
    number, sum_bits = _sums(operator, input, inner)
    return Product(
        operator,
        found.loops,
        number,
        input.bits,
        weight.bits,
        sum_bits,
        found.inputs.numel(),
        found.weights.numel(),
        output.numel(),
    )


def _operator(input: Operand, weight: Operand) -> str:
    if weight.number == "shift":
        return "shift"
    binary = [operand.number == "binary" for operand in (input, weight)]
    return "xnor" if all(binary) else "sign" if any(binary) else "multiply"


def _sums(operator: str, input: Operand, inner: int) -> tuple[str, int]:
    """What is summed and how wide: sums of integers keep 32 bits, counts of ones what they need."""
    if operator == "xnor":
        return "bit", count_bits(inner)
    whole = input.number in ("fixed", "integer")
    return ("integer", max(32, input.bits)) if whole else ("float", input.bits)


def find(name: str, arguments: Arguments, output: Tensor) -> list[Found] | None:
    """Products of one torch operator; ``None`` if it is no product.

    Args:
        name: without namespace and trailing underscore.
        arguments: by the names of the operator's schema.
        output: its first output.
    """
    rule = RULES.get(name)
    return None if rule is None else rule(arguments, output)


def _convolution(a: Arguments, output: Tensor) -> list[Found]:
    input, weight = _batched(a["input"], a["weight"]), a["weight"]
    if a.get("transposed"):
        return [Found(_transposed(input, weight), input, weight)]
    return [Found(_window_loops(input, weight, output, a["stride"], a["groups"]), input, weight)]


def _batched(input: Tensor, weight: Tensor) -> Tensor:
    return input if input.dim() == weight.dim() else input.unsqueeze(0)


def _window_loops(
    input: Tensor, weight: Tensor, output: Tensor, stride: Sequence[int], groups: int
) -> Loops:
    """Groups become part of the batch, as the simulator of ShiftAddViT does for depthwise ones."""
    batch, channels = input.shape[:2]
    source, target, kernel = (_plane(tensor) for tensor in (input, output, weight))
    linear = math.prod(source) == 1 == math.prod(target)
    rows, inner, filters = batch * groups, channels // groups, weight.shape[0] // groups
    loops = Loops(rows, inner, filters, source, target, kernel, stride[0], linear)
    return loops if weight.dim() <= 4 else as_matrix_product(loops)


def _plane(tensor: Tensor) -> tuple[int, int]:
    """Height and width; a sequence has height 1, of a volume depth and height become one."""
    sizes = (1, *tensor.shape[2:])
    return math.prod(sizes[:-1]), sizes[-1]


def _transposed(input: Tensor, weight: Tensor) -> Loops:
    """Every input meets every tap of its filters; as a matrix product over the input's places."""
    rows = input.shape[0] * math.prod(input.shape[2:])
    taps_per_channel = math.prod(weight.shape[1:])
    return _matrix(rows, input.shape[1], taps_per_channel)


def _matrix(rows: int, inner: int, columns: int) -> Loops:
    return Loops(rows, inner, columns, (1, 1), (1, 1), (1, 1), 1, linear=True)


def _matrix_product(first: Tensor, second: Tensor, operator: str = "") -> Found:
    """[..., n, k] times [..., k, m]; leading dimensions are separate products of the same size."""
    rows, inner = math.prod(first.shape[:-1]), first.shape[-1]
    columns = second.shape[-1] if second.dim() > 1 else 1
    return Found(_matrix(rows, inner, columns), first, second, operator)


def _two(first: str, second: str) -> Callable[[Arguments, Tensor], list[Found]]:
    return lambda a, output: [_matrix_product(a[first], a[second])]


def _vectors(a: Arguments, output: Tensor) -> list[Found]:
    first, second = a["self"], a["tensor"]
    return [Found(_matrix(1, first.numel(), 1), first, second)]


def _linear(a: Arguments, output: Tensor) -> list[Found]:
    return [_matrix_product(a["input"], a["weight"].t())]


def _attention(a: Arguments, output: Tensor) -> list[Found]:
    """softmax(Q Kᵀ) V in one operator: two products."""
    q, k, v = a["query"], a["key"], a["value"]
    scores = Found(_matrix(math.prod(q.shape[:-1]), q.shape[-1], k.shape[-2]), q, k)
    mixed = Found(_matrix(math.prod(q.shape[:-1]), k.shape[-2], v.shape[-1]), q, v)
    return [scores, mixed]


def _distances(a: Arguments, output: Tensor) -> list[Found] | None:
    """``torch.cdist``: a sum of distances for p = 1, of squares for p = 2."""
    operator = {1.0: "adder", 2.0: "square"}.get(float(a["p"]))
    if operator is None:
        return None
    x, y = a["x1"], a["x2"]
    loops = _matrix(math.prod(output.shape[:-1]), x.shape[-1], output.shape[-1])
    return [Found(loops, x, y, operator)]


def _adder(a: Arguments, output: Tensor) -> list[Found]:
    loops = _window_loops(a["input"], a["weight"], output, a["stride"], a["groups"])
    return [Found(loops, a["input"], a["weight"], "adder")]


def _integer_shift(a: Arguments, output: Tensor) -> list[Found]:
    """Codes of exponent and sign; the width follows from the smallest exponent."""
    loops = _window_loops(a["input"], a["shift"], output, a["stride"], a["groups"])
    weight = Operand("shift", shift_bits(a["smallest"]))
    return [Found(loops, a["input"], a["shift"], "shift", weight)]


def shift_bits(smallest: int, kind: str = "shift") -> int:
    """Bits b of a shift weight from its smallest exponent: 1 − 2^(b−1) in Q, 2 − 2^(b−1) in PS."""
    return 1 + round(math.log2((1 if kind == "shift" else 2) - smallest))


Rule = Callable[[Arguments, Tensor], list[Found] | None]
_FUSED = "scaled_dot_product"
RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "mm": _two("self", "mat2"),
    "bmm": _two("self", "mat2"),
    "addmm": _two("mat1", "mat2"),
    "_addmm_activation": _two("mat1", "mat2"),
    "baddbmm": _two("batch1", "batch2"),
    "addbmm": _two("batch1", "batch2"),
    "mv": _two("self", "vec"),
    "addmv": _two("mat", "vec"),
    "dot": _vectors,
    "linear": _linear,
    "_cdist_forward": _distances,
    "_euclidean_dist": lambda a, output: _distances({**a, "p": 2.0}, output),
    "adder_conv2d": _adder,
    "adder_conv2d_u8": _adder,
    "adder_conv2d_i32": _adder,
    "shift_conv2d": _integer_shift,
    **dict.fromkeys(
        (
            f"_{_FUSED}_flash_attention",
            f"_{_FUSED}_flash_attention_for_cpu",
            f"_{_FUSED}_efficient_attention",
            f"_{_FUSED}_cudnn_attention",
            f"_{_FUSED}_fused_attention_overrideable",
        ),
        _attention,
    ),
}
