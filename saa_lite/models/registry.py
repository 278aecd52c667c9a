"""The registry of networks: ``list_models()``, ``describe(name)``.

Shaped like timm's, in a few lines: a builder registers itself under its name together with a
:class:`ModelInfo` that states the source and which layers keep multiplication.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from saa_lite.errors import check_choice
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
    return entry(name)[0]


def entry(name: str) -> tuple[ModelInfo, Builder]:
    """What is registered under a name: the description and the builder."""
    check_choice("model", name, list_models())
    return _MODELS[name]
