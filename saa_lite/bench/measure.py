"""Running the comparisons, and what is remembered of them."""

import os
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from tqdm.auto import tqdm

from saa_lite.bench.contenders import (
    ADDER_KERNEL,
    LAYOUTS,
    backward_calls,
    compiler_found,
    forward_calls,
    limit_of,
)
from saa_lite.bench.limits import KERNELS, limit
from saa_lite.bench.networks import NETWORKS, network_calls
from saa_lite.bench.rounds import Spread, interleaved, spread, threads_share_a_core
from saa_lite.bench.shapes import SHAPES
from saa_lite.kernels import machine
from saa_lite.kernels.compile import check_compiling
from saa_lite.provenance import device_name, git_state, versions

WARM_UP = 2
ONEDNN, EMULATED = "oneDNN held to", "shorter vectors emulated by a processor with"
NOISE = 0.05  # of a time, by which it may be below a limit measured at another moment
TURN = 16e-3  # seconds: several calls of every layer, so that none is timed on cold caches


@dataclass(frozen=True)
class Result:
    """One contender in one comparison; seconds per call of ``batch`` images."""

    case: str
    work: str  # "forward", "forward + backward" or "training step"
    contender: str
    batch: int
    seconds: Spread
    distances: int | None = None  # |x − w| per call, where it is a single layer
    # Kernels: median over rounds of the limit's time over this one's, timed in the same round.
    share_of_limit: float | None = None

    @property
    def per_image(self) -> float:
        """Median seconds per image."""
        return self.seconds.median / self.batch


class Comparison(dict[str, Result]):
    """The results of one case and kind of work, by contender."""

    @property
    def ours(self) -> Result:
        """The float32 adder, channels_last where layouts were compared."""
        return self.get("ours, channels_last") or self["ours"]

    @property
    def convolution(self) -> Result:
        """The multiplying convolution in its faster layout."""
        named = [result for name, result in self.items() if name.startswith("convolution")]
        return min(named, key=lambda result: result.per_image)

    def over_convolution(self, result: Result) -> float:
        """Time per image over the convolution's."""
        return result.per_image / self.convolution.per_image


@dataclass(frozen=True)
class Report:
    """All results of one run on one machine."""

    device: str
    threads: int
    rounds: int
    versions: dict[str, str]
    commit: str
    limits: dict[str, float]  # most results per second of one core, at its best moment
    warnings: tuple[str, ...]
    results: tuple[Result, ...]
    vector_bits: int | None = None  # of the longest vectors used; None in records of before

    @property
    def file_name(self) -> str:
        """Of its record: one for each processor and length of vectors."""
        words = re.sub(r"[^a-z0-9]+", "-", self.device.lower().replace("(r)", "")).strip("-")
        return f"{words}{f'-{self.vector_bits}-bit' if self.vector_bits else ''}.json"

    def comparisons(self) -> dict[tuple[str, str], Comparison]:
        """By case and kind of work, in the order of measurement."""
        found: dict[tuple[str, str], Comparison] = {}
        for result in self.results:
            found.setdefault((result.case, result.work), Comparison())[result.contender] = result
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Report":
        """The report that :meth:`to_json` wrote."""
        results = tuple(
            Result(**{**result, "seconds": Spread(**result["seconds"])})
            for result in value["results"]
        )
        return Report(**{**value, "results": results, "warnings": tuple(value["warnings"])})


