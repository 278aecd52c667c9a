"""Round to nearest: the floor that every other method has to beat.

Nothing is optimised and nothing shared. Each filter has its own asymmetric grid over the range of
its weights, the inputs of a layer have one over what calibration saw, cut at the quantile of |x|.
For multiplications both scales factor out of the sum, so this is a real quantisation. For adder
layers they do not (|s_x·x̂ − s_w·ŵ|): there it is a simulation, which no integer sum computes.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.nn.plumbing import OperatorConv2d
from saa_lite.nn.whole import Whole, one_node
from saa_lite.ops import adder_linear
from saa_lite.quantize.calibrate import InputRange
from saa_lite.quantize.uniform import (
    Grid,
    min_max_grid,
    range_grid,
    replace_straight,
    unsigned_codes,
)


class Nearest(Whole):
    """Rounds inputs and weights, then does what the layer did.

    The input's grid is calibrated; that of the weights follows them, also in training, where
    gradients pass straight through.
    """

    weight: Tensor
    input_step: Tensor
    input_zero: Tensor

    def quantize(self, found: InputRange, bits: int) -> None:
        """Take over a measured range; called once, when a layer becomes this one."""
        self.method, self.bits = "nearest", bits
        least, greatest = max(found.least, -found.bound), min(found.greatest, found.bound)
        grid = range_grid(self.weight.new_tensor(least), self.weight.new_tensor(greatest), bits)
        self.register_buffer("input_step", grid.step)
        self.register_buffer("input_zero", grid.zero)

    def extra_repr(self) -> str:
        """The layer's, and its bits."""
        return f"{super().extra_repr()}, {self.method}, bits={self.bits}"

    def rounded(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Input and weight on their grids."""
        grid = Grid(self.input_step, self.input_zero, *unsigned_codes(self.bits))
        weight = min_max_grid(self.weight, self.bits, per_filter=True).nearest(self.weight.detach())
        x = grid.straight(input.to(self.input_step.dtype))
        return x, replace_straight(self.weight, weight)


class NearestConv2d(Nearest, OperatorConv2d):
    """Input [N, C, H, W] → [N, T, H', W']."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(*self.rounded(input), self.bias)


class NearestLinear(Nearest, nn.Linear):
    """Input [..., in_features] → [..., out_features]."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(*self.rounded(input), self.bias)


class NearestAdderConv2d(Nearest, AdderConv2d):
    """Input [N, C, H, W] → [N, T, H', W']; a simulation."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(*self.rounded(input), self.bias)


class NearestAdderLinear(Nearest, AdderLinear):
    """Input [..., in_features] → [..., out_features]; a simulation."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        x, w = self.rounded(input)
        output = adder_linear(x, self._adaptive(w), **self._gradients())
        return output if self.bias is None else output + self.bias


TWINS: dict[type[nn.Module], type[Nearest]] = {
    nn.Conv2d: NearestConv2d,
    nn.Linear: NearestLinear,
    AdderConv2d: NearestAdderConv2d,
    AdderLinear: NearestAdderLinear,
}
