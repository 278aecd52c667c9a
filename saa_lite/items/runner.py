"""Running an item, alone or with others: skip what is done, write each record at once, then draw.

**One campaign, any number of processes on any number of machines, one shared folder**
(:func:`share_item`). Every process walks through the same units in the same order. What a record
holds is skipped; what another process has claimed is skipped, too; anything else is claimed by a
lease, measured, and recorded in a file of its own (``data/runs/<source>/<item>/<profile>.d/``).
Where a process dies, its claim passes to the next that comes by, which goes on from the last
checkpoint: on the same machine at once, elsewhere after five minutes of silence.

A lease may overlap for a moment, when a process that was stopped for long goes on. That is
harmless: a unit gives the same records wherever it is run, and every file is written whole.
"""

import _thread
import math
import shutil
import time
import warnings
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saa_lite.errors import UsageError, check_choice
from saa_lite.files import figures_dir
from saa_lite.items.base import Context, Unit, checkpoint_folder, unit_key
from saa_lite.items.output import save_drawing
from saa_lite.items.registry import Item, get_item, list_items
from saa_lite.locks import HEARTBEAT_SECONDS, LEASE, LEASE_SECONDS, Lease
from saa_lite.published import load_published
from saa_lite.records import (
    PROFILES,
    Record,
    append_record,
    append_unit_record,
    measured_records,
    merge,
    profile_path,
    run_records,
    unit_folder,
)
from saa_lite.train import DivergenceError

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0  # seconds between two looks at what others run
OUTLIVE = LEASE_SECONDS + 2 * HEARTBEAT_SECONDS  # after so long a dead process's claims are free


def check_runnable(item: Item, profile: str) -> None:
    """Raise :class:`UsageError` unless the item knows the profile."""
    check_choice("profile", profile, PROFILES)
    check_choice(f"profile of {item.id}", profile, item.profiles)


def run_item(
    item: Item, context: Context, *, settings: Any = None, fresh: bool = False
) -> list[Record]:
    """Run an item in the context's profile and draw the result beside its records.

    Records go to ``data/runs/<source>/<item>/<profile>.jsonl``, the drawing next to them. Units
    that an earlier run or a shared campaign of the profile has finished, or that tracked records
    hold, are not repeated: a campaign goes on where the repository left it. ``fresh`` repeats them
    all and forgets that profile's earlier records first.

    Args:
        settings: instead of the profile's own, e.g. with more seeds; its records say so.

    Returns:
        The records of all units of this run, those found finished included.
    """
    check_runnable(item, context.profile)
    assert item.run is not None
    path = profile_path(item.id, context.profile)
    if fresh:
        path.unlink(missing_ok=True)
        shutil.rmtree(unit_folder(item.id, context.profile), ignore_errors=True)
    running = prepared(item, context, tracked=not fresh)
    for record in item.run(settings or item.profiles[context.profile], running):
        append_record(path, record)
    return drawn(item, prepared(item, running, tracked=not fresh), running.touched)


def prepared(item: Item, context: Context, *, tracked: bool = True) -> Context:
    """``context`` with everything that is known of the item now, and no unit touched.

    Args:
        tracked: whether tracked records count, too.
    """
    known = _tracked(item, context) if tracked else []
    finished = (*known, *run_records(item.id, context.profile))
    return replace(context, item=item.id, finished=finished, touched={})


def drawn(item: Item, known: Context, touched: Container[tuple[str, ...]]) -> list[Record]:
    """The finished records of the units that were touched, drawn beside the profile's records."""
    records = merge(r for r in known.finished if unit_key(r) in touched)
    if item.draw is not None and records:
        drawing = item.draw(records, load_published(item.id, related=True))
        save_drawing(drawing, profile_path(item.id, known.profile).with_suffix(""))
    return records


def _tracked(item: Item, context: Context) -> list[Record]:
    """Tracked records of the same profile on the same kind of device."""
    on_gpu = context.device.startswith("cuda")
    return [
        record
        for record in measured_records(item.id)
        if record.profile == context.profile and on_gpu == ("cores" not in record.device)
    ]


def draw_measured(items: Sequence[Item] | None = None) -> dict[str, list[str]]:
    """Draw ``figures/<source>/<item>.*`` from tracked records alone.

    Args:
        items: by default every one that is measured.

    Returns:
        File names below ``figures/`` per item id.
    """
    drawn = {}
    for item in measured_items() if items is None else items:
        assert item.draw is not None
        if not (records := measured_records(item.id)):
            raise UsageError(f"{item.id} has no tracked records, so there is nothing to draw")
        drawing = item.draw(records, load_published(item.id, related=True))
        paths = save_drawing(drawing, figures_dir() / item.id)
        drawn[item.id] = [path.relative_to(figures_dir()).as_posix() for path in paths]
    return drawn


