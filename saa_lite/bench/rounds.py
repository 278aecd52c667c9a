"""Timing by interleaved rounds: whatever slows the machine for a moment falls on every contender.

A ratio of two times taken minutes apart says as much about the machine's other work as about the
two. So all contenders of a comparison take turns, round by round, and medians are compared.
"""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)
SPIN_LIMIT = 2e-3  # seconds that a small parallel region never needs unless threads share a core


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the seconds of one contender."""

    median: float
    low: float
    high: float


def spread(seconds: list[float]) -> Spread:
    """Median and quartiles; one value stands for all three."""
    if len(seconds) == 1:
        return Spread(seconds[0], seconds[0], seconds[0])
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Spread(median, low, high)


def interleaved(
    calls: Mapping[Name, Callable[[], object]],
    rounds: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of every call in every round, the calls taking turns; warm-up rounds are dropped."""
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for index in range(warm_up + rounds):
        for name, call in calls.items():
            started = clock()
            call()
            if index >= warm_up:
                times[name].append(clock() - started)
    return times


def threads_share_a_core(attempts: int = 30) -> bool:
    """Whether parallel regions crawl: two spinning threads of this process on one core.

    It happens to unbound processes now and then and falsifies everything measured with more than
    one thread, torch's own kernels included. A new process usually has better luck.
    """
    if torch.get_num_threads() == 1:
        return False
    numbers = torch.ones(1 << 18)
    calls = {"small": lambda: numbers.add_(1)}
    return spread(interleaved(calls, attempts, 5)["small"]).median > SPIN_LIMIT
