"""The arguments of the commands that make networks and use them; imports nothing heavy."""

from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path

from saa_lite.cli.options import (
    Commands,
    add_command,
    data_options,
    data_root_option,
    device_option,
    repeated,
    where,
)

GOES_ON = "finished parts are kept, and the same command goes on from there"


def add_train(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(commands, "train", "train one network")
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
    where(command)


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


def add_search(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(
        commands,
        "search",
        "search networks under a budget. The same command goes on where it was stopped, and takes "
        "part where another process, on any machine, searches in the same folder.",
    )
    command.set_defaults(resume_hint=GOES_ON)
    add = command.add_argument
    add("folder", type=Path, metavar="DIR", help="of the trials, and of the SuperNet")
    add("--setting", default="digits", help="data, space and SuperNet: digits (default), cifar10")
    repeated(command, "--set", "change a part of the setting, e.g. --set epochs=5", "changes")
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
    data_options(command)


def add_predict(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(
        commands, "predict", "label every pixel of the images in a folder with a trained segmenter"
    )
    command.set_defaults(resume_hint="images that were labelled are kept")
    add = command.add_argument
    add("images", type=Path, metavar="IMAGES", help="a folder of pictures of any sizes")
    add("--run", type=Path, required=True, metavar="DIR", help="--out of saa-lite train")
    add("--out", type=Path, required=True, metavar="DIR", help="for overlays/ and masks/")
    add("--opacity", type=float, default=0.5, help="of the colours, 0 to 1 (default 0.5)")
    device_option(command)
    add("--quiet", action="store_true", help="no progress bar")


def add_weights(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(
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
    where(command)


def add_deploy(commands: "Commands[ArgumentParser]") -> None:
    command = add_command(
        commands,
        "deploy",
        "write a trained network as C without a multiplication, which computes the same bits; "
        "flash, RAM and instructions per layer. The extra deploy (pip install 'saa_lite[deploy]') "
        "links it for a processor and runs it in an emulator",
    )
    command.set_defaults(resume_hint=GOES_ON)
    add = command.add_argument
    add("checkpoint", nargs="?", metavar="CHECKPOINT",
        help="--out of saa-lite train, or a shipped network")  # fmt: skip
    add("--bits", type=int, default=4, help="of codes between layers, 2 to 8 (default 4)")
    add(
        "--target",
        default="host",
        help="host (default), rv32i, cortex-m0, cortex-m4 or cortex-m7",
    )
    add("--format", default="c", help="c (default), onnx or torch-export: one file of integers")
    add(
        "--float",
        action="store_true",
        help="with --format onnx or torch-export: the trained network in floating point",
    )
    add(
        "--multiply",
        action="store_true",
        help="leave layers that multiply their multiplications, as a baseline",
    )
    add("--out", type=Path, metavar="DIR", help="default: data/runs/deploy/NAME")
    add(
        "--check",
        nargs="?",
        const="*",
        metavar="PATTERN",
        help="in place of CHECKPOINT: compare C with PyTorch on 1,000 images for every combination "
        "NETWORK-OPERATOR-BITS-TARGET that data/measured/deploy does not hold, or for those that "
        "match, e.g. 'resnet8-*-rv32i'",
    )
    data_root_option(command)
    add("--download", action="store_true", help="fetch data sets that are missing")
