"""Searches give the same trials however often they are killed and however many take part."""

import json
import multiprocessing
import os
import signal
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages.journal import JournalFileBackend
from search_samples import SMALL

from saa_lite.errors import SaaLiteError, UsageError
from saa_lite.locks import RUNNING, locked
from saa_lite.search import (
    Budget,
    Candidate,
    Search,
    SearchConfig,
    Space,
    evolution,
    predict,
    study,
)
from saa_lite.search.evolution import Tried, best, generation

SPACE = replace(SMALL, operators=("conv", "shift"))
LIMIT = predict(SPACE, SPACE.extreme(-1, "conv"))["products"] / 2
CONFIG = SearchConfig(
    SPACE, Budget({"products": LIMIT}), {"by": "hash"}, population=4, generations=4
)
FORK = multiprocessing.get_context("fork")


def accuracy(candidate: Candidate) -> float:
    """Some number of the network: large ones are better, and no two are alike."""
    text = json.dumps(candidate.as_json()).encode()
    return predict(SPACE, candidate)["parameters"] / 100 + zlib.crc32(text) % 1000 / 1000


def found(folder: Path, config: SearchConfig = CONFIG) -> tuple[list[Tried], Tried | None]:
    search = Search(folder, config)
    return search.trials, search.winner


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Tried], Tried | None]:
    folder = tmp_path_factory.mktemp("undisturbed")
    Search(folder, CONFIG).run(accuracy)
    return found(folder)


