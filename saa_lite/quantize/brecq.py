"""BRECQ (Li et al., ICLR 2021): roundings of a block together, errors weighted by Fisher.

Released code: 20,000 iterations for the roundings with activations in full precision, then 5,000
at 4e-4 for the activation steps, with the error's power 2.4. Our reading: there, too, a block is
given what the quantised blocks before it put out (the released code gives it full precision).
"""

from dataclasses import replace

from saa_lite.quantize.recipe import PUBLISHED_ITERATIONS, Phase, Recipe

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
