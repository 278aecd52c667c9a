"""One table out of a report: ours in milliseconds, everything else as a ratio."""

from saa_lite.bench.contenders import ADDER_KERNEL
from saa_lite.bench.measure import Comparison, Report, Result

OTHERS = {  # contender → column
    "AdderNet formulation": "formulation",
    "torch.cdist": "cdist",
    "torch.compile": "compile",
    "scipy cdist": "scipy",
    "scikit-learn": "sklearn",
}
INTEGERS = {
    "ours, uint8": "uint8 ÷ conv",
    "ours, integer shift": "int32 shift ÷ conv",
}
READING = (
    "ours: median [quartiles], end to end in channels_last; ÷ conv: that time over the one of the "
    "faster float32 convolution layout; kernel: |x − w| per second, packing included, without "
    "Python and allocation, and its share of what the cores can do, timed beside it in each round; "
    "last columns: how many times slower than ours (— not timed)"
)


def rows(report: Report) -> list[dict[str, object]]:
    """One row per layer or network and kind of work."""
    return [_row(*key, found) for key, found in report.comparisons().items()]


def _row(case: str, work: str, found: Comparison) -> dict[str, object]:
    planar, kernel = found.get("ours, contiguous"), found.get(ADDER_KERNEL)
    row: dict[str, object] = {
        "layer or network": case,
        "work": work,
        "ours (ms)": _milliseconds(found.ours),
        "conv (ms)": f"{1e3 * found.convolution.seconds.median:.2f}",
        "÷ conv": f"{found.over_convolution(found.ours):.2f}",
        "NCHW ÷ conv": planar and f"{found.over_convolution(planar):.2f}",
        "kernel (G/s)": kernel and f"{_rate(kernel) / 1e9:.0f}",
        "of limit": percent_of_limit(kernel),
    }
    for contender, column in INTEGERS.items():
        exact = found.get(contender)
        row[column] = exact and f"{found.over_convolution(exact):.2f}"
    for contender, column in OTHERS.items():
        other = found.get(contender)
        row[column] = other and f"{other.per_image / found.ours.per_image:.1f} ×"
    return row


def percent_of_limit(kernel: Result | None) -> str | None:
    """A kernel's share of what its operations allow, if it was timed beside them."""
    if kernel is None or kernel.share_of_limit is None:
        return None
    return f"{kernel.share_of_limit:.0%}"


def _rate(result: Result) -> float:
    return (result.distances or 0) / result.seconds.median


def _milliseconds(result: Result) -> str:
    low, median, high = (
        1e3 * s for s in (result.seconds.low, result.seconds.median, result.seconds.high)
    )
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"
