"""Running steps on a GPU: each within its time, each result kept at once.

A GPU that somebody else lends for minutes may hang, fault or be taken away. So the steps run in a
process of their own, which is killed and started anew where a step takes too long or fails, and
every result goes into the record as it comes: whatever is in it counts. The same command goes on
with the steps that the record does not hold yet, as long as code, device and versions are the same.
"""

import json
import math
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saa_lite.files import flush_to_disk, write_text

Row = dict[str, Any]  # a row with holds=False says that something is wrong
BUDGET = 230.0  # seconds for all steps together
LEAST = 5.0  # seconds that are worth beginning a step for
MOST_WORKERS = 8
FINISHED = ("right", "wrong")
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Place:
    """Where steps run: "cuda", "cuda:N", or "cpu", to rehearse them in Triton's interpreter."""

    device: str
    rounds: int = 5

    @property
    def rehearsal(self) -> bool:
        """Whether there is no GPU: few and small cases, and times that mean nothing."""
        return not self.device.startswith("cuda")


@dataclass(frozen=True)
class Step:
    """Something to do on the device: a function of a module, which yields its results."""

    name: str
    run: Callable[[Place], Iterable[Row]]
    seconds: float


@dataclass
class Outcome:
    """How a step ended: "right", "wrong", "failed", "out of time" or "not begun"."""

    step: str
    status: str
    seconds: float
    error: str = ""
    rows: list[Row] = field(default_factory=list)

    @property
    def summary(self) -> Row:
        """Its last line in the record."""
        return {
            "step": self.step,
            "status": self.status,
            "seconds": round(self.seconds, 1),
            "error": self.error,
        }


class Record:
    """Lines of JSON: one about the device and the code, one per result, one per step that ended."""

    def __init__(self, path: Path | None, header: Row) -> None:
        """Without a path nothing is kept. A record of other code or another device begins anew."""
        self.path, self.lines = path, [header]
        kept = read_lines(path) if path else []
        if kept and kept[0] == header:
            ended = {line["step"] for line in kept if line.get("status") in FINISHED}
            self.lines = [kept[0], *(line for line in kept[1:] if line["step"] in ended)]
        if path:
            write_text(path, "".join(map(_line, self.lines)))

    @property
    def finished(self) -> set[str]:
        """Names of the steps that need not be repeated."""
        return {line["step"] for line in self.lines if line.get("status") in FINISHED}

    def add(self, line: Row) -> None:
        """Keep a line, on the disk before anything else happens."""
        self.lines.append(line)
        if self.path:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(_line(line))
            flush_to_disk(self.path)


def _line(value: Row) -> str:
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """NaN and infinities as words, which every reader of JSON knows."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def read_lines(path: Path) -> list[Row]:
    """The lines of a record, up to one that was torn while it was written; none without a file."""
    found: list[Row] = []
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return found
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def run_steps(
    steps: Sequence[Step], place: Place, record: Record, seconds: float = BUDGET
) -> Iterator[Outcome]:
    """Do what the record lacks, step by step; what does not fit into the seconds is not begun."""
    ends, worker = time.monotonic() + seconds, None
    before = os.environ.get("TRITON_CACHE_DIR")
    with tempfile.TemporaryDirectory() as compiled:
        os.environ["TRITON_CACHE_DIR"] = compiled  # so that first calls compile
        try:
            for step in steps:
                left = ends - time.monotonic()
                if step.name in record.finished:
                    continue
                if left < LEAST:
                    outcome = Outcome(step.name, "not begun", 0.0, "no time was left")
                else:
                    worker = worker or _Worker(place)
                    outcome = worker.do(step, min(step.seconds, left), record)
                record.add(outcome.summary)
                if worker and outcome.status not in FINISHED:
                    worker.kill()
                    worker = None
                yield outcome
        finally:
            if worker:
                worker.kill()
            if before is None:
                del os.environ["TRITON_CACHE_DIR"]
            else:
                os.environ["TRITON_CACHE_DIR"] = before


class _Worker:
    """The process that has the device."""

    def __init__(self, place: Place) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, place))
        self.process.start()
        theirs.close()

    def do(self, step: Step, seconds: float, record: Record) -> Outcome:
        started = time.monotonic()
        outcome = Outcome(step.name, "out of time", 0.0, f"it took longer than {seconds:.0f} s")
        try:
            self.connection.send(step.run)
            while self.connection.poll(max(0.0, started + seconds - time.monotonic())):
                kind, value = self.connection.recv()
                if kind == "row":
                    outcome.rows.append(value)
                    record.add({"step": step.name, **value})
                    continue
                right = all(row.get("holds", True) for row in outcome.rows)
                outcome.status = kind if kind == "failed" else "right" if right else "wrong"
                outcome.error = value
                break
        except (EOFError, OSError):
            self.process.join(LEAST)
            code = self.process.exitcode
            outcome.status, outcome.error = "failed", f"its process ended with status {code}"
        outcome.seconds = time.monotonic() - started
        return outcome

    def kill(self) -> None:
        """End the process and those that it started."""
        self.connection.close()
        if self.process.pid and self.process.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # it has not made its group yet
                self.process.kill()
        self.process.join()


def _serve(connection: Any, place: Place) -> None:
    os.setpgid(0, 0)  # a group, to be killed as one
    if not place.rehearsal:
        import torch  # noqa: PLC0415 - a second, and only here

        torch.cuda.set_device(place.device)
    while True:
        try:
            run = connection.recv()
        except EOFError:
            return
        try:
            for row in run(place):
                connection.send(("row", row))
            connection.send(("ended", ""))
        except Exception as error:  # whatever it is, the next step shall run
            connection.send(("failed", f"{type(error).__name__}: {error}"[:2000]))


def in_parallel(function: Callable[..., Any], work: Sequence[Any], place: Place) -> Iterator[Any]:
    """``function(piece, place)`` of every piece, in several processes: most time is compiling."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    workers = 1 if place.rehearsal else min(MOST_WORKERS, cores // 2)
    if workers < 2:
        yield from (function(piece, place) for piece in work)
        return
    with ProcessPoolExecutor(workers, mp_context=SPAWN) as pool:
        yield from pool.map(function, work, [place] * len(work))
