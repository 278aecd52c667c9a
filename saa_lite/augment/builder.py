"""Replace layers by wide ones: what each network's plan is carried out with."""

from typing import Any

import torch
from torch import nn

from saa_lite.augment.config import AugmentConfig, Axis
from saa_lite.augment.depthwise import WideDepthwise, WideLinear
from saa_lite.augment.remap import SCALE, Remap, make_remap
from saa_lite.augment.unit import WideConv, draw_wide
from saa_lite.errors import UsageError, check_choice
from saa_lite.nn import AdderConv2d, ShiftConv2d

CLASSIFIER_STD = 0.02  # NetAug's official code
OPERATORS = (nn.Conv2d, AdderConv2d, ShiftConv2d)


class Builder:
    """Replaces layers by wide ones, and remembers which widths and blocks there are."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self.axes: list[Axis] = []
        self.blocks: list[list[WideConv]] = [[]]
        self.ends: list[str] = []  # blocks that extra ones may follow

    def check_around(self) -> None:
        """Raise :class:`UsageError` where the configuration names what the network has not."""
        around = self.config.around
        for what, named, known in (
            ("axis", around.multiples if around else (), [axis.name for axis in self.axes]),
            ("end of a stage", around.extra if around else (), self.ends),
        ):
            for name in named:
                check_choice(f"{what} in around", name, known)

    def fixed(self, width: int) -> Axis:
        """Image channels, classes: a width that is never augmented."""
        return Axis("", width)

    def width(self, name: str, target: int) -> Axis:
        """A block's output."""
        return self._enter(Axis(name, target, self.config.multiples(name, inner=False)))

    def inner(self, name: str, target: int, parent: Axis) -> Axis:
        """The middle of a block."""
        return self._enter(Axis(name, target, self.config.multiples(name, inner=True), parent))

    def begin_block(self) -> None:
        """The convolutions from here on mutate together, after those before."""
        if self.blocks[-1]:
            self.blocks.append([])

    def conv(self, owner: nn.Module, conv: str, norm: str, inputs: Axis, outputs: Axis) -> None:
        """Widen the convolution and the norm that ``owner`` calls one after the other."""
        layer, behind = self._pair(owner, conv, norm)
        options = self._options(layer)
        shared = bool(options.get("mutates") or options.get("remap"))
        if shared or (self.config.fan == "wide" and not isinstance(layer, AdderConv2d)):
            # W starts as what it is: one convolution's weight, the same scale inside and outside.
            draw_wide(layer.weight, inputs.largest)
        unit = WideConv(layer, behind, inputs, outputs, **options)
        setattr(owner, conv, unit)
        if unit.mutates:
            self.blocks[-1].append(unit)

    def depthwise(self, owner: nn.Module, conv: str, norm: str, axis: Axis) -> None:
        """Widen a depthwise convolution and its norm."""
        layer, behind = self._pair(owner, conv, norm)
        smaller = tuple(k for k in self.config.kernels if k < min(layer.kernel_size))
        elastic = type(layer) is nn.Conv2d and bool(smaller)
        wide = WideDepthwise(layer, behind, axis, smaller if elastic else ())
        setattr(owner, conv, wide)

    def linear(self, owner: nn.Module, name: str, inputs: Axis) -> None:
        """Widen the input of a classifier."""
        layer = getattr(owner, name)
        if type(layer) is not nn.Linear:
            raise UsageError(f"the classifier must be an nn.Linear; got {type(layer).__name__}")
        wide = WideLinear(layer, inputs)
        if self.config.fan == "wide":
            draw_classifier(wide)
        setattr(owner, name, wide)

    def _enter(self, axis: Axis) -> Axis:
        self.axes.append(axis)
        return axis

    def _pair(self, owner: nn.Module, conv: str, norm: str) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """Both layers; the norm moves into the wide layer and leaves an identity behind."""
        layer, behind = getattr(owner, conv), getattr(owner, norm)
        if type(layer) not in OPERATORS or type(behind) is not nn.BatchNorm2d:
            raise _refused(f"{type(layer).__name__} and {type(behind).__name__}")
        if layer.bias is not None or layer.padding_mode != "zeros":
            raise UsageError("a layer to be augmented must have no bias and zero padding")
        setattr(owner, norm, nn.Identity())
        return layer, behind

    def _options(self, layer: nn.Conv2d) -> dict[str, Any]:
        """Options of a wide layer; a layer that stays multiplicative has none."""
        if type(layer) is nn.Conv2d:
            return {}
        config = self.config
        default = "norm" if isinstance(layer, AdderConv2d) else "sum"
        return {
            "reading": config.reading,
            "combine": config.combine or default,
            "remap": remap_for(layer, config.remap, config.remap_spread),
            "mutates": config.mutation is not None,
        }


@torch.no_grad()
def draw_classifier(wide: WideLinear) -> None:
    """NetAug's start of a linear classifier: weights of a deviation of 0.02, bias 0."""
    for weight in (wide.layer.weight, wide.right):
        if weight is not None:
            nn.init.trunc_normal_(weight, std=CLASSIFIER_STD)
    if wide.layer.bias is not None:
        nn.init.zeros_(wide.layer.bias)


def channels(layer: Any) -> int:
    """Output channels of a layer that is to be widened.

    Raises:
        UsageError: it is none that can be, such as the pair of layers of ``conv="shiftadd"``.
    """
    if type(layer) not in OPERATORS:
        raise _refused(type(layer).__name__)
    return int(layer.out_channels)


def _refused(found: str) -> UsageError:
    return UsageError(
        "a layer to be augmented must be a conv, adder or shift convolution before a batch norm "
        f"(conv='conv', 'adder' or 'shift' of create_model); got {found}"
    )


def remap_for(layer: nn.Conv2d, name: str | None, spread: float = 1.0) -> Remap | None:
    """A fresh remapping for one layer.

    An adder layer keeps the map's own scale, that of its inputs, times ``spread``. In a shift
    layer the map keeps the scale of the stored weights (b = σ/√2), as ±2^p lies between 2^pmin
    and 1; the analytic map that does so is ``"shift"``.

    Raises:
        UsageError: ``"shift"`` in an adder layer, or a spread in a shift layer.
    """
    if name is None or name == "none":
        return None
    options: dict[str, Any] = {"kernel_size": layer.kernel_size} if name == "matrix" else {}
    if isinstance(layer, ShiftConv2d):
        if spread != 1:
            raise UsageError(
                f"remap_spread is for adder targets; got {spread!r} for a shift target"
            )
    else:
        if name == "shift":
            raise UsageError("remap='shift' rounds to ±2^p: it is for shift targets")
        if spread != 1:
            options["scale"] = SCALE * spread
        return make_remap(name, **options)
    if name in ("analytic", "shift"):
        return make_remap("shift", bits=layer.bits)
    if name != "bins":
        options["scale"] = float(layer.weight.detach().std()) * SCALE
    return make_remap(name, **options)
