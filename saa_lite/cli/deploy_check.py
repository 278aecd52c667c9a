"""``saa-lite deploy --check``: C against PyTorch over the whole grid, one line of a file each."""

import sys
from argparse import Namespace
from fnmatch import fnmatch
from typing import Any

from saa_lite.cli.output import show, stdout_for_json
from saa_lite.cli.steps import FAILED
from saa_lite.deploy.agreement import (
    Agreement,
    agreements_path,
    cases,
    compare,
    read_agreements,
)
from saa_lite.deploy.host import compiler
from saa_lite.deploy.targets import HOST, check_tools
from saa_lite.errors import UsageError
from saa_lite.files import check_writable
from saa_lite.train.checkpoint import stop_politely


def main(arguments: Namespace) -> int:
    """Compare what is missing, say each result on stderr, show all; FAILED if any differs."""
    if arguments.checkpoint is not None:
        raise UsageError("CHECKPOINT and --check exclude each other")
    wanted = [case for case in cases() if fnmatch(str(case), arguments.check)]
    if not wanted:
        raise UsageError(
            "--check must match a combination NETWORK-OPERATOR-BITS-TARGET, such as "
            f"{cases()[0]}; got {arguments.check!r}"
        )
    if any(case.target != HOST for case in wanted):
        check_tools()
    if compiler() is None:
        raise UsageError("--check needs a C compiler: cc, gcc, clang, or the extra deploy")
    check_writable(agreements_path().parent)
    with stdout_for_json(arguments.json), stop_politely():
        for found in compare(wanted):
            print(f"{found.case}: {_said(found)}", file=sys.stderr, flush=True)
    found_all = [one for one in read_agreements() if one.case in wanted]
    show([_row(one) for one in found_all], as_json=arguments.json)
    return FAILED if any(one.wrong for one in found_all) else 0


def _said(found: Agreement) -> str:
    if found.wrong:
        return f"layer {found.wrong!r} gives other bits"
    return f"{found.maps} maps of each of {found.images} images are equal"


def _row(found: Agreement) -> dict[str, Any]:
    return {
        "network": found.case.network,
        "operator": found.case.operator,
        "bits": found.case.bits,
        "target": found.case.target,
        "images": found.images,
        "first that differs": found.wrong,
        "RAM": found.ram,
        "flash": found.flash,
    }
