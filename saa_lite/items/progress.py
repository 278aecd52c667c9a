"""How far a campaign is: what is done, what runs where, and how long the rest will take."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from saa_lite.items.base import Context, Unit, unit_key
from saa_lite.items.registry import Item
from saa_lite.items.runner import check_shareable, prepared, who_holds
from saa_lite.items.select import training_length
from saa_lite.locks import Lease
from saa_lite.provenance import device_name
from saa_lite.records import Record

NETWORK = ("net_width", "image_size", "small_input")
"""Settings that, with model and data set, tell how long an image takes."""


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
        names: of all claims, in order: what ``--only`` takes.
        seconds: one worker's time for all that is left, judged by the units that are done (see
            :func:`estimate`); None while none is. What runs counts half.
        workers: processes at work.
        judged_by: other processors than this one whose times went into ``seconds``.
    """

    units: int
    done: int
    running: tuple[Running, ...]
    left: tuple[str, ...]
    names: tuple[str, ...]
    seconds: float | None
    workers: int
    judged_by: tuple[str, ...] = ()

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
    done = set(map(unit_key, mine))
    names = (name for key, name in asked.touched.items() if key in done or key in listing.units)
    seconds, judged_by = _seconds(
        claims, {claim.name for claim in running}, mine, device_name(context.device)
    )
    return Progress(
        units=len(done) + len(listing.units),
        done=len(done),
        running=running,
        left=tuple(path.stem for path in claims),
        names=tuple(dict.fromkeys(names)),
        seconds=seconds,
        workers=len({(claim.host, claim.pid) for claim in running}),
        judged_by=judged_by,
    )


def _running(path: Path, units: Sequence[Unit]) -> Running | None:
    with suppress(FileNotFoundError):
        silent = time.time() - path.stat().st_mtime
        if holder := who_holds(Lease(path)):
            return Running(path.stem, len(units), *holder, max(0.0, silent))
    return None


def _seconds(
    claims: Mapping[Path, Sequence[Unit]],
    running: set[str],
    records: Sequence[Record],
    device: str,
) -> tuple[float | None, tuple[str, ...]]:
    """Of all that is left, and the other processors that it is judged by."""
    longest: dict[tuple[str, ...], Record] = {}
    for record in records:
        known = longest.get(unit_key(record))
        if known is None or record.seconds > known.seconds:
            longest[unit_key(record)] = record
    if not longest:
        return None, ()
    done, here = list(longest.values()), _processor(device)
    total, others = 0.0, set[str]()
    for path, units in claims.items():
        for unit in units:
            alike = judges(unit, done, here)
            total += (0.5 if path.stem in running else 1.0) * estimate(unit, alike)
            others |= {_processor(record.device) for record in alike} - {here}
    return total, tuple(sorted(others))


def judges(unit: Unit, done: Sequence[Record], processor: str) -> list[Record]:
    """The records by which a unit's time is judged, one per finished unit.

    Those of its method and settings, else its method on its network, else its network, else its
    method, else all; of these the ones of this processor, if there are any.
    """
    _, _, method, settings, _ = unit.key
    network = _network(unit)
    kinds = (
        [r for r in done if (r.method, r.config_hash) == (method, settings)],
        [r for r in done if r.method == method and _network(r) == network],
        [r for r in done if _network(r) == network],
        [r for r in done if r.method == method],
        done,
    )
    alike = next(kind for kind in kinds if kind)
    return [r for r in alike if _processor(r.device) == processor] or list(alike)


def estimate(unit: Unit, alike: Sequence[Record]) -> float:
    """Seconds: the median of what an image took, times the images that the unit will see."""
    return median(r.seconds / (training_length(r) or 1) for r in alike) * (
        training_length(unit) or 1
    )


def _network(made: Unit | Record) -> tuple[object, ...]:
    return made.model, made.dataset, *(made.settings.get(name) for name in NETWORK)


def _processor(device: str) -> str:
    """Without cores and threads."""
    return device.partition(" (")[0]
