"""Claims of the AdderNet-quantisation supplement on operations.

Metrics that the items record for them:

==================== ===============================================================================
multiply, add, xnor  operations of one image in the printed unit; methods conv, binary, adder
identities_failed    how many of the equations do not hold for all sizes
layers_missed        how many random layers a formula miscounts, compared with walking through them
network_overhead     operations that four scales add to the adder layers of a network, in %
==================== ===============================================================================
"""

from collections.abc import Callable

from saa_lite.items.base import Claim, Exact, Samples
from saa_lite.items.printed_counts import TABLE_1, TABLE_2, compare_network
from saa_lite.records import Record

SOURCE = "adder-quant"
SMALL = 1.1  # %; 1/(6c + 1) is 1.03 % for the narrowest layers of ResNet-20, c = 16


def _columns(table: int, label: str) -> Claim:
    """The operation columns of one network follow from the network as described."""
    item_id = f"{SOURCE}/tab{table}"

    def samples(records: list[Record]) -> Exact | None:
        compared = compare_network(records, item_id, label)
        if not compared:
            return None
        off = [found.correction for found in compared if not found.agrees]
        summary = f"{len(compared) - len(off)} of {len(compared)} columns"
        return Exact(not off, "; ".join([summary, *off]), "counted operation by operation")

    return Claim(
        f"{item_id}:operations-{label.lower()}",
        f"#Mul, #Add and #XNOR of {label} are those of the network described",
        item_id,
        f"Table {table}",
        "one image",
        samples,
    )


def _none(records: list[Record], metric: str, formula: str | None = None) -> Exact | None:
    """Whether nothing failed."""
    used = [
        record
        for record in records
        if record.metric == metric and record.settings.get("formula") == formula
    ]
    if not used:
        return None
    most = max(used, key=lambda record: int(record.settings.get("layers", 0)))
    return Exact(most.value == 0, f"wrong for {most.value:.0f} {most.unit}", most.model)


def _identities(records: list[Record]) -> Exact | None:
    return _none(records, "identities_failed")


def _any_stride(records: list[Record]) -> Exact | None:
    return _none(records, "layers_missed", "by output size")


def _as_equation_2(records: list[Record]) -> Exact | None:
    return _none(records, "layers_missed", "by input size")


def _little(records: list[Record]) -> Exact | None:
    used = [record for record in records if record.metric == "network_overhead"]
    if not used:
        return None
    worst = max(record.value for record in used)
    return Exact(worst <= SMALL, f"{worst:.2f} %", used[0].model)


def _equation(
    name: str, text: str, setting: str, samples: Callable[[list[Record]], Samples | Exact | None]
) -> Claim:
    item_id = f"{SOURCE}/eq-flops"
    return Claim(f"{item_id}:{name}", text, item_id, "equations 1 to 5", setting, samples)


ADDER_QUANT = (
    _equation(
        "ratio",
        "Equations 3 to 5 follow from equations 1 and 2, and r from them",
        "any size",
        _identities,
    ),
    _equation(
        "count",
        "With the output's size in it, the count holds for every stride, padding and kernel",
        "any layer",
        _any_stride,
    ),
    _equation(
        "equation-2",
        "Equation 2, which has one map size for input and output, holds for other strides and "
        "paddings, too (our test)",
        "any layer",
        _as_equation_2,
    ),
    _equation(
        "little",
        "Four group scales add about 1 % of operations at most",
        "ResNet layers, g = 4",
        _little,
    ),
    *(_columns(1, label) for label in TABLE_1),
    *(_columns(2, label) for label in TABLE_2),
)
