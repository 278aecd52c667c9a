"""Timing by interleaved rounds: whatever slows the machine for a moment falls on every contender.

A ratio of two times taken minutes apart says as much about the machine's other work as about the
two. So all contenders of a comparison take turns, round by round, and medians are compared.
"""

import math
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
    turn: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    after_round: Callable[[], object] = lambda: None,
) -> dict[Name, list[float]]:
    """Seconds per call in every round, the calls taking turns; warm-up rounds are dropped.

    Args:
        turn: seconds that a turn lasts at least. A shorter call is made as often as fills it, after
            one that does not count: it would pay for the caches that the one before it has filled.
        clock: seconds; ``time.thread_time`` leaves out what other processes take.
        after_round: called, and not timed, after every round, those of the warm-up included.
    """
    fastest = dict.fromkeys(calls, math.inf)
    for _ in range(warm_up):
        for name, call in calls.items():
            fastest[name] = min(fastest[name], _seconds(call, 1, clock))
        after_round()
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            count = max(1, math.ceil(turn / fastest[name]))
            if count > 1:
                call()
            times[name].append(_seconds(call, count, clock))
        after_round()
    return times


def _seconds(call: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    """Mean seconds of ``count`` calls in a row."""
    started = clock()
    for _ in range(count):
        call()
    return (clock() - started) / count


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
