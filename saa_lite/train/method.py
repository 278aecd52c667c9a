"""What a training method adds to the loop: other losses, work between epochs, before tests.

The loop in :mod:`saa_lite.train.loop` keeps data, rates, records and checkpoints; a method only
fills in these four places. Whatever a method draws at random it draws from generators made of
(seed, epoch, step), so that a resumed run repeats it.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.train.backward import backward_pass

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
        :func:`saa_lite.train.mixup.mixed`; every pass of a step has the same.
        """
        return backward_pass(run, images, labels)

    def before_test(self, run: "Run") -> None:
        """After the last step of an epoch, before the model is tested."""
