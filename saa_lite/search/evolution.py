"""The search itself: which networks to try next, given what has been tried.

Evolution as in once-for-all (official code, ``ofa/nas/search_algorithm/evolution.py``): the best
quarter of all that has been tried are parents; half of a generation are mutations of one parent,
the other half crossovers of two; whatever breaks the budget, or has been tried, is drawn again. The
first generation is drawn at random, and random search draws every generation so.

A generation is a function of the seed, its number and the trials before it, nothing else. So it
does not matter which process asks, in which order trials of one generation finish, or how often the
search was interrupted.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from saa_lite.errors import UsageError
from saa_lite.search.space import Candidate, Genes, Space

PARENTS, MUTATED, MUTATION = 0.25, 0.5, 0.1  # shares of population, of a generation, of genes
BARREN = 20  # crossovers without anything new
MOST_DRAWS = 2000  # for one network

Allowed = Callable[[Candidate], bool]


class Tried(NamedTuple):
    """A finished trial: accuracy in %, and the cost by which equal accuracies are told apart."""

    number: int
    genes: Genes
    accuracy: float
    cost: float


class Proposal(NamedTuple):
    """What to try; how many networks were drawn until one was new, and how many kept the budget."""

    genes: Genes
    drawn: int
    kept: int


def best(tried: Sequence[Tried], count: int) -> list[Tried]:
    """The most accurate ones; of equals the cheaper, then the earlier."""
    return sorted(tried, key=lambda trial: (-trial.accuracy, trial.cost, trial.number))[:count]


class Measured(Protocol):
    """Whatever has an accuracy in %."""

    @property
    def accuracy(self) -> float: ...


M = TypeVar("M", bound=Measured)


def front(points: Iterable[M], cost: Callable[[M], float]) -> list[M]:
    """Those that no other point beats in accuracy without costing more, by rising cost."""
    kept: list[M] = []
    for point in sorted(points, key=lambda p: (cost(p), -p.accuracy)):
        if not kept or point.accuracy > kept[-1].accuracy:
            kept.append(point)
    return kept


def hypervolume(tried: Iterable[Tried], limit: float) -> float:
    """Share of the plane from accuracy 0 to 100 % and cost 0 to ``limit`` that the front beats."""
    best_so_far = area = 0.0
    for point in front((t for t in tried if t.cost <= limit), lambda t: t.cost):
        area += (point.accuracy - best_so_far) * (limit - point.cost)
        best_so_far = point.accuracy
    return area / (100 * limit)


def generation(
    space: Space,
    allowed: Allowed,
    seed: int,
    number: int,
    population: int,
    tried: Sequence[Tried],
    parents: Sequence[Tried] = (),
) -> list[Proposal]:
    """Generation ``number`` (from 0), ``population`` networks that keep the budget.

    Args:
        tried: trials of earlier generations, which are not proposed again.
        parents: of them, those that children are made of; without any, all are drawn at random.

    Raises:
        UsageError: of a great many networks that were drawn none kept the budget.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, number]))
    known = {space.express(trial.genes) for trial in tried}
    proposals: list[Proposal] = []
    while len(proposals) < population:
        chosen, drawn, kept = None, 0, 0
        while drawn < MOST_DRAWS and (chosen is None or chosen in known):
            # Two parents that are nearly alike have no new children: they mutate, too.
            mutated = len(proposals) < MUTATED * population or drawn >= BARREN
            genes = child(space, parents, rng, mutated) if parents else space.draw(rng)
            candidate, drawn = space.express(genes), drawn + 1
            if allowed(candidate):
                chosen, kept = candidate, kept + 1
        if chosen is None:
            raise UsageError(
                f"none of {MOST_DRAWS:,} networks drawn from the space keeps the budget; raise it"
            )
        known.add(chosen)  # which a small space may have had already
        proposals.append(Proposal(space.genes_of(chosen), drawn, kept))
    return proposals


def child(space: Space, parents: Sequence[Tried], rng: np.random.Generator, mutated: bool) -> Genes:
    """A mutation of one parent, or a crossover of two."""
    first = parents[int(rng.integers(len(parents)))].genes
    if mutated:
        return mutate(space, first, rng)
    second = parents[int(rng.integers(len(parents)))].genes
    return {name: (first, second)[int(rng.integers(2))][name] for name in space.genes}


def mutate(space: Space, genes: Genes, rng: np.random.Generator) -> Genes:
    """Each gene drawn anew with probability :data:`MUTATION`."""
    return {
        name: choices[int(rng.integers(len(choices)))] if rng.random() < MUTATION else genes[name]
        for name, choices in space.genes.items()
    }
