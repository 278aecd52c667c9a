"""What a convolution looks at: stride, padding, dilation and groups, as one object."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """As the arguments of a convolution; pairs are (rows, columns)."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @staticmethod
    def of(*values: Sequence[int] | int) -> "Geometry":
        """From what a registered operator receives: lists for the pairs, then the groups."""
        *pairs, groups = values
        return Geometry(*((pair[0], pair[1]) for pair in pairs), groups)  # type: ignore

    def output_shape(
        self, input: Sequence[int], weight: Sequence[int]
    ) -> tuple[int, int, int, int]:
        """``(batch, filters, rows, columns)`` of a convolution, from the shapes of its tensors.

        floor((size + 2·padding − dilation·(kernel − 1) − 1) / stride) + 1 on a side, as in torch.
        """
        rows, columns = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                input[2:], weight[2:], *self[:3], strict=True
            )
        )
        return input[0], weight[0], rows, columns


def output_shape(
    input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    """As :meth:`Geometry.output_shape`, of tensors."""
    return Geometry(stride, padding, dilation, 1).output_shape(input.shape, weight.shape)
