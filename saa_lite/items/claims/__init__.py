"""Claims of the sources as predicates over records; verdicts are computed, never typed."""

from saa_lite.items.claims.adder_quant import ADDER_QUANT
from saa_lite.items.claims.addernet_impacts import ADDERNET_IMPACTS
from saa_lite.items.claims.shiftaddaug import SHIFTADDAUG
from saa_lite.items.claims.shiftaddaug_augmented import AUGMENTED
from saa_lite.items.claims.shiftaddaug_remapping import REMAPPING
from saa_lite.items.claims.shiftaddaug_weights import WEIGHTS

CLAIMS = (*WEIGHTS, *REMAPPING, *SHIFTADDAUG, *AUGMENTED, *ADDERNET_IMPACTS, *ADDER_QUANT)
"""All claims, in the order of the catalogue."""
