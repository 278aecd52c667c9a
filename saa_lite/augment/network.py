"""The augmented model: a target network and everything that is wrapped around it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.augment.config import AugmentConfig, Axis, Configuration, draw
from saa_lite.augment.depthwise import ElasticKernel
from saa_lite.augment.unit import WideConv
from saa_lite.errors import UsageError


class Deepened(nn.Module):
    """A block of the target, and extra blocks that run only while :attr:`active` counts them."""

    def __init__(self, block: nn.Module, extra: Sequence[nn.Module]) -> None:
        super().__init__()
        self.block = block
        self.extra = nn.ModuleList(extra)
        self.active = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        for block in self.extra[: self.active]:
            x = block(x)
        return x


class AugmentedNet(nn.Module):
    """Images [B,C,H,W] → logits [B,classes] of the target, or of a drawn configuration::

        model = augment(create_model("resnet20", conv="adder"), AugmentConfig())
        target = model(images)
        with model.configured(model.draw(generator)):
            augmented = model(images)
        plain = export(model)

    Raises:
        UsageError: (forward) images of another shape than [B,C,H,W] with the target's C.

    Attributes:
        net: the target network, its layers replaced by wide ones.
        in_channels: C, of its stem.
        axes: parents before children, the order in which widths are set and drawn.
        mutating: the layers that mutate, block by block from the input.
        mutated: buffer [blocks], multiplication-free share of each; goes into checkpoints.
    """

    mutated: Tensor
    trained_by = "AugmentedTraining()"  # see Method.begin_epoch: plain training would ignore A

    def __init__(
        self,
        net: nn.Module,
        config: AugmentConfig,
        axes: Sequence[Axis],
        mutating: Sequence[Sequence[WideConv]],
    ) -> None:
        super().__init__()
        self.net, self.config = net, config
        self.axes = tuple(axes)
        # Asked for in every step, and a walk through all modules takes a millisecond.
        self._deepened = {k: m for k, m in net.named_modules() if isinstance(m, Deepened)}
        self.mutating = tuple(tuple(block) for block in mutating)
        stem = next(layer for layer in net.modules() if isinstance(layer, WideConv))
        self.in_channels = stem.inputs.target
        shares = torch.zeros(len(mutating)) if config.mutation else torch.ones(len(mutating))
        self.register_buffer("mutated", shares)
        self.register_load_state_dict_post_hook(_read_shares)
        self._read_shares()

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise UsageError(
                f"images must be [B, {self.in_channels}, H, W]; got {list(images.shape)}"
            )
        return self.net(images)

    @property
    def deepened(self) -> dict[str, Deepened]:
        """Blocks with extra ones behind them, by name."""
        return self._deepened

    @property
    def kernels(self) -> dict[str, ElasticKernel]:
        """Kernels that can be drawn, by name, from the input on."""
        return {k: m for k, m in self.net.named_modules() if isinstance(m, ElasticKernel)}

    @property
    def largest(self) -> Configuration:
        """All that there is."""
        multiples = {axis.name: axis.multiples[-1] for axis in self.axes}
        return Configuration(multiples, {k: len(m.extra) for k, m in self.deepened.items()})

    @property
    def smallest(self) -> Configuration:
        """The target, but for elastic kernels: those are the smallest."""
        multiples = {axis.name: axis.multiples[0] for axis in self.axes}
        kernels = {name: kernel.sizes[0] for name, kernel in self.kernels.items()}
        return Configuration(multiples, dict.fromkeys(self.deepened, 0), kernels)

    def draw(self, generator: torch.Generator, *, width: bool = True) -> Configuration:
        """One configuration, uniformly.

        Args:
            generator: on the CPU; nothing else is drawn from.
            width: False keeps block widths at the target's (NetAug's ``min_w``).
        """
        multiples = {
            axis.name: draw(axis, generator, fixed=not (width or axis.is_inner))
            for axis in self.axes
        }
        depths = {
            name: int(torch.randint(len(block.extra) + 1, (), generator=generator))
            for name, block in self.deepened.items()
        }
        kernels = {
            name: kernel.sizes[int(torch.randint(len(kernel.sizes), (), generator=generator))]
            for name, kernel in self.kernels.items()
        }
        return Configuration(multiples, depths, kernels)

    def activate(self, configuration: Configuration | None) -> None:
        """Run as ``configuration`` from now on; None is the target."""
        if not isinstance(configuration, Configuration | None):
            raise UsageError(
                "configuration must be a Configuration, such as .largest or .draw(generator), or "
                f"None; got {configuration!r}"
            )
        for axis in self.axes:
            axis.activate(1.0 if configuration is None else configuration.multiples[axis.name])
        for name, block in self.deepened.items():
            block.active = 0 if configuration is None else configuration.depths[name]
        chosen = {} if configuration is None else configuration.kernels
        for name, kernel in self.kernels.items():
            kernel.active = chosen.get(name, kernel.sizes[-1])

    @contextmanager
    def configured(self, configuration: Configuration) -> Iterator[None]:
        """Run as ``configuration`` inside, as the target afterwards."""
        self.activate(configuration)
        try:
            yield
        finally:
            self.activate(None)

    def set_epoch(self, epoch: int) -> None:
        """Bring block mutation to where it stands in ``epoch`` (from 0)."""
        mutation = self.config.mutation
        if mutation is not None:
            shares = [mutation.share(j, epoch) for j in range(len(self.mutating))]
            self.mutated.copy_(torch.tensor(shares))
            self._read_shares()

    def _read_shares(self) -> Any:
        """Numbers instead of tensors in the layers: reading a tensor would wait for the GPU."""
        for block, share in zip(self.mutating, self.mutated.tolist(), strict=True):
            for unit in block:
                unit.share = share


def _read_shares(model: AugmentedNet, _: object) -> None:
    """A hook at module level, since a model with a lambda cannot be pickled."""
    model._read_shares()


def check_augmented(model: object, user: str) -> AugmentedNet:
    """The model, if it is an augmented one.

    Raises:
        UsageError: it is not; ``user`` says what needs one.
    """
    if not isinstance(model, AugmentedNet):
        raise UsageError(
            f"{user} takes the model that saa_lite.augment.augment() returns; got "
            f"{type(model).__name__}"
        )
    return model
