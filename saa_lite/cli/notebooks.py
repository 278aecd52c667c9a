"""``saa-lite notebooks``: execute them all, in reading order, and say how long each took."""

from argparse import Namespace

from saa_lite.cli.output import show
from saa_lite.files import check_writable
from saa_lite.report.notebooks import execute, executed_copy, notebook_paths, strip_widgets


def main(arguments: Namespace) -> int:
    """Execute the named notebooks; copies go to ``data/runs/notebooks`` unless ``--in-place``."""
    rows = []
    paths = notebook_paths(arguments.names)
    outputs = [p if arguments.in_place else executed_copy(p, arguments.profile) for p in paths]
    for output in outputs:
        check_writable(output.parent)
    for path, output in zip(paths, outputs, strict=True):
        if not arguments.json:
            print(f"{path.name} …", end=" ", flush=True)
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
