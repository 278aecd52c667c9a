"""Figure 4, part a: the search, against random drawing, and what is trained in its two stages.

Protocols fix data, budgets, seeds and what is claimed, see :mod:`saa_lite.protocols`. One SuperNet
serves all searches of a protocol. The SubNet is the winner of the first seed's evolution under the
loose budget, the TargetNet the winner of a search inside it under the tight one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from saa_lite.augment import AugmentedNet, AugmentedTraining
from saa_lite.data import ImageSet
from saa_lite.errors import UsageError
from saa_lite.items import augmented
from saa_lite.items.base import Context, Unit, checkpoint_folder
from saa_lite.items.interval import t_interval
from saa_lite.items.recipes import mutation_for
from saa_lite.protocols import Protocol
from saa_lite.records import Record
from saa_lite.search import (
    SETTINGS,
    Budget,
    Candidate,
    InheritedAccuracy,
    Inside,
    Search,
    SearchConfig,
    Setting,
    Space,
    image_sets,
    predict,
    trained_inside,
    trained_supernet,
)
from saa_lite.search.evolution import hypervolume
from saa_lite.search.setting import inherited_accuracy
from saa_lite.train import train
from saa_lite.viz.search import Difference, difference_figure, kendall

SEARCHES = ("evolution", "random", "nsga2")
TRAINED = ("target-inside", "target-alone", "handmade", "target-add3")
TEST = "target_accuracy"
DRAWS = 10_000  # for the networks that are ranked

PAIRS = (
    ("best_accuracy", "evolution", "random"),
    ("best_accuracy", "nsga2", "random"),
    (TEST, "target-inside", "target-alone"),
    (TEST, "target-inside", "handmade"),
    (TEST, "target-add3", "target-alone"),
)
"""Metric and methods; the difference is the first's minus the second's."""


@dataclass(frozen=True)
class Experiment:
    """One protocol's search; what is dear is made when it is first asked for."""

    protocol: Protocol
    context: Context

    def __getattr__(self, name: str) -> Any:
        """A setting of the protocol, such as ``loose`` or ``population``."""
        try:
            return self.protocol.settings[name]
        except KeyError:
            raise AttributeError(name) from None

    @cached_property
    def about(self) -> Setting:
        return SETTINGS[self.protocol.settings["setting"]]

    @cached_property
    def sets(self) -> tuple[ImageSet, ImageSet, ImageSet]:
        return image_sets(self.about, self.context.data_root, self.context.download)

    @cached_property
    def space(self) -> Space:
        return self.about.space(self.sets[0])

    @cached_property
    def supernet(self) -> AugmentedNet:
        home = checkpoint_folder(self.context.item) / self.protocol.name
        return trained_supernet(self.about, self.sets, home, progress=self.context.progress)

    @cached_property
    def accuracy(self) -> InheritedAccuracy:
        return inherited_accuracy(self.about, self.sets, self.supernet)

    def search(self, algorithm: str, seed: int, space: Space, limit: float) -> Search:
        """A search, finished; taken up where its journal is."""
        stage = "inside" if isinstance(space, Inside) else "whole"
        folder = checkpoint_folder(self.context.item) / self.protocol.name
        config = SearchConfig(
            space, Budget({self.metric: limit}), {"protocol": self.protocol.label}, algorithm, seed,
            self.population, self.generations,
        )  # fmt: skip
        found = Search(folder / f"{stage}-{algorithm}-{seed}", config)
        found.run(self.accuracy)
        return found

    @cached_property
    def inside(self) -> Inside:
        """The second stage's space, within the SubNet."""
        first = self.search("evolution", self.protocol.seeds[0], self.space, self.loose)
        assert first.winner is not None
        return Inside.of(self.space, first.candidate(first.winner))

    @cached_property
    def target(self) -> Candidate:
        """The TargetNet."""
        second = self.search("evolution", self.protocol.seeds[0], self.inside, self.tight)
        assert second.winner is not None
        return second.candidate(second.winner)

    def unit(self, method: str, seed: int) -> Unit:
        """The unit of one arm and seed."""
        return self.context.unit(
            method=method,
            model="inverted",
            dataset=self.about.dataset,
            seed=seed,
            epochs=self.epochs if method in (*TRAINED, "ranked") else self.about.epochs,
            settings={"protocol": self.protocol.label, "search": self.protocol.name}
            | self.about.as_settings()
            | dict(self.protocol.settings),
        )


