"""Item shiftaddaug-supp/tab3: ratios to Base, published and measured apart."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from test_items_augmented import claim, made

from saa_lite.items.base import Context
from saa_lite.items.output import Table
from saa_lite.items.registry import get_item
from saa_lite.items.runner import run_item
from saa_lite.items.shiftaddaug_supp import tab3
from saa_lite.items.shiftaddaug_supp.step_cost import PARTS, Stepper, part_seconds
from saa_lite.items.shiftaddaug_supp.step_memory import live_megabytes
from saa_lite.protocols import load_protocol
from saa_lite.published import load_published
from saa_lite.records import Record, config_hash
from saa_lite.report.protocols import NO_VERDICT, NONE, NOT_YET, SUPPORTED, judge_protocols
from saa_lite.report.verdict import FAILS, HOLDS, judge, judge_contrast

ITEM = "shiftaddaug-supp/tab3"
SECONDS = {
    "conv": 1.0, "shift": 1.5, "adder": 2.0, "shiftadd": 3.0,
    "netaug": 6.0, "aug-shift": 7.0, "aug-adder": 9.0,
}  # fmt: skip


class Still:
    """A stepper that stands still."""

    def __init__(self, *_: object) -> None: ...

    def step(self, index: int) -> None: ...


@pytest.fixture
def table(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """The item with a clock of our own; two repeats of two steps."""
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.setattr(tab3, "in_force", lambda: "chosen")
    monkeypatch.setattr(tab3, "Stepper", Still)
    monkeypatch.setattr(tab3, "fetch_seconds", lambda stepper, count: [0.25] * count)
    observed = dict.fromkeys(PARTS, 0.5)
    monkeypatch.setattr(tab3, "part_seconds", lambda stepper, index: observed)

    def seconds(
        steppers: dict[str, object], steps: list[int], warm_up: int, *, progress: bool
    ) -> dict[str, list[float]]:
        assert (warm_up, progress) == (1, False)
        return {method: [SECONDS[method]] * len(steps) for method in steppers}

    monkeypatch.setattr(tab3, "step_seconds", seconds)
    monkeypatch.setattr(tab3, "predicted_slowdowns", lambda settings, steps: [5.0, 7.0])

    monkeypatch.setattr(tab3, "largest", lambda settings, steps, count: [1, 0])
    measured = []

    def memory(
        method: str, settings: object, steps: list[int], *, part: str, hand_back: bool
    ) -> float:
        assert steps == ([1, 0] if hand_back else [0, 1])
        measured.append((method, part, hand_back))
        share = {"pass": 0.5, "step": 1.0}[part] if hand_back else 1.5
        return 100.0 * SECONDS.get(method, 4.0) * share

    monkeypatch.setattr(tab3, "step_memory_mb", memory)
    settings = replace(tab3.PROFILES["smoke"], steps=2, seeds=2)
    records = run_item(get_item(ITEM), Context("smoke", progress=False), settings=settings)
    again = run_item(get_item(ITEM), Context("smoke", progress=False), settings=settings)
    assert [r.created for r in again] == [r.created for r in records]
    assert sum(r.metric == "step_ms" for r in records) == 2 * len(SECONDS)
    (parts,) = (r for r in records if (r.metric, r.method, r.seed) == ("parted_ms", "shift", 1))
    assert parts.log == [dict.fromkeys(PARTS, 500.0)]
    assert parts.value == 500.0 * len(PARTS)
    assert len(set(measured)) == len(measured)  # every number once
    assert {r.settings["allocator"] for r in records} == {"chosen"}
    drawn = tab3.draw(records, load_published(ITEM))
    assert isinstance(drawn, Table)
    return drawn


def test_ratios(table: Table) -> None:
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["Base", "Shift", "Add", "ShiftAddNet", "NetAug", "AugShift", "AugAdd"]
    netaug = rows["NetAug"]
    assert (netaug["it/s"], netaug["it/s with loader"]) == ("0.17", "0.16")  # 1/6 and 1/6.25
    assert (netaug["published it/s"], netaug["published memory (MB)"]) == ("8.69", "6945")
    assert netaug["GPU it/s"] == "not run"
    assert netaug["time / Base"] == "6.00 [6.00, 6.00]"
    assert netaug["memory (MB)"] == "600"
    assert netaug["memory / Base"] == "6.00"
    assert netaug["in training (MB)"] == "900"
    assert netaug["largest alone (MB)"] == "400"
    assert netaug["its pass (MB)"] == "300"
    assert netaug["MACs / Base"] == "6.00"
    assert netaug["time / MACs"] == "1.00"
    assert netaug["in training / largest alone"] == "2.25"
    assert netaug["in training / its pass"] == "3.00"
    assert netaug["published time / Base"] == "2.42"  # 21.06 / 8.69
    assert netaug["published memory / Base"] == "2.99"
    assert rows["AugShift"]["time / MACs"] == "1.17"
    assert rows["Shift"]["in training / its pass"] == "—"
    assert rows["Base"]["time / Base"] == "1.00 [1.00, 1.00]"


def cost(method: str, metric: str, seed: int, value: float) -> Record:
    unit = "MB" if metric.endswith("_mb") else "times"
    return replace(made(ITEM, method, seed, value), metric=metric, unit=unit)


def test_claims_on_time_and_memory() -> None:
    item = get_item(ITEM)
    slow = {"netaug": 6.5, "aug-shift": 6.9, "aug-adder": 10.4, "adder": 1.2, "shiftadd": 3.0}
    records = [
        cost(method, metric, seed, value + 0.01 * seed)
        for method, slowdown in slow.items()
        for metric, value in (("slowdown", slowdown), ("predicted_slowdown", 6.4))
        for seed in range(3)
    ]
    found = {c.id.partition(":")[2]: judge(c, records).estimate for c in item.claims}
    means = {name: estimate.mean for name, estimate in found.items() if estimate}
    assert means == pytest.approx(
        {
            "hybrid": 0.4,
            "hybrid-add": 3.5,
            "augmented": 5.3,
            "layers": -7.4,
            "arithmetic-netaug": 6.51 / 6.41,
            "arithmetic-aug-shift": 6.91 / 6.41,
            "arithmetic-aug-adder": 10.41 / 6.41,
        },
        rel=1e-4,
    )
    assert found["arithmetic-aug-adder"].reference == 1.5
    assert {name for name, estimate in found.items() if not estimate} == {"memory", "memory-pass"}


AUGMENTED = ("netaug", "aug-shift", "aug-adder")
NEED = {"alone_memory_mb": 100.0, "pass_memory_mb": 95.0}


def memory(
    steps: int = 100, methods: Sequence[str] = AUGMENTED, worst: float = 98.0, largest: float = 90.0
) -> list[Record]:
    """What the methods take; ``worst`` is AugAdd's training, ``largest`` the largest steps."""
    values = {"memory_mb": largest, "training_memory_mb": 98.0} | NEED
    found = {(method, metric): value for method in methods for metric, value in values.items()}
    if "aug-adder" in methods:
        found["aug-adder", "training_memory_mb"] = worst
    settings = {"steps": steps}
    return [
        replace(
            cost(method, metric, 0, value), settings=settings, config_hash=config_hash(settings)
        )
        for (method, metric), value in found.items()
    ]


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (memory(), HOLDS),
        (memory(worst=111.0), FAILS),
        (memory(largest=111.0), FAILS),  # the other use is the worse one
        (memory(steps=6), NO_VERDICT),
        (memory(methods=AUGMENTED[:2]), NO_VERDICT),
        (memory(methods=AUGMENTED[:2]) + memory(steps=200, methods=AUGMENTED[2:]), NO_VERDICT),
        ([r for r in memory() if r.metric != "training_memory_mb"], NO_VERDICT),  # the easier half
    ],
)
def test_claim_on_memory(records: list[Record], verdict: str) -> None:
    assert judge(claim(get_item(ITEM), "memory"), records).verdict == verdict


