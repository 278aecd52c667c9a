"""Is a sample of weights nearer to a Gaussian or to a Laplace distribution?

Both have a place and a width, so their maximum likelihoods compare directly: no penalty for the
number of parameters is needed, and the sign of the difference names the nearer one.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from saa_lite.errors import check_choice

Family = Literal["gaussian", "laplace"]
FAMILIES: tuple[Family, ...] = ("gaussian", "laplace")
KURTOSIS = {"uniform": -1.2, "gaussian": 0.0, "laplace": 3.0}  # excess


@dataclass(frozen=True)
class Fit:
    """A Gaussian or Laplace distribution; ``width`` is its σ or its scale b = mean |w − m|."""

    family: Family
    centre: float
    width: float

    def _z(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.width

    def log_density(self, x: Tensor) -> Tensor:
        """Natural logarithm of the density at x, elementwise, float64."""
        z = self._z(x.double())
        if self.family == "gaussian":
            return -z.square() / 2 - math.log(self.width * math.sqrt(2 * math.pi))
        return -z.abs() - math.log(2 * self.width)

    def cdf(self, x: Tensor) -> Tensor:
        """Probability of a value below x, elementwise, float64."""
        z = self._z(x.double())
        if self.family == "gaussian":
            return torch.special.ndtr(z)
        tail = (-z.abs()).exp() / 2
        return torch.where(z < 0, tail, 1 - tail)


def fit(weights: Tensor, family: Family) -> Fit:
    """The member of the family under which ``weights`` are most likely.

    Gaussian: mean and root mean square deviation. Laplace: median and mean absolute deviation.
    """
    check_choice("family", family, FAMILIES)
    w = weights.detach().double().flatten().cpu()
    if family == "gaussian":
        return Fit(family, float(w.mean()), float(w.std(correction=0)))
    median = float(w.median())
    return Fit(family, median, float((w - median).abs().mean()))


def gaussian_log_likelihood(weights: Tensor) -> float:
    """Mean log-density in nats per weight under the fitted Gaussian, −½ ln(2πeσ²)."""
    return -math.log(2 * math.pi * math.e * fit(weights, "gaussian").width ** 2) / 2


def laplace_log_likelihood(weights: Tensor) -> float:
    """Mean log-density in nats per weight under the fitted Laplace, −ln(2eb)."""
    return -math.log(2 * math.e * fit(weights, "laplace").width)


def laplace_advantage(weights: Tensor) -> float:
    """Laplace minus Gaussian log-likelihood, nats per weight; above 0 the Laplace is nearer.

    In the limit of many weights it is +0.072 for a Laplace, −0.048 for a Gaussian and −0.130 for a
    uniform distribution, whatever centre and width. Written out it is ½ ln(π/2e) + ln(σ/b).
    """
    return laplace_log_likelihood(weights) - gaussian_log_likelihood(weights)


def excess_kurtosis(weights: Tensor) -> float:
    """E(w − μ)⁴/σ⁴ − 3; see KURTOSIS for what to expect."""
    w = weights.double().flatten()
    z = (w - w.mean()) / w.std(correction=0)
    return float(z.pow(4).mean()) - 3


def cdf_distance(weights: Tensor, family: Family) -> float:
    """Kolmogorov distance to the fit: the largest gap between the two distribution functions.

    The Gaussian fit of many Laplace weights is 0.062 off, the Laplace fit of Gaussian weights
    0.042. For n weights of the right family about 0.64/√n is left to chance.
    """
    w = weights.detach().double().flatten().cpu().sort().values
    fitted = fit(w, family).cdf(w)
    share = torch.arange(len(w) + 1, dtype=torch.float64) / len(w)
    return float(torch.maximum(share[1:] - fitted, fitted - share[:-1]).max())


def cdf_gap(weights: Tensor, family: Family, at: Tensor) -> Tensor:
    """Share of weights up to each point of ``at`` minus the fit's, float64."""
    w = weights.detach().double().flatten().cpu().sort().values
    share = torch.searchsorted(w, at.double(), right=True) / len(w)
    return share - fit(w, family).cdf(at)


def within_filters(weights: Tensor) -> Tensor:
    """Weights [filters, ...] with the mean and width of their own filter taken out.

    Filters of different widths, each Gaussian, look like a Laplace when they are thrown together;
    this takes that mixture apart.
    """
    w = weights.detach().double().flatten(1)
    return (w - w.mean(1, keepdim=True)) / w.std(1, correction=0, keepdim=True)


def standard_histogram(weights: Tensor, bins: int = 61, limit: float = 5.0) -> tuple[Tensor, ...]:
    """Bin centres and densities of (w − mean)/std from −limit to limit; the tails beyond are cut.

    Densities are per unit of the standardised weight and count all weights, those beyond included.
    """
    w = weights.detach().double().flatten().cpu()
    z = (w - w.mean()) / w.std(correction=0)
    counts, edges = torch.histogram(z, bins=bins, range=(-limit, limit))
    density = counts / z.numel() / (edges[1] - edges[0])
    return (edges[:-1] + edges[1:]) / 2, density
