"""Everything a run carries: model, optimiser, batches, how far it got, its checkpoint, its method.

A method says what a training adds to the loop: other losses, work between epochs, before tests.
The loop in :mod:`saa_lite.train.loop` keeps data, rates, records and checkpoints; a method only
fills in these four places. Whatever a method draws at random it draws from generators made of
(seed, epoch, step), so that a resumed run repeats it.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.data import ImageSet
from saa_lite.data.seeds import mix
from saa_lite.errors import UsageError
from saa_lite.files import check_writable
from saa_lite.nn import attach_adaptive_lr
from saa_lite.records import config_hash
from saa_lite.train import parallel
from saa_lite.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from saa_lite.train.config import (
    TrainConfig,
    check_finite,
    check_fits,
    check_training,
    make_batches,
    resolve_device,
    settings_of,
    survives_channels_last,
)
from saa_lite.train.evaluate import evaluate
from saa_lite.train.optimizer import learning_rate, make_optimizer
from saa_lite.train.task import CLASSIFICATION, Task

DROPOUT_STREAM = 1  # keeps these seeds apart from those of order and augmentation


Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images and labels of a micro-batch → what its gradient is taken of, and what is counted."""


class Method:
    """Plain training: one pass over each batch.

    Attributes:
        passes: name of each pass whose loss and accuracy the history keeps, as ``NAME_loss`` and
            ``NAME_accuracy``; the first is that of the network that is tested.
    """

    passes: tuple[str, ...] = ("train",)

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """Plain JSON beside the configuration: what a resumed run must have in common."""
        return {}

    def begin_epoch(self, run: "Run") -> None:
        """Before the first step of an epoch, and again where a run resumes inside one.

        Raises:
            UsageError: the model names a method of its own, as an augmented one does, and this is
                plain training.
        """
        if wanted := getattr(run.model, "trained_by", None):
            raise UsageError(
                f"{type(run.model).__name__} is trained by method={wanted}; plain training would "
                "leave out what is around its target"
            )

    def backward(self, run: "Run", images: Tensor, labels: Tensor) -> Tensor:
        """Fill the gradients of one step; float64 [3 · passes]: loss, right answers, images.

        ``images`` and ``labels`` are mixtures where the configuration mixes them, see
        :func:`saa_lite.train.task.mixed`; every pass of a step has the same.
        """
        return backward_pass(run, images, labels)

    def before_test(self, run: "Run") -> None:
        """After the last step of an epoch, before the model is tested."""


class Run:
    """Set-up of a training run; :meth:`resume` goes on from its checkpoint, if there is one.

    Attributes:
        channels_last: memory format of weights and images; ``config``'s wherever that is safe.
        epoch, step: what comes next, both from 0.
        sums: float64 [3 · passes] on the device: training loss, right answers and how many there
            were to give in this epoch: one per image, or per labelled pixel.
        seconds: time this epoch took before it was interrupted.
        history: one dict per finished epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        train_set: ImageSet,
        test_set: ImageSet,
        config: TrainConfig,
        *,
        device: torch.device | str,
        folder: Path | str | None,
        method: Method | None = None,
        task: Task = CLASSIFICATION,
    ) -> None:
        check_training(model, train_set, test_set, config, task)
        if not isinstance(method, Method | None):
            raise UsageError(f"method must be a Method, such as Method(), or None; got {method!r}")
        if not isinstance(folder, Path | str | None):
            raise UsageError(f"checkpoint must be the path of a folder, or None; got {folder!r}")
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            check_writable(self.folder)  # now, and not after the first epoch
        self.device, self.model, self.config = resolve_device(device), model, config
        self.task, self.names = task, task.names(train_set)
        self.method = method if method is not None else Method()
        self.channels_last = config.channels_last and survives_channels_last(model, self.device)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        model.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.batches = make_batches(
            train_set, config, self.device, self.channels_last, task.targets
        )
        check_fits(model, self.batches, len(self.names), task)
        self.optimizer = make_optimizer(model, config)
        attach_adaptive_lr(self.optimizer, model)
        # float16 gradients underflow without a loss scale; bfloat16 has float32's range.
        scaled = config.amp and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        sums = 3 * len(self.method.passes)
        self.sums = torch.zeros(sums, dtype=torch.float64, device=self.device)
        self.history: list[dict[str, Any]] = []
        self.settings = settings_of(config, train_set, test_set, task) | self.method.settings(model)

    @property
    def rng_devices(self) -> list[torch.device]:
        """CUDA devices whose generator the run reseeds."""
        return [self.device] if self.device.type == "cuda" else []

    def save(self, started: float | None = None) -> None:
        """Write the checkpoint, if there is a folder; of several processes, the first does.

        Args:
            started: ``time.perf_counter()`` when this epoch began or was resumed.
        """
        if self.folder is None:
            return
        sums: list[float] = self.sums.tolist()
        check_finite(sum(sums), self.epoch + 1, self.config)
        if parallel.rank():
            return
        state = {
            "config": self.settings,
            "config_hash": config_hash(self.settings),
            "epoch": self.epoch,
            "step": self.step,
            "sums": sums,
            "seconds": self.seconds + (0.0 if started is None else time.perf_counter() - started),
            "history": self.history,
            "scaler": self.scaler.state_dict(),
            "normalization": [self.batches.mean, self.batches.std],
            "names": self.names,
            "image_shape": list(self.batches.images.shape[1:]),
        }
        save_checkpoint(self.folder, self.model, self.optimizer, state)

    def resume(self) -> None:
        """Take up the state that the checkpoint holds, if the folder has one.

        Raises:
            CheckpointError: it is damaged, or of another model, configuration or data.
        """
        if self.folder is None or not has_checkpoint(self.folder):
            return
        state = load_checkpoint(self.folder, self.model, self.optimizer, self.settings)
        self.epoch, self.step = state["epoch"], state["step"]
        self.seconds, self.history = state["seconds"], state["history"]
        self.sums.copy_(torch.tensor(state["sums"], dtype=torch.float64))
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])

    def rate(self, step: int) -> float:
        """Learning rate of step ``step`` of the present epoch."""
        steps, config = len(self.batches), self.config
        warmup = round(config.warmup_epochs * steps)
        return learning_rate(self.epoch * steps + step, config.lr, config.epochs * steps, warmup)

    def finish_epoch(self, test_set: ImageSet, started: float) -> None:
        """Test the model, note the epoch's results, begin the next epoch, save."""
        row = self._averages()
        last = self.epoch + 1 == self.config.epochs
        if last or (self.epoch + 1) % self.config.test_every == 0:
            self.method.before_test(self)
            row |= self._test(test_set)
        row["seconds"] = self.seconds + time.perf_counter() - started
        self.history.append(row)
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.sums.zero_()
        self.save()

    def _averages(self) -> dict[str, Any]:
        """Training loss and accuracy of the finished epoch, per image or labelled pixel."""
        row: dict[str, Any] = {"epoch": self.epoch + 1, "lr": self.rate(0)}
        for name, sums in zip(self.method.passes, self.sums.view(-1, 3).tolist(), strict=True):
            loss, correct, answers = sums
            check_finite(loss, self.epoch + 1, self.config)
            row |= {f"{name}_loss": loss / answers, f"{name}_accuracy": correct / answers}
        return row

    def _test(self, test_set: ImageSet) -> dict[str, Any]:
        tested = evaluate(
            self.model,
            test_set,
            batch_size=self.config.eval_batch_size,
            device=self.device,
            mean=self.batches.mean,
            std=self.batches.std,
            channels_last=self.channels_last,
            task=self.task,
        )
        # JSON knows neither NaN nor infinity; a finite training loss can still test as one.
        return {f"test_{k}": v if math.isfinite(v) else None for k, v in tested.items()}