def test_claims_on_memory_name_the_worst_and_their_need() -> None:
    item = get_item(ITEM)
    said = judge(claim(item, "memory"), memory(worst=110.0))
    assert (said.verdict, said.measured) == (HOLDS, "1.10 times")
    assert said.why.startswith("the worst is AugAdd, as training runs")
    stricter = judge(claim(item, "memory-pass"), memory(worst=110.0))
    assert stricter.verdict == FAILS


def test_a_gpu_stands_in_columns_of_its_own() -> None:
    def on(device: str, seed: int, factor: float) -> list[Record]:
        values = {"step_ms": 200.0, "slowdown": 2.0, "predicted_slowdown": 2.0, "memory_mb": 30.0}
        settings = {"device": device}
        return [
            replace(
                cost(method, metric, seed, value * factor),
                settings=settings,
                config_hash=config_hash(settings),
            )
            for method in SECONDS
            for metric, value in values.items()
        ]

    drawn = tab3.draw([*on("cpu", 0, 1.0), *on("cuda", 0, 0.5)], load_published(ITEM))
    row = dict(zip(drawn.columns, drawn.rows[4], strict=True))
    assert (row["it/s"], row["GPU it/s"], row["GPU time / Base"]) == ("5.00", "10.00", "1.00")
    assert (row["memory (MB)"], row["GPU memory / Base"]) == ("30", "1.00")
    (alone,) = {row[2] for row in tab3.draw(on("cuda", 0, 0.5), load_published(ITEM)).rows}
    assert alone == "—"


