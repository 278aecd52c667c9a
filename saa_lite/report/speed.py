"""What README quotes of the tracked benchmark."""

import json

from saa_lite.bench.measure import Comparison, Report
from saa_lite.bench.table import share_of_limit
from saa_lite.errors import UsageError
from saa_lite.files import measured_dir
from saa_lite.report.tables import markdown_table

OTHERS = {"AdderNet formulation": "formulation ÷ ours", "torch.cdist": "cdist ÷ ours"}
EXACT = {"ours, uint8": "uint8 ÷ conv", "ours, int8 shift": "shift ÷ conv"}


def tracked_report() -> Report:
    """The benchmark kept by ``saa-lite bench --record``.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = measured_dir() / "bench.json"
    try:
        return Report.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no benchmark of `saa-lite bench --record`: {error}") from error


def speed_block() -> str:
    """Markdown: forward passes of layers and networks as ratios, and on what they were measured."""
    report = tracked_report()
    found = report.comparisons()
    cases = dict.fromkeys(case for case, _ in found)
    table = markdown_table([_row(report, case, found) for case in cases])
    commit = report.commit.removesuffix("+dirty")[:10]
    return (
        f"{table}\n{report.device}, torch threads: {report.threads}, medians of {report.rounds} "
        f"interleaved rounds, torch {report.versions['torch']}, commit {commit}. "
        "Training: forward and backward of a layer, a whole step of a network."
    )


def _row(
    report: Report, case: str, comparisons: dict[tuple[str, str], Comparison]
) -> dict[str, object]:
    forward = comparisons[case, "forward"]
    training = next(c for (of, work), c in comparisons.items() if of == case and work != "forward")
    kernel = forward.get("ours, kernel alone")
    row: dict[str, object] = {
        "layer or network": case,
        "ours ÷ conv": f"{forward.over_convolution(forward.ours):.2f}",
        "training ÷ conv": f"{training.over_convolution(training.ours):.2f}",
        "kernel, of the limit": kernel and f"{share_of_limit(report, kernel):.0%}",
    }
    for name, column in EXACT.items():
        exact = forward.get(name)
        row[column] = exact and f"{forward.over_convolution(exact):.2f}"
    for name, column in OTHERS.items():
        other = forward.get(name)
        row[column] = other and f"{other.per_image / forward.ours.per_image:.0f}"
    return row
