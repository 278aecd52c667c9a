"""``saa-lite run``: measure items, draw them, and say how to keep the numbers."""

import json
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from saa_lite.cli.options import change, resolve_device
from saa_lite.cli.output import show, show_json, stdout_for_json
from saa_lite.data.load import data_root
from saa_lite.errors import SaaLiteError, UsageError
from saa_lite.files import check_writable
from saa_lite.items.base import Context
from saa_lite.items.registry import Item, get_item
from saa_lite.items.runner import check_runnable, claimed, run_item
from saa_lite.locks import RUNNING, locked
from saa_lite.records import Record, measured_records, run_folder
from saa_lite.train.checkpoint import stop_politely


def main(arguments: Namespace) -> int:
    """Run item after item and say what was measured; Ctrl-C keeps what is finished."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files; no window, no display

    def measure(item: Item, chosen: Any, context: Context) -> list[Record]:
        with alone(item):
            _refuse_campaign(item)
            return run_item(item, context, settings=chosen, fresh=arguments.fresh)

    return measure_all(arguments, checked(arguments), measure)


def measure_all(
    arguments: Namespace,
    chosen_items: Sequence[tuple[Item, Any]],
    measure: Callable[[Item, Any, Context], list[Record]],
) -> int:
    """Measure item after item, and print what was found."""
    context = context_of(arguments)
    found: list[Record] = []
    for item, chosen in chosen_items:
        with stdout_for_json(arguments.json), stop_politely():
            records = measure(item, chosen, context)
        found += records
        if not arguments.json:
            print(f"{item.id}, profile {arguments.profile}")
            show([_row(record) for record in records], as_json=False)
            print(_next_step(item.id, arguments.profile, records))
    if arguments.json:
        show_json([json.loads(record.to_line()) for record in found])
    return 0


def context_of(arguments: Namespace) -> Context:
    """How the command line asks to run."""
    return Context(
        profile=arguments.profile,
        data_root=arguments.data_root,
        device=resolve_device(arguments.device),
        progress=not arguments.quiet,
        download=arguments.download,
    )


def alone(item: Item) -> AbstractContextManager[None]:
    """Inside, no other ``saa-lite run`` of the item goes on."""
    busy = f"another run of {item.id} is going on"
    return locked(run_folder(item.id), purpose=RUNNING, busy=busy)


def _refuse_campaign(item: Item) -> None:
    if claims := claimed(item.id):
        host, pid = claims[0]
        raise SaaLiteError(
            f"a campaign of {item.id} is going on (process {pid} on {host}); wait until it is "
            f"done, or join it: saa-lite campaign run {item.id}"
        )


def checked(arguments: Namespace) -> list[tuple[Item, Any]]:
    """Items and settings; all are checked first, so that a wrong last one costs nothing."""
    items = [get_item(name) for name in arguments.items]
    for item in items:
        check_runnable(item, arguments.profile)
    settings = [change(item.profiles[arguments.profile], arguments.changes) for item in items]
    data_root(arguments.data_root)
    for item, chosen in zip(items, settings, strict=True):
        _check_seeds(chosen)
        check_writable(run_folder(item.id))
    return list(zip(items, settings, strict=True))


def _row(record: Record) -> dict[str, Any]:
    return {
        "metric": record.metric,
        "method": record.method,
        "model": record.model,
        "dataset": record.dataset,
        "seed": record.seed,
        "value": f"{record.value:.5g} {record.unit}",
        "epochs": record.epochs or None,
        "seconds": f"{record.seconds:.1f}",
    }


def _check_seeds(settings: Any) -> None:
    seeds = getattr(settings, "seeds", 1)
    if isinstance(seeds, int) and seeds < 1:
        raise UsageError(f"--set seeds must be at least 1; got {seeds}")


def _next_step(item_id: str, profile: str, records: list[Record]) -> str:
    if profile == "smoke":
        return (
            f"Drawn in data/runs/{item_id}/smoke.*. A smoke run shows that the code works; its "
            "numbers are not kept in data/measured/."
        )
    tracked = {record.to_line() for record in measured_records(item_id)}
    known = sum(record.to_line() in tracked for record in records)
    lines = [f"Drawn in data/runs/{item_id}/."]
    if known:
        lines.append(
            f"{known} of {len(records)} numbers are the tracked ones of data/measured/; "
            "--fresh measures all of them again."
        )
    if known < len(records):
        lines.append(f"To keep the new numbers: saa-lite record {item_id}")
    return "\n".join(lines) + "\n"
