"""``saa-lite doctor``: what this machine has, what is missing, and how to get it."""

from argparse import Namespace

from saa_lite.cli.checks import Check, all_checks
from saa_lite.cli.output import show

UNUSABLE = 1


def main(arguments: Namespace) -> int:
    """Print one row per check; status 0 if everything that is needed works."""
    checks = all_checks(arguments.data_root)
    rows = [
        {"check": c.name, "state": c.state, "found": c.found, "how to get it": c.remedy}
        for c in checks
    ]
    show(rows, as_json=arguments.json)
    if not arguments.json:
        print(f"\n{verdict(checks)}")
    return UNUSABLE if any(check.state == "broken" for check in checks) else 0


def verdict(checks: list[Check]) -> str:
    """One closing sentence."""
    broken = [check.name for check in checks if check.state == "broken"]
    missing = [check.name for check in checks if check.state == "missing"]
    if broken:
        return f"Not usable yet: {', '.join(broken)}."
    if missing:
        return f"Usable. Optional and not found: {', '.join(missing)}."
    return "Usable; nothing is missing."
