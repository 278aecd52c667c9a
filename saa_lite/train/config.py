"""The hyper-parameters of a training run, checked where they are written down."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from saa_lite.errors import UsageError, check_choice

OPTIMIZERS = ("sgd", "radam")
LATER: dict[str, Any] = {
    "decay_norms": True, "test_every": 1, "mixup": 0.0, "smallest_crop": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of :func:`saa_lite.train.train` beside model and data.

    Attributes:
        epochs: passes over the training set.
        batch_size: images per optimiser step (at least 2), whatever ``accumulate`` is.
        lr: highest learning rate, reached after warm-up and lowered to 0 along a cosine.
        momentum, nesterov: of SGD; RAdam has its own defaults and ignores them.
        weight_decay: on all parameters as in AdderNet's official code, except ``shift`` and
            ``sign`` of DeepShift-PS layers (ShiftAddNet, official code).
        decay_norms: whether norms and biases decay, too; not so in NetAug's official code.
        warmup_epochs: epochs of linear warm-up; may be a fraction.
        label_smoothing: share of the target given to all classes alike; only in training.
        accumulate: number of micro-batches that a batch is cut into. Costs time, saves memory;
            order, augmentation, steps and learning rate stay the same. Batch norm sees the
            micro-batches, so networks with it train slightly differently.
        amp: mixed precision: float16 with loss scaling on CUDA, bfloat16 on the CPU.
        seed: order, augmentation and dropout; not the initial weights, which come with the model.
        crop_padding, flip: augmentation, see :class:`saa_lite.data.Augment`.
        eval_batch_size: images per batch of the evaluation after each epoch.
        channels_last: memory format of weights and images; faster on most hardware. On a CPU a
            network with a strided 1 × 1 ``nn.Conv2d`` of fewer than 16 channels stays contiguous:
            oneDNN's gradient of it, in this format, writes where it must not. Where a network
            calls ``F.conv2d`` so by itself, say False.
        optimizer: ``"sgd"``, or ``"radam"`` as DeepShift's authors ask for PS (their README).
        test_every: epochs between tests; the last epoch is always tested. Epochs without a test
            have neither ``test_loss`` nor ``test_accuracy`` in the history.
        mixup: α of mixup from 0 to 1, see :mod:`saa_lite.train.mixup`; 0 mixes nothing.
        smallest_crop: smallest share of the area of a random box that is scaled up to the image's
            size, in place of the padded crop; 1 scales nothing.

    Raises:
        UsageError: a value outside its range, in one sentence.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    warmup_epochs: float = 0
    label_smoothing: float = 0.0
    accumulate: int = 1
    amp: bool = False
    seed: int = 0
    crop_padding: int = 4
    flip: bool = True
    eval_batch_size: int = 500
    channels_last: bool = True
    optimizer: str = "sgd"
    decay_norms: bool = True
    test_every: int = 1
    mixup: float = 0.0
    smallest_crop: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate", "eval_batch_size", "test_every"):
            self._check_integer(name, 1)
        self._check_integer("batch_size", 2)  # batch norm cannot normalise a single image
        for name in ("seed", "crop_padding"):
            self._check_integer(name, 0)
        for name in ("nesterov", "amp", "flip", "channels_last", "decay_norms"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be True or False; got {getattr(self, name)!r}")
        self._check_number("lr", "above 0", lambda x: x > 0)
        self._check_number("weight_decay", "of at least 0", lambda x: x >= 0)
        share = "of at least 0 and below 1"
        self._check_number("momentum", share, lambda x: 0 <= x < 1)
        self._check_number("label_smoothing", share, lambda x: 0 <= x < 1)
        below = f"of at least 0 and below epochs={self.epochs}"
        self._check_number("warmup_epochs", below, lambda x: 0 <= x < self.epochs)
        self._check_number("mixup", "from 0 to 1", lambda x: 0 <= x <= 1)
        self._check_number("smallest_crop", "above 0 and at most 1", lambda x: 0 < x <= 1)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.accumulate > self.batch_size // 2:
            raise UsageError(
                "accumulate must leave two images for each micro-batch of a batch of "
                f"{self.batch_size}; got {self.accumulate}"
            )
        if self.nesterov and self.momentum == 0 and self.optimizer == "sgd":
            raise UsageError("nesterov=True needs a momentum above 0; got momentum=0")

    def _check_integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"{name} must be an integer of at least {least}; got {value!r}")

    def _check_number(self, name: str, allowed: str, fits: Any) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not fits(value):
            raise UsageError(f"{name} must be a finite number {allowed}; got {value!r}")

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON values by field name: what a record and a checkpoint keep.

        What was added later is left out at its default, so that older runs keep their identity.
        """
        return without_defaults(asdict(self), LATER)


def without_defaults(values: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without those entries that equal ``defaults``."""
    return {k: v for k, v in values.items() if k not in defaults or v != defaults[k]}
