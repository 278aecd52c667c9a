"""Weights from elsewhere into the networks of this package.

A state dict may come from a compiled or data-parallel copy of the same network, or be that of
AdderNet's official ResNet-20 (``resnet20.py`` and ``adder.py`` of huawei-noah/AdderNet, whose
released file was saved from a data-parallel copy). There the weight of an adder layer is called
``adder``, stages ``layer1`` …, shortcuts ``downsample``, the classifier ``fc`` and the norm over
the logits ``bn2``.

Names and shapes do not tell an adder network from its multiplicative twin. What does is the
metadata that ``state_dict()`` gives with the tensors, and that ``torch.save`` and ``copy.deepcopy``
keep; a plain dict made of such a state, or a safetensors file, has lost it.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from saa_lite.errors import CheckpointError
from saa_lite.models.resnet import CifarResNet
from saa_lite.nn import AdderConv2d
from saa_lite.nn.whole import OPERATOR, operator_of, other_operators
from saa_lite.nn.wrappers import plain_names, unwrapped

ADDER = ".adder"
OFFICIAL = (
    (r"^layer(?=\d)", "stage"),
    (r"\.downsample\.", ".shortcut."),
    (r"\.adder$", ".weight"),
    (r"^fc\.", "classifier.conv."),
    (r"^bn2\.", "classifier.bn."),
)

EARLIER = " (a state of these very operators that names none was saved earlier: give dict(state))"
Metadata = Mapping[str, Mapping[str, object]]  # of a state dict, by layer


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict into ``model``, in place; nothing is changed unless all of it fits.

    torch's own ``load_state_dict`` is less strict: our layers refuse a state that names another
    operator, but a plain ``nn.Conv2d`` or ``nn.Linear`` takes the weights of an adder or shift
    layer, whose names and shapes are its own, without a word. This function does not.

    Args:
        model: from :func:`~saa_lite.models.create_model`, or any other network; it may be
            compiled or data-parallel.
        state: of the same network, with or without the prefixes of ``torch.compile``,
            ``DataParallel`` and ``FullyShardedDataParallel``; or, for
            ``create_model("resnet20", conv="adder")``, of AdderNet's official ResNet-20, as
            ``torch.load(path, weights_only=True)`` reads its released file.
            Without its metadata, as in a plain dict of tensors, it is taken to be of layers with
            the operators that ``model`` has.

    Raises:
        TypeError: ``state`` is not a dict of tensors, as when a whole network was pickled.
        CheckpointError: names or shapes are of another network, or its metadata, or the names of an
            official state, say that its layers had other operators; a number is not finite, as in
            a state saved after training diverged.
    """
    is_dict = isinstance(state, Mapping)
    wrong = [v for v in state.values() if not isinstance(v, Tensor)] if is_dict else [state]
    if wrong:
        inner = [key for key, value in state.items() if _is_state(value)] if is_dict else []
        raise TypeError(
            "state must be a dict of tensors, as network.state_dict() gives it; got "
            f"{'a dict that holds ' if is_dict else ''}{type(wrong[0]).__name__}"
            f"{f'; give its entry [{inner[0]!r}]' if inner else ''}"
        )
    network = unwrapped(model)
    given = plain_names(state)
    weights = {plain: state[name] for plain, name in given.items()}
    if any(name.endswith(ADDER) for name in weights):
        weights = _from_official(network, weights)
    names = plain_names(network.state_dict())
    ours = {plain: list(network.state_dict()[name].shape) for plain, name in names.items()}
    theirs = {name: list(value.shape) for name, value in weights.items()}
    for name in [*ours, *theirs]:
        here, there = ours.get(name, "absent"), theirs.get(name, "absent")
        if here != there and not (there == "absent" and name.endswith("num_batches_tracked")):
            raise CheckpointError(
                f"the state is of another network: {name} is {there} there and {here} here"
            )
    _check_operators(network, names, given, getattr(state, "_metadata", {}))
    for name, value in weights.items():
        if not value.isfinite().all():
            raise CheckpointError(f"the state holds NaN or infinity in {name}, so it is no use")
    network.load_state_dict({names[plain]: value for plain, value in weights.items()})


def _is_state(value: object) -> bool:
    """Whether an entry of a training checkpoint is a state dict."""
    tensors = value.values() if isinstance(value, Mapping) else ()
    return bool(tensors) and all(isinstance(tensor, Tensor) for tensor in tensors)


def _check_operators(
    network: nn.Module, here: Mapping[str, str], there: Mapping[str, str], metadata: Metadata
) -> None:
    """Raise unless each layer that the metadata speak of had the operator it has here.

    Args:
        here, there: names of the tensors of ``network`` and of the state, plain → as given.
    """
    said = {_layer(plain): metadata.get(_layer(name)) for plain, name in there.items()}
    for plain, name in {_layer(plain): _layer(name) for plain, name in here.items()}.items():
        layer, found = network.get_submodule(name), said.get(plain)
        if found is not None and found.get(OPERATOR) != operator_of(layer):
            raise CheckpointError(
                other_operators(plain, found.get(OPERATOR, "a multiplication"), layer)
                + ("" if OPERATOR in found else EARLIER)
            )


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _from_official(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official state by the names of :class:`~saa_lite.models.resnet.CifarResNet`."""
    if not isinstance(network, CifarResNet):
        raise CheckpointError(
            "the state is that of an official AdderNet; only ResNet-20 is known here, "
            f"create_model('resnet20', conv='adder'), and the network is {type(network).__name__}"
        )
    renamed, adders = {}, set()
    for name, value in state.items():
        ours = name
        for pattern, replacement in OFFICIAL:
            ours = re.sub(pattern, replacement, ours)
        renamed[ours] = value
        if name.endswith(ADDER):
            adders.add(ours.removesuffix(".weight"))
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and isinstance(layer, AdderConv2d) != (name in adders):
            there = "an adder layer" if name in adders else "a convolution"
            raise CheckpointError(
                f"the state is of a network with other operators: {name} is {there} there and "
                f"{type(layer).__name__} here"
            )
    return renamed
