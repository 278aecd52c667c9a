"""Filters in groups of similar weight range (Nie et al.: 1-D k-means on a_t = max|w_t|).

The released code runs k-means with random starts, which fails on an empty group and cuts ties at
random. In one dimension the best grouping is known to be intervals of the sorted values, and
dynamic programming finds it: the same objective, no starts, never an empty group (our reading).
"""

import numpy as np
import torch
from torch import Tensor


def group_filters(sizes: Tensor, groups: int) -> Tensor:
    """Labels 0 … g − 1 of the filters, ascending with their size, g = min(groups, filters).

    Minimises Σ (size − mean of its group)²; of equally good cuts the leftmost.

    Args:
        sizes: [T], one number per filter, at least one.

    Returns:
        int64 [T] on the device of ``sizes``; every label occurs.
    """
    order = sizes.argsort(stable=True)
    ordered = sizes[order].double().cpu().numpy()
    starts = _best_starts(ordered, min(groups, len(ordered)))
    label_of_rank = np.searchsorted(starts, np.arange(len(ordered)), side="right") - 1
    labels = torch.empty_like(order)
    labels[order] = torch.from_numpy(label_of_rank).to(order)
    return labels


def _best_starts(ordered: np.ndarray, groups: int) -> list[int]:
    """Where each of the groups begins in the sorted values."""
    cost = _interval_costs(ordered)
    count = len(ordered)
    best, cuts = cost[0], []  # best[j]: cost of the first j values in the groups so far
    for _ in range(groups - 1):
        totals = best[:, None] + cost  # [i, j]: the new group holds the values i … j − 1
        cuts.append(totals.argmin(0))
        best = totals.min(0)
    starts, end = [], count
    for cut in reversed(cuts):
        end = int(cut[end])
        starts.append(end)
    return [0, *reversed(starts)]


def _interval_costs(ordered: np.ndarray) -> np.ndarray:
    """[i, j]: Σ (v − mean)² of the values i … j − 1; infinite where i ≥ j, as no group is empty."""
    centred = ordered - ordered.mean()  # so that the difference of sums below loses few digits
    first = np.concatenate([[0.0], centred.cumsum()])
    second = np.concatenate([[0.0], (centred**2).cumsum()])
    lengths = np.arange(len(first)) - np.arange(len(first))[:, None]
    sums, squares = first - first[:, None], second - second[:, None]
    costs = np.maximum(squares - sums**2 / np.maximum(lengths, 1), 0.0)
    return np.where(lengths > 0, costs, np.inf)
