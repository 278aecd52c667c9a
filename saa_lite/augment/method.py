"""Training a target inside its augmented model: L = L(target) + α·L(augmented).

After NetAug's official code: the target's pass, then that of a drawn configuration, each with its
own backward pass, so that only one graph is held at a time; then one optimiser step. Labels are
the only teacher of both.

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
from saa_lite.train import Method, backward_pass, parallel, reestimate_batch_norm
from saa_lite.train.run import Run

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

    The configuration of a step is a function of (seed, epoch, step), like everything random here:
    a checkpoint holds the three and so the generator.

    Raises:
        UsageError: a value outside its range; in training, another model, or a mutation that does
            not end before the last epoch.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        width_epochs: float = 1.0,
        sort: bool = False,
        sort_every: int = 0,
        batch_norm_images: int = 16_000,
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
        self.alpha, self.width_epochs, self.sort = alpha, width_epochs, sort
        self.sort_every, self.batch_norm_images = sort_every, batch_norm_images
        self.passes = ("train", "augmented") if alpha else ("train",)
        self._shared: list[SharedWeight] = []

    def settings(self, model: nn.Module) -> dict[str, Any]:
        names = ("alpha", "width_epochs", "sort", "batch_norm_images")
        own = {name: getattr(self, name) for name in names}
        if self.sort_every:  # added later: older checkpoints go on
            own["sort_every"] = self.sort_every
        return {"augmentation": own | check_augmented(model, NAME).config.as_settings()}

    def begin_epoch(self, run: Run) -> None:
        model = _model(run)
        check_mutation(model, run.config.epochs)
        self._shared = [part for part in model.modules() if isinstance(part, SharedWeight)]
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
            with self._generated(True, scale):
                totals = backward_pass(run, images, labels)
            if self.alpha:
                with _model(run).configured(self.configuration(run)), self._generated(True, scale):
                    augmented = backward_pass(run, images, labels, self.alpha)
                totals = torch.cat([totals, augmented])
        return totals

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
