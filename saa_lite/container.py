"""One checkpoint file: tensors and JSON in a safetensors file that knows when it is damaged.

The JSON text and a SHA-256 stand in the header's metadata. The hash covers the JSON and every
tensor's name, dtype, shape and bytes, so a truncated, emptied or flipped file is recognised and
never half-used. Reading executes nothing: there is no pickle.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saa_lite.errors import CheckpointError, UsageError
from saa_lite.files import atomic_path


def write_container(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a temporary file beside ``path``, flush it, and put it in the place of ``path``.

    Raises:
        UsageError: ``state`` is not plain JSON (NaN and infinity are refused too).
        SaaLiteError: the folder cannot be written.
    """
    try:
        # repr of a float, which json writes, gives the same bits back.
        text = json.dumps(state, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a checkpoint's state must be plain finite JSON: {error}") from error
    # A contiguous copy on the CPU: safetensors refuses views and tied weights otherwise.
    copies = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }
    with atomic_path(path) as temporary:
        save_file(copies, temporary, {"state": text, "sha256": digest(copies, text)})
        keep_previous(path)


def keep_previous(path: Path) -> None:
    """Rename a sound ``path`` to :func:`previous_path`; a damaged one is left to be overwritten."""
    try:
        read_container(path)
    except CheckpointError:
        return
    path.replace(previous_path(path))


def previous_path(path: Path) -> Path:
    """``last.safetensors`` → ``previous.safetensors``, in the same folder."""
    return path.with_name("previous" + path.suffix)


def read_container(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (CPU, contiguous) and state of one file.

    Raises:
        CheckpointError: the file is missing, unreadable or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or unreadable: {error}") from error
    text = metadata.get("state", "")
    if metadata.get("sha256") != digest(tensors, text):
        raise CheckpointError(f"{path} is damaged: its content does not match its SHA-256")
    return tensors, json.loads(text)


def digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 over the JSON text and every tensor, in name order."""
    result = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        result.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        result.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return result.hexdigest()
