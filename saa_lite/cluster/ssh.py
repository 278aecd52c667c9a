"""Units on a few machines that share no disk, by Dask over SSH.

This process alone knows the campaign: it sends out the names of units and writes the records that
come back. Each machine has its own checkout and its own data, and starts ``saa-lite campaign run
--only NAME`` for each unit, as a process of its own, so that signals and threads are as ever. A
unit whose machine is lost starts over on another one.

Dask's scheduler listens on the first machine, and whoever reaches that port can run code there:
use it in a network that you trust.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from saa_lite.cluster.extra import needed
from saa_lite.errors import SaaLiteError
from saa_lite.items.base import Context
from saa_lite.items.progress import progress
from saa_lite.items.registry import Item
from saa_lite.items.runner import share_item
from saa_lite.records import Record, append_unit_record
from saa_lite.records.record import parse

ATTEMPTS = 3  # beside the first, of a unit whose machine was lost or that failed there


def send_item(
    item: Item,
    context: Context,
    arguments: Sequence[str],
    hosts: Sequence[str],
    *,
    settings: Any = None,
    python: str | None = None,
) -> list[Record]:
    """Run what is left of an item on other machines, one unit at a time on each; then draw it.

    Args:
        arguments: of ``saa-lite``, to run the item there with these settings.
        hosts: as ssh takes them; a name that stands twice runs two units at a time.
        python: interpreter there, with saa_lite; by default the path of this one.

    Raises:
        SaaLiteError: Dask is not installed, or a unit failed on every attempt.
    """
    found = progress(item, context, settings)
    busy = {claim.name for claim in found.running}
    names = [name for name in found.left if name not in busy]
    for line in _lines(names, arguments, hosts, python) if names else ():
        append_unit_record(parse(line))
    return share_item(item, context, settings=settings, patience=0)


def _lines(
    names: Sequence[str], arguments: Sequence[str], hosts: Sequence[str], python: str | None
) -> Iterator[str]:
    """Records, as lines of JSON, in whatever order their units come to an end."""
    dask = needed("distributed", "--engine ssh")
    needed("asyncssh", "--engine ssh")
    cluster = dask.SSHCluster(
        [hosts[0], *hosts],  # the first is the scheduler
        worker_options={"nthreads": 1, "resources": {"unit": 1}},
        scheduler_options={"port": 0, "dashboard": False},
        remote_python=python or sys.executable,
    )
    with cluster, dask.Client(cluster) as client:
        sent = [
            client.submit(
                run_unit, [*arguments], name, key=name, pure=False, retries=ATTEMPTS,
                resources={"unit": 1},
            )
            for name in names
        ]  # fmt: skip
        for _, lines in dask.as_completed(sent, with_results=True):
            yield from lines


def run_unit(arguments: list[str], name: str) -> list[str]:
    """Run one unit in a process of its own, where this is called; its records as lines of JSON.

    Raises:
        SaaLiteError: with what the process said last.
    """
    command = [sys.executable, "-m", "saa_lite", *arguments, "--only", name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SaaLiteError(f"{name}: {said[-1].removeprefix('saa-lite: ')}")
    return [json.dumps(record) for record in json.loads(done.stdout)]
