"""``saa-lite notebooks``: execute them all, in reading order, and say how long each took."""

from argparse import Namespace

from saa_lite.cli.output import show
from saa_lite.report.notebooks import execute, executed_copy, notebook_paths, strip_widgets


def main(arguments: Namespace) -> int:
    """Execute the named notebooks; copies go to ``data/runs/notebooks`` unless ``--in-place``."""
    rows = []
    for path in notebook_paths(arguments.names):
        if not arguments.json:
            print(f"{path.name} …", end=" ", flush=True)
        output = path if arguments.in_place else executed_copy(path, arguments.profile)
        seconds = execute(path, arguments.profile, output)
        if arguments.in_place:
            strip_widgets(path)
        rows.append(
            {"notebook": path.name, "profile": arguments.profile, "seconds": f"{seconds:.0f}"}
        )
        if not arguments.json:
            print(f"{seconds:.0f} s", flush=True)
    if arguments.json:
        show(rows, as_json=True)
    return 0
