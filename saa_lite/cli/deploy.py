"""``saa-lite deploy``: a trained network as C, with what it takes of a processor."""

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from saa_lite.cli import deploy_check
from saa_lite.cli.output import show_json, stdout_for_json
from saa_lite.data import ImageSet, load_dataset, normalization
from saa_lite.data.batches import normalize
from saa_lite.deploy.export import Report, export
from saa_lite.deploy.formats import FORMATS, FileReport, export_file
from saa_lite.deploy.targets import HOST
from saa_lite.errors import UsageError, check_choice
from saa_lite.files import runs_dir
from saa_lite.models import create_model, list_weights, weights_info
from saa_lite.recipes import Recipe
from saa_lite.report.tables import text_table
from saa_lite.train import has_checkpoint, load_checkpoint

C = "c"
CALIBRATION = 256  # training images


class Trained(NamedTuple):
    """A network and the images that it was trained on and is tested on, normalised."""

    network: nn.Module
    calibration: Tensor
    images: Tensor


def main(arguments: Namespace) -> int:
    """Write the folder; print a row per layer, the totals, and what was proved."""
    if arguments.check is not None:
        return deploy_check.main(arguments)
    _check(arguments)
    with stdout_for_json(arguments.json):
        trained = _shipped(arguments) if _is_shipped(arguments) else _own(arguments)
        out = arguments.out or runs_dir() / "deploy" / Path(arguments.checkpoint).name
        report = _c(trained, out, arguments) if arguments.format == C else (
            _file(trained, out, arguments))  # fmt: skip
    if arguments.json:
        show_json({"out": str(out), **asdict(report)})
        return 0
    if isinstance(report, FileReport):
        print(f"{report.check}\n\nWritten to {out / report.file}, {report.bytes:,} bytes")
        return 0
    rows = [layer.as_row() for layer in report.layers]
    print(text_table([{k: "" if v is None else v for k, v in row.items()} for row in rows]))
    print(f"\n{_totals(report)}\n\nWritten to {out}")
    return 0


def _check(arguments: Namespace) -> None:
    """What does not go together, before anything is read."""
    check_choice("format", arguments.format, (C, *FORMATS))
    if arguments.checkpoint is None:
        raise UsageError("CHECKPOINT is missing: what to export; or give --check")
    if arguments.format == C and arguments.float:
        raise UsageError("--float is for --format onnx and torch-export; C computes with integers")
    if arguments.format != C and (arguments.target != HOST or arguments.multiply):
        raise UsageError("--target and --multiply are for --format c alone")


def _c(trained: Trained, out: Path, arguments: Namespace) -> Report:
    return export(
        trained.network,
        [trained.calibration],
        trained.images,
        out,
        bits=arguments.bits,
        target=arguments.target,
        multiply=arguments.multiply,
    )


def _file(trained: Trained, out: Path, arguments: Namespace) -> FileReport:
    return export_file(
        trained.network,
        [trained.calibration],
        trained.images,
        out,
        format=arguments.format,
        bits=None if arguments.float else arguments.bits,
    )


def _totals(report: Report) -> str:
    flash = "not linked" if report.flash is None else f"{report.flash:,} bytes"
    ram = "not linked" if report.ram is None else f"{report.ram:,} bytes"
    counted = [layer.instructions for layer in report.layers]
    total = sum(n for n in counted if n is not None)
    lines = {
        "flash": f"{flash} (predicted {report.predicted_flash:,})",
        "RAM": f"{ram} (predicted {report.predicted_ram:,})",
        "instructions per image": f"{total:,} (not cycles)" if total else "not counted",
        "multiplications in inner loops": f"{report.inner:,}",
        "multiplications in the program": report.proof,
    }
    return "\n".join(
        [*(f"{name}: {text}" for name, text in lines.items()), *map(str, report.checks)]
    )


def _is_shipped(arguments: Namespace) -> bool:
    return arguments.checkpoint in map(str, list_weights())


def _shipped(arguments: Namespace) -> Trained:
    """A network of the package, on its data set."""
    name = next(n for n in list_weights() if str(n) == arguments.checkpoint)
    info = weights_info(*name[:2], weights=name.weights)
    network = create_model(name.model, conv=name.conv, weights=name.weights)
    sets = [
        load_dataset(name.weights, split, root=arguments.data_root, download=arguments.download)
        for split in ("train", "test")
    ]
    return _trained(network, sets, info.mean, info.std)


def _own(arguments: Namespace) -> Trained:
    """What ``saa-lite train`` has left in a folder."""
    folder = Path(arguments.checkpoint)
    if not has_checkpoint(folder):
        known = ", ".join(map(str, list_weights()))
        raise UsageError(
            f"CHECKPOINT must be a folder that saa-lite train has written, or one of {known}; "
            f"got {arguments.checkpoint}"
        )
    try:
        recipe = Recipe.from_settings(json.loads((folder / "settings.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{folder} is no training of saa-lite train: {error}") from error
    if recipe.task != "classification":
        raise UsageError(f"{folder} was trained for {recipe.task}, not classification")
    sets = [
        recipe.load(split, root=arguments.data_root, download=arguments.download)
        for split in ("train", "test")
    ]
    network = recipe.network(sets[0])
    load_checkpoint(folder, network)
    return _trained(network.eval(), sets, *normalization(sets[0]))


def _trained(
    network: nn.Module, sets: list[ImageSet], mean: tuple[float, ...], std: tuple[float, ...]
) -> Trained:
    calibration, images = (normalize(one.images[:CALIBRATION], mean, std) for one in sets)
    return Trained(network, calibration, images)
