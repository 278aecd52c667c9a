"""Claims of the sources as predicates over records; verdicts are computed, never typed."""

from saa_lite.items.claims.adder_quant import ADDER_QUANT
from saa_lite.items.claims.adder_quant_accuracy import ADDER_QUANT_ACCURACY
from saa_lite.items.claims.adder_quant_changes import ADDER_QUANT_CHANGES
from saa_lite.items.claims.addernet_impacts import ADDERNET_IMPACTS
from saa_lite.items.claims.shiftaddaug import SHIFTADDAUG
from saa_lite.items.claims.shiftaddaug_addconv import ADDCONV
from saa_lite.items.claims.shiftaddaug_augmented import AUGMENTED
from saa_lite.items.claims.shiftaddaug_cost import COST
from saa_lite.items.claims.shiftaddaug_parts import PARTS_CLAIMS
from saa_lite.items.claims.shiftaddaug_remapping import REMAPPING
from saa_lite.items.claims.shiftaddaug_weights import WEIGHTS

CLAIMS = (
    *WEIGHTS,
    *REMAPPING,
    *SHIFTADDAUG,
    *AUGMENTED,
    *ADDCONV,
    *PARTS_CLAIMS,
    *COST,
    *ADDERNET_IMPACTS,
    *ADDER_QUANT,
    *ADDER_QUANT_ACCURACY,
    *ADDER_QUANT_CHANGES,
)
"""All claims, in the order of the catalogue."""
