"""Files of records: read strictly, appended to safely, promoted to the tracked ones.

A run by itself appends to one file per profile. Runs that share a campaign leave one file per unit
instead, so that none waits for another.
"""

import re
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from saa_lite.errors import RecordError, UsageError
from saa_lite.files import measured_dir, runs_dir, write_text
from saa_lite.locks import locked
from saa_lite.records import compact
from saa_lite.records.metrics import check_metric
from saa_lite.records.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

SETTLED = 2_000_000_000  # nanoseconds


def read_records(path: Path, **expected: str) -> list[Record]:
    """All records of a JSONL file, whole or in the compact form; an absent file holds none.

    Args:
        expected: values that the file's place gives to fields, such as ``item`` and ``profile``.

    Raises:
        RecordError: a line is not a record, does not belong into this file, has a metric that its
            item does not have, or repeats an earlier line; the message names file and line.
    """
    found = _numbered(path, expected)
    _check_distinct(path, {number: _moment(record) for number, record in found.items()})
    return list(found.values())


def _numbered(path: Path, expected: dict[str, str]) -> dict[int, Record]:
    """The records by the number of their line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecordError(f"cannot read {path}: {error}") from error
    found: dict[int, Record] = {}
    blocks: compact.Blocks = {}
    for number, line in enumerate(lines, start=1):
        try:
            if (record := compact.from_line(line, blocks)) is None:
                continue
            _check_place(record, expected)
            check_metric(record)
        except (RecordError, ValueError, TypeError) as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
        found[number] = record
    return found


def _check_place(record: Record, expected: dict[str, str]) -> None:
    for name, value in expected.items():
        if getattr(record, name) != value:
            raise RecordError(f"{name} must be {value!r} here; got {getattr(record, name)!r}")


def _moment(record: Record) -> Hashable:
    """An interrupted unit is measured again, so a run may repeat a key, but at another time."""
    return record.key, record.created


def _check_distinct(path: Path, identities: Mapping[int, Hashable]) -> None:
    lines: dict[Hashable, int] = {}
    for number, identity in identities.items():
        if (earlier := lines.setdefault(identity, number)) != number:
            raise RecordError(f"{path}, line {number}: the same measurement as in line {earlier}")


def append_record(path: Path, record: Record) -> None:
    """Add one record; atomic, and safe when several processes append to the same file.

    A measurement repeated within the same second replaces the earlier one.
    """
    with locked(path.parent):
        _append(path, record)


def append_unit_record(record: Record) -> Path:
    """Add one record to the file of its unit, which only one process at a time writes."""
    path = unit_path(record)
    _append(path, record)
    return path


def _append(path: Path, record: Record) -> None:
    check_metric(record)
    known = [other for other in read_records(path) if _moment(other) != _moment(record)]
    _write(path, [*known, record])


def _write(path: Path, records: Iterable[Record]) -> None:
    write_text(path, "".join(record.to_line() + "\n" for record in records))


def run_folder(item_id: str) -> Path:
    """``data/runs/<source>/<item>``: one ``<profile>.jsonl``, drawings and checkpoints."""
    return runs_dir() / item_id


def profile_path(item_id: str, profile: str) -> Path:
    """``data/runs/<source>/<item>/<profile>.jsonl``."""
    return run_folder(item_id) / f"{profile}.jsonl"


def unit_folder(item_id: str, profile: str) -> Path:
    """``data/runs/<source>/<item>/<profile>.d``: one file per unit of a shared campaign."""
    return run_folder(item_id) / f"{profile}.d"


def unit_path(record: Record) -> Path:
    """File of the unit that made the record, in a shared campaign."""
    name = unit_name(record.method, record.model, record.dataset, record.config_hash, record.seed)
    return unit_folder(record.item, record.profile) / f"{name}.jsonl"


def unit_name(method: str, model: str, dataset: str, config_hash: str, seed: int) -> str:
    """A unit as part of a path: ``aug-shift-resnet8-digits-0123456789ab-0``."""
    name = "-".join([method, model, dataset, config_hash[:12], str(seed)])
    return re.sub(r"[^\w.-]", "_", name)


def measured_path(item_id: str) -> Path:
    """``data/measured/<source>/<item>.jsonl``."""
    return measured_dir() / f"{item_id}.jsonl"


def run_records(item_id: str, profile: str = "*") -> list[Record]:
    """Untracked records of one profile or of all: those of single runs, then those of units.

    Files come in name order.
    """
    folder = run_folder(item_id)
    places = [(path, path.stem) for path in _files(folder, f"{profile}.jsonl")]
    places += [(path, path.parent.stem) for path in _files(folder, f"{profile}.d/*.jsonl")]
    return [r for path, name in places for r in read_records(path, item=item_id, profile=name)]


def _files(folder: Path, pattern: str) -> list[Path]:
    """In name order, without those that are just being written."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def measured_records(item_id: str) -> list[Record]:
    """Tracked records, one per key; empty where nothing has been promoted.

    A file that has not changed since is not read again, so the records are everybody's: not to be
    changed.
    """
    path = measured_path(item_id)
    try:
        state = path.stat()
    except OSError:
        return list(_read_measured(path, item_id))  # which says what is the matter
    # A file can change twice within one tick of its clock, so a new one is no news to rely on.
    if time.time_ns() - state.st_mtime_ns < SETTLED:
        return list(_read_measured(path, item_id))
    return list(_measured_then(path, item_id, (state.st_mtime_ns, state.st_size, state.st_ino)))


