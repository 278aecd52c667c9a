"""Claims of ShiftAddAug's accuracy-energy figure.

Metrics that the item records for them: ``energy_A``, ``energy_B`` and ``energy_C``, mJ per image of
a network without first layer and classifier under each accounting; methods conv, adder and shift.
"""

from saa_lite.items.base import Claim, Exact
from saa_lite.published import find_published
from saa_lite.records import Record

ITEM = "shiftaddaug/fig5"
ACCOUNTINGS = {
    "A": "the released simulator's rules",
    "B": "honest operations and the same memory for every method",
    "C": "true bit widths",
}
CLOSE = 2.0  # points; the networks are inferred, and their energies agree within 2 %
RANKING = ("shift", "adder", "conv")  # least energy first
EXAMPLE = "mobilenet_v2_w035"  # the one network of which all three methods are among the points
LAYERS = {"all": "every layer converted", "registered": "depthwise layers multiply"}
SAVED = find_published(ITEM, "energy saved against multiplication", "")


def _energies(records: list[Record], accounting: str, model: str, layers: str) -> dict[str, float]:
    return {
        record.method: record.value
        for record in records
        if (record.metric, record.model) == (f"energy_{accounting}", model)
        and record.settings["layers"] == layers
    }


def _saving(accounting: str, rules: str) -> Claim:
    def samples(records: list[Record]) -> Exact | None:
        found = _energies(records, accounting, "mobilenet_v3_w035", "all")
        if not {"conv", "shift"} <= set(found):
            return None
        saved = 100 * (1 - found["shift"] / found["conv"])
        near = abs(saved - (SAVED.value or 0.0)) <= CLOSE
        return Exact(near, f"{saved:.1f} % less", f"MobileNetV3-w0.35 at 160², {rules}")

    return Claim(
        f"{ITEM}:saving-{accounting}",
        f"A shift network needs {SAVED.printed} % less energy than its multiplicative twin, "
        f"under {rules} ({accounting})",
        ITEM,
        f"{SAVED.printed} %",
        "the released simulator",
        samples,
    )


def _ranking(accounting: str, rules: str) -> Claim:
    """For every network and both choices of layers: a ranking that one choice turns is none."""

    def samples(records: list[Record]) -> Exact | None:
        cases = sorted({(r.model, r.settings["layers"]) for r in records})
        found = {case: _energies(records, accounting, *case) for case in cases}
        orders = {
            case: tuple(sorted(energies, key=energies.__getitem__))
            for case, energies in found.items()
            if set(energies) == set(RANKING)
        }
        if not orders:
            return None
        held = [order == RANKING for order in orders.values()]
        shown = [
            f"MobileNetV2, {words}: {_ordered(found[EXAMPLE, layers])}"
            for layers, words in LAYERS.items()
            if (EXAMPLE, layers) in orders
        ]
        return Exact(
            all(held),
            "; ".join([f"{sum(held)} of {len(held)} cases", *shown]),
            f"{len({model for model, _ in orders})} networks at 160², two choices of layers each",
        )

    return Claim(
        f"{ITEM}:ranking-{accounting}",
        f"Of one network DeepShift needs least energy, AdderNet more, multiplication most, "
        f"under {rules} ({accounting})",
        ITEM,
        "0.74, 1.091 and 2.471 mJ",
        "the released simulator",
        samples,
    )


def _ordered(energies: dict[str, float]) -> str:
    """Least energy first."""
    order = sorted(energies, key=energies.__getitem__)
    return " < ".join(f"{name} {energies[name]:.3f}" for name in order) + " mJ"


SHIFTADDAUG = (
    *(_saving(name, rules) for name, rules in ACCOUNTINGS.items()),
    *(_ranking(name, rules) for name, rules in ACCOUNTINGS.items()),
)
