"""Which networks can be drawn: chains of inverted blocks, one choice per gene.

The chain is that of :class:`saa_lite.models.inverted.InvertedNet`: stem, a depthwise block of half
the stem's width, stages of inverted blocks, pooling, classifier. Open are the widths of the stem
and of each stage (multiples of the narrowest), how many blocks a stage has, and for each block
kernel, expansion and the operator of its 1×1 layers. ShiftAddAug's "first three convolutions are
AddConv" is one point of it: the 1×1 layer of the depthwise block and the two of the block after
it; whatever is depthwise keeps its products, as do stem and classifier.

A network is written down twice. *Genes* are a flat mapping of names to choices, of which blocks
that are not there have some, too: that is what mutation and crossover change and Optuna stores. A
:class:`Candidate` has only what the network has, so equal networks are equal candidates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from saa_lite.errors import UsageError
from saa_lite.models.inverted import InvertedNet, Stage

Gene = int | float | str
Genes = dict[str, Gene]
OPERATORS = ("conv", "shift", "adder")
KERNELS = (3, 5, 7)


class Block(NamedTuple):
    """One inverted block: kernel of the depthwise layer, expansion, operator of the 1×1 layers."""

    kernel: int
    expansion: int
    operator: str


class StageChoice(NamedTuple):
    """One stage: its width in channels, and its blocks."""

    width: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Candidate:
    """A network of a space; made by :class:`Space` alone, which knows what is allowed.

    Attributes:
        stem: width of the stem; the block behind it has half of it.
        first: operator of that block's 1×1 layer.
    """

    stem: int
    first: str
    stages: tuple[StageChoice, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; a block is ``[kernel, expansion, operator]``."""
        stages = [{"width": s.width, "blocks": [list(b) for b in s.blocks]} for s in self.stages]
        return {"stem": self.stem, "first": self.first, "stages": stages}

    @property
    def layers(self) -> tuple[Stage, ...]:
        """The stages as :class:`InvertedNet` takes them, but for the strides."""
        return tuple(
            Stage(
                stage.width,
                1,
                tuple(block.expansion for block in stage.blocks),
                tuple(block.kernel for block in stage.blocks),
                tuple(block.operator for block in stage.blocks),
            )
            for stage in self.stages
        )


