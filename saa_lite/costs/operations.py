"""Which operations count as products, sums or moves.

**What one product layer computes: taps, and the arithmetic that each tap takes.**

A *tap* is one pair of a weight (or key) and an activation whose product, distance or agreement is
summed. METHODS of counting, the same for every source (padded taps count):

============ =================================================== ==================================
operator      a tap is                                            operations
============ =================================================== ==================================
multiply      convolution, linear layer, attention product        1 multiply, 1 add
adder         |x − w|                                             2 add (subtract, accumulate)
shift         x·±2^p                                              1 shift, 1 add
xnor          sgn(x)·sgn(w)                                       1 xnor, 1 add (count the ones)
sign          x·sgn(w), only one side binary                      1 add
square        (x − w)²                                            1 multiply, 2 add
============ =================================================== ==================================

Additions of an adder tap follow the tables of AdderNet quantisation (supplement), which count two;
the absolute value is free, as it is a choice between two subtractions.

**Which of torch's operators cost what.**

torch breaks a network down into a small set of operators. Each is here, by its name without
namespace, overload and the underscore of its in-place twin, in one of three tables:

* ``RULES`` of ``products.py``: convolutions, matrix products and distances;
* ``CHEAP``: everything else that computes, with its category and its cost in elementary operations
  (one per element and step: a comparison, an addition, one value of a function);
* ``MOVES``: what only moves, reshapes or makes numbers, and costs nothing here.

An operator in none of them is reported by name.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from saa_lite.costs.row_stationary import Loops

KINDS = ("multiply", "add", "shift", "xnor")
PER_TAP: dict[str, tuple[int, int, int, int]] = {  # in the order of KINDS
    "multiply": (1, 1, 0, 0),
    "adder": (0, 2, 0, 0),
    "shift": (0, 1, 1, 0),
    "xnor": (0, 1, 0, 1),
    "sign": (0, 1, 0, 0),
    "square": (1, 2, 0, 0),
}


# Usual number, and bits of inputs, weights and sums. Shift as in DeepShift's code: fixed point with
# 16 bits before and 16 after the point, 5-bit weights.
FORMS = {
    "multiply": ("float", 32, 32, 32),
    "adder": ("float", 32, 32, 32),
    "shift": ("integer", 32, 5, 32),
    "xnor": ("bit", 1, 1, 0),
}


class Operation(NamedTuple):
    """One kind of arithmetic: ``number`` is "float", "integer" (fixed point too) or "bit"."""

    kind: str
    number: str
    bits: int


@dataclass(frozen=True)
class Product:
    """One call of a convolution, linear map or attention product.

    Sizes in elements, widths in bits. ``number`` says what the sums are made of: "float",
    "integer" or "bit"; ``inner`` is how many taps one output sums.
    """

    operator: str
    loops: Loops
    number: str
    input_bits: int
    weight_bits: int
    sum_bits: int
    input_elements: int
    weight_elements: int
    output_elements: int

    @property
    def taps(self) -> int:
        """Pairs of weight and activation, padded ones included."""
        return self.loops.taps

    def operations(self) -> Counter[Operation]:
        """How often each kind of arithmetic happens, by width."""
        summed = "integer" if self.number == "bit" else self.number
        wide = {
            "multiply": Operation("multiply", self.number, max(self.input_bits, self.weight_bits)),
            "add": Operation("add", summed, self.sum_bits),
            "shift": Operation("shift", "integer", self.input_bits),
            "xnor": Operation("xnor", "bit", 1),
        }
        counts = zip(KINDS, PER_TAP[self.operator], strict=True)
        return Counter({wide[kind]: n * self.taps for kind, n in counts if n})

    def as_operator(self, operator: str) -> "Product":
        """The same sums with another operator, on numbers of its usual form and width."""
        number, inputs, weights, sums = FORMS[operator]
        if operator == "xnor":
            sums = count_bits(self.loops.channels * math.prod(self.loops.kernel))
        return replace(
            self,
            operator=operator,
            number=number,
            input_bits=inputs,
            weight_bits=weights,
            sum_bits=sums,
        )

    @property
    def bytes_moved(self) -> float:
        """Every input, weight and output once, at its own width: the least traffic there is."""
        bits = self.input_elements * self.input_bits + self.weight_elements * self.weight_bits
        return (bits + self.output_elements * self.sum_bits) / 8


def count_bits(inner: int) -> int:
    """Width of a counter that holds the sum of ``inner`` single bits."""
    return max(1, math.ceil(math.log2(inner + 1)))


Cost = Callable[[Sequence[Any], Tensor], int]

CATEGORIES = (
    "bias", "batch_norm", "layer_norm", "activation", "softmax", "pooling", "quantisation",
    "elementwise_add", "elementwise_multiply", "elementwise", "reduction", "interpolation",
)  # fmt: skip
# Their result may take the place of an input that nothing else needs.
IN_PLACE = frozenset(CATEGORIES) - {"pooling", "reduction", "interpolation"}


def _per_output(operations: int) -> Cost:
    return lambda args, output: operations * output.numel()


def _per_input(args: Sequence[Any], output: Tensor) -> int:
    return args[0].numel()


def _window(args: Sequence[Any], output: Tensor) -> int:
    """Elements under every window: ``args[1]`` is the kernel, a number or one per dimension."""
    kernel = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
    spatial = output.dim() - 2
    sizes = list(kernel) * spatial if len(kernel) == 1 else kernel
    return output.numel() * math.prod(sizes)


def _table(category: str, cost: Cost, names: str) -> dict[str, tuple[str, Cost]]:
    return dict.fromkeys(names.split(), (category, cost))


CHEAP: dict[str, tuple[str, Cost]] = {
    # Inference: mean, variance, γ and β are one factor and one summand per channel.
    **_table(
        "batch_norm",
        _per_output(2),
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "cudnn_batch_norm batch_norm _batch_norm_no_update _batch_norm_with_update",
    ),
    # Sum, centre, square, sum, scale, and γ and β.
    **_table("layer_norm", _per_output(7), "native_layer_norm native_group_norm _fused_rms_norm"),
    **_table(
        "activation",
        _per_output(1),
        "relu relu6 hardtanh sigmoid tanh gelu silu hardswish hardsigmoid elu celu selu leaky_relu "
        "_prelu_kernel softplus mish clamp clamp_min clamp_max threshold log_sigmoid_forward glu "
        "rrelu_with_noise softshrink hardshrink",
    ),
    # Greatest, subtract, exponential, sum, divide.
    **_table("softmax", _per_output(5), "_softmax _log_softmax _safe_softmax"),
    **_table(
        "pooling",
        _window,
        "max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d "
        "avg_pool2d avg_pool3d mkldnn_max_pool2d",
    ),
    # torch writes global average pooling as a mean.
    **_table(
        "pooling",
        _per_input,
        "mean adaptive_avg_pool2d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d "
        "adaptive_max_pool3d",
    ),
    **_table(
        "quantisation",
        _per_output(1),
        "fixed_point binary_sign shift_quantize shift_power binary_weight round floor "
        "fake_quantize_per_tensor_affine fake_quantize_per_channel_affine",
    ),
    **_table("elementwise_add", _per_output(1), "add sub rsub _foreach_add"),
    **_table("elementwise_multiply", _per_output(1), "mul div square"),
    **_table("elementwise_multiply", _per_output(2), "addcmul addcdiv lerp"),
    **_table(
        "elementwise",
        _per_output(1),
        "abs neg sign sqrt rsqrt exp exp2 expm1 log log2 log10 log1p pow reciprocal maximum "
        "minimum where masked_fill erf sin cos atan ceil trunc frac eq ne lt le gt ge isnan isinf "
        "logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not xlogy atan2 fmod "
        "remainder floor_divide ldexp frexp copysign logaddexp",
    ),
    **_table(
        "reduction",
        _per_input,
        "sum prod amax amin max min argmax argmin var std var_mean std_mean norm "
        "linalg_vector_norm cumsum cumprod logsumexp any all topk sort median",
    ),
    # Four neighbours, each a product and a sum.
    **_table("interpolation", _per_output(7), "upsample_bilinear2d _upsample_bilinear2d_aa"),
    **_table("interpolation", _per_output(7), "grid_sampler_2d"),
    **_table("interpolation", _per_output(31), "upsample_bicubic2d _upsample_bicubic2d_aa"),
}

_MOVES = """
view _unsafe_view reshape _reshape_alias _reshape_copy view_as t transpose permute expand
slice select squeeze unsqueeze flatten unflatten unfold as_strided alias detach lift_fresh
cat stack clone copy _to_copy contiguous to split split_with_sizes chunk unbind tensor_split
unsafe_split unsafe_split_with_sizes unsafe_chunk
repeat repeat_interleave roll flip narrow index index_select gather take embedding
constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
pixel_shuffle pixel_unshuffle channel_shuffle upsample_nearest1d upsample_nearest2d
_upsample_nearest_exact2d im2col diagonal tril triu movedim swapaxes view_as_real
view_as_complex real imag resize set select_scatter slice_scatter scatter index_put
empty empty_like empty_strided zeros zeros_like ones ones_like full full_like fill zero
new_empty new_empty_strided new_zeros new_ones new_full scalar_tensor arange linspace eye
rand randn randint rand_like randn_like bernoulli uniform normal randperm one_hot
native_dropout dropout alpha_dropout resolve_conj resolve_neg _conj is_same_size
"""
MOVES = frozenset(_MOVES.split())


def base_name(schema_name: str) -> str:
    """The operator's own name: ``aten::add_`` is ``add``, ``saa_lite::fixed_point`` stays."""
    return schema_name.partition("::")[2].removesuffix("_")
