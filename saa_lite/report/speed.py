"""What README quotes of the tracked benchmark."""

import json
from pathlib import Path

from saa_lite.bench.contenders import ADDER_KERNEL, SHIFT_KERNEL, limit_of
from saa_lite.bench.measure import ONEDNN, Comparison, Report
from saa_lite.bench.table import percent_of_limit
from saa_lite.errors import UsageError
from saa_lite.files import bench_dir
from saa_lite.report.tables import markdown_table

OTHERS = {"AdderNet formulation": "formulation ÷ ours", "torch.cdist": "cdist ÷ ours"}
EXACT = {"ours, uint8": "uint8 ÷ conv", "ours, int8 shift": "shift ÷ conv"}


def tracked_reports() -> list[Report]:
    """The benchmarks kept by ``saa-lite bench --record``, one for each processor, by file name.

    Raises:
        UsageError: there is none, or one cannot be read.
    """
    paths = sorted(bench_dir().glob("*.json"))
    if not paths:
        raise UsageError(f"{bench_dir()} holds no benchmark of `saa-lite bench --record`")
    return [_read(path) for path in paths]


def _read(path: Path) -> Report:
    try:
        return Report.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no benchmark of `saa-lite bench --record`: {error}") from error


def tracked_report() -> Report:
    """The first of :func:`tracked_reports`."""
    return tracked_reports()[0]


def speed_block() -> str:
    """Markdown: forward passes of layers and networks as ratios, processor by processor."""
    return "\n\n".join(map(_speed_of, tracked_reports()))


def _speed_of(report: Report) -> str:
    found = report.comparisons()
    cases = dict.fromkeys(case for case, _ in found)
    table = markdown_table([_row(report, case, found) for case in cases])
    commit = report.commit.removesuffix("+dirty")[:10]
    width = f", {report.vector_bits}-bit vectors" if report.vector_bits else ""
    held = report.versions.get(ONEDNN)
    width += f" here, oneDNN held to {held}" if held else ""
    return (
        f"{table}\n{report.device}{width}, torch threads: {report.threads}, medians of "
        f"{report.rounds} interleaved rounds, torch {report.versions['torch']}, commit {commit}. "
        "Training: forward and backward of a layer, a whole step of a network."
        f"{_shift_reading(found)}"
    )


def _shift_reading(found: dict[tuple[str, str], Comparison]) -> str:
    """Where the time of the int8 shift goes; nothing if its kernel was not timed alone.

    Per 64 weights it takes three vector operations and one load, the float32 convolution four
    operations. The first figure is what those three cost without any memory access. A 16-bit
    number to a word would take two operations, but also two loads and twice the cache.
    """
    parts = (limit_of(SHIFT_KERNEL), SHIFT_KERNEL, "ours, int8 shift")
    layers = [c for (_, work), c in found.items() if work == "forward" and SHIFT_KERNEL in c]
    if not layers:
        return ""
    shares = [[layer.over_convolution(layer[part]) for layer in layers] for part in parts]
    bare, kernel, whole = (f"{min(share):.2f} to {max(share):.2f}" for share in shares)
    return (
        f" The shift's additions and shifts alone would take {bare} of the convolution's time, its "
        f"kernel with packing, loads and output takes {kernel}, with Python and allocation {whole}."
    )


def _row(
    report: Report, case: str, comparisons: dict[tuple[str, str], Comparison]
) -> dict[str, object]:
    forward = comparisons[case, "forward"]
    training = next(c for (of, work), c in comparisons.items() if of == case and work != "forward")
    row: dict[str, object] = {
        "layer or network": case,
        "ours ÷ conv": f"{forward.over_convolution(forward.ours):.2f}",
        "training ÷ conv": f"{training.over_convolution(training.ours):.2f}",
        "kernel, of the limit": percent_of_limit(forward.get(ADDER_KERNEL)),
    }
    for name, column in EXACT.items():
        exact = forward.get(name)
        row[column] = exact and f"{forward.over_convolution(exact):.2f}"
    for name, column in OTHERS.items():
        other = forward.get(name)
        row[column] = other and f"{other.per_image / forward.ours.per_image:.0f}"
    return row
