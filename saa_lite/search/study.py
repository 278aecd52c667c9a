"""One search, any number of processes on any number of machines, one shared folder.

Optuna keeps the trials in a journal, a file that is only ever appended to. What the folder adds is
that the result does not depend on who works when: a generation is handed out when all trials before
it are finished; a trial belongs to whoever holds its lease, so one whose process died is taken over
by the next that comes by, under its own number; and what a trial proposes depends on nothing but
seed, number and the trials before its generation. Killing a process loses the one evaluation that
it was at.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from saa_lite.errors import SaaLiteError, UsageError
from saa_lite.files import check_writable
from saa_lite.locks import LEASE, RUNNING, Lease, locked
from saa_lite.search.budget import METRICS, Budget, predict
from saa_lite.search.evolution import Tried, best
from saa_lite.search.journal import IDENTITY, JOURNAL, STUDY, MendingLock, check_journal
from saa_lite.search.samplers import Evolution, distributions, finished, sampler_maker, tried
from saa_lite.search.space import Candidate, Space

PATIENCE = 30.0  # seconds until a folder that another process has locked is reported
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 2.0  # seconds between two looks at what others do

Evaluate = Callable[[Candidate], float]


@dataclass(frozen=True)
class SearchConfig:
    """All that decides what a search tries and finds.

    Attributes:
        scored: what the accuracies are of, in plain JSON: data, SuperNet, how it was trained.
        algorithm: ``"evolution"``, ``"random"`` or ``"nsga2"``.
        population, generations: their product is the number of trials.
    """

    space: Space
    budget: Budget
    scored: dict[str, Any]
    algorithm: str = "evolution"
    seed: int = 0
    population: int = 16
    generations: int = 16

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("population", 2), ("generations", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise UsageError(f"{name} must be an integer of at least {least}; got {value!r}")
        self.budget.check(self.space)

    @property
    def trials(self) -> int:
        """How many networks are tried."""
        return self.population * self.generations

    @property
    def objective(self) -> str:
        """The cost that stands beside accuracy: the budget's first."""
        return next(iter(self.budget.limits))

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON; two searches with the same are the same."""
        return {
            "space": self.space.as_settings(),
            "budget": dict(self.budget.limits),
            "scored": self.scored,
            "algorithm": self.algorithm,
            "seed": self.seed,
            "population": self.population,
            "generations": self.generations,
        }


class Search:
    """A search in a folder, begun or taken up.

    Args:
        folder: which all that take part see.

    Raises:
        SaaLiteError: the folder cannot be written, is locked, or holds something else or another
            search; nothing in it is changed then.
    """

    def __init__(self, folder: Path, config: SearchConfig) -> None:
        check_writable(folder)
        self.folder, self.config = folder, config
        self._leases: dict[int, Lease] = {}
        self._make = sampler_maker(
            config.algorithm, config.space, self._allowed, config.seed, config.population
        )
        with self._alone():
            known = check_journal(folder / JOURNAL, config.as_settings())
            with quiet_optuna():
                storage = JournalStorage(
                    JournalFileBackend(str(folder / JOURNAL), MendingLock(folder / JOURNAL))
                )
                if STUDY not in optuna.get_all_study_names(storage):
                    optuna.create_study(
                        storage=storage, study_name=STUDY, directions=["maximize", "minimize"]
                    )
                self.study = optuna.load_study(study_name=STUDY, storage=storage)
                if not known:
                    self.study.set_user_attr(IDENTITY, config.as_settings())
                    self.study.set_metric_names(["accuracy", config.objective])

    def run(
        self,
        evaluate: Evaluate,
        after: Callable[["Search"], None] | None = None,
        idle: Callable[[], object] | None = None,
    ) -> None:
        """Try what nobody else tries until all trials are finished.

        Args:
            evaluate: accuracy in % of a network; must give the same wherever it runs.
            after: called after each trial of this process.
            idle: called before this process waits for others.
        """
        pause = FIRST_PAUSE
        while not self.is_finished:
            trial = self._next()
            if trial is None:
                if idle is not None:
                    idle()
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._try(trial, evaluate)
            self._leases[trial.number].leave()
            if after is not None:
                after(self)

    @property
    def is_finished(self) -> bool:
        """Whether every trial has its values."""
        return len(finished(self.study)) >= self.config.trials

    @property
    def trials(self) -> list[Tried]:
        """The finished ones, by number."""
        return [tried(trial) for trial in finished(self.study)]

    @property
    def winner(self) -> Tried | None:
        """The most accurate one that keeps the budget."""
        kept = [t for t in self.trials if self._allowed(self.candidate(t))]
        return best(kept, 1)[0] if kept else None

    @property
    def feasible_share(self) -> float | None:
        """Of all networks drawn so far, those that kept the budget."""
        trials = finished(self.study)
        drawn = sum(trial.user_attrs["drawn"][0] for trial in trials)
        kept = sum(trial.user_attrs["drawn"][1] for trial in trials)
        return kept / drawn if drawn else None

    def candidate(self, trial: Tried) -> Candidate:
        """The network of a trial."""
        return self.config.space.express(trial.genes)

    def _allowed(self, candidate: Candidate) -> bool:
        return self.config.budget.allows(predict(self.config.space, candidate))

    def _next(self) -> Trial | None:
        """A trial to work on: one of a dead process, else a new one; None if there is none now."""
        with self._alone():
            trials = self.study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state == TrialState.RUNNING and self._take(trial.number):
                    # Its owner may have told it, and left it, since the trials were read.
                    if self._state(trial.number) == TrialState.RUNNING:
                        return self._opened(trial)
                    self._leases[trial.number].leave()
            number = len(trials)
            begins = number - number % self.config.population
            ready = all(t.state == TrialState.COMPLETE for t in trials if t.number < begins)
            if number < self.config.trials and ready and self._take(number):
                self.study.sampler = self._make(number)
                return self._opened(self.study.ask())
        return None

    def _state(self, number: int) -> TrialState:
        return self.study.get_trials(deepcopy=False)[number].state

    def _take(self, number: int) -> bool:
        path = self.folder / "trials" / f"{number:05d}{LEASE}"
        return self._leases.setdefault(number, Lease(path)).take()

    def _opened(self, trial: Trial | FrozenTrial) -> Trial:
        """The trial with all of its genes, whoever began it."""
        if isinstance(trial, FrozenTrial):
            self.study.sampler = self._make(trial.number)
            trial = Trial(self.study, trial._trial_id)
        for name, distribution in distributions(self.config.space).items():
            trial.suggest_categorical(name, distribution.choices)  # type: ignore[attr-defined]
        if "drawn" not in trial.user_attrs:
            sampler: Any = self.study.sampler
            one = [1, int(self._allowed(self.config.space.express(trial.params)))]
            found = [sampler.drawn, sampler.kept] if isinstance(sampler, Evolution) else one
            trial.set_user_attr("drawn", found)
        return trial

    def _try(self, trial: Trial, evaluate: Evaluate) -> None:
        candidate = self.config.space.express(trial.params)
        costs = predict(self.config.space, candidate)
        constraints = self.study.get_trials(deepcopy=False)[trial.number].constraints
        for name, excess in self.config.budget.excess(costs).items():
            if name not in constraints:
                trial.set_constraint(name, excess)
        known = {self.candidate(t): t.accuracy for t in self.trials}
        accuracy = known.get(candidate)
        values = [evaluate(candidate) if accuracy is None else accuracy]
        self.study.tell(trial.number, [*values, costs[self.config.objective]])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else hands out or takes over trials in this folder meanwhile."""
        give_up = time.monotonic() + PATIENCE
        busy = f"the search in {self.folder} has been locked by another process for {PATIENCE:g} s"
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(locked(self.folder, purpose=RUNNING, busy=busy))
                    break
                except SaaLiteError:
                    if time.monotonic() > give_up:
                        raise
                    time.sleep(FIRST_PAUSE)
            with quiet_optuna():
                yield


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's log lines and its remarks on what is experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def winner_of(search: Search) -> dict[str, Any]:
    """The winner as plain JSON: network, accuracy and all of its costs.

    Raises:
        SaaLiteError: no trial has kept the budget so far.
    """
    found = search.winner
    if found is None:
        raise SaaLiteError(f"no trial in {search.folder} has kept the budget")
    candidate = search.candidate(found)
    costs = predict(search.config.space, candidate)
    return {
        "trial": found.number,
        "accuracy": found.accuracy,
        **{name: costs[name] for name in METRICS},
        "network": candidate.as_json(),
    }