def run(protocol: Protocol, context: Context) -> Iterator[Record]:
    """Everything that the protocol asks for and no record holds yet."""
    made = Experiment(protocol, context)
    yield from supernet_records(made)
    for seed in protocol.seeds:
        for algorithm in SEARCHES:
            yield from search_records(made, algorithm, seed)
    yield from ranked_records(made)
    for seed in protocol.seeds:
        for method in TRAINED:
            yield from trained_records(made, method, seed)


def draw(records: list[Record]) -> Figure:
    """Differences of pairs, seed by seed, of the protocol that has most records."""
    names = Counter(str(r.settings["search"]) for r in records if "search" in r.settings)
    name = names.most_common(1)[0][0]
    mine = [r for r in records if r.settings.get("search") == name]
    rows = []
    for metric, first, second in PAIRS:
        found = {m: {r.seed: r.value for r in mine if (r.metric, r.method) == (metric, m)}
                 for m in (first, second)}  # fmt: skip
        rows.append(paired(f"{first} − {second}", found[first], found[second]))
    groups = {"Best inherited accuracy": rows[:2], "Accuracy of the target": rows[2:]}
    dataset = mine[0].dataset
    title = f"Two-stage search on {dataset}, {name}: mean difference, 95 % interval over seeds"
    return difference_figure(groups, title)


