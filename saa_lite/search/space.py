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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from saa_lite.errors import UsageError, check_choice
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
        if any(widened(self.stem, multiple) % 2 for multiple in self.multiples):
            raise UsageError(
                f"every stem must be even; got {self.stem} and multiples {self.multiples!r}"
            )
        for base in (self.stem, *self.widths):
            if len({widened(base, multiple) for multiple in self.multiples}) < len(self.multiples):
                raise UsageError(
                    f"multiples must give different widths; {self.multiples!r} of {base} do not"
                )

    def _check_ascending(self, name: str) -> None:
        values = getattr(self, name)
        if not values or list(values) != sorted(set(values)) or values[0] < 1:
            raise UsageError(f"{name} must be ascending numbers of at least 1; got {values!r}")

    @cached_property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Every place where a network could differ from another, by name, and what it may have."""
        return self._listed()

    def _listed(self) -> dict[str, tuple[Any, ...]]:
        found: dict[str, tuple[Any, ...]] = {"stem": self.multiples, "first": self.operators}
        for stage in range(1, len(self.widths) + 1):
            found |= {f"{stage}.width": self.multiples, f"{stage}.depth": self.depths}
            for block in range(1, self.depths[-1] + 1):
                for what in Block._fields:
                    found[f"{stage}.{block}.{what}"] = getattr(self, f"{what}s")
        return found

    @property
    def genes(self) -> dict[str, tuple[Gene, ...]]:
        """The choices that are open."""
        return {name: choices for name, choices in self.choices.items() if len(choices) > 1}

    @property
    def size(self) -> int:
        """How many different networks there are."""
        choices = {name: len(found) for name, found in self.choices.items()}
        total = choices["stem"] * choices["first"]
        for stage in range(1, len(self.widths) + 1):
            blocks = 0
            for depth in self.choices[f"{stage}.depth"]:
                places = (f"{stage}.{i}.{k}" for i in range(1, depth + 1) for k in Block._fields)
                blocks += math.prod(choices[place] for place in places)
            total *= choices[f"{stage}.width"] * blocks
        return total

    def express(self, genes: Mapping[str, Gene]) -> Candidate:
        """The network that genes stand for; a gene left out has its first choice."""
        chosen: dict[str, Any] = {name: options[0] for name, options in self.choices.items()}
        chosen |= genes
        stages = []
        for stage, width in enumerate(self.widths, 1):
            blocks = tuple(
                Block(*(chosen[f"{stage}.{i}.{what}"] for what in Block._fields))
                for i in range(1, chosen[f"{stage}.depth"] + 1)
            )
            stages.append(StageChoice(widened(width, chosen[f"{stage}.width"]), blocks))
        return Candidate(widened(self.stem, chosen["stem"]), chosen["first"], tuple(stages))

    def genes_of(self, candidate: Candidate) -> Genes:
        """Genes of a network; those of blocks that are not there have their first choice."""
        named = self._named(candidate)
        return {name: named.get(name, choices[0]) for name, choices in self.genes.items()}

    def _named(self, candidate: Candidate) -> Genes:
        """Every choice that a network has made."""
        stem = self.multiple(candidate.stem, self.stem)
        named: Genes = {"stem": stem, "first": candidate.first}
        for stage, (chosen, base) in enumerate(zip(candidate.stages, self.widths, strict=True), 1):
            named[f"{stage}.width"] = self.multiple(chosen.width, base)
            named[f"{stage}.depth"] = len(chosen.blocks)
            for place, block in enumerate(chosen.blocks, 1):
                named |= {f"{stage}.{place}.{k}": v for k, v in block._asdict().items()}
        return named

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
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is no network of the space: {error}; got {written!r}") from None
        for name, value in self._named(found).items():
            check_choice(name, value, self.choices.get(name, ()))
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
            operator: of all blocks that can have it; by default each has its first.
        """
        genes: Genes = {
            name: operator
            if operator is not None and operator in choices
            else choices[0 if _is_kind(name) else which]
            for name, choices in self.choices.items()
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


@dataclass(frozen=True)
class Inside(Space):
    """The networks that lie inside one of them, block by block: the second stage's space.

    Stages lose their last blocks, blocks lose channels, widths become narrower; kernels and
    operators stay.

    Attributes:
        whole: the network around all of them.
    """

    whole: Candidate | None = None

    @classmethod
    def of(cls, space: Space, whole: Candidate) -> "Inside":
        """What lies inside ``whole``, a network of ``space``."""
        given = {field.name: getattr(space, field.name) for field in fields(space)}
        return cls(**given | {"whole": whole})

    def _listed(self) -> dict[str, tuple[Any, ...]]:
        """As of any space, but none is above that of the whole."""
        assert self.whole is not None
        most = self._named(self.whole)
        return {
            name: (most[name],)
            if _is_kind(name) or name.endswith(".kernel")
            else tuple(choice for choice in options if choice <= most[name])
            for name, options in super()._listed().items()
            if name in most
        }

    def as_settings(self) -> dict[str, Any]:
        """Plain JSON by field name."""
        assert self.whole is not None
        return super().as_settings() | {"whole": self.whole.as_json()}


def _is_kind(name: str) -> bool:
    """Whether a choice is one of operators."""
    return name == "first" or name.endswith(".operator")


def widened(base: int, multiple: float) -> int:
    """Channels at a multiple, rounded half up as the wide layers do."""
    return math.floor(base * multiple + 0.5)
