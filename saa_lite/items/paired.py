"""Networks compared image by image: right answers of one minus those of another, on one test set.

Quantising leaves most answers as they were, so a difference of accuracies is far better known than
either accuracy. What varies is the test images alone: of other networks, trained anew, an interval
over the images of one says nothing.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from saa_lite.items.base import Samples
from saa_lite.items.interval import crossed_bootstrap, mcnemar
from saa_lite.items.select import Term, same_configuration
from saa_lite.records import Record, unpack_hits


def per_image(records: Iterable[Record], terms: Sequence[Term]) -> Samples | None:
    """Σ factor · right answers of (metric, method), in points, with an interval over the images.

    Where there are several seeds they are drawn anew, too. With two terms, one minus the other,
    there is also McNemar's p, of the first seed that has both.

    Args:
        terms: factor, metric and method of records that say which images were right.

    Returns:
        One value per seed that has all terms; None where there is none.
    """
    chosen = same_configuration(records, terms)
    found = {(r.metric, r.method, r.seed): r for r in chosen if r.hits is not None}
    rows, used = [], []
    for seed in sorted({record.seed for record in chosen}):
        row = [found.get((metric, method, seed)) for _, metric, method in terms]
        whole = [record for record in row if record is not None]
        if len(whole) == len(terms):
            hits = [unpack_hits(record.hits or "").astype(float) for record in whole]
            rows.append(sum(f * h for (f, _, _), h in zip(terms, hits, strict=True)))
            used += whole
    if not rows:
        return None
    differences = np.stack(rows)
    low, high = crossed_bootstrap(differences)
    return Samples(
        tuple(float(100 * mean) for mean in differences.mean(axis=1)),
        "points",
        tuple(used),
        interval=(100 * low, 100 * high),
        images=differences.shape[1],
        p=mcnemar(differences[0]) if len(terms) == 2 else None,
    )
