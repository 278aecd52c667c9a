"""One table out of a report: ours in milliseconds, everything else as a ratio."""

from collections.abc import Sequence

from saa_lite.bench.measure import Report, Result

OTHERS = {  # contender → column
    "AdderNet formulation": "formulation",
    "torch.cdist": "cdist",
    "torch.compile": "compile",
    "scipy cdist": "scipy",
    "scikit-learn": "sklearn",
}
INTEGERS = {
    "ours, uint8": "uint8 ÷ conv",
    "ours, integer shift": "shift ÷ conv",
    "ours, int8 shift": "int8 shift ÷ conv",
    "ours, shift as int8 matmul": "int8 matmul ÷ conv",
}
READING = (
    "ours: median [quartiles], end to end in channels_last; ÷ conv: that time over the one of the "
    "faster float32 convolution layout; kernel: |x − w| per second without packing and "
    "allocation, and its share of what the cores can do; last columns: how many times slower "
    "than ours (— not timed)"
)


def rows(report: Report) -> list[dict[str, object]]:
    """One row per layer or network and kind of work."""
    keys = dict.fromkeys((result.case, result.work) for result in report.results)
    return [_row(report, case, work) for case, work in keys]


def _row(report: Report, case: str, work: str) -> dict[str, object]:
    found = {r.contender: r for r in report.results if (r.case, r.work) == (case, work)}
    ours = found.get("ours, channels_last") or found["ours"]
    convolution = _fastest([r for name, r in found.items() if name.startswith("convolution")])
    planar = found.get("ours, contiguous")
    kernel = found.get("ours, kernel alone")
    row: dict[str, object] = {
        "layer or network": case,
        "work": work,
        "ours (ms)": _milliseconds(ours),
        "conv (ms)": f"{1e3 * convolution.seconds.median:.2f}",
        "÷ conv": f"{ours.per_image / convolution.per_image:.2f}",
        "NCHW ÷ conv": planar and f"{planar.per_image / convolution.per_image:.2f}",
        "kernel (G/s)": kernel and f"{_rate(kernel) / 1e9:.0f}",
        "of limit": kernel and f"{share_of_limit(report, kernel):.0%}",
    }
    for contender, column in INTEGERS.items():
        exact = found.get(contender)
        row[column] = exact and f"{exact.per_image / convolution.per_image:.2f}"
    for contender, column in OTHERS.items():
        other = found.get(contender)
        row[column] = other and f"{other.per_image / ours.per_image:.1f} ×"
    return row


def share_of_limit(report: Report, kernel: Result) -> float:
    """Achieved |x − w| per second over what all threads could do."""
    return _rate(kernel) / (report.limits["adder"] * report.threads)


def _rate(result: Result) -> float:
    return (result.distances or 0) / result.seconds.median


def _fastest(results: Sequence[Result]) -> Result:
    return min(results, key=lambda result: result.per_image)


def _milliseconds(result: Result) -> str:
    low, median, high = (
        1e3 * s for s in (result.seconds.low, result.seconds.median, result.seconds.high)
    )
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"
