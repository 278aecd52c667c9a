"""The arguments of every subcommand; imports nothing heavy."""

from argparse import ArgumentParser, BooleanOptionalAction, _SubParsersAction
from collections.abc import Sequence
from pathlib import Path

from saa_lite import __version__
from saa_lite.records import PROFILES

Commands = _SubParsersAction
GOES_ON = "finished parts are kept, and the same command goes on from there"


def build_parser() -> ArgumentParser:
    """The parser of ``saa-lite``; each subcommand names its module."""
    parser = ArgumentParser(
        prog="saa-lite",
        description="Figures, tables and claims on multiplication-free networks, rebuilt.",
    )
    parser.add_argument("--version", action="version", version=f"saa-lite {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_to in (
        _doctor, _items, _run, _campaign, _record, _train, _predict, _weights, _deploy, _search,
        _scorecard, _figures, _notebooks, _reproduce, _bench, _count,
    ):  # fmt: skip
        add_to(commands)
    return parser


def _command(commands: "Commands[ArgumentParser]", name: str, text: str) -> ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(module=name, resume_hint="nothing was changed")
    command.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    return command


def _where(command: ArgumentParser) -> None:
    """Options that say where to compute and where the data lie."""
    _device(command)
    _data(command)


def _device(command: ArgumentParser) -> None:
    text = "auto (a GPU if there is one), cpu, cuda or cuda:N"
    command.add_argument("--device", default="auto", help=text)


def _data(command: ArgumentParser) -> None:
    _data_root(command)
    command.add_argument("--download", action="store_true", help="fetch data sets that are missing")
    command.add_argument("--quiet", action="store_true", help="no progress bars")


def _data_root(command: ArgumentParser) -> None:
    command.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="folder of the data sets (default: SAA_DATA_ROOT, else data/)",
    )


def _doctor(commands: "Commands[ArgumentParser]") -> None:
    _data_root(_command(commands, "doctor", "check this machine and say what is missing"))


def _items(commands: "Commands[ArgumentParser]") -> None:
    _command(commands, "items", "list all items with notebook and status")


def _run(commands: "Commands[ArgumentParser]") -> None:
    command = _command(commands, "run", "measure items and draw them, under data/runs/")
    command.set_defaults(resume_hint=GOES_ON)
    _what(command)
    command.add_argument(
        "--fresh", action="store_true", help="forget earlier records of this profile first"
    )
    _where(command)


def _what(command: ArgumentParser, default: str = "") -> None:
    """Items, and the settings to measure them with; ``default`` says which if none is named."""
    text = f"default: {default}" if default else None
    command.add_argument("items", nargs="*" if default else "+", metavar="ITEM", help=text)
    _add_profile(command, PROFILES)
    _repeated(command, "--set", "change a setting of the profile, e.g. --set epochs=15", "changes")


def _repeated(command: ArgumentParser, name: str, text: str, dest: str = "") -> None:
    """An option NAME=VALUE that may be given several times."""
    command.add_argument(
        name,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"{text}; may be repeated",
        dest=dest or name.lstrip("-"),
    )


