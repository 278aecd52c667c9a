"""QDrop (Wei et al., ICLR 2022): roundings and activation steps together, quantisation dropped.

Each element of a block's input is, at every iteration, with probability 0.5 what the quantised
network puts out and else what the full-precision one does; each activation inside a block is with
probability 0.5 quantised. Steps: Adam at 4e-5 over 20,000 iterations, falling as a cosine. The
target is the full-precision output, unweighted. Our reading: this package quantises inputs of
layers where the released code quantises outputs of activations, so at a block's entry the two
drops are drawn one after the other.
"""

from saa_lite.quantize.recipe import PUBLISHED_ITERATIONS, Phase, Recipe

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
