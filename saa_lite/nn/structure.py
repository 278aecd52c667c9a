"""What the classes of a network say about its layers, before anything runs.

Operators are exchanged, and weights quantised, in ``nn.Conv2d`` and ``nn.Linear``. Other layers
multiply with weights of their own, and torch computes some networks in one fused call that goes
past the layers inside.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from torch import fx, nn
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
MODULE_ATTRIBUTES = {*vars(nn.Module()), "_former_parameters"}  # the second in replicas
NAMED = 5  # names in a sentence where the first few do


def plain_class(layer: nn.Module) -> type[nn.Module]:
    """The class of a layer; of a parametrised one, what it was before."""
    return type(layer).__bases__[0] if is_parametrized(layer) else type(layer)


def multiplies(layer: nn.Module) -> bool:
    """Whether a layer is of a class that multiplies with weights of its own."""
    # Layers that torch has quantised have no weight, but this method to unpack it.
    return isinstance(layer, MULTIPLYING) or hasattr(type(layer), "_weight_bias")


def why_no_layers(network: nn.Module) -> str:
    """What a network without a layer of torch.nn may be, to follow a sentence; empty if unknown."""
    if any(isinstance(part, fx.GraphModule) for part in network.modules()):
        return (
            "; a graph of torch.export or torch.fx holds calls of operators, not layers, so give "
            "the network from which it was made"
        )
    if any(hasattr(type(part), "_weight_bias") for part in network.modules()):
        return "; torch has quantised its layers, so give the network from before that"
    return ""


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
        if layer in inside or not multiplies(layer) or plain_class(layer) in allowed:
            continue
        found[name] = layer
        inside.update(layer.modules())
    return found


def unregistered(part: nn.Module) -> Iterator[tuple[str, object]]:
    """(name, value) of what a module holds beside parameters, buffers and modules of torch's.

    Of a nest of lists, tuples, sets and dicts the values inside, under names like ``blocks[0]``.
    """
    own = {key: value for key, value in vars(part).items() if key not in MODULE_ATTRIBUTES}
    waiting, seen = deque(own.items()), set[int]()
    while waiting:
        name, value = waiting.popleft()
        if not isinstance(value, (list, tuple, set, dict)):
            yield name, value
        elif id(value) not in seen:
            seen.add(id(value))
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{name}[{key!r}]", item) for key, item in inside]


def hidden_modules(network: nn.Module) -> dict[str, nn.Module]:
    """Name → module that some part of ``network`` holds where torch does not look, as in a list."""
    seen, found = set(network.modules()), dict[str, nn.Module]()
    waiting = deque(network.named_modules())
    while waiting:
        path, part = waiting.popleft()
        for name, value in unregistered(part):
            if not isinstance(value, nn.Module) or value in seen:
                continue
            seen.update(value.modules())
            if network not in value.modules():  # else it is the parent
                found[f"{path}.{name}" if path else name] = value
                waiting += value.named_modules(prefix=f"{path}.{name}" if path else name)
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
        names.setdefault(layer._get_name(), []).append(repr(name))
    return ", ".join(f"{kind} ({', '.join(group)})" for kind, group in names.items())
