"""The papers' printed numbers, typed once, each with the place where it is printed.

One CSV per source, and ``related.csv`` for numbers that other publications print about the same
thing: useful beside ours, but not what the sources claim.
"""

from saa_lite.published.load import (
    COLUMNS,
    PublishedNumber,
    described_items,
    find_published,
    load_published,
    load_table,
    published_sources,
)

__all__ = [
    "COLUMNS",
    "PublishedNumber",
    "described_items",
    "find_published",
    "load_published",
    "load_table",
    "published_sources",
]
