"""Protocols as a reader meets them: their gates, asked and measured, and their verdicts."""

from collections.abc import Iterable
from typing import Any

from saa_lite.items.contrasts import GateResult, Trainings
from saa_lite.protocols import Protocol, list_protocols, load_protocol
from saa_lite.records import Record
from saa_lite.report.protocols import NOT_YET, YES, Judged, judge_item


def tests_of(item_id: str) -> list[Protocol]:
    """The item's protocols that judge, those with primary contrasts first."""
    protocols = [load_protocol(name) for name in list_protocols(item_id)]
    return sorted((p for p in protocols if p.role == "test"), key=_primary_first)


def gate_rows(item_id: str, records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per gate: what was asked, what was measured over how many seeds, and is it met."""
    known = list(records)
    rows = []
    for protocol in tests_of(item_id):
        trainings = Trainings(protocol, known)
        for gate in protocol.gates:
            result = trainings.gate(gate)
            rows.append(
                {
                    "protocol": protocol.name,
                    "gate": gate.name,
                    "asked": result.bounds,
                    "measured": result.measured or None,
                    "met?": _met(result),
                }
            )
    return rows


def _met(result: GateResult) -> str:
    if result.value is None:
        return "not measured yet"
    return ("yes" if result.met else "**no**") + (", so far" if result.seeds < result.asked else "")


def verdict_rows(item_id: str, records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per contrast; while its protocol is unfinished, only how far it is, no number."""
    rows = []
    for judged in _judged(item_id, records):
        values, mean = judged.difference.values, None
        if judged.testable != NOT_YET and judged.hull is not None:
            low, high = judged.hull
            mean = f"{sum(values) / len(values):+.2f} [{low:+.2f}, {high:+.2f}]"
        published = judged.contrast.published
        rows.append(
            {
                "protocol": judged.protocol.name,
                "first − second": judged.contrast.name.replace(" - ", " − "),
                "published": None if published is None else f"{published:+.2f}",
                f"measured, {judged.protocol.unit}": mean,
                "testable here?": judged.testable,
                "verdict": judged.verdict,
            }
        )
    return rows


def said(item_id: str, records: Iterable[Record]) -> str:
    """What the item's protocols let one say now, a sentence per contrast."""
    found = _judged(item_id, records)
    if not found:
        return "No protocol compares these yet: what is drawn is an exploration."
    lines = []
    for judged in found:
        name = f"{judged.contrast.name.replace(' - ', ' − ')} ({judged.protocol.name})"
        why = f" ({judged.why})" if judged.why else ""
        text = judged.verdict if judged.testable in (NOT_YET, YES) else judged.testable
        lines.append(f"* {name}: **{text}**{why}")
    return "\n".join(lines)


def _judged(item_id: str, records: Iterable[Record]) -> list[Judged]:
    """All contrasts, in the order of :func:`tests_of`; they are corrected together."""
    return sorted(judge_item(item_id, records), key=lambda judged: _primary_first(judged.protocol))


def _primary_first(protocol: Protocol) -> bool:
    return not any(contrast.primary for contrast in protocol.contrasts)