def paired(label: str, first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """First minus second over the seeds that both have, with mean and interval where there are."""
    values = tuple(first[seed] - second[seed] for seed in sorted(first.keys() & second.keys()))
    interval = t_interval(values) if len(values) > 1 else None
    return Difference(label, values, fmean(values) if values else None, interval)


def supernet_records(made: Experiment) -> Iterator[Record]:
    """What the ends of the space inherit, and the seconds that the SuperNet took."""
    unit = made.unit("supernet", made.about.supernet_seed)
    if unit.done("smallest_accuracy", "largest_accuracy"):
        return
    for name, which in (("smallest", 0), ("largest", -1)):
        found = made.accuracy(made.space.extreme(which))
        yield unit.record(f"{name}_accuracy", found, "%")


def search_records(made: Experiment, algorithm: str, seed: int) -> Iterator[Record]:
    """Best inherited accuracy within the loose budget, and hypervolume."""
    unit = made.unit(algorithm, seed)
    if unit.done("best_accuracy", "hypervolume"):
        return
    found = made.search(algorithm, seed, made.space, made.loose)
    best = 0.0 if found.winner is None else found.winner.accuracy
    rows = [{"accuracy": t.accuracy, "cost": t.cost} for t in found.trials]
    yield unit.record("best_accuracy", best, "%", log=rows)
    yield unit.record("hypervolume", hypervolume(found.trials, made.loose), "")


def ranked_records(made: Experiment) -> Iterator[Record]:
    """Kendall's τ of inherited and trained accuracy over networks of the loose budget."""
    unit = made.unit("ranked", 0)
    if unit.done("kendall_tau"):
        return
    rows = []
    for number, candidate in enumerate(networks_of_one_budget(made)):
        folder = unit.checkpoint / str(number)
        validation = trained_accuracy(made, alone(made.space, candidate, number), number, folder, 1)
        rows.append({"inherited": made.accuracy(candidate), "trained": validation})
    inherited, trained = ([row[name] for row in rows] for name in ("inherited", "trained"))
    yield unit.record("kendall_tau", kendall(inherited, trained), "", log=rows)


def networks_of_one_budget(made: Experiment) -> list[Candidate]:
    """Different networks, drawn at random, whose cost is 0.9 to 1 of the loose budget.

    Raises:
        UsageError: the space has hardly any.
    """
    rng = np.random.default_rng(made.protocol.seeds[0])
    drawn = (made.space.express(made.space.draw(rng)) for _ in range(DRAWS))
    kept = (c for c in drawn if 0.9 <= predict(made.space, c)[made.metric] / made.loose <= 1)
    found: dict[Candidate, None] = {}
    for candidate in kept:
        found[candidate] = None
        if len(found) == made.ranked:
            return list(found)
    raise UsageError(
        f"{made.protocol.name} asks for {made.ranked} networks that cost nearly {made.loose:g}; of "
        f"{DRAWS:,} drawn there are {len(found)}"
    )


def trained_records(made: Experiment, method: str, seed: int) -> Iterator[Record]:
    """The target inside its SubNet or alone, the hand-made one, the target with three adders."""
    unit = made.unit(method, seed)
    if unit.done(TEST):
        return
    candidate = handmade(made) if method == "handmade" else made.target
    if method == "target-add3":
        candidate = with_three_adders(candidate)
    model: nn.Module
    if method == "target-inside":
        torch.manual_seed(seed)
        options = {"remap": "analytic", "fan": "wide", "mutation": mutation_for(made.epochs)}
        model = trained_inside(made.inside, candidate, **options)
    else:
        model = alone(made.space, candidate, seed)
    yield unit.record(TEST, trained_accuracy(made, model, seed, unit.checkpoint, 2), "%")
    yield unit.record(made.metric, predict(made.space, candidate)[made.metric], "mJ")
    if isinstance(model, AugmentedNet):
        difference = augmented.export_difference(model, made.sets[2])
        yield unit.record("export_difference", difference, "")


def alone(space: Space, candidate: Candidate, seed: int) -> nn.Module:
    """The candidate, its weights drawn from ``seed``."""
    torch.manual_seed(seed)
    return space.build(candidate)


def handmade(made: Experiment) -> Candidate:
    """Of all networks with equal stages and blocks, the dearest that costs no more than the target.

    So would one scale a registered network: one multiple, one depth, one kernel, one expansion.
    """
    space, most = made.space, predict(made.space, made.target)[made.metric]
    names = ("multiples", "depths", "kernels", "expansions")
    ends = {"width": 0, "stem": 0, "depth": 1, "kernel": 2, "expansion": 3}
    found = []
    for point in product(*(getattr(space, name) for name in names)):
        genes = {
            name: point[ends[name.rpartition(".")[2]]]
            for name in space.genes
            if name.rpartition(".")[2] in ends
        }
        candidate = space.express(genes)
        found.append((predict(space, candidate)[made.metric], candidate))
    kept = [(cost, c) for cost, c in found if cost <= most]
    return max(kept or [min(found, key=lambda f: f[0])], key=lambda f: f[0])[1]


def with_three_adders(candidate: Candidate) -> Candidate:
    """The same network, its first three convolutions that may be so AddConv."""
    head, *rest = candidate.stages
    first = head.blocks[0]._replace(operator="adder")
    head = head._replace(blocks=(first, *head.blocks[1:]))
    return replace(candidate, first="adder", stages=(head, *rest))


def trained_accuracy(
    made: Experiment, model: nn.Module, seed: int, folder: Any, tested: int
) -> float:
    """Accuracy in % after training, statistics measured anew; ``tested`` 1 is validation."""
    config = made.about.training()
    config = replace(config, epochs=made.epochs, test_every=made.epochs, seed=seed)
    inside = isinstance(model, AugmentedNet)
    method = AugmentedTraining(width_epochs=0.5) if inside else None
    context = made.context
    options: dict[str, Any] = {"device": context.device, "progress": context.progress}
    train(model, *made.sets[:2], config, method=method, checkpoint=folder, **options)
    run = augmented.Trained(model, [], made.sets[0], made.sets[tested], config)
    augmented.reestimate(run, made.about.batch_norm_images)
    return 100 * augmented.right_answers(run, run.test_set).double().mean().item()