@dataclass(frozen=True)
class Space:
    """The networks for one kind of image.

    Attributes:
        image_size, in_channels, num_classes: of the images.
        stem: width of the narrowest stem, even; its stride is 1.
        widths, strides: of the stages, the narrowest width and the stride of the first block.
        multiples: what stem and stages may be widened by, ascending from 1.
        depths, kernels, expansions, operators: what a stage and a block may have, ascending.

    Raises:
        UsageError: a value that no space has, or two multiples that give the same width.
    """

    image_size: int
    in_channels: int
    num_classes: int
    stem: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    multiples: tuple[float, ...] = (1.0, 1.5, 2.0)
    depths: tuple[int, ...] = (1, 2, 3)
    kernels: tuple[int, ...] = KERNELS
    expansions: tuple[int, ...] = (3, 4, 6)
    operators: tuple[str, ...] = OPERATORS

    def __post_init__(self) -> None:
        counts = (self.image_size, self.in_channels, self.num_classes, self.stem, *self.widths)
        if any(type(n) is not int or n < 1 for n in (*counts, *self.strides)) or self.stem % 2:
            raise UsageError(f"sizes must be integers of at least 1 and stem even; got {self!r}")
        if not self.widths or len(self.widths) != len(self.strides):
            raise UsageError(
                f"every stage must have a width and a stride; got {self.widths} and {self.strides}"
            )
        for name in ("multiples", "depths", "kernels", "expansions"):
            self._check_ascending(name)
        if not self.operators or set(self.operators) - set(OPERATORS):
            raise UsageError(f"operators must be among {OPERATORS}; got {self.operators!r}")
        if set(self.kernels) - set(KERNELS):
            raise UsageError(f"kernels must be among {KERNELS}; got {self.kernels!r}")
        if self.multiples[0] != 1 or min(self.expansions) < 2:
            raise UsageError(
                "multiples must begin with 1 and expansions with at least 2; got "
                f"{self.multiples!r} and {self.expansions!r}"
            )
        for base in (self.stem, self.stem // 2, *self.widths):
            if len({widened(base, multiple) for multiple in self.multiples}) < len(self.multiples):
                raise UsageError(
                    f"multiples must give different widths; {self.multiples!r} of {base} do not"
                )

    def _check_ascending(self, name: str) -> None:
        values = getattr(self, name)
        if not values or list(values) != sorted(set(values)) or values[0] < 1:
            raise UsageError(f"{name} must be ascending numbers of at least 1; got {values!r}")

    @cached_property
    def genes(self) -> dict[str, tuple[Gene, ...]]:
        """Name → choices, of all that is open; what has one choice is no gene."""
        found: dict[str, tuple[Gene, ...]] = {"stem": self.multiples, "first": self.operators}
        for stage in range(1, len(self.widths) + 1):
            found |= {f"{stage}.width": self.multiples, f"{stage}.depth": self.depths}
            for block in range(1, self.depths[-1] + 1):
                for what in ("kernel", "expansion", "operator"):
                    found[f"{stage}.{block}.{what}"] = getattr(self, f"{what}s")
        return {name: choices for name, choices in found.items() if len(choices) > 1}

    @property
    def size(self) -> int:
        """How many different networks there are."""
        block = len(self.kernels) * len(self.expansions) * len(self.operators)
        stage = len(self.multiples) * sum(block**depth for depth in self.depths)
        return int(len(self.multiples) * len(self.operators) * stage ** len(self.widths))

    def express(self, genes: Mapping[str, Gene]) -> Candidate:
        """The network that genes stand for."""

        def gene(name: str, choices: Sequence[Any]) -> Any:
            return genes[name] if name in self.genes else choices[0]

        def block(place: str) -> Block:
            kinds = (self.kernels, self.expansions, self.operators)
            names = ("kernel", "expansion", "operator")
            return Block(*(gene(f"{place}.{n}", k) for n, k in zip(names, kinds, strict=True)))

        stages = []
        for stage, width in enumerate(self.widths, 1):
            depth = gene(f"{stage}.depth", self.depths)
            blocks = tuple(block(f"{stage}.{i}") for i in range(1, depth + 1))
            multiple = gene(f"{stage}.width", self.multiples)
            stages.append(StageChoice(widened(width, multiple), blocks))
        stem = widened(self.stem, gene("stem", self.multiples))
        return Candidate(stem, gene("first", self.operators), tuple(stages))

    def genes_of(self, candidate: Candidate) -> Genes:
        """Genes of a network; those of blocks that are not there have their first choice."""
        found: Genes = {name: choices[0] for name, choices in self.genes.items()}
        named: Genes = {
            "stem": self.multiple(candidate.stem, self.stem),
            "first": candidate.first,
        }
        for stage, (chosen, base) in enumerate(zip(candidate.stages, self.widths, strict=True), 1):
            named[f"{stage}.width"] = self.multiple(chosen.width, base)
            named[f"{stage}.depth"] = len(chosen.blocks)
            for place, block in enumerate(chosen.blocks, 1):
                named |= {f"{stage}.{place}.{k}": v for k, v in block._asdict().items()}
        return found | {name: value for name, value in named.items() if name in found}

    def multiple(self, width: int, base: int) -> float:
        """The multiple of ``base`` that gives ``width``.

        Raises:
            UsageError: none does.
        """
        for multiple in self.multiples:
            if widened(base, multiple) == width:
                return multiple
        allowed = ", ".join(str(widened(base, multiple)) for multiple in self.multiples)
        raise UsageError(f"a width must be one of {allowed}; got {width!r}")

    def candidate(self, written: Mapping[str, Any]) -> Candidate:
        """The network that plain JSON describes, see :meth:`Candidate.as_json`.

        Raises:
            UsageError: it is none of this space; the sentence says why.
        """
        try:
            stages = tuple(
                StageChoice(stage["width"], tuple(Block(*block) for block in stage["blocks"]))
                for stage in written["stages"]
            )
            found = Candidate(written["stem"], written["first"], stages)
            if len(stages) != len(self.widths) or set(written) != {"stem", "first", "stages"}:
                raise ValueError(f"{len(self.widths)} stages and nothing else are needed")
            same = self.express(self.genes_of(found))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is no network of the space: {error}; got {written!r}") from None
        for name, choices in self.genes.items():
            if (value := self.genes_of(found)[name]) not in choices:
                raise UsageError(f"{name} must be one of {choices}; got {value!r}")
        if same != found:
            raise UsageError(f"this is no network of the space, whose nearest is {same.as_json()}")
        return found

    def draw(self, generator: np.random.Generator) -> Genes:
        """Genes, each drawn uniformly and on its own."""
        return {
            name: choices[int(generator.integers(len(choices)))]
            for name, choices in self.genes.items()
        }

    def extreme(self, which: int, operator: str | None = None) -> Candidate:
        """The smallest network (``which`` 0) or the largest (−1).

        Args:
            operator: of all blocks; the first of the space's by default.
        """
        genes = {
            name: (operator or self.operators[0])
            if name == "first" or name.endswith("operator")
            else choices[which]
            for name, choices in self.genes.items()
        }
        return self.express(genes)

    def build(self, candidate: Candidate) -> InvertedNet:
        """The network, untrained: images [B,in_channels,H,W] → logits [B,num_classes]."""
        stages = zip(candidate.layers, self.strides, strict=True)
        return InvertedNet(
            tuple(stage._replace(stride=stride) for stage, stride in stages),
            None,
            self.num_classes,
            "conv",
            True,
            self.in_channels,
            stem=candidate.stem,
            first=candidate.stem // 2,
            first_kind=candidate.first,
        )

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON by field name."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def widened(base: int, multiple: float) -> int:
    """Channels at a multiple, rounded half up as the wide layers do."""
    return math.floor(base * multiple + 0.5)
