"""adder-quant/tab2: ImageNet networks; see :mod:`saa_lite.items.adder_quant.operation_tables`.

ResNet-50 is the first version, stride in the 1 × 1 layers: 3.858 G taps; the later one, which the
released AdderNet code uses, has 4.089 G and would print 4.1 G.
"""

from collections.abc import Iterator
from functools import partial

from saa_lite.items.adder_quant import operation_tables as tables
from saa_lite.items.base import Context, built
from saa_lite.items.printed_counts import TABLE_2, shown_beside
from saa_lite.records import Record


def run(settings: tables.Settings, context: Context) -> Iterator[Record]:
    """Count the networks of Table 2."""
    return tables.run(TABLE_2, settings, context)


ITEM = built(
    "adder-quant/tab2",
    profiles=tables.PROFILES,
    run=run,
    draw=partial(tables.table, TABLE_2),
    matches=partial(shown_beside, TABLE_2),
)
