"""The pictures of the benchmark show what the tracked report holds."""

import pytest

from saa_lite.bench.measure import Comparison, Report
from saa_lite.report.readme import tracked_report
from saa_lite.viz.bench import MARKS, OURS, bench_figure, convolution_floor, parts_figure


@pytest.fixture(scope="module")
def report() -> Report:
    return tracked_report()


def layers(report: Report, work: str) -> list[Comparison]:
    return [
        one for (_, kind), one in report.comparisons().items()
        if kind == work and one.ours.distances is not None
    ]  # fmt: skip


def test_every_contender_is_marked_at_its_ratio(report: Report) -> None:
    axis = bench_figure(report).axes[0]
    lines = {line.get_label(): line for line in axis.get_lines()}
    shown = lines["torch.cdist"].get_xdata()
    found = [one.over_convolution(one["torch.cdist"]) for one in layers(report, "forward")]
    assert list(shown) == pytest.approx(found)
    assert len(lines) <= len(MARKS) + 1


def test_parts_of_a_call_are_overlaid_from_the_whole_down(report: Report) -> None:
    bars = [bar.get_width() for bar in parts_figure([report, report]).axes[1].patches]
    for row, one in enumerate(layers(report, "forward")):
        shown = bars[5 * row : 5 * row + 5]
        ours = [one[name].per_image / one.convolution.per_image for name in OURS]
        assert shown == pytest.approx([*ours, 1.0, convolution_floor(report, one)])
        assert shown[2] < shown[1]  # no kernel beats its own operations
        assert shown[4] < 1
