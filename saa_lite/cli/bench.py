"""``saa-lite bench``: how fast the adder layers are here, against everything else."""

import json
from argparse import Namespace

from saa_lite.cli.output import show_json, stdout_for_json
from saa_lite.errors import UsageError
from saa_lite.files import measured_dir, write_text
from saa_lite.report.tables import text_table


def main(arguments: Namespace) -> int:
    """Measure, print one table or JSON; ``--record`` keeps the report in data/measured/."""
    import torch  # noqa: PLC0415  (a second to import, and --help needs none of it)

    from saa_lite.bench.measure import measure  # noqa: PLC0415
    from saa_lite.bench.table import READING, rows  # noqa: PLC0415

    if arguments.rounds < 1:
        raise UsageError(f"--rounds must be at least 1; got {arguments.rounds}")
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise UsageError(f"--threads must be at least 1; got {arguments.threads}")
        torch.set_num_threads(arguments.threads)
    with stdout_for_json(arguments.json):
        report = measure(arguments.rounds, progress=not arguments.quiet, cases=arguments.cases)
    if not report.results:
        raise UsageError(f"no layer or network is called {', '.join(arguments.cases)}")
    if arguments.record:
        text = json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n"
        write_text(measured_dir() / "bench.json", text)
    if arguments.json:
        show_json(report.to_json())
        return 0
    print(text_table(rows(report)))
    limits = ", ".join(f"{name} {rate / 1e9:.0f} G/s" for name, rate in report.limits.items())
    print(
        f"\n{READING}\nlimit of one core: {limits}; {report.device}; torch threads {report.threads}"
    )
    print("; ".join(f"{name} {number}" for name, number in report.versions.items()))
    for warning in report.warnings:
        print(f"Mind: {warning}")
    return 0
