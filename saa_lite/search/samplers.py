"""Evolution, random search and NSGA-II behind one door, as samplers of Optuna.

Optuna numbers trials; a generation is ``population`` of them in a row, and is asked for when all
before it are finished (:mod:`saa_lite.search.study` sees to it). Optuna's own NSGA-II carries a
generator from trial to trial, which a resumed study begins again: here every trial has a sampler of
its own, seeded by its number.
"""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseGASampler, BaseSampler, NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from saa_lite.data.seeds import mix
from saa_lite.errors import check_choice
from saa_lite.search.evolution import PARENTS, Allowed, Proposal, Tried, best, generation
from saa_lite.search.space import Space


class Evolution(BaseGASampler):
    """Proposals of :func:`saa_lite.search.evolution.generation`.

    Args:
        share: of the population that are parents; 0 is random search.

    Attributes:
        drawn, kept: how many networks were drawn for the last proposal, and kept the budget.
    """

    def __init__(
        self, space: Space, allowed: Allowed, seed: int, population: int, share: float = PARENTS
    ) -> None:
        super().__init__(population)
        self.space, self.allowed, self.seed = space, allowed, seed
        self.population, self.share = population, share
        self.drawn = self.kept = 1
        self._made: dict[int, list[Proposal]] = {}

    def reseed_rng(self) -> None:
        """Nothing is carried from one trial to the next."""

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return trial.number // self.population

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return [t for t in finished(study) if t.number // self.population == generation]

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best of all earlier generations, by number, as Optuna hands them on."""
        earlier = {t.number: t for t in finished(study) if t.number < generation * self.population}
        count = max(2, round(self.share * self.population))
        chosen = {t.number for t in best([tried(t) for t in earlier.values()], count)}
        return [trial for number, trial in sorted(earlier.items()) if number in chosen]

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return distributions(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        number, place = divmod(trial.number, self.population)
        if number not in self._made:
            before = [tried(t) for t in finished(study) if t.number < number * self.population]
            breed = self.get_parent_population(study, number) if self.share else []
            self._made[number] = generation(
                self.space,
                self.allowed,
                self.seed,
                number,
                self.population,
                before,
                [tried(t) for t in breed],
            )
        proposal = self._made[number][place]
        self.drawn, self.kept = proposal.drawn, proposal.kept
        return dict(proposal.genes)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        raise AssertionError(f"gene {param_name} is proposed with all others")


class SeededNSGAII(NSGAIISampler):
    """Optuna's NSGA-II for one trial; what it draws gene by gene depends on the gene's name."""

    def __init__(self, seed: int, number: int, population: int) -> None:
        self.place = mix(seed, number)
        super().__init__(population_size=population, seed=self.place % (1 << 32))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        key = [self.place, zlib.crc32(param_name.encode())]
        rng = np.random.Generator(np.random.Philox(key=key))
        return param_distribution.choices[int(rng.integers(len(param_distribution.choices)))]


Make = Callable[[int], BaseSampler]
ALGORITHMS = ("evolution", "random", "nsga2")


def sampler_maker(
    algorithm: str, space: Space, allowed: Allowed, seed: int, population: int
) -> Make:
    """Trial number → the sampler that proposes it.

    Raises:
        UsageError: an unknown algorithm.
    """
    check_choice("algorithm", algorithm, ALGORITHMS)
    if algorithm == "nsga2":
        return lambda number: SeededNSGAII(seed, number, population)
    share = PARENTS if algorithm == "evolution" else 0.0
    sampler = Evolution(space, allowed, seed, population, share)
    return lambda number: sampler


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The genes of a space as Optuna writes them down."""
    return {name: CategoricalDistribution(choices) for name, choices in space.genes.items()}


def finished(study: Study) -> list[FrozenTrial]:
    """Trials that have values, by number."""
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(found, key=lambda trial: trial.number)


def tried(trial: FrozenTrial) -> Tried:
    """A finished trial without Optuna."""
    accuracy, cost = trial.values
    return Tried(trial.number, dict(trial.params), accuracy, cost)
