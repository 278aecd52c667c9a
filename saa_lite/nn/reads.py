"""Layers whose weight a network reads itself, past the layer.

An exchanged operator, or a quantiser, works where a layer is *called*. Some networks multiply with
``layer.weight`` themselves, ``F.linear(x, self.qkv.weight)``, as torchvision's Swin transformers
and decoders with tied weights do: whatever such a layer becomes, they go on multiplying, with
weights that may have been drawn anew. Three ways to notice:

* the ``torch.fx`` graph, where a network can be traced (:func:`reads_in_graph`);
* one pass, where there is an input (:class:`WeightReads`);
* else the first pass that the user makes (:mod:`saa_lite.nn.first_pass`).

Shape, dtype and device may be asked for: only values count.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from saa_lite.nn.placement import trace
from saa_lite.nn.plumbing import OptionsLayer
from saa_lite.nn.structure import listed
from saa_lite.nn.wrappers import named_inside

VIEWS = {"T", "mT", "H", "mH", "data", "real"}  # attributes that hold values
LOOKS = {
    "dim",
    "element_size",
    "get_device",
    "is_contiguous",
    "is_floating_point",
    "nelement",
    "ndimension",
    "numel",
    "requires_grad_",
    "size",
    "stride",
    "storage_offset",
}
TEMPLATES = {"to", "type_as", "view_as", "reshape_as", "expand_as"}  # of which the second is none

READ = (
    "the network reads the weight of {} itself, past the layer, and goes on multiplying there; "
    "call the layer instead"
)
IDLE = (
    "the first pass of the converted network did not call {}: where the network never uses such a "
    "layer, delete it or give its name to keep=; where it reads the layer's weight itself, it goes "
    "on multiplying there, so call the layer instead"
)


def reads_in_graph(network: nn.Module, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of the named layers whose weight the graph reads, and those it leaves open.

    Open are layers that the graph does not call, and all where there is none. Both modes are
    traced, as they may take different ways.
    """
    inner, prefix = named_inside(network)
    names, owners = list(names), dict[int, list[str]]()
    for name in names:
        for weight in weights(network.get_submodule(name)).values():
            owners.setdefault(id(weight), []).append(name)
    graphs = [trace(inner, training) for training in (True, False)]
    nodes = [node for graph in graphs if graph is not None for node in graph.nodes]
    read = {
        name
        for node in nodes
        if node.op == "get_attr" and any(_uses_value(user, node) for user in node.users)
        for name in owners.get(id(_parameter(inner, str(node.target))), ())
    }
    called = {prefix + str(node.target) for node in nodes if node.op == "call_module"}
    proven = {name for name in names if _calls(network, name, called)} if None not in graphs else ()
    return [n for n in names if n in read], [n for n in names if n not in (*read, *proven)]


def _calls(network: nn.Module, name: str, called: set[str]) -> bool:
    """Whether the layer is called, or a class of torch that calls what it holds."""
    while name not in called:
        name = name.rpartition(".")[0]
        if not name or not _is_torchs(network.get_submodule(name)):
            return False
    return True


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _parameter(network: nn.Module, target: str) -> object:
    parent, _, name = target.rpartition(".")
    return network.get_submodule(parent)._parameters.get(name)


def _uses_value(user: fx.Node, weight: fx.Node) -> bool:
    if user.target is getattr:
        return user.args[1] in VIEWS
    position = user.args.index(weight) if weight in user.args else 0
    return _is_use(str(getattr(user.target, "__name__", user.target)), position)


def is_template(operation: str) -> bool:
    """Whether an operation takes nothing but shape, dtype and device of a tensor to a new one."""
    return operation.startswith("new_") or operation.endswith("_like")


def _is_use(operation: str, position: int) -> bool:
    """Whether an operation makes something of the values of its argument at ``position``."""
    if operation in LOOKS or is_template(operation):
        return False
    return not (operation in TEMPLATES and position > 0)


def weights(layer: nn.Module) -> dict[str, Tensor]:
    """What a layer holds beside its bias, by name; in replicas of ``DataParallel``, too."""
    held = {**layer._parameters, **vars(layer)}
    return {name: t for name, t in held.items() if isinstance(t, Tensor) and name != "bias"}


class WeightReads(TorchFunctionMode):
    """Inside, operations on the weights of the named layers are noted unless a layer is at work.

    Attributes:
        read: names of layers whose weight was read past them.
        called: names of layers that were called.
    """

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.network, self.read, self.called = network, set[str](), set[str]()
        self.layers = {name: network.get_submodule(name) for name in names}
        self.owners: dict[int, list[str]] = {}
        for name, layer in self.layers.items():
            for weight in weights(layer).values():
                self.owners.setdefault(id(weight), []).append(name)
        # Whatever torch's own classes and ours do with a weight they hold is their work; a weight
        # may be tied to an embedding.
        self.holders = {
            module: [id(t) for t in weights(module).values() if id(t) in self.owners]
            for module in network.modules()
            if _is_torchs(module) or isinstance(module, OptionsLayer)
        }
        self.working: list[int] = []
        self.handles: list[Any] = []

    def __enter__(self) -> "WeightReads":
        for module, held in self.holders.items():
            if held:
                before, after = self._hooks(held)
                self.handles += [
                    module.register_forward_pre_hook(before, prepend=True),
                    module.register_forward_hook(after, always_call=True),
                ]
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        for handle in self.handles:
            handle.remove()

    def sentences(self, output: Any) -> Iterator[str]:
        """What to say of layers of a converted network after a pass."""
        idle = [name for name in self.layers if name not in self.called | self.read]
        for names, message in ((sorted(self.read), READ), (idle, IDLE)):
            if names:
                yield message.format(listed(names, None))

    def _hooks(self, held: list[int]) -> tuple[Any, Any]:
        def before(module: nn.Module, args: Any) -> None:
            self.working += held
            self.called.update(name for name, layer in self.layers.items() if layer is module)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            del self.working[len(self.working) - len(held) :]

        return before, after

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for position, tensor in _tensors(args, kwargs or {}):
            owners = self.owners.get(id(tensor))
            if owners and id(tensor) not in self.working and _is_read(func, position):
                self.read.update(owners)
        return func(*args, **(kwargs or {}))


def _tensors(args: Iterable[Any], kwargs: dict[str, Any]) -> Iterator[tuple[int, Tensor]]:
    for position, given in enumerate([*args, *kwargs.values()]):
        several = given if isinstance(given, (list, tuple)) else (given,)
        yield from ((position, tensor) for tensor in several if isinstance(tensor, Tensor))


def _is_read(func: Any, position: int) -> bool:
    name = getattr(func, "__name__", "")
    if name == "__get__":  # an attribute
        return getattr(func.__self__, "__name__", "") in VIEWS
    return name != "__set__" and _is_use(name, position)


def reads_of(network: nn.Module, names: Iterable[str]) -> WeightReads:
    """A probe of the first pass of a converted network, some of whose layers may be others now."""
    parts = dict(network.named_modules())
    return WeightReads(network, [n for n in names if isinstance(parts.get(n), OptionsLayer)])