def _campaign(commands: "Commands[ArgumentParser]") -> None:
    text = "share the units of an item among processes and machines"
    actions = commands.add_parser("campaign", help=text, description=text).add_subparsers(
        title="actions", metavar="ACTION", required=True
    )
    run = _command(
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
    _repeated(run, "--slurm", "a parameter of submitit's, e.g. --slurm slurm_partition=gpu")
    add("--hosts", nargs="+", default=[], metavar="HOST", help="for ssh; twice for two at a time")
    add("--python", metavar="PATH", help="interpreter on the hosts (default: as here)")
    add("--only", metavar="NAME", help="one unit alone, by its name in campaign status --json")
    _where(run)
    status = _command(actions, "status", "what is done, what runs where, how long the rest takes")
    status.set_defaults(module="campaign", action="status")
    _what(status, default="all that protocols ask trainings of; takes a minute or two")
    _where(status)


def _bench(commands: "Commands[ArgumentParser]") -> None:
    command = _command(commands, "bench", "time the adder layers against everything else")
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
    command = _command(commands, "count", "count a network's operations, memory and energy")
    add = command.add_argument
    add("model", metavar="MODEL", help="a registered name, or package.module:name of your own")
    add("--resolution", type=int, metavar="R",
        help="height and width (default: as published; your own: 224)")  # fmt: skip
    add("--num-classes", type=int, metavar="C", help="default 10")
    add("--conv", metavar="K", help="conv (default), adder, shift, shift-ps, binary or shiftadd")
    add("--small-input", action="store_true", help="the form for 32 x 32 images")
    add("--in-channels", type=int, default=3, metavar="N", help="3 for colour, 1 for grey")


def _record(commands: "Commands[ArgumentParser]") -> None:
    command = _command(commands, "record", "keep the records of finished runs in data/measured/")
    command.add_argument("items", nargs="+", metavar="ITEM")


def _scorecard(commands: "Commands[ArgumentParser]") -> None:
    command = _command(commands, "scorecard", "published beside measured, with verdicts")
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
    command = _command(commands, "figures", "draw figures/ again from the tracked records")
    command.add_argument("items", nargs="*", metavar="ITEM", help="default: all measured ones")


def _add_profile(command: ArgumentParser, choices: Sequence[str]) -> None:
    command.add_argument(
        "--profile",
        choices=choices,
        default="laptop",
        help="default: laptop; smoke only shows in seconds that the code works",
    )


def _notebooks(commands: "Commands[ArgumentParser]") -> None:
    command = _command(commands, "notebooks", "execute the notebooks, strictly")
    command.set_defaults(resume_hint="the notebooks executed so far are kept")
    command.add_argument("names", nargs="*", metavar="NAME", help="e.g. 01; default: all")
    _add_profile(command, PROFILES[:2])
    command.add_argument(
        "--in-place", action="store_true", help="refresh the tracked notebooks (maintainers)"
    )


def _reproduce(commands: "Commands[ArgumentParser]") -> None:
    command = _command(commands, "reproduce", "notebooks, figures/ and scorecard, all of them")
    command.set_defaults(resume_hint="the notebooks executed so far are in data/runs/notebooks/")
    _add_profile(command, PROFILES[:2])


def _train(commands: "Commands[ArgumentParser]") -> None:
    command = _command(commands, "train", "train one network")
    command.set_defaults(resume_hint="add --resume to go on from the last checkpoint")
    add = command.add_argument
    add(
        "--recipe",
        metavar="NAME",
        help="a recipe that `saa-lite weights` lists, or your own .toml file, in place of all "
        "options down to --seed",
    )
    _by_hand(command)
    add("--seed", type=int, help="default 0")
    add("--out", type=Path, metavar="DIR",
        help="default: data/runs/train/RECIPE, or MODEL-CONV-DATASET")  # fmt: skip
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    _where(command)


def _by_hand(command: ArgumentParser) -> None:
    """What a recipe says, option by option."""
    add = command.add_argument
    add("--task", help="classification (default), or segmentation of images with masks")
    add(
        "--model",
        help="a name of saa_lite.models.list_models() (default resnet20; mobilenet_v2_tiny for "
        "segmentation)",
    )
    add(
        "--conv",
        help="conv, adder (default), shift, shift-ps, binary or shiftadd; for segmentation the "
        "default is shift",
    )
    add(
        "--output-stride", type=int, metavar="S", help="of a segmenter's encoder, 8 (default) or 16"
    )
    add("--weights", metavar="NAME", help="begin with trained weights, e.g. cifar10")
    add("--eta", type=float, help="step of adder layers (default 0.2)")
    add("--dataset", help="e.g. shapes (default), digits, cifar10, folder:PATH, masks:PATH")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="in place of --dataset: a folder with train/images, train/masks and classes.txt, with "
        "train/CLASS, or with NAME-train.npz and NAME-test.npz",
    )
    add("--size", type=int, help="resize images to this height and width")
    add("--train-images", type=int, metavar="N", help="a balanced subset of N training images")
    add("--epochs", type=int, help="default 10")
    add("--batch-size", type=int, help="default 128")
    add("--lr", type=float, help="default 0.1")
    add("--weight-decay", type=float, help="default 0.0005")
    add("--warmup-epochs", type=float, help="default 0")
    add("--label-smoothing", type=float, help="default 0")
    add("--crop-padding", type=int, help="pixels of shift in training (default 4)")
    add("--smallest-crop", type=float,
        help="smallest share of the area that is scaled up (default 1)")  # fmt: skip
    add("--flip", action=BooleanOptionalAction, help="mirror in training (default yes)")
    add("--accumulate", type=int, help="micro-batches per step (default 1)")
    add("--amp", action=BooleanOptionalAction, help="mixed precision (default no)")
    add("--optimizer", help="sgd (default) or radam")


