"""Whoever reads a number in a notebook's text can look it up: none is copied from a live cell.

A live cell trains or times, so it prints something else on the next machine and in the next
profile, and a number copied from it contradicts the page. Text may quote what stays:

* what a cell tagged ``nbval-check-output`` of that notebook prints, rounded as one likes: it is the
  same in every profile (test_notebooks executes it), like anything computed from tracked records;
* numbers that the sources print (``saa_lite/published``), with all their digits;
* decimals that stand in the notebook's code, such as a learning rate, likewise;
* the phrases of DEFINITIONS, which no measurement can change.

What is not checked: whole numbers without a unit (they count seeds, epochs, layers), fractions in
words ("a third"), formulas and code.
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

CONSTANTS = {
    "0.798": math.sqrt(2 / math.pi),  # mean of |x| of a Gaussian, in its σ
    # Laplace advantage of exact distributions, from σ / b: uniform on ±1, Gaussian, Laplace.
    "−0.130": math.log(math.pi / (2 * math.e)) / 2 + math.log(2 / math.sqrt(3)),
    "−0.048": math.log(math.pi / (2 * math.e)) / 2 + math.log(math.sqrt(math.pi / 2)),
    "+0.072": math.log(math.pi / (2 * math.e)) / 2 + math.log(math.sqrt(2)),
}
DEFINITIONS = {  # phrase → why it may be typed
    **dict.fromkeys(CONSTANTS, "computed above"),
    "95 %": "the level of every interval",
    "0.05 nats per weight means": "an example of the unit",
    "larger than 93 %": "an example of a rank",
    "accuracy ends at 100 %": "its definition",
    "Chance is 1 % on CIFAR-100 and 10 % on CIFAR-10": "the number of classes",
    "(chance is 1 %)": "the number of classes",
}

WORDS = {
    word: number
    for number, word in enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
            *("seventeen", "eighteen", "nineteen", "twenty"),
        )
    )
}
WORDS |= {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80}
WORDS |= {"ninety": 90, "hundred": 100, "thousand": 1000}
NUMBER = r"(?<![\w.^²×])(?<!\w-)[+−-]?\d[\d,]*(?<!,)(?:\.\d+)?(?![\w^²]|\.\d)"
PRINTED = r"(?<![\w.])[+−-]?\d[\d,]*(?<!,)(?:\.\d+)?"  # "0.604G" is one, too
VALUE = rf"(?:{NUMBER}|(?<![\w-])(?:{'|'.join(WORDS)})\b)"
UNIT = r"(?:%|percent\b|points?\b|times\b|nats\b|ms\b|mJ\b|MB\b|GB\b)"
INTERVAL = rf"\[\s*{NUMBER},\s*{NUMBER}\s*\]"
COUNT = r"\d[\d,]*[ -](?:seed|epoch|image|network|iteration|bit|core|thread)"
PATTERNS = (
    INTERVAL,
    rf"{NUMBER} of (?:the )?{NUMBER}",
    rf"{VALUE}(?:(?:, | to | and | or | against ){VALUE})*\s{UNIT}",
    rf"(?={NUMBER})[+−-]?\d[\d,]*\.\d+",
)
UNREAD = r"\$\$.*?\$\$|\$[^$]*\$|```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>"


@dataclass(frozen=True)
class Number:
    """A printed number: its value, and half a unit of its last digit."""

    value: float
    half: float

    @classmethod
    def read(cls, text: str) -> "Number":
        if text in WORDS:
            return cls(WORDS[text], 0.5)
        plain = text.replace("−", "-").replace(",", "")
        return cls(float(plain), 0.5 * 10.0 ** -len(plain.partition(".")[2]))

    def rounds(self, known: float) -> bool:
        """Whether this is ``known`` or its opposite, rounded: text says "3 points behind"."""
        return abs(abs(self.value) - abs(known)) <= self.half * (1 + 1e-9)


@dataclass(frozen=True)
class Known:
    """What may be quoted: printed numbers, rounded, and others as they are."""

    numbers: frozenset[float]
    intervals: frozenset[tuple[float, float]]
    published: frozenset[float] = frozenset()
    settings: frozenset[float] = frozenset()

    def has(self, quote: str) -> bool:
        """Whether all numbers of a quote are known; two of an interval belong together."""
        found = [Number.read(text) for text in re.findall(VALUE, quote)]
        if quote.startswith("["):
            pairs = {pair for low, high in self.intervals for pair in ((low, high), (high, low))}
            return any(all(map(Number.rounds, found, pair)) for pair in pairs)
        bare = re.fullmatch(r"[+−-]?[\d,.]+", quote)
        exact = self.published | self.settings if bare else self.published
        return all(
            abs(number.value) in exact or any(map(number.rounds, self.numbers)) for number in found
        )


def quotes(text: str) -> Iterator[str]:
    """Numbers with a unit, intervals and decimals that ``text`` quotes, each once."""
    for phrase in DEFINITIONS:  # which a line may end in
        text = re.sub(r"\s+".join(map(re.escape, phrase.split())), " ", text)
    text = re.sub(UNREAD, " ", text, flags=re.DOTALL)
    for pattern in PATTERNS:
        yield from (match.group() for match in re.finditer(pattern, text))
        text = re.sub(pattern, " ", text)


def values(text: str) -> frozenset[float]:
    """All numbers in ``text`` but the ends of intervals and what counts seeds and the like."""
    text = re.sub(rf"{INTERVAL}|{COUNT}", " ", text)
    return frozenset(Number.read(number).value for number in re.findall(PRINTED, text))


def pairs(text: str) -> frozenset[tuple[float, float]]:
    """All intervals in ``text``."""
    found = [re.findall(NUMBER, interval) for interval in re.findall(INTERVAL, text)]
    return frozenset((Number.read(low).value, Number.read(high).value) for low, high in found)


@cache
def published() -> frozenset[float]:
    """All numbers of the sources, without their signs."""
    tables = sorted((ROOT / "saa_lite" / "published").glob("*.csv"))
    rows = [row for path in tables for row in csv.DictReader(path.read_text("utf-8").splitlines())]
    return frozenset(abs(float(row["value"])) for row in rows if row["value"])


@cache
def known(path: Path) -> Known:
    """What the text of a notebook may quote."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    checked = [c for c in cells if "nbval-check-output" in c.metadata.get("tags", [])]
    outputs = [output for cell in checked for output in cell.outputs]
    printed = "\n".join(
        o.get("text") or o.get("data", {}).get("text/markdown", "") for o in outputs
    )
    code = "\n".join(cell.source for cell in cells)
    return Known(values(printed), pairs(printed), published(), values(code))


