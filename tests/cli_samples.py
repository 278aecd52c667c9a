"""An item that measures nothing, for the tests of the command line."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from matplotlib.figure import Figure

from saa_lite.items.base import Context
from saa_lite.items.registry import built
from saa_lite.published import PublishedNumber
from saa_lite.records import PROFILES, Record

ITEM = "addernet-impacts/eq-gradients"


@dataclass(frozen=True)
class Settings:
    seeds: int = 1
    lr: float = 0.1
    widths: tuple[int, ...] = (1,)
    dataset: str = "shapes"
    amp: bool = False


def measure(settings: Settings, context: Context) -> Iterator[Record]:
    print("a library that prints")
    used = {"lr": settings.lr, "widths": list(settings.widths)}
    unit = context.unit(method="forward", model="-", dataset="-", seed=0, settings=used)
    if not unit.done("relative_error"):
        yield unit.record("relative_error", 1e-15, "")


def picture(records: list[Record], published: list[PublishedNumber]) -> Figure:
    return Figure()


def use_toy_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item that the command line asks for is this one."""
    toy = built(ITEM, profiles={p: Settings() for p in PROFILES}, run=measure, draw=picture)
    monkeypatch.setattr("saa_lite.cli.run.get_item", lambda name: toy)
    monkeypatch.setattr("saa_lite.cli.figures.get_item", lambda name: toy)


def no_space(*arguments: object, **options: object) -> None:
    """What a full disk answers to a write."""
    raise OSError(28, "No space left on device")
