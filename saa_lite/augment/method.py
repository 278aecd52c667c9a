"""Training a target inside its augmented model: L = L(target) + α·L(augmented).

After NetAug's official code: the target's pass, then that of a drawn configuration, each with its
own backward pass, so that only one graph is held at a time; then one optimiser step. Labels are
the only teacher of both, unless there is *in-place distillation*:

    L = (1 − w)·CE(target, y) + w·D(augmented ‖ target) + α·CE(augmented, y).

Then the augmented pass comes first, and of it no more is kept than its logits until the target's
pass has learned from them. A teacher that is not detached takes one graph for both passes: the
activations of both are held at once, where otherwise those of the larger one are.

For adder targets NetAug's loop leaves open where AdderNet's adaptive rate acts; it is an option of
the target's layers. ``adaptive_lr="step"`` normalises the sum of both gradients,
``adaptive_lr="pass"`` each of them, as the official layer would; see
:mod:`saa_lite.nn.adaptive_lr`. The two differ in the length of a step, and in what α does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.augment.network import AugmentedNet, check_augmented
from saa_lite.augment.shared import SharedWeight
from saa_lite.augment.sort import sort_channels
from saa_lite.data import Batches
from saa_lite.data.seeds import generator_for
from saa_lite.errors import UsageError
from saa_lite.train import (
    Distillation,
    Method,
    backward_pass,
    parallel,
    reestimate_batch_norm,
)
from saa_lite.train.distillation import Teacher, distilled_pass
from saa_lite.train.run import Run, backward_in_pieces, label_loss, outcome, weighted

NAME = "AugmentedTraining"
CONFIGURATION_STREAM = 2  # beside order, augmentation and dropout


class AugmentedTraining(Method):
    """Give it to :func:`saa_lite.train.train` with an :class:`AugmentedNet`.

    Args:
        alpha: weight of the augmented loss. 0 skips the pass: plain training, bit for bit.
        width_epochs: share of the epochs in which widths are drawn; in the rest only expansion
            and depth are. NetAug: 0.5.
        sort: order channels by importance while widths are drawn; not without an augmented pass,
            which alone trains what would come in.
        sort_every: updates between two orders, none before the first update, when all channels
            are alike; NetAug's epochs have 625. 0 orders at the start of each epoch instead, the
            first included, as NetAug's code does: there that is a random permutation.
        batch_norm_images: training images, at most, that re-estimate the target's statistics
            before each test; 16,000 in NetAug's code, 0 leaves the shared ones.
        distillation: what the target learns from the augmented pass, or from a trained network,
            beside the labels. None, or a weight of 0: nothing. Losses in the history stay those
            against the labels.

    The configuration of a step is a function of (seed, epoch, step), like everything random here:
    a checkpoint holds the three and so the generator.

    Raises:
        UsageError: a value outside its range, or an augmented pass that is to teach and is
            skipped; in training, another model, a mutation that does not end before the last epoch,
            or gradients that are normalised pass by pass where both passes have one graph.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        width_epochs: float = 1.0,
        sort: bool = False,
        sort_every: int = 0,
        batch_norm_images: int = 16_000,
        distillation: Distillation | None = None,
    ) -> None:
        if not _is_number(alpha) or not 0 <= alpha < float("inf"):
            raise UsageError(f"alpha must be a finite number of at least 0; got {alpha!r}")
        if not _is_number(width_epochs) or not 0 <= width_epochs <= 1:
            raise UsageError(f"width_epochs must be from 0 to 1; got {width_epochs!r}")
        if type(sort) is not bool:
            raise UsageError(f"sort must be True or False; got {sort!r}")
        counts = {"sort_every": sort_every, "batch_norm_images": batch_norm_images}
        for name, count in counts.items():
            if type(count) is not int or count < 0:
                raise UsageError(f"{name} must be an integer of at least 0; got {count!r}")
        if not isinstance(distillation, Distillation | None):
            raise UsageError(f"distillation must be a Distillation or None; got {distillation!r}")
        if distillation and distillation.weight and distillation.teacher is None and not alpha:
            raise UsageError("the augmented pass teaches only where it is run; got alpha=0")
        self.distillation = distillation if distillation and distillation.weight else None
        self.alpha, self.width_epochs, self.sort = alpha, width_epochs, sort
        self.sort_every, self.batch_norm_images = sort_every, batch_norm_images
        self.passes = ("train", "augmented") if alpha else ("train",)
        self._shared: list[SharedWeight] = []

    def settings(self, model: nn.Module) -> dict[str, Any]:
        names = ("alpha", "width_epochs", "sort", "batch_norm_images")
        own = {name: getattr(self, name) for name in names}
        if self.sort_every:  # added later: older checkpoints go on
            own["sort_every"] = self.sort_every
        if self.distillation:
            own["distillation"] = self.distillation.as_settings()
        return {"augmentation": own | check_augmented(model, NAME).config.as_settings()}

    def begin_epoch(self, run: Run) -> None:
        model = _model(run)
        check_mutation(model, run.config.epochs)
        self._shared = [part for part in model.modules() if isinstance(part, SharedWeight)]
        if self._one_graph and any(part.normalised == "pass" for part in self._shared):
            raise UsageError(
                "a teacher that is not detached has one graph with its student, so adaptive_lr "
                "must not be 'pass'"
            )
        if self.distillation:
            self.distillation.make_ready(run)
        model.set_epoch(run.epoch)
        if not self.sort_every and run.step == 0:
            self._sort(run)

    def _sort(self, run: Run) -> None:
        if self.sort and self.alpha and self._draws_width(run):
            sort_channels(_model(run), run.optimizer)

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        update = run.epoch * len(run.batches) + run.step
        if self.sort_every and update and update % self.sort_every == 0:
            self._sort(run)
        scale = float(run.scaler.get_scale()) if run.scaler.is_enabled() else 1.0
        with self._generated(False, scale):
            if self._one_graph:
                return self._both(run, images, labels)
            if self.distillation and not self.distillation.teacher:
                kept: list[Tensor] = []
                augmented = self._augmented(run, images, labels, scale, kept)
                logits = iter(kept)
                totals = self._target(run, images, labels, scale, lambda _: next(logits))
                return torch.cat([totals, augmented])
            teacher = self.distillation.answer if self.distillation else None
            totals = self._target(run, images, labels, scale, teacher)
            if self.alpha:
                totals = torch.cat([totals, self._augmented(run, images, labels, scale)])
        return totals

    @property
    def _one_graph(self) -> bool:
        return self.distillation is not None and not self.distillation.detach

    def _target(
        self, run: Run, images: Tensor, labels: Tensor, scale: float, teacher: Teacher | None
    ) -> Tensor:
        with self._generated(True, scale):
            if self.distillation and teacher:
                return distilled_pass(run, images, labels, self.distillation, teacher)
            return backward_pass(run, images, labels)

    def _augmented(
        self,
        run: Run,
        images: Tensor,
        labels: Tensor,
        scale: float,
        kept: list[Tensor] | None = None,
    ) -> Tensor:
        with _model(run).configured(self.configuration(run)), self._generated(True, scale):
            return backward_pass(run, images, labels, self.alpha, kept=kept)

    def _both(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        """Both passes of a micro-batch, then their common graph backwards."""
        model, configuration, distillation = _model(run), self.configuration(run), self.distillation
        assert distillation is not None
        answers = run.task.answers(labels)

        def compute(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            with model.configured(configuration):
                wide = model(x)
            logits = model(x)
            wide_loss, labelled = (label_loss(run, given, y) for given in (wide, logits))
            loss = distillation.loss(logits, wide, labelled, answers)
            loss = loss + weighted(wide_loss, self.alpha, answers)
            counted = [outcome(run, logits, labelled, y), outcome(run, wide, wide_loss, y)]
            return loss, torch.cat(counted)

        return backward_in_pieces(run, images, labels, compute, passes=2)

    @contextmanager
    def _generated(self, by_pass: bool, loss_scale: float) -> Iterator[None]:
        """Hold R(W) inside, hand its gradient on to W at the end.

        Args:
            by_pass: of the layers whose passes are normalised each by itself, or of the others.
        """
        chosen = [part for part in self._shared if (part.normalised == "pass") == by_pass]
        for shared in chosen:
            shared.begin()
        yield
        parallel.add_gradients([leaf for part in chosen for leaf in part.to_normalise()])
        for shared in chosen:
            shared.finish(loss_scale)

    def configuration(self, run: Run) -> Any:
        """What the augmented pass of the present step runs."""
        generator = generator_for(run.config.seed, run.epoch, run.step, CONFIGURATION_STREAM)
        return _model(run).draw(generator, width=self._draws_width(run))

    def before_test(self, run: Run) -> None:
        if not self.alpha or not self.batch_norm_images:
            return  # only the target's own pass has touched the statistics
        images = whole_batches(run.batches, run.epoch, self.batch_norm_images)
        reestimate_batch_norm(run.model, images)

    def _draws_width(self, run: Run) -> bool:
        return run.epoch < self.width_epochs * run.config.epochs


def _model(run: Run) -> AugmentedNet:
    return check_augmented(run.model, NAME)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def whole_batches(batches: Batches, epoch: int, most: int) -> Iterator[Tensor]:
    """At least one batch of the epoch, and then as many as hold ``most`` images.

    A smaller last one would count too much, so it is left out.
    """
    count = max(1, most // batches.batch_size)
    size = min(batches.batch_size, len(batches.labels))
    for _, images, _ in islice(batches.epoch(epoch), count):
        if len(images) == size:
            yield images


def check_mutation(model: AugmentedNet, epochs: int) -> None:
    """A run must end multiplication-free, or nothing could be exported."""
    mutation = model.config.mutation
    if mutation is None:
        return
    last = mutation.last_epoch(len(model.mutating))
    if last > epochs - 1:
        raise UsageError(
            f"mutation of {len(model.mutating)} blocks ends in epoch {last + 1}, but there are "
            f"only {epochs}"
        )
