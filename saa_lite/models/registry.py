"""The registry of networks: ``create_model(name, ...)``, ``list_models()``, ``describe(name)``.

Shaped like timm's, in a few lines: a builder registers itself under its name together with a
:class:`ModelInfo` that states the source and which layers keep multiplication.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from saa_lite.errors import UsageError, check_choice
from saa_lite.models.blocks import CONV_KINDS

Builder = Callable[..., nn.Module]


@dataclass(frozen=True)
class ModelInfo:
    """What a reader should know before using a network.

    Attributes:
        name: the name that :func:`create_model` takes.
        source: paper or code that the topology follows, and where it is our reading.
        input_size: height and width, in pixels, that the sources feed it.
        multiplicative: patterns (:mod:`fnmatch`) of module names that stay multiplicative
            convolutions or linear maps whatever ``conv`` is; empty where none does.
        keeps: the same in words, with the reason.
        small_input: what ``small_input=True`` changes.
        variants: the operators it is built with.
        refuses: why the others make no sense here; empty where there are none.
        width: channels of the first stage where ``create_model(width=…)`` can change them, else
            None.
    """

    name: str
    source: str
    input_size: int
    multiplicative: tuple[str, ...]
    keeps: str
    small_input: str
    variants: tuple[str, ...] = CONV_KINDS
    refuses: str = ""
    width: int | None = None


_MODELS: dict[str, tuple[ModelInfo, Builder]] = {}


def register(info: ModelInfo) -> Callable[[Builder], Builder]:
    """Enter a builder ``(num_classes, conv, small_input, in_channels[, width]) -> Module``."""

    def enter(builder: Builder) -> Builder:
        _MODELS[info.name] = (info, builder)
        return builder

    return enter


def list_models() -> list[str]:
    """Names that :func:`create_model` takes, sorted."""
    return sorted(_MODELS)


def describe(name: str) -> ModelInfo:
    """Source, input size and multiplicative layers of one network."""
    check_choice("model", name, list_models())
    return _MODELS[name][0]


def create_model(
    name: str,
    num_classes: int = 10,
    conv: str = "conv",
    small_input: bool = False,
    in_channels: int = 3,
    width: int | None = None,
) -> nn.Module:
    """Build a network with fresh weights: images [B,in_channels,H,W] → logits [B,classes].

    Args:
        name: one of :func:`list_models`.
        num_classes: number of logits.
        conv: operator of the layers that may lose multiplication: ``"conv"``, ``"adder"``,
            ``"shift"`` (DeepShift-Q), ``"shift-ps"``, ``"binary"`` (XNOR-Net) or ``"shiftadd"``
            (ShiftAddNet's shift layer followed by an adder layer).
        small_input: the form for 32² images; ``describe(name).small_input`` says what it changes.
        in_channels: 3 for colour, 1 for grey.
        width: channels of the first stage of ResNet-8, 20 and 32 (16 in the papers; further stages
            have two and four times as many). Other networks have one width.

    Raises:
        UsageError: unknown name or operator, an operator that makes no sense in this network
            (:attr:`ModelInfo.variants` lists those that do), a count below 1, or a width where
            the network has one.
    """
    check_choice("model", name, list_models())
    check_choice("conv", conv, CONV_KINDS)
    _check_variant(describe(name), conv)
    counts = {"num_classes": num_classes, "in_channels": in_channels}
    info, build = _MODELS[name]
    widths: tuple[int, ...] = ()
    if info.width is not None:
        widths = (info.width if width is None else width,)
        counts["width"] = widths[0]
    elif width is not None:
        able = ", ".join(n for n in list_models() if _MODELS[n][0].width is not None)
        raise UsageError(f"width can be chosen for {able}; {name} has one; got width={width!r}")
    for argument, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise UsageError(f"{argument} must be an integer of at least 1; got {count!r}")
    return build(num_classes, conv, small_input, in_channels, *widths)


def _check_variant(info: ModelInfo, conv: str) -> None:
    if conv not in info.variants:
        listed = ", ".join(repr(kind) for kind in info.variants)
        raise UsageError(
            f"conv must be one of {listed} for {info.name}: {info.refuses}; got {conv!r}"
        )