def _search(commands: "Commands[ArgumentParser]") -> None:
    command = _command(
        commands,
        "search",
        "search networks under a budget. The same command goes on where it was stopped, and takes "
        "part where another process, on any machine, searches in the same folder.",
    )
    command.set_defaults(resume_hint=GOES_ON)
    add = command.add_argument
    add("folder", type=Path, metavar="DIR", help="of the trials, and of the SuperNet")
    add("--setting", default="digits", help="data, space and SuperNet: digits (default), cifar10")
    _repeated(command, "--set", "change a part of the setting, e.g. --set epochs=5", "changes")
    add(
        "--budget",
        action="append",
        required=True,
        metavar="NAME=LIMIT",
        help="energy_A, energy_B or energy_C in mJ, products, parameters, or peak_bytes; may be "
        "repeated",
    )
    add("--algorithm", default="evolution", help="evolution (default), random or nsga2")
    add("--seed", type=int, default=0, help="of the search (default 0)")
    add("--population", type=int, default=16, metavar="N", help="networks a generation")
    add("--generations", type=int, default=16, metavar="N", help="default 16")
    add("--workers", type=int, default=1, metavar="N", help="processes of this machine (default 1)")
    text = "second stage: inside the winner of the finished search in DIR, by its SuperNet"
    add("--within", type=Path, metavar="DIR", help=text)
    _data(command)


def _predict(commands: "Commands[ArgumentParser]") -> None:
    command = _command(
        commands, "predict", "label every pixel of the images in a folder with a trained segmenter"
    )
    command.set_defaults(resume_hint="images that were labelled are kept")
    add = command.add_argument
    add("images", type=Path, metavar="IMAGES", help="a folder of pictures of any sizes")
    add("--run", type=Path, required=True, metavar="DIR", help="--out of saa-lite train")
    add("--out", type=Path, required=True, metavar="DIR", help="for overlays/ and masks/")
    add("--opacity", type=float, default=0.5, help="of the colours, 0 to 1 (default 0.5)")
    _device(command)
    add("--quiet", action="store_true", help="no progress bar")


def _weights(commands: "Commands[ArgumentParser]") -> None:
    command = _command(
        commands,
        "weights",
        "list the trained networks that come with the package and the recipes they are made by; "
        "test them again; write a new one",
    )
    command.add_argument("--check", action="store_true", help="test them on their data sets again")
    command.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="put the finished training in DIR, by --recipe, into the package (maintainers)",
    )
    command.add_argument("--recipe", metavar="NAME", help="what the training was made by")
    _where(command)


def _deploy(commands: "Commands[ArgumentParser]") -> None:
    command = _command(
        commands,
        "deploy",
        "write a trained network as C without a multiplication, which computes the same bits; "
        "flash, RAM and instructions per layer. The extra deploy (pip install 'saa_lite[deploy]') "
        "links it for a processor and runs it in an emulator",
    )
    add = command.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="--out of saa-lite train, or a shipped network")
    add("--bits", type=int, default=4, help="of codes between layers, 2 to 8 (default 4)")
    add(
        "--target",
        default="host",
        help="host (default), rv32i, cortex-m0, cortex-m4 or cortex-m7",
    )
    add(
        "--multiply",
        action="store_true",
        help="leave layers that multiply their multiplications, as a baseline",
    )
    add("--out", type=Path, metavar="DIR", help="default: data/runs/deploy/NAME")
    _data_root(command)
    add("--download", action="store_true", help="fetch data sets that are missing")
