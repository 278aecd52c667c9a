"""What the classes of a network say about its layers, before anything runs.

Operators are exchanged, and weights quantised, in ``nn.Conv2d`` and ``nn.Linear``. Other layers
multiply with weights of their own, and torch computes some networks in one fused call that goes
past the layers inside.
"""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

MULTIPLYING = (
    _ConvNd,  # of any dimension, transposed and lazily built ones too
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
NAMED = 5  # names in a sentence where the first few do


def plain_class(layer: nn.Module) -> type[nn.Module]:
    """The class of a layer; of a parametrised one, what it was before."""
    return type(layer).__bases__[0] if is_parametrized(layer) else type(layer)


def is_unbuilt(layer: nn.Module) -> bool:
    """Whether a lazily built layer has no weight yet: its first pass makes it another class."""
    return isinstance(layer, LazyModuleMixin) and layer.has_uninitialized_params()


def other_multiplications(
    network: nn.Module, treated: Iterable[type[nn.Module]]
) -> dict[str, nn.Module]:
    """Name → layer that multiplies and is of none of the ``treated`` classes, in definition order.

    Subclasses count as others: they may use their weight in ways of their own. Parts of a named
    layer (the output projection of ``nn.MultiheadAttention``) are not named again.
    """
    allowed, inside = set(treated), set[nn.Module]()
    found: dict[str, nn.Module] = {}
    for name, layer in network.named_modules():
        if layer in inside or not isinstance(layer, MULTIPLYING) or plain_class(layer) in allowed:
            continue
        found[name] = layer
        inside.update(layer.modules())
    return found


def is_bypassed(network: nn.Module, name: str) -> bool:
    """Whether torch's own code reads the weight of a layer and never calls it.

    ``nn.MultiheadAttention`` does, of the layer that stands in the place of its output projection.
    """
    parent, _, child = name.rpartition(".")
    holder = network.get_submodule(parent)
    attention = isinstance(holder, nn.MultiheadAttention) and child == "out_proj"
    return attention and type(holder).forward is nn.MultiheadAttention.forward


def leave_fused_paths(network: nn.Module) -> None:
    """Keep ``nn.TransformerEncoderLayer`` from bypassing layers that are no plain ``nn.Linear``.

    In evaluation it multiplies with the weights of its two linear layers in one fused call, unless
    its activation is marked as neither ReLU nor GELU; the unfused path calls the layers.
    ``nn.TransformerEncoder`` packs padded sequences for that call, and must no longer.
    """
    bypassing = [part for part in network.modules() if _bypasses(part)]
    for part in bypassing:
        part.activation_relu_or_gelu = 0  # type: ignore[assignment]
    for part in network.modules():
        if isinstance(part, nn.TransformerEncoder) and any(p in bypassing for p in part.modules()):
            part.use_nested_tensor = False


def _bypasses(part: nn.Module) -> bool:
    if not isinstance(part, nn.TransformerEncoderLayer):
        return False
    return not type(part.linear1) is type(part.linear2) is nn.Linear


def listed(names: Iterable[str], most: int | None = NAMED) -> str:
    """Quoted names for a sentence, all of them or the first few."""
    quoted = [repr(name) for name in names]
    return ", ".join([*quoted[:most], *(["…"] if quoted[:most] != quoted else [])])


def listed_by_class(layers: dict[str, nn.Module]) -> str:
    """Classes with the quoted names of all their layers, for a sentence."""
    names: dict[str, list[str]] = {}
    for name, layer in layers.items():
        names.setdefault(type(layer).__name__, []).append(repr(name))
    return ", ".join(f"{kind} ({', '.join(group)})" for kind, group in names.items())