def seed_step(seed: int, epoch: int, step: int) -> None:
    """Seed torch's generators for one step, so that nothing random is carried between steps."""
    mixed = mix(seed, epoch, step, DROPOUT_STREAM)
    if torch.cuda.is_initialized():
        torch.manual_seed(mixed)
    else:  # it would note the call stack for three kinds of device: half a millisecond
        torch.default_generator.manual_seed(mixed)


def backward_pass(
    run: Run,
    images: Tensor,
    labels: Tensor,
    weight: float = 1.0,
    *,
    kept: list[Tensor] | None = None,
) -> Tensor:
    """Add the gradient of ``weight`` times the batch's mean loss to every parameter.

    Of several processes each adds that of its own micro-batches: :mod:`saa_lite.train.parallel`.

    Args:
        labels: int64 [B], or of mixtures the share of each class, [B,classes]. A mixture counts as
            right where the class that has most of it comes first. Of masks, int64 [B,H,W].
        kept: takes the logits of every micro-batch, detached, in order.

    Returns:
        float64 [3]: summed loss (not weighted), right answers, answers; here, if on several.
    """
    answers = run.task.answers(labels)

    def compute(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = run.model(x)
        if kept is not None:
            kept.append(logits.detach())
        loss = label_loss(run, logits, y)
        return weighted(loss, weight, answers), outcome(run, logits, loss, y)

    return backward_in_pieces(run, images, labels, compute)


def backward_in_pieces(
    run: Run, images: Tensor, labels: Tensor, compute: Compute, passes: int = 1
) -> Tensor:
    """Add the gradient of what ``compute`` returns for each micro-batch.

    The pieces are the same for every call with the same batch.

    Returns:
        float64 [3 · passes]: the sum of what ``compute`` counts.
    """
    config, device = run.config, images.device.type
    totals = torch.zeros(3 * passes, dtype=torch.float64, device=images.device)
    half = torch.float16 if device == "cuda" else torch.bfloat16
    largest = math.ceil(config.batch_size / (config.accumulate * parallel.count()))
    # Never a micro-batch of one image, which batch norm could not normalise.
    pieces = min(math.ceil(len(labels) / largest), len(labels) // 2)
    cut = list(zip(images.tensor_split(pieces), labels.tensor_split(pieces), strict=True))
    with parallel.statistics_in_turn(run.model):
        for x, y in parallel.share(cut):
            with torch.autocast(device, half, enabled=config.amp):
                loss, counted = compute(x, y)
            run.scaler.scale(loss).backward()
            totals += counted
    return totals


def label_loss(run: Run, logits: Tensor, labels: Tensor) -> Tensor:
    """The task's loss, summed over all answers, with the configuration's label smoothing."""
    return run.task.loss(logits, labels, run.config.label_smoothing)


def weighted(loss: Tensor, weight: float, answers: int | Tensor) -> Tensor:
    """``weight`` times the part of a summed loss in the mean over all ``answers`` of the batch.

    Divided by the whole batch: the micro-batches' gradients add up to the batch's mean.
    """
    return loss / answers if weight == 1.0 else loss * (weight / answers)


def outcome(run: Run, logits: Tensor, loss: Tensor, labels: Tensor) -> Tensor:
    """float64 [3]: summed loss, right answers, answers."""
    right = run.task.right(logits, labels)
    answers = torch.as_tensor(run.task.answers(labels), device=right.device)
    return torch.stack([loss.detach().double(), right.double(), answers.double()])
