"""Running an item: skip what is done, write each record at once, then draw."""

import shutil
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from saa_lite.errors import UsageError, check_choice
from saa_lite.files import figures_dir
from saa_lite.items.base import Context, Item, unit_key
from saa_lite.items.output import save_drawing
from saa_lite.items.registry import get_item, is_built, list_items
from saa_lite.published import load_published
from saa_lite.records import (
    PROFILES,
    Record,
    append_record,
    measured_records,
    merge,
    profile_path,
    run_records,
    unit_folder,
)


def check_runnable(item: Item, profile: str) -> None:
    """Raise :class:`UsageError` unless the item is built and knows the profile."""
    check_choice("profile", profile, PROFILES)
    if item.run is None:
        raise UsageError(f"{item.id} is not built yet, so it cannot be run")
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
        items: built items; by default every one that is built and measured.

    Returns:
        File names below ``figures/`` per item id.
    """
    drawn = {}
    for item in measured_items() if items is None else items:
        if item.draw is None:
            raise UsageError(f"{item.id} is not built yet, so it cannot be drawn")
        if not (records := measured_records(item.id)):
            raise UsageError(f"{item.id} has no tracked records, so there is nothing to draw")
        drawing = item.draw(records, load_published(item.id, related=True))
        paths = save_drawing(drawing, figures_dir() / item.id)
        drawn[item.id] = [path.relative_to(figures_dir()).as_posix() for path in paths]
    return drawn


def measured_items() -> list[Item]:
    """Every item that is both built and measured."""
    names = [item.id for item in list_items() if is_built(item.id)]
    return [get_item(name) for name in names if measured_records(name)]
