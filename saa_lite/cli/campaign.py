"""``saa-lite campaign``: one item's units, shared by processes and machines."""

import math
import os
import shlex
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from saa_lite.cli.output import show, show_json
from saa_lite.cli.run import alone, checked, context_of, measure_all
from saa_lite.cluster.processes import companions
from saa_lite.cluster.slurm import submit
from saa_lite.cluster.ssh import send_item
from saa_lite.errors import UsageError
from saa_lite.items.base import Context
from saa_lite.items.progress import Progress, Running, progress
from saa_lite.items.registry import Item, get_item, list_items
from saa_lite.items.runner import OUTLIVE, check_shareable, share_item
from saa_lite.protocols import list_protocols
from saa_lite.records import Record
from saa_lite.train.checkpoint import stop_politely

LISTED = 12  # names of units in one sentence


def main(arguments: Namespace) -> int:
    """Run a campaign, or say how far it is."""
    return _run(arguments) if arguments.action == "run" else _status(arguments)


def _run(arguments: Namespace) -> int:
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files; no window, no display
    if arguments.workers < 1:
        raise UsageError(f"--workers must be at least 1; got {arguments.workers}")
    _check_engine(arguments)
    return {"here": _here, "slurm": _slurm, "ssh": _ssh}[arguments.engine](arguments)


def _check_engine(arguments: Namespace) -> None:
    """Raise :class:`UsageError` where an option would be of no effect."""
    if (arguments.engine == "ssh") != bool(arguments.hosts):
        raise UsageError("--engine ssh and --hosts go together")
    if arguments.slurm and arguments.engine != "slurm":
        raise UsageError(f"--slurm is for --engine slurm; got --engine {arguments.engine}")
    if arguments.python is not None and arguments.engine != "ssh":
        raise UsageError(f"--python is for --engine ssh; got --engine {arguments.engine}")
    if arguments.only is not None and (arguments.engine == "ssh" or arguments.workers > 1):
        raise UsageError(
            "--only runs one unit, so it is not for --engine ssh or several --workers; got "
            f"--engine {arguments.engine} --workers {arguments.workers}"
        )


def _here(arguments: Namespace) -> int:
    """Be one of the workers, beside those that this process starts."""
    chosen = _shareable(arguments)
    with stop_politely(), companions(worker_arguments(arguments), arguments.workers):
        return work(arguments, chosen)


def _slurm(arguments: Namespace) -> int:
    """Queue the workers, and say how to see what they do."""
    _shareable(arguments)
    jobs = submit(slurm_worker, arguments, arguments.workers, arguments.slurm)
    shown = [{"job": job} for job in jobs]
    show(shown, as_json=arguments.json)
    if not arguments.json:
        changes = "".join(f" --set {shlex.quote(change)}" for change in arguments.changes)
        names = " ".join(arguments.items)
        print(f"How far they are: saa-lite campaign status {names}{changes}")
    return 0


def slurm_worker(arguments: Namespace) -> int:
    """Be the worker of one job: it waits for others only as long as a dead one's claim lasts."""
    return work(arguments, checked(arguments), patience=OUTLIVE)


def _ssh(arguments: Namespace) -> int:
    words = worker_arguments(arguments)

    def measure(item: Item, settings: Any, context: Context) -> list[Record]:
        one = ["campaign", "run", item.id, *words[2 + len(arguments.items) :]]
        return send_item(
            item, context, one, arguments.hosts, settings=settings, python=arguments.python
        )

    return measure_all(arguments, _shareable(arguments), measure)


def work(
    arguments: Namespace, chosen: Sequence[tuple[Item, Any]], patience: float = math.inf
) -> int:
    """Be one worker."""

    def measure(item: Item, settings: Any, context: Context) -> list[Record]:
        return share_item(item, context, settings=settings, patience=patience, only=arguments.only)

    return measure_all(arguments, chosen, measure)


def _shareable(arguments: Namespace) -> list[tuple[Item, Any]]:
    """Items and settings, of which no plain run is going on; those that ``--only`` leaves."""
    chosen = checked(arguments)
    for item, _ in chosen:
        check_shareable(item, arguments.profile)
        with alone(item):
            pass
    return chosen if arguments.only is None else _having(arguments, chosen)


def _having(arguments: Namespace, chosen: Sequence[tuple[Item, Any]]) -> list[tuple[Item, Any]]:
    """The items that have the unit of ``--only``.

    Raises:
        UsageError: none has it; the sentence lists the names, of many the most alike ones.
    """
    context = context_of(arguments)
    names = {item.id: progress(item, context, settings).names for item, settings in chosen}
    having = [(item, settings) for item, settings in chosen if arguments.only in names[item.id]]
    if having:
        return having
    known = [name for found in names.values() for name in found]
    alike = get_close_matches(arguments.only, known, LISTED, cutoff=0)
    more = f" (and {len(known) - len(alike)} more)" if len(known) > len(alike) else ""
    raise UsageError(
        f"--only must be a unit's name, such as {', '.join(alike)}{more}; got {arguments.only!r}"
    )


def worker_arguments(arguments: Namespace) -> list[str]:
    """The command that another worker of the same campaign is started with."""
    words = ["campaign", "run", *arguments.items, "--profile", arguments.profile, "--quiet"]
    words += [f"--set={change}" for change in arguments.changes]
    words += ["--device", arguments.device]
    if arguments.data_root is not None:
        words += ["--data-root", str(arguments.data_root)]
    return [*words, "--download"] if arguments.download else words


def _status(arguments: Namespace) -> int:
    context = context_of(arguments)
    if not arguments.items:
        judged = [item.id for item in list_items() if list_protocols(item.id)]
        arguments.items = [name for name in judged if not get_item(name).timed]
    found = {item.id: progress(item, context, chosen) for item, chosen in checked(arguments)}
    if arguments.json:
        rows = [{"item": name, **asdict(each), "rest": each.rest} for name, each in found.items()]
        show_json(rows)
        return 0
    show([_row(name, each) for name, each in found.items()], as_json=False)
    if others := sorted({name for each in found.values() for name in each.judged_by}):
        print(
            f"\nJudged by other processors, as far as this one has no record: {'; '.join(others)}"
        )
    if claims := [(name, claim) for name, each in found.items() for claim in each.running]:
        print()
        show([_claim(name, claim) for name, claim in claims], as_json=False)
    return 0


def _row(name: str, found: Progress) -> dict[str, Any]:
    running = sum(claim.units for claim in found.running)
    return {
        "item": name,
        "units": found.units,
        "done": found.done,
        "running": running,
        "waiting": found.units - found.done - running,
        "workers": found.workers,
        "the rest takes": duration(found.rest) if found.left else "nothing is left",
    }


def _claim(name: str, claim: Running) -> dict[str, Any]:
    return {
        "item": name,
        "running": claim.name,
        "on": claim.host,
        "process": claim.pid,
        "last sign of life": f"{duration(claim.silent)} ago",
    }


def duration(seconds: float | None) -> str:
    """``95 s``, ``12 min``, ``3.4 h`` or ``2.1 days``; "unknown" of None."""
    if seconds is None:
        return "unknown"
    for unit, size, most, digits in (("s", 1, 120, 0), ("min", 60, 120, 0), ("h", 3600, 48, 1)):
        if seconds < most * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86_400:.1f} days"