def measured_items() -> list[Item]:
    """Every item that is measured."""
    return [get_item(item.id) for item in list_items() if measured_records(item.id)]


class Claims:
    """The units that this process runs, one claim at a time.

    Args:
        only: the one unit or group to run, as :attr:`Unit.lease` is named; all by default.

    Attributes:
        elsewhere: leases that other processes held when they were asked for.
        lost: whether a successor has taken over what this process was running.
    """

    def __init__(self, only: str | None = None) -> None:
        self.only, self.lost = only, False
        self.elsewhere: set[Path] = set()
        self._leases: dict[Path, Lease] = {}
        self._held: Lease | None = None

    def take(self, unit: Unit) -> bool:
        """Claim the unit, or find that it is run elsewhere. What was claimed before is let go."""
        path = unit.lease
        if self._held is not None and self._held.path == path:
            return True
        self.leave()
        if self.only not in (None, path.stem):
            return False
        lease = self._leases.setdefault(path, Lease(path, self._lose))
        if not lease.take():
            self.elsewhere.add(path)
            return False
        self._held = lease
        return True

    def leave(self) -> None:
        """Let go of what is claimed."""
        if self._held is not None:
            self._held.leave()
            self._held = None

    def _lose(self) -> None:
        """Stop the main thread as Ctrl-C would."""
        self.lost = True
        _thread.interrupt_main()


def claimed(item_id: str) -> list[tuple[str, int]]:
    """Machine and process id of all that run a unit of the item now; dead ones are cleared away."""
    leases = [Lease(path) for path in sorted(checkpoint_folder(item_id).glob(f"*{LEASE}"))]
    return [holder for lease in leases if (holder := who_holds(lease))]


def who_holds(lease: Lease) -> tuple[str, int] | None:
    """Machine and process id; that of a process known to be dead is cleared away."""
    if lease.take():
        lease.leave()
        return None
    return lease.holder


def check_shareable(item: Item, profile: str) -> None:
    """Raise :class:`UsageError` unless the item can be run, by several processes at once."""
    check_runnable(item, profile)
    if item.timed:
        raise UsageError(
            f"{item.id} measures times, which other work on the machine would spoil; run it alone: "
            f"saa-lite run {item.id}"
        )


def share_item(
    item: Item,
    context: Context,
    *,
    settings: Any = None,
    patience: float = math.inf,
    only: str | None = None,
) -> list[Record]:
    """Run the units of an item that nobody else runs, until none is left; then draw them.

    A training that diverges is recorded, warned of, and no reason to stop.

    Args:
        settings: instead of the profile's own.
        patience: seconds to wait for units that others run, as they might die, once there is
            nothing else to do. Nothing is drawn when it is at an end.
        only: one unit or group, see :class:`Claims`; nothing is drawn.

    Returns:
        The records of all these units that are finished, whoever ran them.
    """
    check_shareable(item, context.profile)
    claims, touched = Claims(only), dict[tuple[str, ...], str]()
    pause, waited = FIRST_PAUSE, 0.0
    while True:
        running = replace(prepared(item, context), sharing=claims)
        written = _pass(item, settings or item.profiles[context.profile], running, claims)
        touched |= running.touched
        if written is None:
            continue  # something was stopped before its end
        if written:
            pause, waited = FIRST_PAUSE, 0.0
        if not claims.elsewhere or waited >= patience:
            break
        time.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)
    known = prepared(item, context)
    if claims.elsewhere or only is not None:
        mine = {key for key, name in touched.items() if only in (None, name)}
        return merge(record for record in known.finished if unit_key(record) in mine)
    return drawn(item, known, touched)


def _pass(item: Item, settings: Any, running: Context, claims: Claims) -> int | None:
    """Walk through all units once; how many records were written, None if it came to no end."""
    assert item.run is not None
    claims.elsewhere.clear()
    claims.lost, written = False, 0
    try:
        for record in item.run(settings, running):
            append_unit_record(record)
            written += 1
    except DivergenceError as error:
        if not written:  # it is not recorded, and would come again
            raise
        warnings.warn(str(error), UserWarning, stacklevel=3)
        return None
    except KeyboardInterrupt:
        if not claims.lost:
            raise
        return None
    finally:
        claims.leave()
    return written