def texts(path: Path) -> list[str]:
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]


def unknown(text: str, known: Known) -> list[str]:
    """Quotes in ``text`` that nothing vouches for."""
    return [quote for quote in quotes(text) if not known.has(quote)]


@each
def test_numbers_in_the_text_can_be_looked_up(path: Path) -> None:
    found = {text[:60]: unknown(text, known(path)) for text in texts(path)}
    assert {text: quoted for text, quoted in found.items() if quoted} == {}, (
        "print it in a cell tagged nbval-check-output, or leave it out"
    )


PLANTED = [
    "But why is 38.6 % left?",
    "which costs [−41.7, 33.3] points",
    "it is behind by 2.5 to 977.3 points",
    "accuracy falls by 977 points",
    "+977.3 points",
    "977 of 1,234 images are right",
    "seventy times as many parameters",
    "as much as 977 times",
    "in 1,977 ms per image",
    "and ends at 977.31, far ahead",
    "in sixty or seventy percent of them",
]


@pytest.mark.parametrize("text", PLANTED)
def test_a_planted_number_is_found(text: str) -> None:
    page = Known(values("12.3 of 9 [-1.00, +2.00] 100"), pairs("[-1.00, +2.00]"))
    assert unknown(text, page)
    assert unknown(f"A sentence.\n\n* **{text}**\n* Another.", page)


@each
def test_no_notebook_vouches_for_everything(path: Path) -> None:
    """Its own prints are not so many that any number would pass."""
    tried = [f"{tens + 0.137:.3f} %" for tens in range(0, 100, 2)]
    assert sum(known(path).has(text) for text in tried) <= 5
    assert unknown("[−41.7, 33.3]", known(path))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("behind by 2.5 points [−0.8, 5.8]", "-2.52 points, [-5.83, +0.8]"),
        ("three to four times", "3.04 and 3.96 times"),
        ("16 of 20 are lost", "+15.9 points of 19.53"),
        ("at 9.2, 5.8 and 3.4 %", "9.15  5.80  3.41"),
        ("it has 0.61 G", "| 0.608G |"),
        ("as `0.123` in $x=0.456$ or [a link](0.789.png) of MobileNetV2-w0.35, 3.5² and 2×1.5", ""),
    ],
)
def test_what_is_printed_may_be_rounded_and_turned_around(text: str, printed: str) -> None:
    assert unknown(text, Known(values(printed), pairs(printed))) == []


def test_two_ends_belong_to_one_interval() -> None:
    printed = "[1.0, 2.0] [3.0, 4.0]"
    assert unknown("[1.0, 4.0]", Known(values(printed), pairs(printed))) == ["[1.0, 4.0]"]


@pytest.mark.parametrize(("text", "value"), CONSTANTS.items())
def test_constants_are_what_they_say(text: str, value: float) -> None:
    assert Number.read(text).value == round(value, 3)


def test_no_definition_outlives_its_use() -> None:
    everything = " ".join(" ".join(text.split()) for path in NOTEBOOKS for text in texts(path))
    assert [phrase for phrase in DEFINITIONS if phrase not in everything] == []


ITEM = re.compile(r"\s*(\d+)\. ")


def accidental_items(text: str) -> list[str]:
    """Lines that a page would show as items of a list, since a sentence's number begins them."""
    found, before, last = [], "", 0
    for line in text.splitlines():
        if match := ITEM.match(line):
            number = int(match[1])
            begins = number == 1 and before.strip()[-1:] in ("", ":", ">")
            if begins or number == last + 1 > 1:
                last = number
            else:
                found.append(line)
        elif line.startswith("#"):
            last = 0
        before = line
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_sentence_is_broken_before_its_number(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert [x for c in cells if c.cell_type == "markdown" for x in accidental_items(c.source)] == []


def test_a_sentence_broken_before_its_number_is_found() -> None:
    assert accidental_items("comes near\n1. That is why") == ["1. That is why"]
    assert accidental_items("stays below\n  3. The tails") == ["  3. The tails"]
    assert accidental_items("Steps:\n\n1. one\n   more\n2. two\n\n## Next\n\n1. again") == []
