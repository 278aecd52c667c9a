"""What an item is: a figure, table, equation or claim of a paper that can be run and drawn.

An item's module holds one frozen dataclass of settings and one function that measures::

    @dataclass(frozen=True)
    class Settings:
        epochs: int
        seeds: int

    def run(settings: Settings, context: Context) -> Iterator[Record]:
        for method in ("conv", "adder"):
            for seed in range(settings.seeds):
                unit = context.unit(
                    method=method, model="resnet20", dataset="cifar10", seed=seed,
                    epochs=settings.epochs, settings={"epochs": settings.epochs},
                )
                if unit.done("accuracy"):
                    continue
                history = train(..., checkpoint=unit.checkpoint)
                yield unit.record("accuracy", 100 * history[-1]["test_accuracy"], "%", log=history)

    ITEM = built(
        "addernet-impacts/fig-loss-cifar10",
        profiles={"smoke": Settings(1, 1), "laptop": Settings(5, 2), "full": Settings(400, 5)},
        run=run,
        draw=draw,
    )

Each record is written as soon as it is yielded, so a killed run keeps what it has and the next
one goes on from there. Where several processes share a campaign, ``done`` claims the unit, and says
yes of one that another process has claimed; the claim ends when the item asks for the next unit.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from saa_lite.items.memory import peak_memory_mb
from saa_lite.items.output import Table
from saa_lite.locks import LEASE
from saa_lite.published import PublishedNumber
from saa_lite.records import (
    Record,
    config_hash,
    provenance,
    read_records,
    run_folder,
    unit_folder,
    unit_name,
)

if TYPE_CHECKING:  # matplotlib takes half a second, and `saa-lite items` answers without it
    from matplotlib.figure import Figure

Kind = Literal["figure", "table", "equation", "claim"]
Draw = Callable[[list[Record], list[PublishedNumber]], "Figure | Table"]
Run = Callable[[Any, "Context"], Iterator[Record]]


class Sharing(Protocol):
    """Who runs which unit of a campaign that many share, see :mod:`saa_lite.items.sharing`."""

    def take(self, unit: "Unit") -> bool:
        """Whether this process runs the unit, now that it is known not to be finished."""


@dataclass(frozen=True)
class Samples:
    """One number per seed, and the records behind them.

    For a comparison of two methods each value is the paired difference of one seed. ``reference``
    is the number that the statement is about, mostly 0. Where networks are compared image by image
    (:mod:`saa_lite.items.interval`) ``interval`` is over so many ``images``; ``p`` is McNemar's.
    """

    values: tuple[float, ...]
    unit: str
    records: tuple[Record, ...]
    reference: float = 0.0
    interval: tuple[float, float] | None = None
    images: int = 0
    p: float | None = None


@dataclass(frozen=True)
class Exact:
    """A statement without chance in it: either it holds or it does not."""

    holds: bool
    measured: str
    detail: str


@dataclass(frozen=True)
class Claim:
    """A row of the scorecard: a statement of a source, an exact check, or a comparison of ours.

    Read from ``published/claims/``, see :mod:`saa_lite.items.claims`; judged by
    :mod:`saa_lite.report.verdict`.

    Attributes:
        table: ``"source"``, ``"check"`` or ``"exploration"``.
        text: at most 60 characters; ``definition`` says what is computed.
        published: what the source prints, ``size`` the same as one number, if it is one, and
            ``setting`` where it says it holds; ``at`` is that setting, as far as it is known, in
            fields and settings of a record: equal for names, at least as much for numbers.
        untestable: why a source's statement has no verdict while no protocol bears on it;
            ``because`` in a sentence.
        key: whether short tables show an exploration.
        matters: of a statement that one network tests, image by image: the smallest difference, in
            points, that would matter. ``family``: so many such statements there are of its item.
        samples: what records say of it; None where they do not bear on it.
    """

    id: str
    table: Literal["source", "check", "exploration"]
    text: str
    definition: str
    samples: Callable[[list[Record]], Samples | Exact | None]
    published: str = ""
    size: float | None = None
    setting: str = ""
    at: Mapping[str, Any] = field(default_factory=dict)
    untestable: str = ""
    because: str = ""
    key: bool = False
    matters: float | None = None
    family: int = 1

    @property
    def item(self) -> str:
        """Id of the item it belongs to."""
        return self.id.partition(":")[0]


@dataclass(frozen=True)
class Item:
    """One figure, table, equation or claim of a source.

    ``profiles`` maps smoke, laptop and full to a settings dataclass; ``run`` measures, ``draw``
    pictures, both None until the item is built. ``matches`` tells which records stand beside a
    published number in the scorecard. ``timed`` items measure times, which other work on the same
    machine would spoil, so their campaigns are not shared.
    """

    id: str
    title: str
    source: str
    kind: Kind
    notebook: str
    profiles: Mapping[str, Any] = field(default_factory=dict)
    run: Run | None = None
    draw: Draw | None = None
    claims: tuple[Claim, ...] = ()
    matches: Callable[[PublishedNumber, Record], bool] | None = None
    timed: bool = False


@dataclass(frozen=True)
class Context:
    """How a run was asked for; nothing here changes what is measured, only where and how."""

    profile: str
    data_root: Path | None = None
    device: str = "cpu"
    progress: bool = True
    download: bool = False
    item: str = ""  # filled in by the runner, like everything below
    finished: tuple[Record, ...] = ()
    touched: dict[tuple[str, ...], str] = field(default_factory=dict)  # key → its claim's name
    sharing: Sharing | None = None

    def unit(
        self,
        *,
        method: str,
        model: str,
        dataset: str,
        seed: int,
        settings: Mapping[str, Any],
        epochs: int = 0,
        together: str = "",
    ) -> "Unit":
        """The smallest piece of work that can be resumed; its clock starts now.

        Args:
            method: what is compared, e.g. "conv" and "adder".
            model, dataset: registry names; of ``folder:PATH`` only the last part is kept.
            seed: of initialisation and order; runs of the same seed are compared in pairs.
            settings: JSON values that change the result and that the methods under comparison
                share: no method, no seed, not how many seeds. For a trained network say
                ``train_images`` and ``test_images``. A timing belongs to a machine: put
                ``context.device`` in.
            epochs: of training, 0 where nothing is trained.
            together: what units that differ only in method are claimed as, all at once; by default
                each is claimed alone. Say it where they share work, such as one trained network.
        """
        label = dataset_label(dataset)
        unit = Unit(
            self, method, model, label, seed, dict(settings), epochs, together or method, _clock()
        )
        self.touched[unit.key] = unit.lease.stem
        return unit


@dataclass(frozen=True)
class Unit:
    """One method, model, dataset, seed and configuration of an item."""

    context: Context
    method: str
    model: str
    dataset: str
    seed: int
    settings: dict[str, Any]
    epochs: int
    together: str
    started: float

    @property
    def key(self) -> tuple[str, ...]:
        """What the records of this unit have in common."""
        return (self.dataset, self.model, self.method, config_hash(self.settings), str(self.seed))

    def done(self, *metrics: str, instead: str = "") -> bool:
        """Whether an earlier run of this profile has recorded all the metrics.

        Where a campaign is shared, also whether another process is at it; if not, this one is now.

        Args:
            instead: a metric that ends the unit, too, in place of all the others.
        """

        def complete(known: set[str]) -> bool:
            return set(metrics) <= known or instead in known

        key = self.key  # a hash of all settings: once, and not per record
        known = {record.metric for record in self.context.finished if unit_key(record) == key}
        if complete(known) or self.context.sharing is None:
            return complete(known)
        if not self.context.sharing.take(self):
            return True
        # Others may have finished it since this process read what there is.
        return complete(known | {record.metric for record in self._shared()})

    def _shared(self) -> list[Record]:
        """Records that a shared campaign has of this unit."""
        folder = unit_folder(self.context.item, self.context.profile)
        found = read_records(folder / f"{self._named(self.method)}.jsonl")
        key = self.key
        return [record for record in found if unit_key(record) == key]

    @property
    def checkpoint(self) -> Path:
        """Folder for this unit's checkpoints, under the ignored ``data/runs``."""
        return checkpoint_folder(self.context.item) / self._named(self.method)

    @property
    def lease(self) -> Path:
        """What stands for the claim on this unit, or on those that are claimed with it."""
        return checkpoint_folder(self.context.item) / (self._named(self.together) + LEASE)

    def _named(self, method: str) -> str:
        return unit_name(method, self.model, self.dataset, self.key[3], self.seed)

    def record(
        self,
        metric: str,
        value: float,
        unit: str,
        *,
        log: Sequence[Mapping[str, float | None]] | None = None,
        seconds: float | None = None,
        hits: str | None = None,
    ) -> Record:
        """A record of this unit.

        Args:
            metric: name of the quantity, e.g. "accuracy".
            value: finite, in ``unit`` ("%" for accuracies, "ms" for latencies, …).
            log: one mapping of numbers per epoch.
            seconds: wall time of the work; by default since the unit was asked for. Give the sum
                over epochs for a training that may have been resumed.
            hits: of :func:`saa_lite.records.pack_hits`, where networks are compared per image.
        """
        origin = provenance(self.context.device)
        return Record(
            item=self.context.item,
            metric=metric,
            value=float(value),
            unit=unit,
            method=self.method,
            model=self.model,
            dataset=self.dataset,
            seed=self.seed,
            profile=self.context.profile,
            epochs=self.epochs,
            device=origin["device"],
            versions=origin["versions"],
            config_hash=self.key[3],
            commit=origin["commit"] + ("+dirty" if origin["dirty"] else ""),
            seconds=round(_clock() - self.started if seconds is None else seconds, 3),
            peak_memory_mb=round(peak_memory_mb(self.context.device), 1),
            settings=self.settings,
            log=None if log is None else [dict(row) for row in log],
            hits=hits,
        )


def checkpoint_folder(item_id: str) -> Path:
    """``data/runs/<source>/<item>/checkpoints``: of all units, and the claims on them."""
    return run_folder(item_id) / "checkpoints"


def unit_key(record: Record) -> tuple[str, ...]:
    """The key of the unit that made ``record``."""
    return (
        record.dataset,
        record.model,
        record.method,
        record.config_hash,
        str(record.seed),
    )


def dataset_label(name: str) -> str:
    """The name of a set without the folders of this machine: ``folder:/a/b`` is ``folder:b``."""
    kind, colon, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if colon else name


def built(
    item_id: str,
    *,
    profiles: Mapping[str, Any],
    run: Run,
    draw: Draw,
    matches: Callable[[PublishedNumber, Record], bool] | None = None,
    timed: bool = False,
) -> Item:
    """The catalogue's item with its settings, measurement and drawing attached."""
    from saa_lite.items.catalogue import CATALOGUE  # noqa: PLC0415  (catalogue imports Item)

    return replace(
        CATALOGUE[item_id],
        profiles=dict(profiles),
        run=run,
        draw=draw,
        matches=matches,
        timed=timed,
    )


def _clock() -> float:
    return time.perf_counter()
