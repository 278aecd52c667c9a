"""What a run is made of: units of work, each with a name, a place for its checkpoints, and records.

Each record is written as soon as it is yielded, so a killed run keeps what it has and the next
one goes on from there. Where several processes share a campaign, ``done`` claims the unit, and says
yes of one that another process has claimed; the claim ends when the item asks for the next unit.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from saa_lite.locks import LEASE
from saa_lite.records import (
    Record,
    config_hash,
    provenance,
    read_records,
    run_folder,
    unit_folder,
    unit_name,
)

STATUS = Path("/proc/self/status")


class Sharing(Protocol):
    """Who runs which unit of a campaign that many share, see :mod:`saa_lite.items.runner`."""

    def take(self, unit: "Unit") -> bool:
        """Whether this process runs the unit, now that it is known not to be finished."""


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


def peak_memory_mb(device: str = "cpu") -> float:
    """Peak memory in MB (10^6 bytes) so far: allocated on the GPU, resident of the whole process.

    The process figure includes the libraries and everything earlier in the same process; measure
    in a fresh process where memory itself is the subject.
    """
    if str(device).startswith("cuda"):
        import torch  # noqa: PLC0415  (a second to import, and not needed on a CPU)

        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        import psutil  # noqa: PLC0415  (only Windows lacks `resource`)

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    if STATUS.exists():
        (line,) = (x for x in STATUS.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # noqa: PLC0415  (absent on Windows)

    # Not on Linux: there a new process begins with the peak of the one that started it.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _clock() -> float:
    return time.perf_counter()
