"""Item fig-kernels: the fits name the right distribution, the item records and draws them."""

import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from saa_lite.items import distributions
from saa_lite.items.addernet_impacts.fig_kernels import Settings, neighbour_correlation
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item

TINY = Settings("digits", train_images=40, test_images=20, epochs=1, seeds=2, batch_size=20)
MANY = 200_000
SAMPLES = {
    "uniform": stats.uniform(-1, 2),
    "gaussian": stats.norm(0.3, 2),
    "laplace": stats.laplace(-1, 0.5),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_likelihoods_are_those_of_scipy_fits(name):
    sample = SAMPLES[name].rvs(2_001, random_state=0)  # odd: one median
    weights = torch.from_numpy(sample)
    gaussian = stats.norm(*stats.norm.fit(sample)).logpdf(sample).mean()
    laplace = stats.laplace(*stats.laplace.fit(sample)).logpdf(sample).mean()
    assert distributions.gaussian_log_likelihood(weights) == pytest.approx(gaussian)
    assert distributions.laplace_log_likelihood(weights) == pytest.approx(laplace)
    kurtosis = stats.kurtosis(sample)
    assert distributions.excess_kurtosis(weights) == pytest.approx(kurtosis)


@pytest.mark.parametrize(
    ("name", "limit"), [("uniform", -0.1304), ("gaussian", -0.0484), ("laplace", 0.0724)]
)
def test_limits_of_the_advantage(name, limit):
    weights = torch.from_numpy(SAMPLES[name].rvs(MANY, random_state=0))
    assert distributions.laplace_advantage(weights) == pytest.approx(limit, abs=4e-3)
    assert distributions.laplace_advantage(3 * weights + 7) == pytest.approx(limit, abs=4e-3)
    assert distributions.excess_kurtosis(weights) == pytest.approx(
        distributions.KURTOSIS[name], abs=0.15
    )


def test_standard_histogram_is_a_density():
    weights = torch.from_numpy(SAMPLES["gaussian"].rvs(MANY, random_state=0))
    z, density = distributions.standard_histogram(weights)
    assert float(density.sum() * (z[1] - z[0])) == pytest.approx(1, abs=1e-3)
    assert float(density[30]) == pytest.approx(1 / math.sqrt(2 * math.pi), abs=0.01)
    assert float(z[30]) == pytest.approx(0, abs=1e-12)


def test_neighbour_correlation_tells_strokes_from_noise():
    noise = torch.randn(500, 5, 5, generator=torch.Generator().manual_seed(0))
    ramp = torch.arange(5.0).expand(3, 5, 5)
    checks = 1.0 - 2 * ((torch.arange(5)[:, None] + torch.arange(5)) % 2)[None]
    assert abs(neighbour_correlation(noise)) < 0.06  # −1/24 from centring
    assert neighbour_correlation(ramp) > 0.7
    assert neighbour_correlation(checks) < -0.9


def test_item_runs_records_and_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    item = get_item("addernet-impacts/fig-kernels")
    records = run_item(item, Context("smoke", progress=False), settings=TINY)
    value = {(r.method, r.metric): r.value for r in records if r.seed == 1}
    assert value["adder", "laplace_advantage_initial"] == pytest.approx(-0.048, abs=0.01)
    assert value["conv", "laplace_advantage_initial"] == pytest.approx(-0.130, abs=0.01)
    assert value["conv", "laplace_advantage"] != value["conv", "laplace_advantage_initial"]
    logs = {r.metric: len(r.log) for r in records if r.log and r.seed == 0}
    assert logs == {"laplace_advantage": 61, "neighbour_correlation": 6 * 25}
    assert not [r for r in records if r.seed == 1 and r.metric == "neighbour_correlation" and r.log]
    assert {len(claim.samples(records).values) for claim in item.claims} == {2}
    assert item.draw is not None
    figure = item.draw(records, [])
    assert len(figure.axes) == 4
    assert "2 seeds" in figure.get_suptitle()
    again = run_item(item, Context("smoke", progress=False), settings=TINY)
    assert [r.created for r in again] == [r.created for r in records]
