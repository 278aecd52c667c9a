"""Networks as files that other programs read: ONNX, and ``torch.export``'s ``.pt2``.

Either the integers that the C code computes, where every program must give the same bits, or the
trained network itself in floating point, where each adds in an order of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from saa_lite.deploy.export import GOLDEN_IMAGES
from saa_lite.deploy.lower import lower
from saa_lite.deploy.network import integer_network
from saa_lite.deploy.onnx_float import onnx_float_model
from saa_lite.deploy.onnx_functions import check_onnx, run_onnx
from saa_lite.deploy.onnx_model import first_difference, onnx_model
from saa_lite.errors import UsageError, check_choice
from saa_lite.files import atomic_path, check_writable
from saa_lite.nn.wrappers import copy_of

if TYPE_CHECKING:  # an extra
    from onnx import ModelProto

FORMATS = {"onnx": "net.onnx", "torch-export": "net.pt2"}
TOLERANCE = 1e-4  # of the greatest logit, between two programs in float32


@dataclass(frozen=True)
class FileReport:
    """What came of it.

    Attributes:
        file: its name in the folder.
        bytes: its size.
        check: what was compared, in a sentence.
    """

    file: str
    bytes: int
    check: str


class FromFloat32(nn.Module):
    """An integer network on images of float32, as other programs have them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] → logits [N, classes], float64."""
        logits: Tensor = self.network(images.double())
        return logits


def export_file(
    network: nn.Module,
    calibration_batches: Iterable[Any],
    images: Tensor,
    folder: Path | str,
    *,
    format: str,
    bits: int | None = 4,
) -> FileReport:
    """Write ``net.onnx`` or ``net.pt2``, whose outputs were compared with the network's first.

    Args:
        network, calibration_batches: of :func:`~saa_lite.deploy.integer_network`.
        images: normalised [N, C, H, W]; the first eight are compared.
        folder: is made.
        format: ``"onnx"`` or ``"torch-export"``.
        bits: of codes between layers; None for the trained network in floating point.

    Raises:
        UsageError: what :func:`~saa_lite.deploy.integer_network` and
            :func:`~saa_lite.deploy.lower` refuse, an unknown format, no image, a missing extra, or
            other outputs. Nothing has been written then.
    """
    check_choice("format", format, FORMATS)
    if len(images) == 0:
        raise UsageError("images must hold at least one image; got none")
    if format == "onnx":
        check_onnx()
    path = Path(folder) / FORMATS[format]
    check_writable(path.parent)
    seen = images[:GOLDEN_IMAGES]
    if bits is None:
        plain = copy_of(network, "export_file").eval()
        made, check = (_float_onnx if format == "onnx" else _traced)(plain, seen)
    else:
        twin = integer_network(network, calibration_batches, bits=bits)
        made, check = (_onnx if format == "onnx" else _torch)(twin, seen)
    with atomic_path(path) as temporary:
        if isinstance(made, torch.export.ExportedProgram):
            torch.export.save(made, temporary)
        else:
            temporary.write_bytes(made.SerializeToString(deterministic=True))
    return FileReport(path.name, path.stat().st_size, check)


def _onnx(twin: Any, images: Tensor) -> tuple["ModelProto", str]:
    graph = lower(twin, images.shape[1:])
    model = onnx_model(graph)
    if wrong := first_difference(model, graph, images):
        raise UsageError(f"layer {wrong!r} gives other bits in onnxruntime than in PyTorch")
    return model, f"every layer of {len(images)} images gives the bits of PyTorch in onnxruntime"


def _torch(twin: Any, images: Tensor) -> tuple[torch.export.ExportedProgram, str]:
    return _traced(FromFloat32(twin).eval(), images)


@torch.no_grad()
def _traced(network: nn.Module, images: Tensor) -> tuple[torch.export.ExportedProgram, str]:
    """For batches of any size; traced on two images, as one would be taken for a constant."""
    two = images[:2] if len(images) > 1 else images.repeat(2, 1, 1, 1)
    try:
        program = torch.export.export(network, (two,), dynamic_shapes=({0: torch.export.Dim("N")},))
    except Exception as error:  # any: the network may be a user's own
        raise UsageError(
            f"{type(network).__name__} cannot be exported by torch.export: {error}"
        ) from error
    if not torch.equal(program.module()(images), network(images)):
        raise UsageError("the exported program gives other logits than the network")
    return program, f"the logits of {len(images)} images are those of the network, bit for bit"


@torch.no_grad()
def _float_onnx(network: nn.Module, images: Tensor) -> tuple["ModelProto", str]:
    model = onnx_float_model(network, images)
    wanted = network(images).double().numpy()
    found = run_onnx(model, images, ["logits"])[0]
    difference = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    if not difference <= TOLERANCE:
        raise UsageError(
            f"logits in onnxruntime are off by {difference:.1e} of the greatest, more than "
            f"{TOLERANCE:g}"
        )
    return model, (
        f"the logits of {len(images)} images in onnxruntime are off by {difference:.1e} of the "
        f"greatest, at most (allowed: {TOLERANCE:g}): floating point, added in another order"
    )
