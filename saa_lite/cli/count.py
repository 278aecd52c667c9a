"""``saa-lite count``: what a network costs, layer by layer."""

import importlib
from argparse import Namespace
from typing import Any

from saa_lite.cli.output import show_json, stdout_for_json
from saa_lite.errors import UsageError
from saa_lite.report.tables import text_table

NOTE = (
    "Counts are for one image. multiply, add, shift, xnor: convolutions, linear layers and "
    "attention products.\nA, B, C: energy in mJ as the released simulator charges it; with honest "
    "operations and the same\nmemory for every method; and with true bit widths. Nothing else is "
    "in them."
)


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
    print(f"\n{_total(found['total'])}\n\n{NOTE}")
    for operator, layers in found["unknown"].items():
        print(f"Not counted: {operator} in {', '.join(layers)}")
    if found["unused"]:
        print(f"Never used: {', '.join(found['unused'])}")
    return 0


def _network(arguments: Namespace) -> tuple[Any, int]:
    """A registered network, or what ``package.module:name`` returns."""
    if ":" in arguments.model:
        return _own_network(arguments.model), arguments.resolution or 224
    from saa_lite.models import create_model, describe  # noqa: PLC0415

    known = describe(arguments.model)
    network = create_model(
        arguments.model,
        arguments.num_classes,
        arguments.conv,
        small_input=arguments.small_input,
        in_channels=arguments.in_channels,
    )
    return network, arguments.resolution or (32 if arguments.small_input else known.input_size)


def _asked(arguments: Namespace) -> dict[str, Any]:
    """The question, as far as it was one: a network of one's own has its classes already."""
    names = ("conv", "num_classes", "small_input") if ":" not in arguments.model else ()
    return {name: getattr(arguments, name) for name in ("model", "in_channels", *names)}


def _own_network(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{name} must name a module and in it something that returns a network: {error}"
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
        **{kind: f"{n:,}" for kind, n in total.items() if isinstance(n, int)},
        "bytes moved": f"{total['bytes_moved']:,.0f}",
        "peak activation": f"{total['peak_activation_bytes']:,.0f} bytes in {total['peak_layer']}",
        **{f"energy {name}": f"{_number(e)} mJ" for name, e in total["energy_mJ"].items()},
    }
    return "\n".join(f"{name:<22}{value:>20}" for name, value in lines.items())


def _number(value: float | None) -> str:
    return "no rule" if value is None else f"{value:.4g}"