@lru_cache(maxsize=64)  # a scorecard asks for each item's records three times
def _measured_then(path: Path, item_id: str, stamp: tuple[int, ...]) -> tuple[Record, ...]:
    """The file as it was when it bore this stamp."""
    return _read_measured(path, item_id)


def _read_measured(path: Path, item_id: str) -> tuple[Record, ...]:
    found = _numbered(path, {"item": item_id})
    _check_distinct(path, {number: record.key for number, record in found.items()})
    return tuple(found.values())


def write_measured(item_id: str, records: Iterable[Record]) -> None:
    """Replace the tracked records, in the compact form; atomic."""
    write_text(measured_path(item_id), "".join(f"{line}\n" for line in compact.to_lines(records)))


def merge(records: Iterable[Record]) -> list[Record]:
    """Newest record per key, in key order: the same set of records gives the same file."""
    newest: dict[tuple[str | int, ...], Record] = {}
    for record in records:
        known = newest.get(record.key)
        if known is None or record.created >= known.created:
            newest[record.key] = record
    return [newest[key] for key in sorted(newest)]


def promote(item_id: str) -> list[Record]:
    """Merge the records of finished runs into the tracked file; return what was promoted.

    Raises:
        UsageError: there is no run to promote, or only smoke runs, whose numbers mean nothing.
    """
    found = run_records(item_id)
    worthy = [record for record in found if record.profile != "smoke"]
    if not found:
        raise UsageError(f"{item_id} has no run to record; run it first: saa-lite run {item_id}")
    if not worthy:
        raise UsageError(
            f"{item_id} has only smoke runs, which show that the code works and measure nothing; "
            f"run it with --profile laptop or full first"
        )
    with locked(run_folder(item_id)):
        write_measured(item_id, merge([*measured_records(item_id), *worthy]))
    return merge(worthy)


def record_table(records: Iterable[Record]) -> "DataFrame":
    """Records as a table, one row each in their order: fields and settings are its columns.

    A setting that is called as a field is (``epochs``, ``device``) has no column of its own; one
    that a record does not have is missing there. Logs and hits are left out.
    """
    from pandas import DataFrame  # noqa: PLC0415  (half a second; `saa-lite items` needs none)

    apart = ("settings", "versions", "log", "hits")
    rows = [
        record.settings | {k: v for k, v in vars(record).items() if k not in apart}
        for record in records
    ]
    return DataFrame(rows, columns=None if rows else [f.name for f in fields(Record)])
