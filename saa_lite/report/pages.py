"""The scorecard's pages in ``figures/``: the short tables, and everything about one source.

The table of arms says what each arm of an experiment is, in words, read off its recipe.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from saa_lite.items.claims import SOURCES
from saa_lite.items.interval import t_interval
from saa_lite.items.recipes import RECIPES, Recipe
from saa_lite.items.registry import Item, get_item, list_items
from saa_lite.items.select import training_length
from saa_lite.published import PublishedNumber, load_published
from saa_lite.records import Record, measured_records
from saa_lite.report.scorecard import (
    CHECK,
    CONTRAST,
    EXPLORATION,
    SOURCE,
    TITLES,
    Rows,
    judgements,
    scorecard_markdown,
)
from saa_lite.report.tables import markdown_table
from saa_lite.report.verdict import Judgement

OPERATORS = {
    "conv": "multiplies", "shift": "shifts", "adder": "adds", "shiftadd": "shifts, then adds",
}  # fmt: skip
PLACES = {
    "depthwise": "adder layers in depthwise positions, too",
    "first": "adder layer as stem, too",
    "last": "adder layer as classifier, too",
}
FROZEN = {
    "trained": "",
    "frozen": "adder weights never learn",
    "signs": "their signs alone, which never learn",
}


def start_rows(methods: Iterable[str]) -> list[dict[str, str]]:
    """Rows of networks trained alone: operator, start of adder weights, and what is different."""
    from saa_lite.viz.augmented import name_of  # noqa: PLC0415  (half a second of matplotlib)

    return [
        {
            "arm": name_of(method),
            "in the records": f"`{method}`",
            "the target": OPERATORS[RECIPES[method].operator],
            "adder weights start as": _start(RECIPES[method]),
            "what is different": "; ".join(_changes(RECIPES[method])),
        }
        for method in methods
    ]


def around_rows(methods: Iterable[str]) -> list[dict[str, str]]:
    """Rows of targets and what surrounds them; "—" in the last columns is "does not apply"."""
    from saa_lite.viz.augmented import name_of  # noqa: PLC0415

    return [
        {
            "arm": name_of(method),
            "in the records": f"`{method}`",
            "the target": _target(RECIPES[method]),
            "around it": _surroundings(RECIPES[method]),
            "remapped?": _remapped(RECIPES[method]),
            "sorted?": _sorted(RECIPES[method]),
        }
        for method in methods
    ]


def _start(recipe: Recipe) -> str:
    if recipe.operator != "adder":
        return ""
    if recipe.start is None or recipe.start.spread == 1:
        return "N(0, 1)"
    return f"{recipe.start.spread:g} times as wide"


def _changes(recipe: Recipe) -> list[str]:
    silent = recipe.start is not None and recipe.start.zero_init_residual
    found = [
        "residual branches start at 0" if silent else "",
        FROZEN[recipe.adders],
        "a ReLU before every adder layer" if recipe.rectified else "",
        "weights take the deviation of their inputs" if recipe.normalised else "",
        "squared distances give way to absolute ones" if recipe.annealed else "",
        f"adder layers in the first {recipe.first_adders} places" if recipe.first_adders else "",
        *(PLACES[place] for place in recipe.converts),
        *_lessons(recipe),
    ]
    return [text for text in found if text]


def _lessons(recipe: Recipe) -> list[str]:
    """What is learned beside the labels, and how."""
    if not recipe.distillation:
        return []
    options = {"criterion": "kl", "detach": True, "reduction": "batchmean", **recipe.distillation}
    wider = f"a network {recipe.teacher} times as wide, trained before"
    return [
        f"learns from {wider if recipe.teacher else 'the augmented pass'}",
        f"{options['criterion'].upper()} of weight {options['weight']:g}",
        "" if options["detach"] else "the teacher is not detached",
        "mean over classes, too" if options["reduction"] == "mean" else "",
    ]


def _target(recipe: Recipe) -> str:
    calm = ", from a calm start" if recipe.start and recipe.start.spread > 1 else ""
    once = ", rate set in each pass" if recipe.adaptive_lr == "pass" else ""
    return f"{OPERATORS[recipe.operator]}{calm}{once}"


def _surroundings(recipe: Recipe) -> str:
    around = recipe.augmentation
    if around is None or recipe.training.get("alpha") == 0:
        return "nothing"
    width, expand = (around.get(name) != (1.0,) for name in ("width", "expand"))
    parts = {"width": width, "expansion": expand, "depth": around.get("depth")}
    what = " and ".join(name for name, there in parts.items() if there)
    how = "multiplication-free" if around.get("reading") == "free" else "multiplying"
    return f"{what}, {how}" + ("; blocks mutate" if recipe.mutates else "")


def _remapped(recipe: Recipe) -> str:
    around = recipe.augmentation
    if recipe.operator == "conv":
        return ""
    maps = {"analytic": "yes", "affine-z": "by a learned affine map", None: "no"}
    return maps[around.get("remap") if around else None]


def _sorted(recipe: Recipe) -> str:
    if _surroundings(recipe) == "nothing":
        return ""
    return "yes" if recipe.training.get("sort", True) else "no"


def scorecard_file() -> str:
    """The page ``figures/scorecard.md``: the short tables, and where the long ones are."""
    pages = ", ".join(f"[{source}]({source}/claims.md)" for source in SOURCES)
    return (
        "# Scorecard\n\nGenerated by `saa-lite figures` from published numbers, protocols and "
        "tracked records. Definitions, budgets, reasons, every exploration and "
        f"every published number, a page per source: {pages}.\n\n{scorecard_markdown()}"
    )


def source_file(source: str) -> str:
    """The page ``figures/<source>/claims.md``: everything about one source."""
    found = judgements([source])
    parts = [f"# {source}\n\nGenerated by `saa-lite figures`; the short tables are in "
             "[scorecard.md](../scorecard.md).\n"]  # fmt: skip
    if any(row.estimate for row in found[SOURCE]):
        parts.append("![Statements and what was measured](forest.png)\n")
    for table, rows in ((table, rows) for table, rows in found.items() if rows):
        shown = markdown_table([_long(row, table) for row in rows])
        parts.append(f"## {TITLES[table]}\n\n{_folded(shown, table == EXPLORATION)}")
    numbers = markdown_table(number_rows([source]))
    return "\n".join([*parts, f"## Every published number\n\n{_folded(numbers, True)}"])


def number_rows(sources: Sequence[str] = SOURCES) -> Rows:
    """One row per published number, with ours beside it where an item says which records match."""
    rows = []
    for item in (get_item(listed.id) for listed in list_items() if listed.source in sources):
        records = measured_records(item.id)
        for number in load_published(item.id, related=True):
            rows.append({**_published_cells(number), **_measured_cells(item, number, records)})
    return rows


def _long(row: Judgement, table: str) -> dict[str, Any]:
    """Everything about one row, but the cells that its table leaves empty."""
    claim = row.claim
    cells = {
        "id": row.id.partition("/")[2] or row.id,
        "statement": row.text,
        "definition": claim.definition if claim else "",
        "published": "; ".join(filter(None, (row.published, claim.setting if claim else ""))),
        "measured here": row.short,
        "budget here": row.budget,
        "testable here?": ": ".join(filter(None, (row.testable, row.why))),
        "verdict": row.said,
    }
    if table == EXPLORATION:
        for name in ("testable here?", "verdict"):
            del cells[name]
    if table == CONTRAST:
        del cells["published"]
    if table == CHECK:
        del cells["budget here"]
        cells["details"] = row.why
        del cells["testable here?"]
    return cells


def _folded(table: str, fold: bool) -> str:
    return f"<details><summary>show</summary>\n\n{table}\n</details>\n" if fold else table


def _published_cells(number: PublishedNumber) -> dict[str, Any]:
    where = "related: " if number.related else ""
    return {
        "item": number.item,
        "number": f"{number.row}, {number.column}".rstrip(", "),
        "where": where + number.locator,
        "published": f"{number.printed} {number.unit}",
    }


def _measured_cells(item: Item, number: PublishedNumber, records: list[Record]) -> dict[str, Any]:
    """Mean over seeds of the longest matching run, or dashes."""
    found = [r for r in records if item.matches is not None and item.matches(number, r)]
    if not found:
        return dict.fromkeys(("measured", "seeds", "95 % interval", "epochs", "device"))
    longest = max(found, key=lambda record: (training_length(record), record.created))
    values = tuple(r.value for r in found if r.config_hash == longest.config_hash)
    mean = math.fsum(values) / len(values)
    low, high = t_interval(values) if len(values) > 1 else (math.nan, math.nan)
    return {
        "measured": f"{mean:.4g} {longest.unit}",
        "seeds": len(values),
        "95 % interval": f"[{low:.4g}, {high:.4g}]" if len(values) > 1 else None,
        "epochs": longest.epochs or None,
        "device": longest.device,
    }
