"""What tells AdaRound, BRECQ and QDrop apart, in words of the one engine they share.

AdaRound (Nagel et al., ICML 2020): the rounding of each layer in turn.

The layer's output on the already quantised input is brought near its full-precision output on the
full-precision input (eq. 25, "asymmetric"), 20,000 iterations of Adam at 1e-3 on 32 of 1,024
images. Our reading: the activation behind a layer is not part of the loss, since in an arbitrary
network it need not be the layer's own; activation steps, which the paper leaves open, are those of
rounding to nearest.

BRECQ (Li et al., ICLR 2021): roundings of a block together, errors weighted by Fisher.

Released code: 20,000 iterations for the roundings with activations in full precision, then 5,000
at 4e-4 for the activation steps, with the error's power 2.4. Our reading: there, too, a block is
given what the quantised blocks before it put out (the released code gives it full precision).

QDrop (Wei et al., ICLR 2022): roundings and activation steps together, quantisation dropped.

Each element of a block's input is, at every iteration, with probability 0.5 what the quantised
network puts out and else what the full-precision one does; each activation inside a block is with
probability 0.5 quantised. Steps: Adam at 4e-5 over 20,000 iterations, falling as a cosine. The
target is the full-precision output, unweighted. Our reading: this package quantises inputs of
layers where the released code quantises outputs of activations, so at a block's entry the two
drops are drawn one after the other.
"""

from dataclasses import dataclass, replace


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


ADAROUND = Recipe("layer", (Phase(learns_rounding=True),))


STEP_ITERATIONS = 5_000

BRECQ = Recipe(
    "block",
    (
        Phase(learns_rounding=True, quantizes_inputs=False, weighted=True),
        Phase(
            share=STEP_ITERATIONS / PUBLISHED_ITERATIONS,
            learns_steps=True,
            power=2.4,
            step_travel=4e-4 * STEP_ITERATIONS,
        ),
    ),
)
"""First the roundings of all blocks, then the activation steps of all blocks."""

BRECQ_INPUTS = Recipe("block", (replace(BRECQ.phases[0], quantizes_inputs=True), *BRECQ.phases[1:]))
"""A control of ours, in no source: the roundings see quantised inputs from the start. What it
gains on BRECQ is what learning them in full precision costs, at the iterations given."""


QDROP = Recipe(
    "block",
    (
        Phase(
            learns_rounding=True,
            learns_steps=True,
            keep=0.5,
            step_travel=4e-5 * PUBLISHED_ITERATIONS,
        ),
    ),
)
