"""Item fig-features: the measures tell rays from blobs, the item records and draws them."""

import math
from pathlib import Path

import pytest
import torch

from saa_lite.errors import UsageError
from saa_lite.items.addernet_impacts.fig_features import (
    DIFFERENCE,
    METRICS,
    Settings,
    angle_ratio,
    class_means,
    nearest_mean_accuracy,
    variance_ratio,
)
from saa_lite.items.base import Context
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item

TINY = Settings("digits", 16, train_images=40, test_images=20, epochs=1, seeds=1, batch_size=20)
LABELS = torch.arange(10).repeat_interleave(50)


def rays() -> torch.Tensor:
    """Class c at angle c·36° with lengths from 0.2 to 5: angle tells all, place little."""
    generator = torch.Generator().manual_seed(0)
    angle = LABELS * (math.pi / 5) + 0.05 * torch.randn(500, generator=generator)
    length = 0.2 + 4.8 * torch.rand(500, generator=generator)
    return torch.stack([length * angle.cos(), length * angle.sin()], 1)


def blobs() -> torch.Tensor:
    """Ten small blobs on one line through the origin: place tells all, angle its side alone."""
    generator = torch.Generator().manual_seed(0)
    places = torch.stack([LABELS - 4.5, torch.zeros(500)], 1)
    return places + 0.1 * torch.randn(500, 2, generator=generator)


@pytest.mark.parametrize(("cloud", "better"), [(rays, "cosine"), (blobs, "l1")])
def test_measures_tell_rays_from_blobs(cloud, better):
    features = cloud()
    means = class_means(features, LABELS, 10)
    found = {d: nearest_mean_accuracy(features, LABELS, means, d) for d in ("cosine", "l1")}
    assert found.pop(better) > 0.99
    assert found.popitem()[1] < 0.9
    by_angle = angle_ratio(features, LABELS) > variance_ratio(features, LABELS)
    assert by_angle == (better == "cosine")


def test_variance_ratio_of_known_points():
    points = torch.tensor([[0.0, 1.0], [0.0, -1.0], [4.0, 1.0], [4.0, -1.0]])
    assert variance_ratio(points, torch.tensor([2, 2, 7, 7])) == pytest.approx(4.0)
    assert angle_ratio(3 * points, torch.tensor([2, 2, 7, 7])) == pytest.approx(
        angle_ratio(points, torch.tensor([2, 2, 7, 7]))
    )


def test_an_unknown_distance_is_named():
    with pytest.raises(UsageError, match="distance must be one of 'cosine', 'l1'; got 'l2'"):
        nearest_mean_accuracy(rays(), LABELS, rays()[:10], "l2")


def test_item_runs_records_and_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    item = get_item("addernet-impacts/fig-features")
    records = run_item(item, Context("smoke", progress=False), settings=TINY)
    assert {(r.method, r.metric) for r in records} == {
        (method, metric) for method in ("conv", "adder") for metric in METRICS
    }
    value = {(r.method, r.metric): r.value for r in records}
    for method in ("conv", "adder"):
        difference = value[method, "cosine_accuracy"] - value[method, "l1_accuracy"]
        assert value[method, DIFFERENCE] == pytest.approx(difference)
    logged = [len(r.log) for r in records if r.log]
    assert logged == [20, 20]
    samples = [claim.samples(records) for claim in item.claims]
    assert [s.values for s in samples] == [
        (value["conv", DIFFERENCE],),
        (value["adder", DIFFERENCE],),
    ]
    assert item.draw is not None
    figure = item.draw(records, [])
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "CNN", "AdderNet", "Nearest mean by",
    ]  # fmt: skip
    again = run_item(item, Context("smoke", progress=False), settings=TINY)
    assert [r.created for r in again] == [r.created for r in records]
