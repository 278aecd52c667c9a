"""``saa-lite train``: one network on one set, with checkpoints."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from saa_lite.cli.devices import resolve_device
from saa_lite.cli.output import show, stdout_for_json
from saa_lite.data import ImageSet, load_dataset
from saa_lite.errors import SaaLiteError, UsageError
from saa_lite.files import check_writable, runs_dir, write_json
from saa_lite.items.base import dataset_label
from saa_lite.locks import RUNNING, locked
from saa_lite.models import create_model
from saa_lite.train import TrainConfig, has_checkpoint, train
from saa_lite.train.interrupt import stop_politely
from saa_lite.train.parallel import joined, rank

SMALL = 64  # height up to which a network keeps its resolution: CIFAR's 32, not ImageNet's 224


def main(arguments: Namespace) -> int:
    """Train, print one row per epoch, and leave checkpoints and ``history.json`` in ``--out``.

    Of the processes that torchrun has started the first does all but the training.
    """
    config = _config(arguments)
    chosen = resolve_device(arguments.device)
    arguments.out = arguments.out or _default_out(arguments)
    _check_out(arguments)
    with stdout_for_json(arguments.json), stop_politely(), joined(chosen) as device:
        train_set, test_set = _load(arguments, "train"), _load(arguments, "test")
        model = _model(arguments, train_set)
        first = rank() == 0
        with _described(arguments, config) if first else nullcontext():
            history = train(
                model,
                train_set,
                test_set,
                config,
                device=device,
                checkpoint=arguments.out,
                progress=first and not arguments.quiet,
            )
    if not first:
        return 0
    write_json(arguments.out / "history.json", history)
    show(history if arguments.json else [_row(epoch) for epoch in history], as_json=arguments.json)
    return 0


def _default_out(arguments: Namespace) -> Path:
    dataset = dataset_label(arguments.dataset).replace(":", "-")
    return runs_dir() / "train" / f"{arguments.model}-{arguments.conv}-{dataset}"


@contextmanager
def _described(arguments: Namespace, config: TrainConfig) -> Iterator[None]:
    """Around a training: nobody else trains in the folder, and ``settings.json`` describes it.

    It is written before the first step, and taken away again if the training is refused. A resumed
    training has its description.
    """
    path = arguments.out / "settings.json"
    busy = f"another training is going on in {arguments.out}"
    with locked(arguments.out, purpose=RUNNING, busy=busy):
        if not arguments.resume:
            write_json(path, _settings(arguments, config))
        try:
            yield
        except SaaLiteError:
            if not has_checkpoint(arguments.out):
                path.unlink(missing_ok=True)
            raise


def _config(arguments: Namespace) -> TrainConfig:
    return TrainConfig(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        weight_decay=arguments.weight_decay,
        warmup_epochs=arguments.warmup_epochs,
        label_smoothing=arguments.label_smoothing,
        accumulate=arguments.accumulate,
        amp=arguments.amp,
        optimizer=arguments.optimizer,
        seed=arguments.seed,
    )


def _settings(arguments: Namespace, config: TrainConfig) -> dict[str, Any]:
    """What was trained on what, beside the checkpoint."""
    names = ("model", "conv", "dataset", "size", "train_images")
    return {**{name: getattr(arguments, name) for name in names}, **config.as_settings()}


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


def _load(arguments: Namespace, split: str) -> ImageSet:
    return load_dataset(
        arguments.dataset,
        split,
        root=arguments.data_root,
        download=arguments.download,
        size=arguments.size,
        count=arguments.train_images if split == "train" else None,
    )


def _model(arguments: Namespace, train_set: ImageSet) -> torch.nn.Module:
    torch.manual_seed(arguments.seed)
    return create_model(
        arguments.model,
        train_set.num_classes,
        conv=arguments.conv,
        small_input=train_set.images.shape[2] <= SMALL,
        in_channels=train_set.in_channels,
    )


def _row(epoch: dict[str, Any]) -> dict[str, str]:
    """Losses to four digits, accuracies in percent."""
    return {
        "epoch": str(epoch["epoch"]),
        "lr": f"{epoch['lr']:.4f}",
        "train loss": _loss(epoch["train_loss"]),
        "train %": f"{100 * epoch['train_accuracy']:.2f}",
        "test loss": _loss(epoch["test_loss"]),
        "test %": f"{100 * epoch['test_accuracy']:.2f}",
        "seconds": f"{epoch['seconds']:.1f}",
    }


def _loss(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.4f}"
