"""How far a campaign is: what is done, what runs where, and how long the rest will take."""

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from saa_lite.items.base import Context, Item, Unit, unit_key
from saa_lite.items.runner import prepared
from saa_lite.items.sharing import check_shareable, who_holds
from saa_lite.locks import Lease
from saa_lite.records import Record


@dataclass(frozen=True)
class Running:
    """A claim: of one unit, or of a group that is claimed at once.

    Attributes:
        name: as its lease is called; ``saa-lite campaign run --only NAME`` runs just this.
        units: how many of those that are left it holds.
        host, pid: who claimed it.
        silent: seconds since the last sign of life; one comes every minute.
    """

    name: str
    units: int
    host: str
    pid: int
    silent: float


@dataclass(frozen=True)
class Progress:
    """A campaign at one moment.

    Attributes:
        units, done: how many there are, and how many of them have all their records.
        running: what is claimed.
        left: names of all claims that are not finished, those that run included, in order.
        seconds: one worker's time for all that is left, judged by the units that are done; None
            while none is. What runs counts half.
        workers: processes at work.
    """

    units: int
    done: int
    running: tuple[Running, ...]
    left: tuple[str, ...]
    seconds: float | None
    workers: int

    @property
    def rest(self) -> float | None:
        """Seconds until the end with the present workers, or with one if there is none."""
        return None if self.seconds is None else self.seconds / max(1, self.workers)


class _Listing:
    """Claims nothing, and keeps what could be claimed."""

    def __init__(self) -> None:
        self.units: dict[tuple[str, ...], Unit] = {}

    def take(self, unit: Unit) -> bool:
        self.units[unit.key] = unit
        return False


def progress(item: Item, context: Context, settings: Any = None) -> Progress:
    """What is left of a campaign, and who is at it; nothing is run.

    Args:
        settings: instead of the profile's own.
    """
    check_shareable(item, context.profile)
    assert item.run is not None
    listing = _Listing()
    asked = replace(prepared(item, context), sharing=listing)
    for _ in item.run(settings or item.profiles[context.profile], asked):
        raise AssertionError(f"{item.id} measures something without asking whether it is done")
    claims: dict[Path, list[Unit]] = defaultdict(list)
    for unit in listing.units.values():
        claims[unit.lease].append(unit)
    running = tuple(found for path, units in claims.items() if (found := _running(path, units)))
    finished = asked.touched.keys() - listing.units.keys()
    mine = [record for record in asked.finished if unit_key(record) in finished]
    done = len(set(map(unit_key, mine)))
    return Progress(
        units=done + len(listing.units),
        done=done,
        running=running,
        left=tuple(path.stem for path in claims),
        seconds=_seconds(claims, {claim.name for claim in running}, mine),
        workers=len({(claim.host, claim.pid) for claim in running}),
    )


def _running(path: Path, units: Sequence[Unit]) -> Running | None:
    with suppress(FileNotFoundError):
        silent = time.time() - path.stat().st_mtime
        if holder := who_holds(Lease(path)):
            return Running(path.stem, len(units), *holder, max(0.0, silent))
    return None


def _seconds(
    claims: dict[Path, list[Unit]], running: set[str], records: Sequence[Record]
) -> float | None:
    """Of what is left, judged by units of its method and settings, else its method, else any."""
    took: dict[tuple[str, ...], float] = defaultdict(float)
    for record in records:
        key = unit_key(record)
        took[key] = max(took[key], record.seconds)
    if not took:
        return None

    def of(unit: Unit) -> float:
        _, _, method, settings, _ = unit.key
        same = [s for key, s in took.items() if key[2] == method]
        alike = [s for key, s in took.items() if key[2:4] == (method, settings)]
        return median(alike or same or list(took.values()))

    shares = {path: 0.5 if path.stem in running else 1.0 for path in claims}
    return sum(shares[path] * of(unit) for path, units in claims.items() for unit in units)
