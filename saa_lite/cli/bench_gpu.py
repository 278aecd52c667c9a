"""``saa-lite bench --device cuda``: what only a GPU can tell, step by step."""

from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING

from saa_lite.cli.output import show_json
from saa_lite.errors import UsageError
from saa_lite.files import bench_dir, check_writable
from saa_lite.report.tables import text_table

if TYPE_CHECKING:  # it imports torch
    from saa_lite.bench.gpu_run import Outcome, Row

DIGITS = 4  # of a number in a table; the record has all


def main(arguments: Namespace, device: str) -> int:
    """Print each step as it ends; status 1 unless all are right, those in the record included."""
    from saa_lite.bench.gpu import STEPS, measure_gpu, record_name  # noqa: PLC0415
    from saa_lite.bench.gpu_run import Place, read_lines  # noqa: PLC0415

    if arguments.threads is not None:
        raise UsageError("--threads is for --device cpu; the steps on a GPU have no threads")
    known = [step.name for step in STEPS]
    if unknown := [name for name in arguments.cases if name not in known]:
        raise UsageError(f"CASE must be one of {', '.join(known)}; got {', '.join(unknown)}")
    place = Place(device, arguments.rounds)
    path = bench_dir() / record_name(place) if arguments.record else None
    if path:
        check_writable(path.parent)
    outcomes = []
    for outcome in measure_gpu(place, path, arguments.cases):
        outcomes.append(outcome)
        if not arguments.json:
            print(_text(outcome), flush=True)
    lines = read_lines(path) if path else [outcome.summary for outcome in outcomes]
    if arguments.json:
        show_json(lines if path else [_plainly(outcome) for outcome in outcomes])
    else:
        print(_closing(outcomes, path))
    return 0 if all(line.get("status", "right") == "right" for line in lines) else 1


def _plainly(outcome: "Outcome") -> dict[str, object]:
    return {**outcome.summary, "rows": [_rounded(row) for row in outcome.rows]}


def _text(outcome: "Outcome") -> str:
    """Its name and end, and its rows; of checks only those that do not hold."""
    checks = [row for row in outcome.rows if "holds" in row]
    wrong = [row for row in checks if not row["holds"]]
    lines = [f"\n{outcome.step}: {outcome.status}, {outcome.seconds:.0f} s"]
    if outcome.error:
        lines.append(outcome.error)
    if checks:
        lines.append(f"{len(checks) - len(wrong)} of {len(checks)} checks hold")
    alike = wrong if checks else outcome.rows
    if alike:
        lines.append(text_table([_rounded(row) for row in alike]))
    return "\n".join(lines)


def _rounded(row: "Row") -> dict[str, object]:
    return {
        key: f"{value:.{DIGITS}g}" if isinstance(value, float) else value
        for key, value in row.items()
    }


def _closing(outcomes: "Iterable[Outcome]", path: object) -> str:
    """What ran, and how to go on."""
    statuses = [outcome.status for outcome in outcomes]
    if not statuses:
        return f"{path} holds all steps already"
    counts = ", ".join(f"{statuses.count(s)} {s}" for s in dict.fromkeys(statuses))
    kept = f"; kept in {path}" if path else ""
    rest = any(status not in ("right", "wrong") for status in statuses)
    more = ", and the same command goes on with the rest" if path and rest else ""
    return f"\nsteps: {counts}{kept}{more}"
