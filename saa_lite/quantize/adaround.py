"""AdaRound (Nagel et al., ICML 2020): the rounding of each layer in turn.

The layer's output on the already quantised input is brought near its full-precision output on the
full-precision input (eq. 25, "asymmetric"), 20,000 iterations of Adam at 1e-3 on 32 of 1,024
images. Our reading: the activation behind a layer is not part of the loss, since in an arbitrary
network it need not be the layer's own; activation steps, which the paper leaves open, are those of
rounding to nearest.
"""

from saa_lite.quantize.recipe import Phase, Recipe

ADAROUND = Recipe("layer", (Phase(learns_rounding=True),))
