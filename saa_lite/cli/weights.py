"""``saa-lite weights``: the trained networks that come with the package.

One is made in two steps, and the first goes on where it was stopped::

    saa-lite train --recipe resnet20-adder-cifar10 --out DIR --data-root ... [--resume]
    saa-lite weights --write DIR --recipe resnet20-adder-cifar10 --data-root ...

A finished training cannot be prolonged, as its learning rate has come down to 0. A longer one is
another recipe: a copy of the file with more ``epochs``, trained from its start, or with ``weights =
"cifar10"`` and a lower ``lr``, trained on from the network that is shipped.
"""

import sys
from argparse import Namespace
from typing import Any

from saa_lite.cli.options import resolve_device
from saa_lite.cli.output import show, stdout_for_json
from saa_lite.cli.steps import FAILED
from saa_lite.cli.train import load_splits
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.models import WeightsInfo, list_weights, weights_info
from saa_lite.recipes import check, list_recipes, load_recipe, ship


def main(arguments: Namespace) -> int:
    """List, check or write."""
    if (arguments.write is None) != (arguments.recipe is None):
        raise UsageError("--write DIR and --recipe NAME go together")
    if arguments.check and arguments.write:
        raise UsageError("--check and --write are two steps; give one of them")
    if arguments.check:
        return _check(arguments)
    if arguments.write:
        recipe = load_recipe(arguments.recipe)
        with stdout_for_json(arguments.json):
            info = ship(recipe, arguments.write, *load_splits(recipe, arguments))
        _show([_row(info)], arguments)
        return 0
    rows, faults = {name: _planned(name) for name in list_recipes()}, []
    for name in list_weights():
        try:
            rows[str(name)] = _row(weights_info(*name[:2], weights=name.weights))
        except CheckpointError as error:  # one torn file hides none of the others
            rows[str(name)] = _row_without("cannot be read", str(name))
            faults.append(str(error))
    _show([rows[name] for name in sorted(rows)], arguments)
    for fault in faults:
        print(f"saa-lite: {fault}", file=sys.stderr)
    return FAILED if faults else 0


def _check(arguments: Namespace) -> int:
    device = resolve_device(arguments.device)
    with stdout_for_json(arguments.json):
        found = list(check(arguments.data_root, download=arguments.download, device=str(device)))
    show([one.as_row() for one in found], as_json=arguments.json)
    failed = [str(one.name) for one in found if not one.holds]
    if failed:
        print(
            f"saa-lite: {', '.join(failed)} did not do what the file states, on this machine",
            file=sys.stderr,
        )
    return FAILED if failed else 0


def _show(rows: list[dict[str, Any]], arguments: Namespace) -> None:
    """Numbers for programs; for people, accuracies to two places and gaps left empty."""
    if not arguments.json:
        for row in rows:
            row.update({key: _text(value) for key, value in row.items()})
    show(rows, as_json=arguments.json)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _row(info: WeightsInfo) -> dict[str, Any]:
    """One network; its accuracy in percent."""
    return {
        "network": str(info.name),
        "test %": round(100 * info.accuracy, 2),
        "test images": info.test_images,
        "epochs": info.training["epochs"],
    }


def _planned(name: str) -> dict[str, Any]:
    """A recipe by which no network has been made yet."""
    return _row_without("not made yet", name, load_recipe(name).config.epochs)


def _row_without(accuracy: str, name: str, epochs: int | None = None) -> dict[str, Any]:
    return {"network": name, "test %": accuracy, "test images": None, "epochs": epochs}
