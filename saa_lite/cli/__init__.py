"""The command ``saa-lite``: arguments in, one sentence out when something is wrong.

Each subcommand is a module of this package with a function ``main(arguments) -> int``, imported
only when asked for: ``saa-lite items`` answers without loading torch.
"""

import importlib
import itertools
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from saa_lite.allocator import restart_keeping_small_blocks
from saa_lite.cli.output import plain_warnings, printable, sentence
from saa_lite.cli.parser import build_parser
from saa_lite.errors import SaaLiteError, Stopped

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
RESUMABLE = 75  # EX_TEMPFAIL: try again, as a cluster's manager does
TRAINING = (
    "run",
    "campaign",
    "train",
    "search",
    "notebooks",
    "reproduce",
)  # subcommands that gain by it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit status.

    Errors that a user can mend become one sentence on stderr and status 2, Ctrl-C status 130,
    SIGTERM and SIGUSR1 in the midst of measuring or training status 75.
    """
    with printable():
        arguments = build_parser().parse_args(argv)
        if argv is None and arguments.module in TRAINING and _is_the_program():
            restart_keeping_small_blocks()
        return _status(arguments)


def _status(arguments: Namespace) -> int:
    try:
        with plain_warnings():
            status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        print(f"saa-lite: stopped; {arguments.resume_hint}", file=sys.stderr)
        return RESUMABLE if isinstance(stop, Stopped) else INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SaaLiteError, OSError) as error:
        print(f"saa-lite: {sentence(error)}", file=sys.stderr)
        return USER_ERROR
    return status


def _is_the_program() -> bool:
    """Whether the process was started as ``saa-lite``: another one must not start again."""
    command = sys.orig_argv
    module = ("-m", "saa_lite") in itertools.pairwise(command)
    return module or any(os.path.basename(word) == "saa-lite" for word in command[:2])


def _run(arguments: Namespace) -> int:
    module = importlib.import_module(f"saa_lite.cli.{arguments.module}")
    return int(module.main(arguments))
