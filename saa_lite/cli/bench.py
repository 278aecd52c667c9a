"""``saa-lite bench``: how fast the adder layers are here, against everything else."""

import json
from argparse import Namespace
from typing import TYPE_CHECKING

from saa_lite.cli import bench_gpu
from saa_lite.cli.options import resolve_device
from saa_lite.cli.output import show_json, stdout_for_json
from saa_lite.errors import UsageError
from saa_lite.files import bench_dir, check_writable, write_text
from saa_lite.report.tables import text_table

if TYPE_CHECKING:  # it imports torch, a second, and --help needs none of it
    from saa_lite.bench.measure import Report


def main(arguments: Namespace) -> int:
    """Measure, print tables or JSON; ``--record`` keeps the report in data/measured/bench."""
    if arguments.rounds < 1:
        raise UsageError(f"--rounds must be at least 1; got {arguments.rounds}")
    device = resolve_device(arguments.device)
    if device != "cpu":
        return bench_gpu.main(arguments, device)
    import torch  # noqa: PLC0415

    from saa_lite.bench.measure import measure  # noqa: PLC0415

    _check(arguments)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    with stdout_for_json(arguments.json):
        report = measure(arguments.rounds, progress=not arguments.quiet, cases=arguments.cases)
    if arguments.record:
        text = json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n"
        write_text(bench_dir() / report.file_name, text)
    if arguments.json:
        show_json(report.to_json())
    else:
        print(_report_text(report))
    return 0


def _check(arguments: Namespace) -> None:
    """Everything that can be wrong, before minutes of timing."""
    from saa_lite.bench.networks import NETWORKS  # noqa: PLC0415
    from saa_lite.bench.shapes import SHAPES  # noqa: PLC0415

    if arguments.threads is not None and arguments.threads < 1:
        raise UsageError(f"--threads must be at least 1; got {arguments.threads}")
    known = [*(shape.name for shape in SHAPES), *(network.model for network in NETWORKS)]
    if unknown := [case for case in arguments.cases if case not in known]:
        raise UsageError(f"CASE must be one of {', '.join(known)}; got {', '.join(unknown)}")
    if arguments.record:
        check_writable(bench_dir())


def _report_text(report: "Report") -> str:
    """The table, how to read it, and the circumstances under which it was measured."""
    from saa_lite.bench.table import READING, rows  # noqa: PLC0415

    limits = ", ".join(f"{name} {rate / 1e9:.0f} G/s" for name, rate in report.limits.items())
    return "\n".join(
        [
            text_table(rows(report)),
            f"\n{READING}",
            f"limit of one core: {limits}; {report.device}; torch threads {report.threads}",
            "; ".join(f"{name} {number}" for name, number in report.versions.items()),
            *(f"Mind: {warning}" for warning in report.warnings),
        ]
    )
