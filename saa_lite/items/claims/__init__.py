"""Claims of the sources as predicates over records; verdicts are computed, never typed."""

from saa_lite.items.claims.addernet_impacts import ADDERNET_IMPACTS

CLAIMS = (*ADDERNET_IMPACTS,)
"""All claims, in the order of the catalogue."""