def test_only_a_run_with_the_protocols_settings_carries_its_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tab3, "in_force", lambda: "chosen")
    for device, name in (("cpu", "cost-cpu"), ("cuda", "cost-gpu"), ("cuda:1", "cost-gpu")):
        context = Context("laptop", device=device, item=ITEM)
        asked = tab3.PROFILES["laptop"]
        unit = tab3._unit(context, asked, "conv", 0)
        assert unit.settings["protocol"] == load_protocol(name).label
        for other in (replace(asked, steps=19), replace(asked, seeds=4), tab3.PROFILES["full"]):
            assert "protocol" not in tab3._unit(context, other, "conv", 0).settings


def test_contrasts_of_a_protocol_are_judged_in_its_metric() -> None:
    """All but AugShift − NetAug lie far apart; the published sizes are the table's own."""
    protocol = load_protocol("cost-gpu")
    speed = {(n.row, n.column): n.value for n in load_published(ITEM)}
    for contrast in protocol.contrasts:
        first, second = (
            speed["Base", "speed"] / speed[tab3.ROWS[arm], "speed"]
            for arm in (contrast.first, contrast.second)
        )
        assert contrast.published == pytest.approx(first - second, abs=0.006)
    settings = {"protocol": protocol.label}
    slow = {"conv": 1.0, "netaug": 5.0, "aug-shift": 5.05, "shift": 1.5, "adder": 2.0}
    records = [
        replace(
            cost(method, "slowdown", seed, slow.get(method, 9.0) + 0.01 * ((seed * i) % 3)),
            settings=settings,
            config_hash=config_hash(settings),
        )
        for i, method in enumerate(tab3.ROWS)
        for seed in range(5)
    ]
    found = {one.contrast.first: one for one in judge_protocols([protocol], records)}
    assert found["aug-shift"].verdict == NONE
    assert found["adder"].verdict == SUPPORTED
    assert found["netaug"].contrast.second == "conv"
    assert judge_contrast(found["adder"], None).measured.endswith("times")
    (unfinished,) = {one.testable for one in judge_protocols([protocol], records[:-1])}
    assert unfinished == NOT_YET


@pytest.mark.parametrize("method", ["conv", "aug-shift"])
def test_the_parts_of_a_step_add_up_and_the_live_bytes_return(method: str) -> None:
    """With the item's own code on a small step; no time is asserted, only that nothing is lost."""
    stepper = Stepper(method, tab3.training(tab3.PROFILES["smoke"]))
    stepper.step(0)
    parts = part_seconds(stepper, 1)
    assert tuple(parts) == PARTS
    there = {part for part in PARTS if parts[part] > 0}
    wide = {"wide forwards", "wide backwards"}
    assert set(PARTS) - there <= (wide | {"data"} if method == "conv" else {"data"})
    assert bool(there & wide) == (method == "aug-shift")
    curve = live_megabytes(stepper, 1)
    weights = sum(p.numel() for p in stepper.run.model.parameters()) * 4e-6
    assert max(curve) > curve[-1] > 0
    assert curve[-1] <= 1.1 * weights  # gradients stay until the next step, maps do not
