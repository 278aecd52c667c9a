"""From squared to absolute distances in training: the ℓp norm of adder layers, p from 2 to 1.

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

from typing import Any

from torch import Tensor, nn

from saa_lite.errors import UsageError
from saa_lite.nn.adder import AdderLayer
from saa_lite.train.run import Method, Run


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

    def begin_epoch(self, run: Run) -> None:
        self.inner.begin_epoch(run)
        self._mix(run)

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        self._mix(run)
        return self.inner.backward(run, images, labels)

    def before_test(self, run: Run) -> None:
        self._mix(run)  # as the next update would have it: after the last one, no squares are left
        self.inner.before_test(run)

    def squared(self, update: int, updates: int) -> float:
        """Share of squared distances in update number ``update`` (from 0): 1 in the first one."""
        return max(0.0, 1 - update / (self.share * updates))

    def _mix(self, run: Run) -> None:
        layers = [part for part in run.model.modules() if isinstance(part, AdderLayer)]
        if not layers:
            raise UsageError("Annealing is for models with adder layers; there is none")
        steps = len(run.batches)
        squared = self.squared(run.epoch * steps + run.step, run.config.epochs * steps)
        for layer in layers:
            layer.squared = squared
