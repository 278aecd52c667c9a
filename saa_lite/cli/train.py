"""``saa-lite train``: one network on one set, with checkpoints, by a recipe or by options."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

from saa_lite.cli.options import resolve_device
from saa_lite.cli.output import show, stdout_for_json
from saa_lite.data import ImageSet
from saa_lite.data.load import dataset_in
from saa_lite.errors import SaaLiteError, UsageError, check_choice
from saa_lite.files import check_writable, runs_dir, write_json
from saa_lite.items.base import dataset_label
from saa_lite.locks import RUNNING, locked
from saa_lite.recipes import Recipe, load_recipe
from saa_lite.train import TrainConfig, has_checkpoint, train
from saa_lite.train.checkpoint import stop_politely
from saa_lite.train.parallel import joined, rank

DEFAULTS = {
    "classification": {"model": "resnet20", "conv": "adder", "dataset": "shapes"},
    "segmentation": {"model": "mobilenet_v2_tiny", "conv": "shift", "dataset": "digit-scenes"},
}
EPOCHS = {"epochs": 10}
OWN = (  # options that a recipe has
    "task", "model", "conv", "weights", "dataset", "size", "train_images", "output_stride",
)  # fmt: skip


def main(arguments: Namespace) -> int:
    """Train, print one row per epoch, and leave checkpoints and ``history.json`` in ``--out``.

    Of the processes that torchrun has started the first does all but the training.
    """
    recipe = recipe_of(arguments)
    chosen = resolve_device(arguments.device)
    arguments.out = arguments.out or _default_out(recipe)
    _check_out(arguments)
    with stdout_for_json(arguments.json), stop_politely(), joined(chosen) as device:
        train_set, test_set = load_splits(recipe, arguments)
        model = recipe.network(train_set)
        first = rank() == 0
        with _described(arguments, recipe) if first else nullcontext():
            history = train(
                model,
                train_set,
                test_set,
                recipe.config,
                task=recipe.learned,
                device=device,
                checkpoint=arguments.out,
                progress=first and not arguments.quiet,
            )
    if not first:
        return 0
    write_json(arguments.out / "history.json", history)
    show(history if arguments.json else [_row(epoch) for epoch in history], as_json=arguments.json)
    return 0


def recipe_of(arguments: Namespace) -> Recipe:
    """What ``--recipe`` names, or the options one by one.

    Raises:
        UsageError: both are given, or a value is refused.
    """
    if arguments.data is not None:
        if arguments.dataset is not None:
            raise UsageError("--data and --dataset both say what to train on; leave one out")
        arguments.dataset = dataset_in(arguments.data.expanduser())
    names = [f.name for f in fields(TrainConfig) if hasattr(arguments, f.name)]
    training = {n: v for n in names if (v := getattr(arguments, n)) is not None}
    own = {n: v for n in OWN if (v := getattr(arguments, n)) is not None}
    options = {} if arguments.eta is None else {"eta": arguments.eta}
    if arguments.recipe is None:
        task = own.get("task", "classification")
        check_choice("task", task, tuple(DEFAULTS))
        config = TrainConfig(**EPOCHS | training)
        return Recipe(config=config, options=options, **{**DEFAULTS[task], **own})
    if also := [f"--{name.replace('_', '-')}" for name in (*own, *options, *training)]:
        raise UsageError(
            f"--recipe {arguments.recipe} settles {', '.join(also)}; leave that out, or write a "
            "recipe of your own, a .toml file"
        )
    return load_recipe(arguments.recipe)


def load_splits(recipe: Recipe, arguments: Namespace) -> tuple[ImageSet, ImageSet]:
    """Training and test images of a recipe, from where the options say they lie."""
    train_set, test_set = (
        recipe.load(split, root=arguments.data_root, download=arguments.download)
        for split in ("train", "test")
    )
    return train_set, test_set


def _default_out(recipe: Recipe) -> Path:
    dataset = dataset_label(recipe.dataset).replace(":", "-")
    name = Path(recipe.name).stem or f"{recipe.model}-{recipe.conv}-{dataset}"
    return runs_dir() / "train" / name


@contextmanager
def _described(arguments: Namespace, recipe: Recipe) -> Iterator[None]:
    """Around a training: nobody else trains in the folder, and ``settings.json`` describes it.

    It is written before the first step, and taken away again if the training is refused. A resumed
    training has its description.
    """
    path = arguments.out / "settings.json"
    busy = f"another training is going on in {arguments.out}"
    with locked(arguments.out, purpose=RUNNING, busy=busy):
        if not arguments.resume:
            write_json(path, recipe.as_settings())
        try:
            yield
        except SaaLiteError:
            if not has_checkpoint(arguments.out):
                path.unlink(missing_ok=True)
            raise


def _check_out(arguments: Namespace) -> None:
    """The folder can be written, and a training in it is never overwritten by mistake."""
    if arguments.resume and not has_checkpoint(arguments.out):
        raise UsageError(f"--resume: {arguments.out} holds no checkpoint to go on from")
    if has_checkpoint(arguments.out) and not arguments.resume:
        raise UsageError(
            f"--out {arguments.out} already holds a training; add --resume to go on with it, "
            "or name another folder"
        )
    check_writable(arguments.out)


def _row(epoch: dict[str, Any]) -> dict[str, str]:
    """Losses to four digits, accuracies in percent."""
    return {
        "epoch": str(epoch["epoch"]),
        "lr": f"{epoch['lr']:.4f}",
        "train loss": _loss(epoch["train_loss"]),
        "train %": f"{100 * epoch['train_accuracy']:.2f}",
        "test loss": _loss(epoch["test_loss"]),
        "test %": f"{100 * epoch['test_accuracy']:.2f}",
        **({"mIoU %": f"{100 * epoch['test_miou']:.2f}"} if "test_miou" in epoch else {}),
        "seconds": f"{epoch['seconds']:.1f}",
    }


def _loss(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.4f}"
