"""Which layers can be quantised; what cannot be is refused, or stays as it is and is named."""

import warnings
from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from saa_lite.errors import UsageError
from saa_lite.nn.convert import KIND_OF
from saa_lite.nn.own_products import OwnProducts, hidden_sentences
from saa_lite.nn.reads import READ, WeightReads
from saa_lite.nn.structure import (
    WRAPPERS,
    is_unbuilt,
    listed,
    listed_by_class,
    other_multiplications,
    plain_class,
)
from saa_lite.train import evaluation_mode


def check_runnable(function: str, network: nn.Module) -> None:
    """Raise :class:`UsageError` for a network that is spread over devices, or not built yet."""
    for name, part in network.named_modules():
        if isinstance(part, WRAPPERS):
            where = f"{name}.module" if name else "its .module"
            raise UsageError(
                f"{function}() takes a network on one device; got {type(part).__name__}, so give "
                f"it {where} and wrap the result"
            )
        if is_unbuilt(part):
            raise UsageError(
                f"layer {name!r} ({type(part).__name__}) has no weight before its first pass; run "
                f"the network once before {function}()"
            )


def layers_of(network: nn.Module, kinds: Collection[type[nn.Module]]) -> list[str]:
    """Names of the layers of exactly these classes, in definition order, shared ones once.

    Raises:
        UsageError: a weight is parametrised or holds something else than finite numbers.
    """
    names = []
    for name, layer in network.named_modules():
        if plain_class(layer) in kinds:
            _check_weight(name, layer)
            names.append(name)
    return names


def _check_weight(name: str, layer: nn.Module) -> None:
    weight = layer._parameters.get("weight")
    if weight is None or is_parametrized(layer):
        raise UsageError(
            f"the weight of layer {name!r} is parametrised (weight_norm, pruning, …); remove the "
            "parametrisation before quantising"
        )
    if not bool(weight.isfinite().all()):
        raise UsageError(f"the weight of layer {name!r} must hold finite numbers; it does not")


@torch.no_grad()
def read_past(
    network: nn.Module, names: Iterable[str], images: Tensor
) -> tuple[set[str], list[str]]:
    """What a network multiplies with itself, past its layers, in evaluation mode.

    Returns:
        Those of the named layers whose weight it reads, and what to say of parameters that are no
        layer's, and of layers that torch does not see.
    """
    products = OwnProducts(network)
    with evaluation_mode(network), WeightReads(network, names) as reads, products:
        network(images)
    return reads.read, [*hidden_sentences(network), *products.sentences(None)]


def warn_of_others(
    function: str,
    others: dict[str, nn.Module],
    read: Collection[str],
    idle: Collection[str] = (),
    said: Iterable[str] = (),
    frames: int = 3,
) -> None:
    """Name layers that are not quantised: of other classes, read past, reached by no image.

    Args:
        said: further sentences, of :func:`read_past`.
        frames: from here to whoever called the function.
    """
    if others:
        message = f"{function}() leaves as they are: {listed_by_class(others)}"
        warnings.warn(message, UserWarning, stacklevel=frames)
    if read:
        message = f"not quantised: {READ.format(listed(sorted(read), None))}"
        warnings.warn(message, UserWarning, stacklevel=frames)
    if idle:
        message = f"not quantised, as no calibration image reaches them: {listed(idle, None)}"
        warnings.warn(message, UserWarning, stacklevel=frames)
    for message in said:
        warnings.warn(message, UserWarning, stacklevel=frames)


def other_layers(network: nn.Module, kinds: Iterable[type[nn.Module]]) -> dict[str, nn.Module]:
    """Layers that multiply, are of none of the ``kinds`` and have no quantisation of their own."""
    return other_multiplications(network, {*kinds, *KIND_OF})
