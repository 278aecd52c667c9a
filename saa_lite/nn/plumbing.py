"""The parts of a layer that do not depend on its operator.

``nn.Conv2d.forward`` hands input, weight and bias to ``_conv_forward``. :class:`OperatorConv2d`
keeps everything else of ``nn.Conv2d`` (argument names, checks, ``state_dict``, ``extra_repr``)
and splits that one method into three steps a new operator may replace.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.errors import UsageError
from saa_lite.nn.whole import Whole, one_node
from saa_lite.ops.convolution import conv2d

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class OptionsLayer(Whole):
    """A layer with keyword-only options beside the arguments of its ``torch.nn`` parent."""

    OPTIONS: ClassVar[dict[str, Any]] = {}  # name → default

    def _set_options(self, **options: Any) -> None:
        """Check and store every option of ``OPTIONS``; subclasses check, then call this."""
        for name in self.OPTIONS:
            setattr(self, name, options[name])
        self._insist_on_calls()

    def change_options(self, **changes: Any) -> None:
        """Give options other values, checked as at construction."""
        self._set_options(**{name: getattr(self, name) for name in self.OPTIONS} | changes)

    def _clear_options(self) -> None:
        """Undo :meth:`_set_options`, before the layer becomes one of another class."""
        for name in self.OPTIONS:
            delattr(self, name)
        self._no_longer_insist()

    def extra_repr(self) -> str:
        """The parent's representation, then the options that are not at their default."""
        chosen = [(name, getattr(self, name)) for name in self.OPTIONS]
        shown = [f"{name}={value}" for name, value in chosen if value != self.OPTIONS[name]]
        return ", ".join([super().extra_repr(), *shown])


class OperatorConv2d(nn.Conv2d):
    """An ``nn.Conv2d`` with another operator inside; the base of every convolution here."""

    @one_node
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    def _prepare_input(self, input: Tensor) -> Tensor:
        """Quantise the input; runs *before* padding, so padded taps are exact zeros."""
        return input

    def _prepare_weight(self, weight: Tensor) -> Tensor:
        """Quantise the weight, or attach something to its gradient."""
        return weight

    def _operate(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]
    ) -> Tensor:
        """Input [N, C, H, W] or [C, H, W], weight [T, C/groups, kh, kw] → [N, T, H', W']."""
        geometry = self.stride, padding, self.dilation, self.groups
        return conv2d(input, weight, bias, *geometry)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padded, padding = self._pad(self._prepare_input(input))
        return self._operate(padded, self._prepare_weight(weight), bias, padding)

    def _pad(self, input: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Return the input and the symmetric zero padding that is left to the operator.

        Reflected, replicated and circular borders, and the lopsided zeros of ``"same"`` with an
        even kernel, are written out here; plain zeros are cheaper inside the operator.
        """
        if self.padding_mode == "zeros" and not isinstance(self.padding, str):
            return input, self.padding
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(input, self._reversed_padding_repeated_twice, mode=mode), (0, 0)


def set_options(network: nn.Module, options: Mapping[str, Any]) -> None:
    """Give options of layers, such as the ``eta`` of adder layers, other values, in place.

    Each goes to every layer that has such an option.

    Raises:
        UsageError: no layer has one of them, or a value is outside its range.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, OptionsLayer)]
    known = {name for layer in layers for name in layer.OPTIONS}
    if unknown := sorted(options.keys() - known):
        raise UsageError(
            f"no layer of the network has an option {unknown[0]!r}; known are "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    for layer in layers:
        layer.change_options(**{k: v for k, v in options.items() if k in layer.OPTIONS})


def replace_parameters(
    layer: nn.Module, drop: tuple[str, ...], added: dict[str, nn.Parameter]
) -> None:
    """Exchange parameters of a layer, the bias staying last as in ``torch.nn``."""
    bias = layer._parameters.pop("bias")
    for name in drop:
        del layer._parameters[name]
    for name, parameter in added.items():
        layer.register_parameter(name, parameter)
    layer.register_parameter("bias", bias)
