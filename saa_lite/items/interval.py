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