def work(folder: Path, evaluate: Callable[[Candidate], float] = accuracy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Search(folder, CONFIG).run(evaluate)


def killed_while_evaluating(folder: Path, at: int) -> None:
    calls = iter(range(10_000))

    def deadly(candidate: Candidate) -> float:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return accuracy(candidate)

    work(folder, deadly)


def killed_while_writing(folder: Path, at: int) -> None:
    """Half of a line is written, as by a process that the system stops in the midst of it."""
    whole, calls = JournalFileBackend.append_logs, iter(range(10_000))

    def torn(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        if next(calls) < at:
            whole(self, logs)
            return
        with open(self._file_path, "ab") as file:
            file.write(json.dumps(logs[0]).encode()[:-7])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    JournalFileBackend.append_logs = torn  # type: ignore[method-assign]  # of this process alone
    work(folder)


def in_process(run: Callable[..., None], *arguments: Any) -> int | None:
    process = FORK.Process(target=run, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def test_all_trials_keep_the_budget_and_differ(
    undisturbed: tuple[list[Tried], Tried | None],
) -> None:
    trials, winner = undisturbed
    networks = [SPACE.express(trial.genes) for trial in trials]
    assert [trial.number for trial in trials] == list(range(16))
    assert len(set(networks)) == 16
    assert all(predict(SPACE, network)["products"] <= LIMIT for network in networks)
    assert [trial.accuracy for trial in trials] == [accuracy(network) for network in networks]
    assert winner == max(trials, key=lambda trial: trial.accuracy)
    everything = generation(SPACE, lambda c: predict(SPACE, c)["products"] <= LIMIT, 0, 0, 4, [])
    assert [proposal.genes for proposal in everything] == [trial.genes for trial in trials[:4]]
    assert all(p.drawn >= p.kept >= 1 for p in everything)
    assert any(p.drawn > p.kept for p in everything)


@pytest.mark.parametrize(
    ("run", "at"),
    [(killed_while_evaluating, 5), (killed_while_writing, 90), (killed_while_writing, 141)],
)
def test_killed_and_resumed_gives_the_same(
    run: Callable[..., None], at: int, tmp_path: Path, undisturbed: Any
) -> None:
    assert in_process(run, tmp_path, at) == -signal.SIGKILL
    done = sum(b'"op_code":6' in line for line in _lines(tmp_path))
    evaluated: list[Candidate] = []

    def counted(candidate: Candidate) -> float:
        evaluated.append(candidate)
        return accuracy(candidate)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Search(tmp_path, CONFIG).run(counted)
    torn = [str(w.message) for w in said if "was torn" in str(w.message)]
    assert len(torn) == (run is killed_while_writing)
    assert len(evaluated) == 16 - done  # nothing that was finished is evaluated again
    assert found(tmp_path) == undisturbed


def _lines(folder: Path) -> list[bytes]:
    """Whole lines of the journal in which a trial becomes complete."""
    lines = (folder / study.JOURNAL).read_bytes().splitlines()
    return [line for line in lines if b'"state":1' in line]


def test_three_processes_give_the_same_and_a_dead_ones_trial_is_taken_over(
    tmp_path: Path, undisturbed: Any
) -> None:
    workers = [FORK.Process(target=killed_while_evaluating, args=(tmp_path, 2))]
    workers += [FORK.Process(target=work, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert {worker.exitcode for worker in workers} <= {0, -signal.SIGKILL}
    assert found(tmp_path) == undisturbed


@pytest.mark.parametrize("algorithm", ["random", "nsga2"])
def test_baselines_resume_to_the_same(algorithm: str, tmp_path: Path) -> None:
    config = replace(CONFIG, algorithm=algorithm)
    Search(tmp_path / "whole", config).run(accuracy)
    part = Search(tmp_path / "part", config)

    def stop(search: Search) -> None:
        if len(search.trials) in (3, 6):
            raise KeyboardInterrupt

    for _ in range(2):
        with suppress(KeyboardInterrupt):
            part.run(accuracy, stop)
        part = Search(tmp_path / "part", config)
    part.run(accuracy)
    assert found(tmp_path / "part", config) == found(tmp_path / "whole", config)
    if algorithm == "nsga2":
        assert part.study.best_trials
        excess = [t.constraints["products"] for t in part.study.get_trials()]
        costs = [predict(SPACE, part.candidate(t))["products"] for t in part.trials]
        assert excess == [cost - LIMIT for cost in costs]


def test_other_seeds_find_other_networks(undisturbed: Any) -> None:
    def first(seed: int) -> list[Any]:
        drawn = generation(SPACE, lambda _: True, seed, 0, 4, [])
        return [proposal.genes for proposal in drawn]

    assert first(0) != first(1)
    assert first(0) == first(0)


def test_children_come_of_the_best_and_are_new() -> None:
    rng = np.random.default_rng(0)
    trials = [
        Tried(i, SPACE.genes_of(SPACE.express(SPACE.draw(rng))), float(i % 3), float(-i))
        for i in range(12)
    ]
    assert [t.number for t in best(trials, 3)] == [11, 8, 5]
    parents = best(trials, 2)
    children = generation(SPACE, lambda _: True, 0, 3, 8, trials, parents)
    known = {SPACE.express(t.genes) for t in trials}
    networks = [SPACE.express(p.genes) for p in children]
    assert not known & set(networks)
    assert len(set(networks)) == 8
    for proposal in children[4:]:  # crossovers: every gene of a block that is there has a parent
        there = SPACE._named(SPACE.express(proposal.genes))
        for name, value in there.items():
            if name in proposal.genes:
                assert value in {parent.genes[name] for parent in parents} | {SPACE.genes[name][0]}
    tiny = Space(8, 1, 10, 4, (4,), (1,), (1.0,), (1,), (3,), (2, 3), ("conv",))
    again = generation(tiny, lambda _: True, 0, 0, 3, [])
    assert len({p.genes["1.1.expansion"] for p in again}) == 2  # there are no more


def test_nothing_that_keeps_the_budget_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolution, "MOST_DRAWS", 5)
    with pytest.raises(UsageError, match="none of 5 networks drawn from the space"):
        generation(SPACE, lambda _: False, 0, 0, 2, [])
    with pytest.raises(UsageError, match="no network of the space has products of at most 1"):
        replace(CONFIG, budget=Budget({"products": 1}))


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Path]:
    Search(tmp_path, CONFIG)
    before = (tmp_path / study.JOURNAL).read_bytes()
    yield tmp_path
    assert (tmp_path / study.JOURNAL).read_bytes() == before


def test_another_search_is_refused_and_nothing_changed(begun: Path) -> None:
    other = replace(SPACE, kernels=(3,))
    for config, says in (
        (replace(CONFIG, seed=7), "has seed 0, and this one has seed 7; give it a folder"),
        (replace(CONFIG, space=other), "has space .*, and this one has space "),
        (replace(CONFIG, scored={"by": "size"}), 'has scored {"by": "hash"}, and'),
        (replace(CONFIG, budget=Budget({"products": LIMIT + 1})), "has budget "),
    ):
        with pytest.raises(UsageError, match=says):
            Search(begun, config)


def test_a_locked_folder_is_one_sentence(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "PATIENCE", 0.1)
    with (
        locked(begun, purpose=RUNNING),
        pytest.raises(SaaLiteError, match="has been locked by another process"),
    ):
        Search(begun, CONFIG)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a journal\nat all\n", "is no journal of a search, or is damaged"),
        (b"\x00\x01binary", "is no journal of a search"),
        (b'[1, 2]\n{"op_code": 0}\n', "holds another program's studies: -"),
        (b'{"op_code":0,"worker_id":"w","study_name":"tuning","directions":[1]}\n', "tuning"),
    ],
)
def test_what_is_no_search_is_refused_and_left(content: bytes, says: str, tmp_path: Path) -> None:
    journal = tmp_path / study.JOURNAL
    journal.write_bytes(content)
    with pytest.raises(SaaLiteError, match=says):
        Search(tmp_path, CONFIG)
    assert journal.read_bytes() == content


def test_an_unreadable_journal_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / study.JOURNAL).mkdir()
    with pytest.raises(SaaLiteError, match=r"cannot read .*journal\.log: Is a directory"):
        Search(tmp_path, CONFIG)
    (tmp_path / "file").write_text("")
    with pytest.raises(SaaLiteError, match=r"cannot write in .*file"):
        Search(tmp_path / "file" / "x", CONFIG)
