"""Intervals, tests and corrections that claims, protocols, tables and figures share.

Two networks on one test set are compared image by image: quantising leaves most answers as they
were, so a difference of accuracies is far better known than either. What varies is the test images
alone: of other networks, trained anew, such an interval says nothing.

scipy's part with the distributions is imported where it is needed: the list of items needs none.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, stdtr, stdtrit

from saa_lite.items.select import Samples, Term, same_configuration
from saa_lite.records import Record, unpack_hits


def per_image(records: Iterable[Record], terms: Sequence[Term]) -> Samples | None:
    """Σ factor · right answers of (metric, method), in points, with an interval over the images.

    Where there are several seeds they are drawn anew, too. With two terms, one minus the other,
    there is also McNemar's p, of the first seed that has both.

    Args:
        terms: factor, metric and method of records that say which images were right.

    Returns:
        One value per seed that has all terms; None where there is none.
    """
    chosen = same_configuration(records, terms)
    found = {(r.metric, r.method, r.seed): r for r in chosen if r.hits is not None}
    rows, used = [], []
    for seed in sorted({record.seed for record in chosen}):
        row = [found.get((metric, method, seed)) for _, metric, method in terms]
        whole = [record for record in row if record is not None]
        if len(whole) == len(terms):
            hits = [unpack_hits(record.hits or "").astype(float) for record in whole]
            rows.append(sum(f * h for (f, _, _), h in zip(terms, hits, strict=True)))
            used += whole
    if not rows:
        return None
    differences = np.stack(rows)
    low, high = crossed_bootstrap(differences)
    return Samples(
        tuple(float(100 * mean) for mean in differences.mean(axis=1)),
        "points",
        tuple(used),
        interval=(100 * low, 100 * high),
        images=differences.shape[1],
        p=mcnemar(differences[0]) if len(terms) == 2 else None,
    )


CONFIDENCE = 0.95
POWER = 0.8
MOST_SEEDS = 10_000
DRAWS = 4_000
_LEVELS = (np.arange(400) + 0.5) / 400


def t_interval(values: tuple[float, ...]) -> tuple[float, float]:
    """Two-sided 95 % Student-t interval of the mean of at least two values."""
    n = len(values)
    mean = math.fsum(values) / n
    half = _quantile(n) * spread(values) / math.sqrt(n)
    return mean - half, mean + half


def spread(values: Sequence[float]) -> float:
    """Standard deviation of at least two values, with n − 1."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def p_value(values: Sequence[float]) -> float:
    """Two-sided p of Student's t-test that the mean of at least two values is 0."""
    n, mean = len(values), math.fsum(values) / len(values)
    sd = spread(values)
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(n - 1, -abs(mean) / sd * math.sqrt(n)))


def power(effect: float, n: int) -> float:
    """Chance that ``n`` pairs show an effect, given in sd of the difference, at p < 0.05.

    That is the tails of a non-central t, as a mean over the quantiles of the spread that may be
    found: scipy's own gives NaN for few pairs and large effects.
    """
    far, shift = _quantile(n), abs(effect) * math.sqrt(n)
    found = np.sqrt(2 * gammaincinv((n - 1) / 2, _LEVELS) / (n - 1))  # over the true spread
    return float((ndtr(shift - far * found) + ndtr(-shift - far * found)).mean())


def detectable(sd: float, n: int) -> float:
    """Smallest effect, in the unit of ``sd``, that ``n`` pairs show with a chance of 0.8."""
    low, high = 0.0, 50.0  # in sd; two pairs need 11.6
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, n) >= POWER else (middle, high)
    return high * sd


def seeds_needed(sd: float, effect: float) -> int:
    """Fewest pairs, at least three, that show ``effect`` with a chance of 0.8.

    No more than :data:`MOST_SEEDS`: what would take as many will not be settled.
    """
    low, high = 3, MOST_SEEDS
    if sd == 0 or power(effect / sd, low) >= POWER:
        return low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect / sd, middle) >= POWER else (middle, high)
    return high


def crossed_bootstrap(differences: NDArray[Any], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean where seeds and test images are both drawn anew.

    Student's t over seeds does not see that all seeds share one test set, whose error is the same
    in each; this does. Of few seeds it makes too little: their spread shrinks by √((n − 1)/n), and
    no quantile of t widens it. So neither interval replaces the other. Seeds and images are drawn
    independently, as in Owen's pigeonhole bootstrap (2007).

    Args:
        differences: [seeds, images], what the first arm has right minus what the second has, so
            that there are few different columns: they are counted instead of kept.
        seed: of the draws; the same records give the same interval.
    """
    n, images = differences.shape
    patterns, counts = np.unique(differences, axis=1, return_counts=True)
    draw = np.random.default_rng(seed)
    shares = draw.multinomial(images, counts / images, size=DRAWS) / images  # [draws, patterns]
    weights = draw.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n  # [draws, seeds]
    means = ((shares @ patterns.T.astype(float)) * weights).sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def slope_bootstrap(
    groups: Sequence[NDArray[Any]], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Least-squares slope over all points, and its 95 % percentile interval.

    Points are drawn anew within each group: which groups there are was chosen, not drawn.

    Args:
        groups: [n, 2] each, x and y; with at least two different x in all.
        seed: of the draws; the same records give the same interval.
    """
    draw = np.random.default_rng(seed)
    drawn = [group[draw.integers(len(group), size=(DRAWS, len(group)))] for group in groups]
    points = np.concatenate(drawn, axis=1)  # [draws, points, 2]
    low, high = np.quantile(_slopes(points), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(_slopes(np.concatenate(groups)[None])[0]), (float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that keep the chance of any false one below the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, worst)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that keep the expected share of false ones among those below the level."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415  (takes a second to import)

    return [float(p) for p in false_discovery_control(p_values)] if len(p_values) else []


def signed_mean(values: tuple[float, ...]) -> str:
    """Mean with its interval, as tables print a difference; without, where there is one value."""
    mean = math.fsum(values) / len(values)
    return signed(mean, t_interval(values) if len(values) > 1 else None)


def signed(mean: float, interval: tuple[float, float] | None) -> str:
    """A difference as tables print it."""
    if interval is None:
        return f"{mean:+.2f}"
    low, high = interval
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def mcnemar(differences: NDArray[Any]) -> float:
    """Exact two-sided p of McNemar's test that two networks err on as many images.

    Args:
        differences: [images], 1 where only the first is right, −1 where only the second is.
    """
    from scipy.stats import binomtest  # noqa: PLC0415  (takes a second to import)

    first, second = int((differences > 0).sum()), int((differences < 0).sum())
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def _quantile(n: int) -> float:
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))


def _slopes(points: NDArray[Any]) -> NDArray[Any]:
    """Least-squares slope of each row of points [rows, points, 2]."""
    x, y = np.moveaxis(points - points.mean(axis=1, keepdims=True), 2, 0)
    return np.asarray((x * y).sum(axis=1) / (x * x).sum(axis=1))
