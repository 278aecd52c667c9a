"""The arguments of every subcommand; imports nothing heavy."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from saa_lite import __version__
from saa_lite.cli.options import (
    Commands,
    add_command,
    data_root_option,
    repeated,
    where,
)
from saa_lite.cli.parser_networks import (
    GOES_ON,
    add_deploy,
    add_predict,
    add_search,
    add_train,
    add_weights,
)
from saa_lite.records import PROFILES


def build_parser() -> ArgumentParser:
    """The parser of ``saa-lite``; each subcommand names its module."""
    parser = ArgumentParser(
        prog="saa-lite",
        description="Figures, tables and claims on multiplication-free networks, rebuilt.",
    )
    parser.add_argument("--version", action="version", version=f"saa-lite {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_to in (
        _doctor, _items, _run, _campaign, _record, add_train, add_predict, add_weights, add_deploy,
        add_search, _scorecard, _figures, _notebooks, _reproduce, _bench, _count,
    ):  # fmt: skip
        add_to(commands)
    return parser


def _doctor(commands: "Commands[ArgumentParser]") -> None:
    data_root_option(add_command(commands, "doctor", "check this machine and say what is missing"))


def _items(commands: "Commands[ArgumentParser]") -> None:
    add_command(commands, "items", "list all items with notebook and status")


def _run(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "run", "measure items and draw them, under data/runs/")
    command.set_defaults(resume_hint=GOES_ON)
    _what(command)
    command.add_argument(
        "--fresh", action="store_true", help="forget earlier records of this profile first"
    )
    where(command)


def _what(command: ArgumentParser, default: str = "") -> None:
    """Items, and the settings to measure them with; ``default`` says which if none is named."""
    text = f"default: {default}" if default else None
    command.add_argument("items", nargs="*" if default else "+", metavar="ITEM", help=text)
    _add_profile(command, PROFILES)
    repeated(command, "--set", "change a setting of the profile, e.g. --set epochs=15", "changes")


def _campaign(commands: "Commands[ArgumentParser]") -> None:
    text = "share the units of an item among processes and machines"
    actions = commands.add_parser("campaign", help=text, description=text).add_subparsers(
        title="actions", metavar="ACTION", required=True
    )
    run = add_command(
        actions,
        "run",
        "run what nobody else runs until all is done. Every process that shares the data/runs "
        "folder takes part, on any machine; one that is killed loses only what came after its "
        "last checkpoint. SIGTERM and SIGUSR1 stop as Ctrl-C does, with exit status 75: start it "
        "again.",
    )
    run.set_defaults(module="campaign", action="run", resume_hint=GOES_ON)
    _what(run)
    add = run.add_argument
    add("--workers", type=int, default=1, metavar="N", help="processes, or SLURM jobs (default 1)")
    add(
        "--engine",
        choices=("here", "slurm", "ssh"),
        default="here",
        help="where they run: as processes of this machine, as an array of SLURM jobs, or on "
        "--hosts that share no disk with this one",
    )
    repeated(run, "--slurm", "a parameter of submitit's, e.g. --slurm slurm_partition=gpu")
    add("--hosts", nargs="+", default=[], metavar="HOST", help="for ssh; twice for two at a time")
    add("--python", metavar="PATH", help="interpreter on the hosts (default: as here)")
    add("--only", metavar="NAME", help="one unit alone, by its name in campaign status --json")
    where(run)
    status = add_command(
        actions, "status", "what is done, what runs where, how long the rest takes"
    )
    status.set_defaults(module="campaign", action="status")
    _what(status, default="all that protocols ask trainings of; takes a minute or two")
    where(status)


def _bench(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "bench", "time the adder layers against everything else")
    command.add_argument(
        "cases", nargs="*", metavar="CASE", help="e.g. a or resnet20, on a GPU a step; default all"
    )
    command.add_argument(
        "--device", default="cpu", help="cpu (default), cuda or cuda:N: checks and times of a GPU"
    )
    command.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default 9)")
    command.add_argument("--threads", type=int, help="default: torch's; not for a GPU")
    command.add_argument("--record", action="store_true", help="into data/measured/bench")
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def _count(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "count", "count a network's operations, memory and energy")
    add = command.add_argument
    add("model", metavar="MODEL", help="a registered name, or package.module:name of your own")
    add("--resolution", type=int, metavar="R",
        help="height and width (default: as published; your own: 224)")  # fmt: skip
    add("--num-classes", type=int, metavar="C", help="default 10")
    add("--conv", metavar="K", help="conv (default), adder, shift, shift-ps, binary or shiftadd")
    add("--small-input", action="store_true", help="the form for 32 x 32 images")
    add("--in-channels", type=int, default=3, metavar="N", help="3 for colour, 1 for grey")


def _record(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "record", "keep the records of finished runs in data/measured/")
    command.add_argument("items", nargs="+", metavar="ITEM")


def _scorecard(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "scorecard", "published beside measured, with verdicts")
    command.add_argument(
        "--numbers", action="store_true", help="also every published number with ours beside it"
    )
    command.add_argument("--markdown", action="store_true", help="print Markdown")
    command.add_argument(
        "--readme",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="refresh the generated tables in README.md, docs/results.md or docs/kernels.md",
    )


def _figures(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "figures", "draw figures/ again from the tracked records")
    command.add_argument("items", nargs="*", metavar="ITEM", help="default: all measured ones")


def _add_profile(command: ArgumentParser, choices: Sequence[str]) -> None:
    command.add_argument(
        "--profile",
        choices=choices,
        default="laptop",
        help="default: laptop; smoke only shows in seconds that the code works",
    )


def _notebooks(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "notebooks", "execute the notebooks, strictly")
    command.set_defaults(resume_hint="the notebooks executed so far are kept")
    command.add_argument("names", nargs="*", metavar="NAME", help="e.g. 01; default: all")
    _add_profile(command, PROFILES[:2])
    command.add_argument(
        "--in-place", action="store_true", help="refresh the tracked notebooks (maintainers)"
    )


def _reproduce(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "reproduce", "notebooks, figures/ and scorecard, all of them")
    command.set_defaults(resume_hint="the notebooks executed so far are in data/runs/notebooks/")
    _add_profile(command, PROFILES[:2])
