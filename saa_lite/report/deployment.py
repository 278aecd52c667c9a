"""The tables of docs/deployment.md: where C was compared with PyTorch, and flash as predicted."""

from itertools import groupby

from saa_lite.deploy.agreement import Agreement, cases, read_agreements
from saa_lite.deploy.targets import HOST
from saa_lite.report.tables import markdown_table


def agreement_block() -> str:
    """Markdown of the tracked comparisons, a row for each network and operator, then of sizes."""
    found = read_agreements()
    rows = []
    for (network, operator), group in groupby(_by_network(found), key=_network):
        ones = list(group)
        here = [one for one in ones if one.case.target == HOST]
        there = [one for one in ones if one.case.target != HOST]
        rows.append(
            {
                "network": f"{network}, {ones[0].size}²",
                "operator": operator,
                "bits, compiled here": ", ".join(str(one.case.bits) for one in here) or None,
                "images each": _images(here),
                "emulated, 4 bits": ", ".join(one.case.target for one in there) or None,
                "images each ": _images(there),
                "maps of an image": ones[0].maps,
                "differ": sum(one.wrong is not None for one in ones),
            }
        )
    missing = len(cases()) - len(found)
    rest = f" {missing} combinations of the grid are still to be run." if missing else ""
    return f"{markdown_table(rows)}\n{len(found)} combinations.{rest}\n\n{_sizes(found)}"


def _sizes(found: list[Agreement]) -> str:
    return markdown_table(
        [
            {
                "network": f"{one.case.network}, {one.case.operator}",
                "target": one.case.target,
                "RAM": one.ram,
                "predicted": one.predicted_ram,
                "flash": one.flash,
                "predicted ": one.predicted_flash,
                "off by": f"{one.predicted_flash / one.flash - 1:+.1%}",
                "instructions per image": f"{one.instructions:,}",
            }
            for one in found
            if one.flash and one.predicted_flash
        ]
    )


def _by_network(found: list[Agreement]) -> list[Agreement]:
    """The emulated ones behind those of the same network and operator."""
    order = dict.fromkeys(_network(one) for one in found)
    return [one for name in order for one in found if _network(one) == name]


def _network(one: Agreement) -> tuple[str, str]:
    return one.case.network, one.case.operator


def _images(ones: list[Agreement]) -> int | None:
    return min((one.images for one in ones), default=None)
