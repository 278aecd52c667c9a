"""The training loop.

Nothing random is carried along from step to step. Order and augmentation are functions of (seed,
epoch, step) in :class:`saa_lite.data.Batches`; whatever else draws numbers, such as dropout, finds
the generator seeded from the same three at the start of each step. So a checkpoint needs no
generator state, and a resumed run computes the same bits as one that was never stopped (same
machine, device and thread count; on the CPU, as GPU kernels add in no fixed order). Several
processes do the steps together where torchrun has started them, see
:mod:`saa_lite.train.parallel`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from saa_lite.data import ImageSet
from saa_lite.locks import TRAINING, locked
from saa_lite.train import parallel
from saa_lite.train.checkpoint import stop_on_interrupt
from saa_lite.train.config import TrainConfig
from saa_lite.train.optimizer import set_learning_rate
from saa_lite.train.run import Method, Run, seed_step
from saa_lite.train.task import CLASSIFICATION, Task, mixed

Epoch = dict[str, Any]


def train(
    model: nn.Module,
    train_set: ImageSet,
    test_set: ImageSet,
    config: TrainConfig,
    *,
    method: Method | None = None,
    task: Task = CLASSIFICATION,
    device: torch.device | str = "cpu",
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 0,
    progress: bool = True,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train ``model`` in place; return one dict per epoch. It is left in evaluation mode.

    Args:
        method: what a step does beside the plain one, see :class:`saa_lite.train.Method`.
        task: what is learned of the sets: their labels, or with ``SEGMENTATION`` their masks.
        checkpoint: folder to save to after each epoch, and to resume from if it holds a run.
        checkpoint_every: save also after every so many steps of an epoch; 0 does not.
        progress: show a bar over all steps; a run that is already finished has none.
        on_epoch: called with each finished epoch's dict.

    Returns:
        Dicts with ``epoch`` (from 1), ``lr`` (of the first step), ``train_loss`` (with smoothing
        and augmentation, averaged while the weights moved), ``train_accuracy``, ``test_loss``
        (None if not finite), ``test_accuracy``, what else the task tests (``test_miou``),
        ``seconds`` (wall time), and loss and accuracy of every further pass of the method.
        Accuracies are in 0..1; of masks they are shares of the labelled pixels.

    Raises:
        UsageError: model, sets, device and configuration do not fit together.
        SaaLiteError: the folder cannot be written, or another training is going on in it.
        CheckpointError: the folder holds a run of another model, configuration or data.
        DivergenceError: the loss is no longer finite; the last checkpoint is still sound.
        KeyboardInterrupt: Ctrl-C, after saving the finished steps.
    """
    run = Run(
        model, train_set, test_set, config, method=method, task=task, device=device,
        folder=checkpoint,
    )  # fmt: skip
    with _alone_in(run.folder):
        run.resume()
        parallel.start_together(model, run.epoch * len(run.batches) + run.step)
        _go_on(run, test_set, checkpoint_every, progress, on_epoch)
    model.eval()
    return run.history


def _alone_in(folder: Path | None) -> AbstractContextManager[None]:
    """Nobody else trains in ``folder``: two would write each other's steps over.

    Of processes that train together the first stands for all.
    """
    if folder is None or parallel.rank():
        return nullcontext()
    busy = f"another training is going on in {folder}"
    return locked(folder, purpose=TRAINING, busy=busy)


def _go_on(
    run: Run,
    test_set: ImageSet,
    checkpoint_every: int,
    progress: bool,
    on_epoch: Callable[[Epoch], None] | None,
) -> None:
    """Do the epochs that are left."""
    config = run.config
    steps = len(run.batches)
    done, total = run.epoch * steps + run.step, config.epochs * steps
    with (
        torch.random.fork_rng(devices=run.rng_devices),  # the caller's generator is untouched
        stop_on_interrupt() as stop,
        tqdm(total=total, initial=done, disable=not progress or done == total, unit="step") as bar,
    ):
        while run.epoch < config.epochs:
            started = time.perf_counter()
            run.method.begin_epoch(run)
            run.model.train()
            for _ in train_steps(run):
                bar.update()
                stop.agree()
                due = checkpoint_every and run.step % checkpoint_every == 0
                if stop.requested or due:
                    run.save(started)
                stop.raise_if_requested()
            run.finish_epoch(test_set, started)
            if (tested := run.history[-1].get(f"test_{run.task.metric}")) is not None:
                bar.set_postfix(test=f"{tested:.2%}")
            if on_epoch:
                on_epoch(run.history[-1])
            stop.agree()
            stop.raise_if_requested()  # pressed while testing: the epoch is finished and saved


def train_steps(run: Run) -> Iterator[None]:
    """Do the steps of the present epoch that are left, pausing after each."""
    for step, images, labels in run.batches.epoch(run.epoch, run.step):
        seed_step(run.config.seed, run.epoch, step)
        set_learning_rate(run.optimizer, run.rate(step))
        run.sums += train_step(run, images, labels)
        run.step = step + 1
        yield


def train_step(run: Run, images: Tensor, labels: Tensor) -> Tensor:
    """One update. Returns float64 [3] per pass: summed loss, right answers, images."""
    run.optimizer.zero_grad()
    if run.config.mixup:
        place = (run.config.seed, run.epoch, run.step)
        images, labels = mixed(images, labels, run.config.mixup, len(run.names), place)
    totals = parallel.add_up(run.method.backward(run, images, labels))
    parallel.add_gradients([p for group in run.optimizer.param_groups for p in group["params"]])
    run.scaler.step(run.optimizer)  # adder gradients are normalised in here, once per step
    run.scaler.update()
    return totals
