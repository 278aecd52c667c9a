"""One record: a measured number, its checks, and its form as one line of JSON."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np

from saa_lite.errors import RecordError

PROFILES = ("smoke", "laptop", "full", "shipped")
LOG_DIGITS = 6  # significant digits of a per-epoch log: enough to redraw a curve
ABSOLUTE_PATH = re.compile(r"(^|[\s:='\"(,])(/[^/\s]+/|[A-Za-z]:[\\/]|~/)")


def now() -> str:
    """The present moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Record:
    """One measured number with its provenance.

    ``value`` is finite and in ``unit`` (accuracies in "%", as the papers print them).
    ``settings`` holds what changes the result and is common to the methods under comparison;
    ``method``, ``model``, ``dataset`` and ``seed`` stand beside it. ``log`` is one dict of numbers
    per epoch. ``seconds`` is the wall time, ``peak_memory_mb`` in MB (10^6 bytes), ``created`` an
    ISO 8601 time in UTC. ``hits`` tells which test images were classified rightly, in the order of
    the test set (:func:`pack_hits`), so that two networks can be compared image by image.

    Raises:
        RecordError: a field has the wrong type, a number is not finite, the hash is not the
            one of ``settings``, or a text holds an absolute path.
    """

    item: str
    metric: str
    value: float
    unit: str
    method: str
    model: str
    dataset: str
    seed: int
    profile: str
    epochs: int
    device: str
    versions: dict[str, str]
    config_hash: str
    commit: str
    seconds: float
    peak_memory_mb: float
    settings: dict[str, Any]
    log: list[dict[str, float | None]] | None = None
    created: str = field(default_factory=now)
    hits: str | None = None

    def __post_init__(self) -> None:
        """Validate, and round the log so that a record equals what is read back from its file."""
        _check_types(self)
        _check_values(self)
        if self.log is not None:
            rounded = [{key: _significant(x) for key, x in row.items()} for row in self.log]
            object.__setattr__(self, "log", rounded)

    @property
    def key(self) -> tuple[str, str, str, str, str, int]:
        """Identity: of two records with the same key, the newer one replaces the older."""
        return (
            self.dataset,
            self.model,
            self.method,
            self.metric,
            self.config_hash,
            self.seed,
        )

    def under(self, metric: str, log: list[dict[str, float | None]] | None = None) -> "Record":
        """The same number under another name, with ``log`` in place of none.

        What was validated is not validated again: of thousands of records that takes seconds.
        """
        other = copy(self)
        object.__setattr__(other, "metric", metric)
        object.__setattr__(other, "log", self.log or log)
        return other

    def to_line(self) -> str:
        """The record as one line of JSON, keys sorted, the log turned into columns."""
        value = asdict(self)
        value["log"] = _columns(self.log)
        if self.hits is None:
            del value["hits"]
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)


def config_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no spaces) of ``settings``, as 64 hex digits."""
    try:
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordError(f"settings must be plain finite JSON values: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _check_types(record: Record) -> None:
    for name in ("item", "metric", "unit", "method", "model", "dataset", "profile", "device"):
        if not isinstance(getattr(record, name), str):
            raise RecordError(f"{name} must be a string; got {getattr(record, name)!r}")
    for name in ("value", "seconds", "peak_memory_mb"):
        number = getattr(record, name)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise RecordError(f"{name} must be a number; got {number!r}")
        if not math.isfinite(number):
            raise RecordError(f"{name} must be finite; got {number!r}")
    for name in ("seed", "epochs"):
        if type(getattr(record, name)) is not int:
            raise RecordError(f"{name} must be an integer; got {getattr(record, name)!r}")
    for name in ("versions", "settings"):
        if not isinstance(getattr(record, name), dict):
            raise RecordError(f"{name} must be a mapping; got {getattr(record, name)!r}")
    for row in [] if record.log is None else record.log:
        if not all(isinstance(x, (int, float, type(None))) for x in row.values()):
            raise RecordError(f"log must hold one dict of numbers per epoch; got {row!r}")


def _check_values(record: Record) -> None:
    if record.item.count("/") != 1:
        raise RecordError(f"item must read 'source/name'; got {record.item!r}")
    if record.profile not in PROFILES:
        raise RecordError(f"profile must be one of {', '.join(PROFILES)}; got {record.profile!r}")
    if record.config_hash != config_hash(record.settings):
        raise RecordError(
            f"config_hash {record.config_hash[:12]}… is not that of the record's settings"
        )
    try:
        datetime.fromisoformat(record.created)
    except (TypeError, ValueError):
        raise RecordError(f"created must be an ISO 8601 time; got {record.created!r}") from None
    if record.hits is not None:
        unpack_hits(record.hits)
    for text in _texts([record.method, record.dataset, record.device, record.settings]):
        if ABSOLUTE_PATH.search(text):
            raise RecordError(f"a record holds no absolute path; got {text!r}")


def pack_hits(hits: Sequence[bool]) -> str:
    """Right or wrong, image by image, as text: the count, and the bits in base64."""
    bits = np.packbits(np.asarray(hits, dtype=bool))
    return f"{len(hits)}:{base64.b64encode(bits.tobytes()).decode()}"


def unpack_hits(text: str) -> np.ndarray:
    """Undo :func:`pack_hits`: bool [images].

    Raises:
        RecordError: the text is torn.
    """
    count, _, coded = text.partition(":")
    try:
        bits = np.frombuffer(base64.b64decode(coded, validate=True), dtype=np.uint8)
        hits = np.unpackbits(bits, count=int(count)).astype(bool)
    except ValueError as error:
        raise RecordError(f"hits must be a count and its bits in base64; got {text[:20]!r}…") from (
            error
        )
    if len(bits) != (len(hits) + 7) // 8 or str(len(hits)) != count:
        raise RecordError(f"hits must hold as many bits as its count says; got {text[:20]!r}…")
    return hits


def _texts(value: Any) -> Iterator[str]:
    """Every string inside nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from _texts(element)


def _significant(number: float | None) -> float | int | None:
    """Round to LOG_DIGITS significant digits; NaN and infinity become None."""
    if number is None or isinstance(number, int):
        return number
    return float(f"{number:.{LOG_DIGITS}g}") if math.isfinite(number) else None


def _columns(log: list[dict[str, float | None]] | None) -> dict[str, list[float | None]] | None:
    """One list per quantity instead of one dict per epoch: a third of the bytes."""
    if log is None:
        return None
    names = sorted({name for row in log for name in row})
    return {name: [row.get(name) for row in log] for name in names}


def _rows(columns: Any) -> Any:
    """Undo :func:`_columns`."""
    if columns is None:
        return None
    if not isinstance(columns, dict) or len({len(column) for column in columns.values()}) > 1:
        raise RecordError("log must map each quantity to one list, all of the same length")
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def parse(line: str) -> Record:
    """Undo :meth:`Record.to_line`.

    Raises:
        RecordError: fields are missing, unknown or wrong; ValueError: it is no JSON.
    """
    value = json.loads(line)
    if not isinstance(value, dict):
        raise RecordError("a record must be a JSON object")
    return parse_fields(value)


def parse_fields(value: dict[str, Any]) -> Record:
    """A record from the fields of its line.

    Raises:
        RecordError: fields are missing, unknown or wrong.
    """
    names = {entry.name for entry in fields(Record)}
    if missing := sorted(names - {"hits"} - set(value)):
        raise RecordError(f"fields missing: {', '.join(missing)}")
    if unknown := sorted(set(value) - names):
        raise RecordError(f"unknown fields: {', '.join(unknown)}")
    return Record(**{**value, "log": _rows(value["log"])})
