"""The confidence interval that claims, tables and figures share."""

import math

from scipy.special import stdtrit

CONFIDENCE = 0.95


def t_interval(values: tuple[float, ...]) -> tuple[float, float]:
    """Two-sided 95 % Student-t interval of the mean of at least two values."""
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(variance / n)
    return mean - half, mean + half


def signed_mean(values: tuple[float, ...]) -> str:
    """Mean with its interval, as tables print a difference; without, where there is one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return f"{mean:+.2f}"
    low, high = t_interval(values)
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
