"""A search over the plane of accuracy and cost, the networks it finds, and inherited accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from scipy.stats import kendalltau

from saa_lite.errors import UsageError
from saa_lite.search import METRICS, Candidate
from saa_lite.search.evolution import front
from saa_lite.viz.pixels import Figure
from saa_lite.viz.style import COLOURS, CYCLE, LABELS, WIDTH, headline, panels, styled

GREY = "#777777"


@dataclass(frozen=True)
class Difference:
    """``values``: one per seed; ``interval``: 95 %, or None for fewer than two seeds."""

    label: str
    values: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None


@styled
def difference_figure(groups: Mapping[str, Sequence[Difference]], title: str) -> Figure:
    """One panel per question, below each other on one scale; right of 0 the first arm is better."""
    rows = [len(group) + 1.6 for group in groups.values()]  # with the question above
    figure = Figure(figsize=(WIDTH, 0.9 + 0.3 * sum(rows)), layout="constrained")
    axes = figure.subplots(
        len(groups), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": rows}
    )[:, 0]
    for axis, (question, group) in zip(axes, groups.items(), strict=True):
        draw_rows(axis, group)
        axis.set_title(question, fontsize=10)
    axes[-1].set_xlabel("difference in points of accuracy: right of 0, the first is better")
    headline(figure, title)
    return figure


def draw_rows(axis: Axes, group: Sequence[Difference]) -> None:
    """Points are seeds, the bar is the interval, dark where it leaves out 0; right, the means."""
    axis.axvline(0, color="#333333", linewidth=1)
    for row, found in enumerate(group):
        if found.mean is None:
            axis.annotate("not run", (0.02, row), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8, color=GREY)  # fmt: skip
            continue
        decided = found.interval is not None and not found.interval[0] <= 0 <= found.interval[1]
        colour = CYCLE[0] if decided else GREY
        axis.scatter(found.values, [row] * len(found.values), s=14, color=colour, alpha=0.45)
        if found.interval is not None:
            axis.plot(found.interval, [row, row], color=colour, linewidth=2)
        axis.plot(found.mean, row, "D", color=colour, markersize=5)
        axis.annotate(f"{found.mean:+.1f}", (1.02, row), xycoords=("axes fraction", "data"),
                      va="center", fontsize=8, color=colour, annotation_clip=False)  # fmt: skip
    axis.set_yticks(range(len(group)), [found.label for found in group], fontsize=9)
    axis.set_ylim(len(group) - 0.4, -0.6)
    axis.margins(x=0.05)


FADED = "#bbbbbb"


class Point(NamedTuple):
    """One trial: its network, accuracy in %, and costs by the names of ``METRICS``."""

    candidate: Candidate
    accuracy: float
    costs: Mapping[str, float]


@styled
def generations_figure(
    points: Sequence[Point], population: int, metric: str, limit: float, shown: int = 4
) -> Figure:
    """The population moving: each panel a generation, those before it in grey.

    Raises:
        UsageError: no points.
    """
    if not points:
        raise UsageError("a search is drawn from its trials; got none")
    count = -(-len(points) // population)
    chosen = sorted({round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)})
    figure, axes = panels(1, len(chosen), sharex=True, sharey=True)
    for axis, generation in zip(axes, chosen, strict=True):
        start, stop = generation * population, (generation + 1) * population
        _scatter(axis, points[:start], metric, color=FADED, s=14)
        _scatter(axis, points[start:stop], metric, color=CYCLE[0], s=24)
        axis.axvline(limit, color=COLOURS["published"], linestyle="--", linewidth=1)
        axis.set_title(f"generation {generation + 1}")
        axis.set_xlabel(named(metric))
    axes[0].set_ylabel("inherited accuracy, %")
    return figure


@styled
def front_figure(points: Sequence[Point], metric: str, limit: float) -> Figure:
    """All trials over one cost, the front, the budget; beside them the winner's blocks."""
    figure, (plane, picture) = panels(1, 2, height=3.6, width_ratios=(3, 2))
    kept = [point for point in points if point.costs[metric] <= limit]
    _scatter(plane, points, metric, color=FADED, s=14)
    _scatter(plane, kept, metric, color=CYCLE[0], s=20)
    best = front(points, lambda p: p.costs[metric])
    plane.step(
        [p.costs[metric] for p in best],
        [p.accuracy for p in best],
        where="post",
        color=CYCLE[1],
        linewidth=1.2,
    )
    plane.axvline(limit, color=COLOURS["published"], linestyle="--", linewidth=1)
    plane.set(xlabel=named(metric), ylabel="inherited accuracy, %")
    if kept:
        winner = max(kept, key=lambda p: (p.accuracy, -p.costs[metric]))
        _scatter(plane, [winner], metric, color=CYCLE[3], s=60, marker="D")
        draw_network(picture, winner.candidate)
        picture.set_ylabel("channels")
        picture.set_title(f"winner: {winner.accuracy:.1f} %")
    else:
        picture.axis("off")
        picture.set_title("no trial keeps this budget")
    return figure


@styled
def networks_figure(networks: Mapping[str, Candidate]) -> Figure:
    """Networks side by side, as :func:`draw_network` draws them."""
    figure, axes = panels(1, len(networks), height=2.8, sharey=True)
    for axis, (title, candidate) in zip(axes, networks.items(), strict=True):
        draw_network(axis, candidate)
        axis.set_title(title)
    axes[0].set_ylabel("channels")
    return figure


def draw_network(axis: Axes, candidate: Candidate) -> None:
    """A bar per block: as high as its middle is wide, its width within; colour is the operator."""
    before, place = candidate.stem // 2, 1.0
    _bar(axis, 0, candidate.stem, before, candidate.first, "3")
    for stage in candidate.stages:
        place += 0.4  # a gap before each stage
        for block in stage.blocks:
            middle = block.expansion * before
            _bar(axis, place, middle, stage.width, block.operator, str(block.kernel))
            before, place = stage.width, place + 1
    axis.set(xlim=(-0.6, place - 0.3), xticks=[], xlabel="blocks, with kernel")
    axis.autoscale(axis="y")


def _bar(axis: Axes, place: float, middle: int, width: int, operator: str, kernel: str) -> None:
    colour = COLOURS[operator]
    axis.bar(place, middle, 0.8, color=colour, alpha=0.35, label=LABELS[operator])
    axis.add_patch(Rectangle((place - 0.4, 0), 0.8, width, color=colour))
    axis.text(place, middle, kernel, ha="center", va="bottom", fontsize=9)


@styled
def tau_figure(inherited: Sequence[float], trained: Sequence[float], title: str = "") -> Figure:
    """Each network twice: with inherited weights, and trained for itself."""
    figure, axes = panels(1, 1, height=3.6)
    axes[0].scatter(inherited, trained, color=CYCLE[0], s=30)
    axes[0].set(xlabel="inherited accuracy, %", ylabel="trained accuracy, %")
    axes[0].set_title(f"{title}τ = {kendall(inherited, trained):+.2f}, n = {len(inherited)}")
    return figure


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's τ-b: +1 where both rank all pairs alike, 0 where they have nothing in common."""
    return float(kendalltau(first, second).statistic)


def named(metric: str) -> str:
    """A metric as an axis says it."""
    unit = METRICS[metric]
    words = metric.replace("energy_", "energy, accounting ").replace("peak_bytes", "peak memory")
    return f"{words}, {unit}" if unit else words


def _scatter(axis: Axes, points: Sequence[Point], metric: str, **looks: object) -> None:
    axis.scatter([p.costs[metric] for p in points], [p.accuracy for p in points], **looks)  # type: ignore[arg-type]
