"""The files of trained networks: half a megabyte of ResNet-20 each, and the index beside them.

What has more than one dimension is stored in float16, the rest as it was; a network is loaded into
float32 without loss. A file holds all of :class:`~saa_lite.models.trained.info.WeightsInfo` and the
metadata of the state dict, which say which operator each layer had. Only its SHA-256 stands in the
index, so a file that is torn, exchanged or edited is refused, whatever it says of itself.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from saa_lite.container import read_container, write_container
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.files import atomic_path, read_json, write_json
from saa_lite.models.trained.info import WeightsInfo, WeightsName
from saa_lite.models.weights import load_weights
from saa_lite.nn.plumbing import set_options

FOLDER = Path(__file__).resolve().parent
INDEX = "index.json"
AGAIN = "install saa_lite again (in a checkout: git checkout -- {})"


def list_weights(model: str | None = None, conv: str | None = None) -> list[WeightsName]:
    """Trained networks that come with the package: (model, conv, weights), sorted.

    Args:
        model, conv: list only those of this network, or operator.
    """
    return [
        name
        for name in sorted(_index())
        if model in (None, name.model) and conv in (None, name.conv)
    ]


def weights_info(model: str, conv: str = "conv", *, weights: str) -> WeightsInfo:
    """Accuracy, recipe, data and normalisation of one of them; the arguments are
    :func:`~saa_lite.models.create_model`'s.

    Raises:
        UsageError: there is no such network; the sentence lists what there is.
        CheckpointError: its file is missing, torn, or another one than was published.
    """
    return read_trained(WeightsName(model, conv, weights))[0]


def read_trained(name: WeightsName) -> tuple[WeightsInfo, dict[str, Tensor]]:
    """What is known of a trained network, and its state dict as stored; see :func:`weights_info`.

    The state has the metadata of the network that was trained, so that
    :func:`~saa_lite.models.load_weights` refuses it in a network with other operators.
    """
    path = _sound(name)
    tensors, document = read_container(path)
    state = OrderedDict(sorted(tensors.items()))
    state._metadata = document.pop("metadata")  # type: ignore[attr-defined]
    return WeightsInfo(**{key: _tuples(value) for key, value in document.items()}), state


def fill(network: nn.Module, info: WeightsInfo, state: Mapping[str, Tensor]) -> None:
    """Load a stored state, and the options of the layers it was trained with, in place.

    Raises:
        CheckpointError: the network is another one, or has other operators.
    """
    load_weights(network, state)
    set_options(network, info.options)


def stored(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network as it is stored, on the CPU.

    Raises:
        UsageError: a number that float16 cannot hold.
    """
    state = network.state_dict()
    for name, value in state.items():
        if value.dim() > 1:
            state[name] = value.half()
        if not state[name].isfinite().all():
            raise UsageError(f"{name} has numbers that cannot be stored in float16")
        state[name] = state[name].cpu()
    return state


def write_trained(info: WeightsInfo, state: Mapping[str, Tensor]) -> Path:
    """Write a file and its line of the index, in the place of an earlier one of that name.

    Args:
        state: of :func:`stored`; the numbers of ``info`` must be of a network filled with it.

    Returns:
        The file.
    """
    path = _path(info.name)
    document = asdict(info) | {"metadata": getattr(state, "_metadata", {})}
    with atomic_path(path) as temporary:
        write_container(temporary, state, document)
    hashes = _index() | {info.name: _sha256(path)}
    rows = [name._asdict() | {"sha256": hashes[name]} for name in sorted(hashes)]
    write_json(FOLDER / INDEX, rows)
    return path


def _sound(name: WeightsName) -> Path:
    """The file of a network, after its hash has been compared with the index's."""
    hashes = _index()
    if name not in hashes:
        raise UsageError(_unknown(name))
    path = _path(name)
    remedy = AGAIN.format(_in_checkout(path))
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {remedy}")
    if _sha256(path) != hashes[name]:
        raise CheckpointError(
            f"{path} is torn or was changed, as its SHA-256 is not that in {INDEX}: {remedy}"
        )
    return path


def _unknown(name: WeightsName) -> str:
    if fitting := list_weights(name.model, name.conv):
        listed = ", ".join(repr(found.weights) for found in fitting)
        return (
            f"weights must be one of {listed} for {name.model} with conv {name.conv!r}; "
            f"got {name.weights!r}"
        )
    listed = ", ".join(map(str, list_weights())) or "none at all"
    return (
        f"no weights come with {name.model} with conv {name.conv!r}; got {name.weights!r}, and "
        f"there are {listed}"
    )


def _index() -> dict[WeightsName, str]:
    """Name → SHA-256 of its file."""
    path = FOLDER / INDEX
    try:
        rows = [dict(row) for row in read_json(path)]
        return {WeightsName(**row): sha for row in rows for sha in [row.pop("sha256")]}
    except (TypeError, KeyError, ValueError) as error:
        remedy = AGAIN.format(_in_checkout(path))
        raise CheckpointError(f"{path} is no index of trained networks: {remedy}") from error


def _path(name: WeightsName) -> Path:
    return FOLDER / f"{name}.safetensors"


def _in_checkout(path: Path) -> str:
    """As ``git`` takes it in the folder of a checkout."""
    return (Path("saa_lite", "models", "trained") / path.name).as_posix()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
