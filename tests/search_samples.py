"""Small spaces of networks."""

from typing import Any

from saa_lite.search import Space

SMALL = Space(8, 1, 10, stem=4, widths=(4, 8), strides=(1, 2), multiples=(1.0, 2.0), depths=(1, 2),
              kernels=(3, 5), expansions=(2, 3))  # fmt: skip


def written(**changes: Any) -> dict[str, Any]:
    """A network of ``SMALL`` as plain JSON."""
    stages = [
        {"width": 8, "blocks": [[5, 3, "shift"]]},
        {"width": 8, "blocks": [[3, 2, "conv"], [3, 3, "adder"]]},
    ]
    return {"stem": 4, "first": "adder", "stages": stages} | changes
