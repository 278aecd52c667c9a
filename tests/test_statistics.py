"""Intervals, power, corrections and the bootstrap against numbers from elsewhere."""

import math

import numpy as np
import pytest
from scipy import stats

from saa_lite.items.interval import (
    benjamini_hochberg,
    crossed_bootstrap,
    detectable,
    holm,
    p_value,
    power,
    seeds_needed,
    spread,
    t_interval,
)


def test_interval_against_a_textbook_value() -> None:
    # n = 3, s = 1: t(0.975, 2) = 4.30265, so the half width is 4.30265 / sqrt(3).
    low, high = t_interval((1.0, 2.0, 3.0))
    half = 4.30265 / math.sqrt(3)
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_p_is_that_of_a_paired_t_test() -> None:
    values = (0.4, -0.1, 0.9, 0.3, 0.2)
    assert p_value(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert p_value((2.0, 2.0, 2.0)) == 0
    assert p_value((0.0, 0.0, 0.0)) == 1


@pytest.mark.parametrize(("n", "effect"), [(2, 11.6), (3, 3.26), (5, 1.68), (10, 1.00)])
def test_detectable_effects_are_those_of_tables_of_power(n: int, effect: float) -> None:
    assert detectable(1.0, n) == pytest.approx(effect, rel=0.01)
    assert detectable(0.5, n) == pytest.approx(effect / 2, rel=0.01)
    assert power(effect, n) == pytest.approx(0.8, abs=0.01)


def test_power_by_trial() -> None:
    draw = np.random.default_rng(0)
    tries = draw.normal(1.2, 1, size=(4_000, 8))
    found = stats.ttest_1samp(tries, 0, axis=1).pvalue < 0.05
    assert power(1.2, 8) == pytest.approx(found.mean(), abs=0.02)


def test_seeds_needed_are_the_fewest_that_suffice() -> None:
    needed = seeds_needed(0.6, 0.5)
    assert needed == 14  # a table: d = 0.833, two-sided 5 %, power 0.8
    assert power(0.5 / 0.6, needed) >= 0.8 > power(0.5 / 0.6, needed - 1)
    assert seeds_needed(0.0, 0.5) == 3
    assert seeds_needed(0.01, 5.0) == 3
    assert seeds_needed(10.0, 0.001) == 10_000


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    found = [0.01, 0.04, 0.03]
    assert holm(found) == pytest.approx([0.03, 0.06, 0.06])  # 3 · .01, then 2 · .03, then it stays
    assert benjamini_hochberg(found) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]) == benjamini_hochberg([]) == []


def crossed_spread(differences: np.ndarray) -> float:
    """Standard deviation of the mean when rows and columns are drawn anew, in closed form."""
    n, images = differences.shape
    mean = differences.mean()
    rows, columns = differences.mean(1) - mean, differences.mean(0) - mean
    rest = differences - mean - rows[:, None] - columns[None, :]
    variance = (rows**2).mean() / n + (columns**2).mean() / images
    return math.sqrt(variance + (rest**2).mean() / (n * images))


@pytest.mark.parametrize("n", [4, 9])
def test_bootstrap_agrees_with_its_closed_form(n: int) -> None:
    draw = np.random.default_rng(n)
    easy = draw.random(600)  # an image is easy or hard for all seeds alike
    right = draw.random((2, n, 600)) < easy + np.array([0.1, 0.0])[:, None, None]
    differences = right[0].astype(np.int8) - right[1]
    low, high = crossed_bootstrap(differences)
    mean, sd = differences.mean(), crossed_spread(differences)
    assert (low + high) / 2 == pytest.approx(mean, abs=0.15 * sd)
    assert (high - low) / 2 == pytest.approx(1.96 * sd, rel=0.05)
    assert crossed_bootstrap(differences) == (low, high)  # the same records, the same interval


def test_bootstrap_sees_the_test_images_that_all_seeds_share() -> None:
    same = np.zeros((8, 400), dtype=np.int8)
    same[:, :40] = 1  # every seed wins on the same tenth of the images
    assert spread(same.mean(1).tolist()) == 0
    low, high = crossed_bootstrap(same)
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(0.1 * 0.9 / 400), rel=0.06)
