"""What tells AdaRound, BRECQ and QDrop apart, in words of the one engine they share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """One walk over all units from first to last, optimising each.

    Learning rates are given as ``travel``, rate × iterations: what Adam can move a parameter by.
    With fewer iterations than the papers' 20,000 and their rates, the roundings could not get from
    one neighbour to the other. Keeping the product, up to a largest rate, is our reading of a
    scaled-down run: below a few hundred iterations less is learned, and nothing is shaken.

    Attributes:
        share: of the iterations asked for, so many are run here.
        learns_rounding, learns_steps: what is optimised.
        quantizes_inputs: whether activations are quantised meanwhile.
        weighted: weight errors by the Fisher diagonal.
        keep: probability that an activation stays quantised.
        power: of the absolute output error that is made small.
        step_travel: rate × iterations for activation steps, relative to each; falls as a cosine.
    """

    share: float = 1.0
    learns_rounding: bool = False
    learns_steps: bool = False
    quantizes_inputs: bool = True
    weighted: bool = False
    keep: float = 1.0
    power: float = 2.0
    step_travel: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """``granularity`` is ``"layer"`` or ``"block"``; no phases at all is rounding to nearest."""

    granularity: str
    phases: tuple[Phase, ...]


PUBLISHED_ITERATIONS = 20_000
ROUNDING_TRAVEL = 1e-3 * PUBLISHED_ITERATIONS  # Adam's default rate, in all three
MOST_ROUNDING_RATE = 0.2  # v from 0 to where h(v) = 1 in 12 steps
MOST_STEP_RATE = 0.02  # of the step itself
ROUNDING_WEIGHT = 0.01  # λ of the regulariser, in all three
BATCH = 32
