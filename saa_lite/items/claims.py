"""The rows of the scorecard, read from ``saa_lite/published/claims/``, one file per source.

A row says what is printed, what is computed from records, and why it cannot be tested here if it
cannot. It holds no verdict: :mod:`saa_lite.report.verdict` computes it.

=========== =====================================================================================
id          ``item:name``
table       ``source``: a statement of the source; ``check``: one without chance in it, an
            equation, a count, an export; ``exploration``: a comparison of ours, or one that no
            protocol fixed before its run
text        at most 60 characters; ``definition``: what is computed, in full
published   what the source prints, in words; ``cells``: the numbers of
            ``published/*.csv`` behind it, as ``item | row | column``; of two, the difference of the
            first and the second is what is claimed
setting     of the source; ``at``: the same in terms of a record
untestable  of a source's row, why there is no verdict while no protocol names it:
            ``control failed``, ``premise not met``, ``not converged``, ``power``,
            ``no protocol``, ``one network``; ``because``: in a sentence
matters     instead, of a source's row that one network tests, image by image: the smallest
            difference in points that would matter; with ``images`` of two terms alone
key         whether short tables show an exploration
where       records that bear on it: fields of a record, else its settings
reference   what the number is held against, if not 0
=========== =====================================================================================

and at most one predicate (without one, nothing has been run):

============= ===================================================================================
value         ``[metric, method]``
difference    ``[metric, first, second]``, paired by seed
sum           ``[[factor, metric, method], …]``
ratio         ``[[metric, method], [metric, method]]``
ahead_of_best ``[metric, first, [others]]``: the best other per seed
images        ``[[factor, metric, method], …]`` of records that say which test images are right:
              the same for each image, with an interval over the images
at_most       ``[metric, bound]``: holds if no record exceeds the bound
exact         ``[name, arguments…]`` of :data:`saa_lite.items.exact.EXACT`
============= ===================================================================================
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from saa_lite.errors import RecordError
from saa_lite.files import PACKAGE
from saa_lite.items.exact import EXACT, at_most
from saa_lite.items.interval import per_image
from saa_lite.items.select import (
    FAIR,
    Exact,
    Samples,
    Term,
    ahead_of_best,
    combined,
    fair,
    ratio,
    setback,
)
from saa_lite.published import find_published
from saa_lite.records import Record

Measured = Callable[[list[Record]], Samples | Exact | None]
SOURCES = ("shiftaddaug", "shiftaddaug-supp", "addernet-impacts", "adder-quant")
TABLES = ("source", "check", "exploration")
REASONS = (
    "control failed",
    "premise not met",
    "not converged",
    "power",
    "no protocol",
    "one network",
)
LONGEST = 60
TEXTS = ("table", "text", "definition", "published", "setting", "untestable", "because")
PREDICATES = ("value", "difference", "sum", "ratio", "ahead_of_best", "at_most", "exact", "images")
KNOWN = {*TEXTS, *PREDICATES, "id", "cells", "at", "key", "where", "reference", "matters"}
FIELDS = ("dataset", "model", "method", "metric")
"""What ``where`` looks up in a record; everything else is one of its settings."""


@dataclass(frozen=True)
class Claim:
    """A row of the scorecard: a statement of a source, an exact check, or a comparison of ours.

    Read from ``published/claims/``, see :mod:`saa_lite.items.claims`; judged by
    :mod:`saa_lite.report.verdict`.

    Attributes:
        table: ``"source"``, ``"check"`` or ``"exploration"``.
        text: at most 60 characters; ``definition`` says what is computed.
        published: what the source prints, ``size`` the same as one number, if it is one, and
            ``setting`` where it says it holds; ``at`` is that setting, as far as it is known, in
            fields and settings of a record: equal for names, at least as much for numbers.
        untestable: why a source's statement has no verdict while no protocol bears on it;
            ``because`` in a sentence.
        key: whether short tables show an exploration.
        matters: of a statement that one network tests, image by image: the smallest difference, in
            points, that would matter. ``family``: so many such statements there are of its item.
        samples: what records say of it; None where they do not bear on it.
    """

    id: str
    table: Literal["source", "check", "exploration"]
    text: str
    definition: str
    samples: Callable[[list[Record]], Samples | Exact | None]
    published: str = ""
    size: float | None = None
    setting: str = ""
    at: Mapping[str, Any] = field(default_factory=dict)
    untestable: str = ""
    because: str = ""
    key: bool = False
    matters: float | None = None
    family: int = 1

    @property
    def item(self) -> str:
        """Id of the item it belongs to."""
        return self.id.partition(":")[0]


def load_claims(path: Path) -> list[Claim]:
    """All rows of one file.

    Raises:
        RecordError: a row does not fit the schema; the message names it.
    """
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["claim"]
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"cannot read {path}: {error}") from error
    claims = []
    for row in rows:
        try:
            claims.append(parse(row))
        except (ValueError, TypeError, KeyError, RecordError) as error:
            raise RecordError(f"{path.name}, {row.get('id', 'a row without id')}: {error}") from (
                error
            )
    return [replace(claim, family=_family(claim, claims)) for claim in claims]


def _family(claim: Claim, claims: Sequence[Claim]) -> int:
    """How many statements of its item are judged on one network, as this one is."""
    judged = [other for other in claims if other.matters is not None and other.item == claim.item]
    return max(len(judged), 1)


def parse(row: Mapping[str, Any]) -> Claim:
    """One row as a claim.

    Raises:
        ValueError, TypeError, KeyError, RecordError: it does not fit the schema.
    """
    _check(row)
    published, size = _published(row.get("published", ""), row.get("cells", ()))
    return Claim(
        id=row["id"],
        table=row["table"],
        text=row["text"],
        definition=row.get("definition", ""),
        samples=_measured(row),
        published=published,
        size=size,
        setting=row.get("setting", ""),
        at=row.get("at", {}),
        untestable=row.get("untestable", ""),
        because=row.get("because", ""),
        key=row.get("key", False),
        matters=row.get("matters"),
    )


def _check(row: Mapping[str, Any]) -> None:
    if unknown := set(row) - KNOWN:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    if row["table"] not in TABLES:
        raise ValueError(f"table must be one of {', '.join(TABLES)}; got {row['table']!r}")
    if len(row["text"]) > LONGEST:
        raise ValueError(f"the text has {len(row['text'])} characters, {LONGEST} are allowed")
    judged = "matters" in row
    if judged and (row["table"] != "source" or len(row.get("images", ())) != 2):
        raise ValueError("matters belongs to a source's row that compares two networks by images")
    if (row["table"] == "source" and not judged) != (row.get("untestable") in REASONS):
        raise ValueError(f"a source's row says why it is untestable: {', '.join(REASONS)}")
    if sum(name in row for name in PREDICATES) > 1:
        raise ValueError(f"one predicate at most, of {', '.join(PREDICATES)}")


def _published(words: str, cells: Sequence[str]) -> tuple[str, float | None]:
    """What is printed, and the same as one number if the cells give one."""
    numbers = [find_published(*cell.split(" | ")) for cell in cells]
    printed = " against ".join(number.printed for number in numbers)
    if not numbers:
        return words, None
    values = [number.value or 0.0 for number in numbers]
    size = values[0] if len(values) == 1 else values[0] - values[1] if len(values) == 2 else None
    text = f"{printed} {numbers[0].unit}"
    if len(values) == 2 and numbers[0].unit in ("%", "points"):
        text += f" ({size:+.2f})"
    return "; ".join([text, words] if words else [text]), size


def _measured(row: Mapping[str, Any]) -> Measured:
    """The row's predicate over the records that bear on it."""
    predicate = _predicate(row)
    where, reference = row.get("where", {}), row.get("reference")

    def measured(records: list[Record]) -> Samples | Exact | None:
        found = predicate([r for r in records if all(_is(r, *pair) for pair in where.items())])
        if isinstance(found, Samples) and reference is not None:
            return replace(found, reference=float(reference))
        return found

    return measured


