"""What a training method adds to the loop: other losses, work between epochs, before tests.

The loop in :mod:`saa_lite.train.loop` keeps data, rates, records and checkpoints; a method only
fills in these four places. Whatever a method draws at random it draws from generators made of
(seed, epoch, step), so that a resumed run repeats it.

**From squared to absolute distances in training: the ℓp norm of adder layers, p from 2 to 1.**

"Universal Adder Neural Networks" (Chen et al., 2021) trains −Σ|x − w|^p and lets p fall from 2 to
1. We could read no more of it than its abstract, so how p falls is our reading, and so is what
takes the place of the powers in between. What is wanted of them is a way from a layer that learns
as a convolution does to the adder layer, and a mixture of the two ends is one::

    y(s) = s · (−½ Σ(x − w)²) + (1 − s) · (−Σ|x − w|),    s from 1 to 0

It needs no power of a distance, of which no kernel here could make a fast sum, but a convolution
and the adder layer itself; and its weight gradient is AdderNet's at every s
(:mod:`saa_lite.nn.adder`). Batch norm behind the layer takes out that the two ends are of different
size. A training ends with adder layers and nothing else.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.nn.adder import AdderLayer
from saa_lite.train import parallel

if TYPE_CHECKING:
    from saa_lite.train.run import Run

Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images and labels of a micro-batch → what its gradient is taken of, and what is counted."""


def backward_pass(
    run: "Run",
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
    run: "Run", images: Tensor, labels: Tensor, compute: Compute, passes: int = 1
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


def label_loss(run: "Run", logits: Tensor, labels: Tensor) -> Tensor:
    """The task's loss, summed over all answers, with the configuration's label smoothing."""
    return run.task.loss(logits, labels, run.config.label_smoothing)


def weighted(loss: Tensor, weight: float, answers: int | Tensor) -> Tensor:
    """``weight`` times the part of a summed loss in the mean over all ``answers`` of the batch.

    Divided by the whole batch: the micro-batches' gradients add up to the batch's mean.
    """
    return loss / answers if weight == 1.0 else loss * (weight / answers)


def outcome(run: "Run", logits: Tensor, loss: Tensor, labels: Tensor) -> Tensor:
    """float64 [3]: summed loss, right answers, answers."""
    right = run.task.right(logits, labels)
    answers = torch.as_tensor(run.task.answers(labels), device=right.device)
    return torch.stack([loss.detach().double(), right.double(), answers.double()])


if TYPE_CHECKING:
    from saa_lite.train.run import Run


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


if TYPE_CHECKING:
    from saa_lite.train.run import Run


class Annealing(Method):
    """Another method's training whose adder layers begin with squared distances.

    Args:
        inner: what a step does beside that, such as :class:`Method` itself.
        share: of all updates, above 0 and at most 1, until the distances are absolute.

    Raises:
        UsageError: a share out of range, or (in training) a model without adder layers.
    """

    def __init__(self, inner: Method | None = None, share: float = 0.5) -> None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise UsageError(f"share must be a number above 0 and at most 1; got {share!r}")
        self.inner = Method() if inner is None else inner
        self.share = share
        self.passes = self.inner.passes

    def settings(self, model: nn.Module) -> dict[str, Any]:
        return {**self.inner.settings(model), "annealing": self.share}

    def begin_epoch(self, run: "Run") -> None:
        self.inner.begin_epoch(run)
        self._mix(run)

    def backward(self, run: "Run", images: Tensor, labels: Tensor) -> Tensor:
        self._mix(run)
        return self.inner.backward(run, images, labels)

    def before_test(self, run: "Run") -> None:
        self._mix(run)  # as the next update would have it: after the last one, no squares are left
        self.inner.before_test(run)

    def squared(self, update: int, updates: int) -> float:
        """Share of squared distances in update number ``update`` (from 0): 1 in the first one."""
        return max(0.0, 1 - update / (self.share * updates))

    def _mix(self, run: "Run") -> None:
        layers = [part for part in run.model.modules() if isinstance(part, AdderLayer)]
        if not layers:
            raise UsageError("Annealing is for models with adder layers; there is none")
        steps = len(run.batches)
        squared = self.squared(run.epoch * steps + run.step, run.config.epochs * steps)
        for layer in layers:
            layer.squared = squared
