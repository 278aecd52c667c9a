"""Everything a run carries: model, optimiser, batches, how far it got, and its checkpoint."""

import math
import time
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saa_lite.data import Augment, Batches, ImageSet, normalization
from saa_lite.data.batches import Targets
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
    resolve_device,
    survives_channels_last,
)
from saa_lite.train.evaluate import evaluate
from saa_lite.train.method import Method
from saa_lite.train.optimizer import learning_rate, make_optimizer
from saa_lite.train.task import CLASSIFICATION, Task

DROPOUT_STREAM = 1  # keeps these seeds apart from those of order and augmentation


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


def make_batches(
    train_set: ImageSet,
    config: TrainConfig,
    device: torch.device,
    channels_last: bool,
    targets: Targets = "labels",
) -> Batches:
    """Shuffled, augmented batches; a single image left over sits out the epoch.

    Batch norm over logits or pooled features cannot normalise one image.
    """
    mean, std = normalization(train_set)
    resized = (config.smallest_crop, 1.0) if config.smallest_crop < 1 else None
    return Batches(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        augment=Augment(config.crop_padding, config.flip, resized_crop=resized),
        mean=mean,
        std=std,
        device=device,
        drop_last=len(train_set) % config.batch_size == 1,
        channels_last=channels_last,
        targets=targets,
    )


def settings_of(
    config: TrainConfig, train_set: ImageSet, test_set: ImageSet, task: Task = CLASSIFICATION
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was saved."""
    settings = config.as_settings() | {
        f"{role}_set": f"{chosen.name} {chosen.split}, {len(chosen)} images, "
        f"CRC {checksum(chosen, task)}"
        for role, chosen in (("train", train_set), ("test", test_set))
    }
    # Classification came first: its checkpoints say nothing of a task.
    return settings if task is CLASSIFICATION else settings | {"task": task.name}


def checksum(image_set: ImageSet, task: Task = CLASSIFICATION) -> str:
    """CRC-32 of pixels and targets: the same name may stand for other images."""
    targets = image_set.masks if task.targets == "masks" else image_set.labels
    assert targets is not None
    pixels = zlib.crc32(image_set.images.contiguous().numpy().data)
    return f"{zlib.crc32(targets.contiguous().numpy().data, pixels):08x}"


def seed_step(seed: int, epoch: int, step: int) -> None:
    """Seed torch's generators for one step, so that nothing random is carried between steps."""
    mixed = mix(seed, epoch, step, DROPOUT_STREAM)
    if torch.cuda.is_initialized():
        torch.manual_seed(mixed)
    else:  # it would note the call stack for three kinds of device: half a millisecond
        torch.default_generator.manual_seed(mixed)
