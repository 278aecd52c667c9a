"""Published numbers: complete, well formed, and what the sources print."""

from decimal import Decimal
from pathlib import Path

import pytest

from saa_lite.errors import RecordError
from saa_lite.files import PACKAGE
from saa_lite.items.registry import CATALOGUE
from saa_lite.published import (
    COLUMNS,
    PublishedNumber,
    described_items,
    find_published,
    load_published,
    load_table,
    published_sources,
)

ITEMS = {
    "shiftaddaug": "fig1 fig2 fig3 fig4 fig5 regimes adders claim-cifar100 claim-segmentation",
    "shiftaddaug-supp": "fig1 tab1 tab2 tab3 addconv-nas",
    "addernet-impacts": (
        "eq-gradients fig-features fig-kernels fig-loss-cifar10 fig-loss-cifar100 claim-speed"
    ),
    "adder-quant": "eq-flops tab1 tab2 tab3 tab4 tab5 fig1",
}
IDS = [f"{source}/{name}" for source, names in ITEMS.items() for name in names.split()]

# Counts of the printed tables: rows times columns of numbers.
COUNTS = {
    "shiftaddaug/fig5": 21 * 2 + 1,
    "shiftaddaug-supp/tab1": 5,
    "shiftaddaug-supp/tab2": 6 * 4,
    "shiftaddaug-supp/tab3": 7 * 2,
    "adder-quant/tab1": 9 * 5,
    "adder-quant/tab2": 6 * 5,
    "adder-quant/tab3": 4,
    "adder-quant/tab4": 2 * 3 + 1,
    "adder-quant/tab5": 4 * 2 + 2 + 2,
}

SPOT = [
    ("shiftaddaug/fig5", "DeepShift point 1", "accuracy", "68.42", "%"),
    ("shiftaddaug/fig5", "AdderNet point 5", "energy", "16", "mJ"),
    ("shiftaddaug/fig5", "ShiftAddAug point 4", "accuracy", "74.59", "%"),
    ("shiftaddaug/claim-cifar100", "gain over direct training", "accuracy", "4.95", "points"),
    ("shiftaddaug-supp/tab1", "CELoss 0.9", "accuracy", "64.89", "%"),
    ("shiftaddaug-supp/tab1", "origin", "accuracy", "71.83", "%"),
    ("shiftaddaug-supp/tab2", "MobileNetV2-w0.35 AugAdd", "Flower102", "78.92", "%"),
    ("shiftaddaug-supp/tab2", "MCUNet Shift", "CIFAR100", "70.87", "%"),
    ("shiftaddaug-supp/tab3", "ShiftAddNet", "speed", "1.09", "it/s"),
    ("shiftaddaug-supp/tab3", "AugAdd", "memory", "7225", "MB"),
    ("shiftaddaug-supp/addconv-nas", "first 3 convolutions AddConv", "accuracy gain", "0.43", ""),
    ("adder-quant/tab1", "ResNet-20 AddNN", "#Add", "81.89", "Mop"),
    ("adder-quant/tab1", "VGG-Small BNN", "#XNOR", "0.60", "Gop"),
    ("adder-quant/tab1", "ResNet-32 BNN", "CIFAR-100", "56.21", "%"),
    ("adder-quant/tab2", "ResNet-50 AddNN", "top-5", "91.9", "%"),
    ("adder-quant/tab3", "alpha 1.0", "accuracy", "65.17", "%"),
    ("adder-quant/tab4", "QSSF", "W4A4", "-16.3", "points"),
    ("adder-quant/tab5", "CNN QDrop", "W3A3", "-5.86", "points"),
    ("addernet-impacts/fig-loss-cifar10", "AdderNet ResNet-20", "accuracy", "92.02", "%"),
    ("addernet-impacts/fig-loss-cifar100", "AdderNet ResNet-20", "accuracy", "67.60", "%"),
]


def test_catalogue_holds_exactly_the_planned_items() -> None:
    assert list(CATALOGUE) == IDS


def test_every_item_has_a_number_or_the_word_that_there_is_none() -> None:
    assert described_items() == set(IDS)


@pytest.mark.parametrize(("item", "count"), COUNTS.items())
def test_no_cell_of_a_printed_table_is_missing(item: str, count: int) -> None:
    assert len(load_published(item)) == count


@pytest.mark.parametrize(("item", "row", "column", "printed", "unit"), SPOT)
def test_spot_values(item: str, row: str, column: str, printed: str, unit: str) -> None:
    number = find_published(item, row, column)
    assert number.printed == printed
    assert number.value == float(printed)
    assert number.unit == unit or not unit


def test_numbers_of_other_publications_are_given_only_on_request() -> None:
    item = "addernet-impacts/fig-loss-cifar10"
    assert not any(number.related for number in load_published(item))
    related = [number for number in load_published(item, related=True) if number.related]
    assert {number.row for number in related} >= {"AdderNet ResNet-20", "AdderNet VGG-small"}


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("tab1", "VGG-Small"),
        ("tab1", "ResNet-20"),
        ("tab1", "ResNet-32"),
        ("tab2", "ResNet-18"),
        ("tab2", "ResNet-50"),
    ],
)
def test_additions_add_up_as_printed_except_where_a_note_says_so(table: str, model: str) -> None:
    def cell(method: str, column: str) -> PublishedNumber:
        return find_published(f"adder-quant/{table}", f"{model} {method}", column)

    xnor = cell("BNN", "#XNOR")
    total = Decimal(cell("CNN", "#Add").printed) + Decimal(xnor.printed)
    consistent = total == Decimal(cell("AddNN", "#Add").printed)
    assert consistent is ("not the printed" not in xnor.note)


@pytest.mark.parametrize("source", published_sources())
def test_tables_are_well_formed_and_say_where_each_number_stands(source: str) -> None:
    for number in load_table(PACKAGE / "published" / f"{source}.csv"):
        assert number.item in IDS
        assert number.locator
        assert bool(number.printed) == (number.row != "(no printed number)")
        assert not number.printed or number.unit


HEADER = ",".join(COLUMNS)
GOOD = "adder-quant/tab3,alpha 1.0,accuracy,65.17,%,setting,Table 3,"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("item,row\n", "line 1: the columns must be item,row,column,value"),
        (f"{HEADER}\n{GOOD}\n{GOOD}\n", "line 3: a second number"),
        (f"{HEADER}\n{GOOD},more\n", "line 2: 8 columns expected, 9 found"),
        (f"{HEADER}\n{GOOD.replace('65.17', 'lots')}\n", "line 2: value must be a number"),
        (f"{HEADER}\n{GOOD.replace('65.17', 'nan')}\n", "line 2: value must be a number"),
        (f"{HEADER}\n{GOOD.replace('%', '')}\n", "line 2: value must be a number with a unit"),
        (f"{HEADER}\n{GOOD.replace('Table 3', '')}\n", "line 2: locator is empty"),
        (f"{HEADER}\n{GOOD.replace('adder-quant/', 'other/')}\n", "belongs to another source"),
        ("", "line 1"),
    ],
)
def test_malformed_tables_name_file_and_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "adder-quant.csv"
    path.write_text(text)
    with pytest.raises(RecordError, match=complaint) as caught:
        load_table(path)
    assert str(path) in str(caught.value)


def test_unknown_cell_is_named() -> None:
    with pytest.raises(RecordError, match="row 'alpha 2', column 'accuracy'"):
        find_published("adder-quant/tab3", "alpha 2", "accuracy")
