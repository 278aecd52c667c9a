"""adder-quant/tab1: CIFAR networks; see :mod:`saa_lite.items.adder_quant.operation_tables`.

The table does not say for how many classes it counts. #Mul of BNN and AddNN, 0.45 M, is first layer
plus 100-class classifier, 442,368 + 6,400; the other columns are those of 10 classes. Both are
counted; where neither agrees, the one of 10 classes is shown.
"""

from collections.abc import Iterator
from functools import partial

from saa_lite.items.adder_quant import operation_tables as tables
from saa_lite.items.base import Context, built
from saa_lite.items.printed_counts import TABLE_1, shown_beside
from saa_lite.records import Record


def run(settings: tables.Settings, context: Context) -> Iterator[Record]:
    """Count the networks of Table 1."""
    return tables.run(TABLE_1, settings, context)


ITEM = built(
    "adder-quant/tab1",
    profiles=tables.PROFILES,
    run=run,
    draw=partial(tables.table, TABLE_1),
    matches=partial(shown_beside, TABLE_1),
)
