"""Accuracy over the outlier clamp's α, published and measured in panels of their own."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saa_lite.published import PublishedNumber
from saa_lite.records import Record
from saa_lite.viz.style import COLOURS, CYCLE, PUBLISHED, counted, headline, panels, styled

FULL = "adder"  # the network before quantisation
ERROR = "logit_error"


@styled
def sweep_figure(
    records: Sequence[Record], published: Sequence[PublishedNumber], protocols: Mapping[str, str]
) -> Figure:
    """Left: as printed. Middle: what each protocol costs here. Right: the error of the logits.

    Args:
        records: of one configuration, methods "adder" and "alpha …".
        protocols: metric → name.
    """
    figure, (left, middle, right) = panels(1, 3, height=3.3)
    rows = [number for number in published if not number.related]
    alphas = [float(number.row.removeprefix("alpha ")) for number in rows]
    places = range(len(alphas))
    left.plot(places, [n.value or math.nan for n in rows], color=COLOURS["published"], **PUBLISHED)
    left.set(title="Published, CIFAR-100", ylabel="accuracy (%)")
    for colour, (metric, name) in zip(CYCLE, protocols.items(), strict=False):
        _seeds(middle, records, metric, [n.row for n in rows], colour, name)
    middle.axhline(0, color="k", lw=0.8)
    middle.set(title="Here: change by quantising", ylabel="points")
    middle.set_yscale("symlog", linthresh=1)  # tenths with fresh statistics, tens without
    middle.yaxis.set_major_formatter("{x:g}")
    middle.set_ylim(bottom=-100)
    middle.legend(fontsize=8)
    _seeds(right, records, ERROR, [n.row for n in rows], CYCLE[3], "")
    right.set(title="Here: error of the logits", ylabel="%")
    for axis in (left, middle, right):
        axis.set_xticks(places, [f"{alpha:.4f}" for alpha in alphas])
        axis.set_xlabel("α")
    first = records[0]
    seeds = counted(len({record.seed for record in records}), "seed")
    headline(figure, f"{first.model}, {first.dataset}, {first.epochs} epochs, 4 bits, {seeds}")
    return figure


def _seeds(
    axis: Axes,
    records: Sequence[Record],
    metric: str,
    methods: Sequence[str],
    colour: str,
    label: str,
) -> None:
    """A thin line per seed and the mean in bold; minus full precision where that is measured."""
    value = {(r.method, r.seed): r.value for r in records if r.metric == metric}
    base = {seed: value[name, seed] for name, seed in value if name == FULL}
    lines = [
        [value[method, seed] - base[seed] for method in methods]
        for seed in sorted(base)
        if all((method, seed) in value for method in methods)
    ]
    for line in lines:
        axis.plot(range(len(methods)), line, color=colour, lw=0.8, alpha=0.4)
    if lines:
        mean = [sum(column) / len(lines) for column in zip(*lines, strict=True)]
        axis.plot(range(len(methods)), mean, "o-", color=colour, label=label)
