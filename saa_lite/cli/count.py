"""``saa-lite count``: what a network costs, layer by layer."""

import importlib
import os
import sys
from argparse import Namespace
from typing import Any

from saa_lite.cli.output import show_json, stdout_for_json
from saa_lite.errors import UsageError, check_choice, reason
from saa_lite.report.tables import text_table

NOTE = (
    "Counts are for one image of {channels} × {resolution} × {resolution}. multiply, add, shift, "
    "xnor, bytes moved and\nenergy are those of convolutions, linear layers and attention products "
    "alone; other lines count the rest.\nparameters_folded: each batch norm as one summand per "
    "channel. A, B, C: energy in mJ as the released\nsimulator charges it; with honest operations "
    "and the same memory for every method; with true bit widths."
)
FOR_REGISTERED = {"conv": "--conv", "num_classes": "--num-classes", "small_input": "--small-input"}


def main(arguments: Namespace) -> int:
    """Print one row per layer and the total, or JSON alone."""
    if arguments.resolution is not None and arguments.resolution < 1:
        raise UsageError(f"--resolution must be at least 1; got {arguments.resolution}")
    with stdout_for_json(arguments.json):
        model, resolution = _network(arguments)
        from saa_lite.costs import count  # noqa: PLC0415  (torch takes a second)

        costs = count(model, (1, arguments.in_channels, resolution, resolution))
        found = costs.as_dict()
    if arguments.json:
        show_json({**_asked(arguments), "resolution": resolution, **found})
        return 0
    print(text_table([_row(layer) for layer in found["layers"] if _has_products(layer)]))
    note = NOTE.format(channels=arguments.in_channels, resolution=resolution)
    print(f"\n{_total(found['total'])}\n\n{note}")
    for operator, layers in found["unknown"].items():
        print(f"Not counted: {operator} in {', '.join(layers)}")
    if found["unused"]:
        print(f"Never used: {', '.join(found['unused'])}")
    return 0


def _network(arguments: Namespace) -> tuple[Any, int]:
    """A registered network, or what ``package.module:name`` returns."""
    if ":" in arguments.model:
        _refuse_options(arguments)
        return _own_network(arguments.model), arguments.resolution or 224
    from saa_lite.models import create_model, describe, list_models  # noqa: PLC0415

    own = "package.module:name (a network of your own)"
    check_choice("model", arguments.model, [*list_models(), own])
    known = describe(arguments.model)
    if arguments.num_classes is None:
        arguments.num_classes = 10
    arguments.conv = arguments.conv or "conv"
    network = create_model(
        arguments.model,
        arguments.num_classes,
        arguments.conv,
        small_input=arguments.small_input,
        in_channels=arguments.in_channels,
    )
    return network, arguments.resolution or (32 if arguments.small_input else known.input_size)


def _refuse_options(arguments: Namespace) -> None:
    """A network of one's own is counted as it is."""
    given = [
        option
        for name, option in FOR_REGISTERED.items()
        if getattr(arguments, name) not in (None, False)
    ]
    if given:
        raise UsageError(
            f"{' and '.join(given)} cannot change a network of your own; let {arguments.model} "
            "return it as you want it counted (saa_lite.nn.convert changes its operators)"
        )


def _asked(arguments: Namespace) -> dict[str, Any]:
    """The question, as far as it was one: a network of one's own has its classes already."""
    names = FOR_REGISTERED if ":" not in arguments.model else ()
    return {name: getattr(arguments, name) for name in ("model", "in_channels", *names)}


def _own_network(name: str) -> Any:
    """What ``name`` stands for; modules of the current folder are found, as ``python`` finds them.

    Raises:
        UsageError: no such module or name, or its code fails.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:  # the installed command has its own folder there instead
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
        # A class or a function makes the network; a network is one already.
        return found if hasattr(found, "named_modules") and not isinstance(found, type) else found()
    except Exception as error:  # any: this is a user's code
        raise UsageError(
            f"{name} must name a module and in it something that returns a network; {reason(error)}"
        ) from error


def _has_products(layer: dict[str, Any]) -> bool:
    return any(layer[kind] for kind in ("multiply", "add", "shift", "xnor"))


def _row(layer: dict[str, Any]) -> dict[str, Any]:
    counts = {kind: f"{layer[kind]:,}" for kind in ("multiply", "add", "shift", "xnor")}
    energy = {name: _number(value) for name, value in layer["energy_mJ"].items()}
    name = layer["name"] or "(network)"
    return {"layer": name, **counts, "parameters": f"{layer['parameters']:,}", **energy}


def _total(total: dict[str, Any]) -> str:
    """Sums, one line each."""
    lines = {
        **{k: f"{n:,}" for k, n in total.items() if isinstance(n, int) and k != "bytes_moved"},
        "bytes moved": f"{total['bytes_moved']:,.0f}",
        "peak activation": f"{total['peak_activation_bytes']:,.0f} bytes in "
        f"{total['peak_layer'] or '(network)'}",
        **{f"energy {name}": f"{_number(e)} mJ" for name, e in total["energy_mJ"].items()},
    }
    return "\n".join(f"{name:<22}{value:>20}" for name, value in lines.items())


def _number(value: float | None) -> str:
    return "no rule" if value is None else f"{value:.4g}"