def measure(rounds: int, *, progress: bool = True, cases: Sequence[str] = ()) -> Report:
    """Time everything, each comparison by interleaved rounds.

    Args:
        rounds: per comparison; medians and quartiles are over these.
        cases: names of shapes and networks, all by default.

    Raises:
        UsageError: ``NUMBA_DISABLE_JIT=1`` is set.
    """
    check_compiling("timing")
    warnings = []
    if threads_share_a_core():
        warnings.append(
            "the threads of this process share a core, so every time with more than one thread is "
            "far too long: run it again"
        )
    if not compiler_found():
        warnings.append("torch.compile was not timed: it needs a C++ compiler, and none was found")
    work = [unit for unit in _comparisons() if not cases or unit[0] in cases]
    results: list[Result] = []
    limits = dict.fromkeys(KERNELS, 0.0)
    for _, run in tqdm(work, desc="comparisons", disable=not progress):
        results += run(rounds)
        # After each: a processor that others slow down for a while has no lower limit.
        limits = {kernel: max(best, limit(kernel)) for kernel, best in limits.items()}
    commit, dirty = git_state()
    report = Report(
        device=device_name("cpu"),
        threads=torch.get_num_threads(),
        rounds=rounds,
        versions=versions() | _held(),
        commit=commit + ("+dirty" if dirty else ""),
        limits=limits,
        warnings=tuple(warnings),
        results=tuple(results),
        vector_bits=machine.VECTOR_BITS,
    )
    if wrong := beyond_limits(report):
        warning = f"faster than its limit, which is therefore wrong, is {'; '.join(wrong)}"
        report = replace(report, warnings=(*report.warnings, warning))
    return report


def _held() -> dict[str, str]:
    """That vectors of one length compete, shorter ones than the processor's: by what, and how."""
    isa, longest = os.environ.get("ONEDNN_MAX_CPU_ISA", ""), machine.longest_bits()
    found = {ONEDNN: isa} if isa else {}
    return found | ({EMULATED: f"{longest} bits"} if longest > machine.VECTOR_BITS else {})


def beyond_limits(report: Report) -> list[str]:
    """Contenders that took less time than their own instructions do at the least.

    No such thing exists: where one is named, the limit was measured while something slowed the
    processor down.
    """
    found = []
    for result in report.results:
        kernel = limiting(result.contender)
        if result.work != "forward" or kernel is None or result.distances is None:
            continue
        least = result.distances / report.limits.get(kernel, float("inf")) / report.threads
        if result.seconds.median < least * (1 - NOISE):
            found.append(f"{result.case}: {result.contender}")
    return found


def limiting(contender: str) -> str | None:
    """The loop of :mod:`saa_lite.bench.limits` with a contender's instructions."""
    names = {"convolution": "convolution", "ours, uint8": "uint8"}
    names |= dict.fromkeys((f"ours, {layout}" for layout in LAYOUTS), "adder")
    names[ADDER_KERNEL] = "adder"
    if contender.endswith(": limit"):
        return None
    return next((limit for name, limit in names.items() if contender.startswith(name)), None)


def share_of_limit(limits: list[float] | None, kernel: list[float]) -> float | None:
    """Median over rounds of a limit's seconds over a kernel's; None without a limit.

    Both of a round are timed side by side, so that a varying clock rate falls on both.
    """
    if limits is None:
        return None
    return statistics.median(a / b for a, b in zip(limits, kernel, strict=True))


def _comparisons() -> Iterator[tuple[str, Callable[[int], list[Result]]]]:
    for shape in SHAPES:
        for work, calls in (("forward", forward_calls), ("forward + backward", backward_calls)):

            def layer(rounds: int, shape=shape, work=work, calls=calls) -> list[Result]:  # type: ignore[no-untyped-def]
                times = interleaved(calls(shape), rounds, WARM_UP, TURN)
                return [
                    Result(
                        str(shape), work, name, shape.batch, spread(t), shape.distances,
                        share_of_limit(times.get(limit_of(name)), t),
                    )
                    for name, t in times.items()
                ]  # fmt: skip

            yield shape.name, layer
    for network in NETWORKS:

        def whole(rounds: int, network=network) -> list[Result]:  # type: ignore[no-untyped-def]
            calls = network_calls(network)
            times = interleaved({key: call for key, (call, _) in calls.items()}, rounds, 1)
            return [
                Result(network.model, work, name, calls[work, name][1], spread(t))
                for (work, name), t in times.items()
            ]

        yield network.model, whole