def _is(record: Record, name: str, wanted: Any) -> bool:
    return bool((getattr(record, name) if name in FIELDS else record.settings.get(name)) == wanted)


def _predicate(row: Mapping[str, Any]) -> Measured:
    if "exact" in row:
        name, *arguments = row["exact"]
        return partial(EXACT[name], *arguments)
    if "images" in row:
        each: list[Term] = [(float(f), metric, method) for f, metric, method in row["images"]]
        return lambda records: per_image(records, each)
    if "at_most" in row:
        metric, bound = row["at_most"]
        return partial(at_most, metric, float(bound))
    if "ratio" in row:
        above, below = ((1.0, *term) for term in row["ratio"])
        return lambda records: ratio(records, above, below)
    if "ahead_of_best" in row:
        metric, first, others = row["ahead_of_best"]
        return lambda records: ahead_of_best(records, metric, first, others)
    terms = _terms(row)
    return lambda records: combined(derived(records, terms), terms) if terms else None


def _terms(row: Mapping[str, Any]) -> list[tuple[float, str, str]]:
    if "value" in row:
        metric, method = row["value"]
        return [(1.0, metric, method)]
    if "difference" in row:
        metric, first, second = row["difference"]
        return [(1.0, metric, first), (-1.0, metric, second)]
    return [(float(factor), metric, method) for factor, metric, method in row.get("sum", ())]


def derived(records: list[Record], terms: Iterable[tuple[float, str, str]]) -> list[Record]:
    """The records, and those that are computed from others where a term asks for them.

    Accuracies that may be compared; ``setback``, the largest fall of the test accuracy;
    ``late_lead``, by how much the augmented pass is ahead of the target's in training accuracy,
    mean over the second half of the epochs.
    """
    wanted = {metric for _, metric, _ in terms}
    if FAIR in wanted:
        return fair(records)
    logged = [record for record in records if record.metric == "accuracy" and record.log]
    if "setback" in wanted:
        return [replace(r, metric="setback", value=setback(r), unit="points") for r in logged]
    if "late_lead" in wanted:
        leads = ((record, _late_lead(record)) for record in logged)
        return [
            replace(r, metric="late_lead", value=lead, unit="points")
            for r, lead in leads
            if lead is not None
        ]
    return records


def _late_lead(record: Record) -> float | None:
    log = record.log or []
    if "augmented_accuracy" not in log[-1]:
        return None
    second_half = log[len(log) // 2 :]
    return 100 * fmean(
        (row["augmented_accuracy"] or 0.0) - (row["train_accuracy"] or 0.0) for row in second_half
    )


CLAIMS = tuple(
    claim
    for source in SOURCES
    for claim in load_claims(PACKAGE / "published" / "claims" / f"{source}.toml")
)
"""All rows, in the order of the sources."""
