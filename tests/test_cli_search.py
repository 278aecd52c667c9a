"""``saa-lite search``: two stages, resumed, with another worker, and what is refused."""

import json
from pathlib import Path

import pytest

from saa_lite.cli import main
from saa_lite.costs import count
from saa_lite.search import SETTINGS, counted, image_sets
from saa_lite.search.journal import JOURNAL

SMALL = ["--setting", "tiny", "--population", "3", "--generations", "2", "--quiet"]
LOOSE, TIGHT = "products=60000", "products=20000"
SPACE = SETTINGS["tiny"].space(image_sets(SETTINGS["tiny"])[0])


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["search", *words, *SMALL, "--json"]) == 0
    result: dict = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_two_stages_keep_their_budgets(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subnet = found(capsys, str(home), "--budget", LOOSE)
    assert json.loads((home / "winner.json").read_text()) == subnet
    target = found(capsys, str(home / "second"), "--budget", TIGHT, "--within", str(home))
    for winner, limit in ((subnet, 60_000), (target, 20_000)):
        network = SPACE.build(SPACE.candidate(winner["network"]))
        costs = counted(count(network, (1, 1, 8, 8)))
        assert costs["products"] <= limit
        assert costs == {name: winner[name] for name in costs}
    within = zip(target["network"]["stages"], subnet["network"]["stages"], strict=True)
    assert all(len(a["blocks"]) <= len(b["blocks"]) for a, b in within)
    before = (home / JOURNAL).read_bytes()
    assert found(capsys, str(home), "--budget", LOOSE) == subnet  # nothing is left to do
    assert (home / JOURNAL).read_bytes() == before


def test_two_workers_find_the_same(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = json.loads((home / "winner.json").read_text())
    (home / JOURNAL).rename(home / "alone.log")
    assert found(capsys, str(home), "--budget", LOOSE, "--workers", "2") == alone


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--budget", "products=10"], "no network of the space has products of at most 10: its"),
        (["--budget", "energy=1"], "budget must be one of 'energy_A', "),
        (["--budget", "products"], "--budget takes NAME=LIMIT with a name of energy_A, "),
        (["--budget", TIGHT, "--setting", "imagenet"], "--setting must be one of 'tiny', "),
        (["--budget", TIGHT, "--workers", "0"], "--workers must be at least 1; got 0"),
        (["--budget", TIGHT, "--set", "train_images=9000"], "must be at most 1,297 together"),
        (["--budget", TIGHT, "--algorithm", "tpe"], "algorithm must be one of 'evolution', "),
        (["--budget", LOOSE, "--seed", "3"], "has seed 0, and this one has seed 3; give it"),
    ],
)
def test_what_is_refused_is_one_sentence(
    words: list[str], says: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.glob("*.log")}
    assert main(["search", str(home), *SMALL, *words]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert before == {path: path.stat().st_mtime_ns for path in home.glob("*.log")}


def test_images_are_dealt_once() -> None:
    train, held, tested = image_sets(SETTINGS["digits"])
    assert (len(train), len(held), len(tested)) == (1000, 297, 500)
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in held.images)
