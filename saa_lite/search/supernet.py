"""SuperNet: one set of weights that every network of a space takes its own from.

It is an augmented network around the smallest one of the space, with the largest kernels: widths,
expansions and depth are what :mod:`saa_lite.augment` draws anyway, smaller kernels are cut out of
the largest. All of it multiplies, whatever operators the candidates have, as in the source; a
candidate's own operators come in when it inherits: shift layers round the inherited weights to
±2^p, adder layers read them through equation 5, since a convolution's weights are no adder's.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from saa_lite.augment import Around, AugmentConfig, AugmentedNet, Configuration, augment
from saa_lite.augment.export import plain_network
from saa_lite.augment.network import check_augmented
from saa_lite.augment.remap import make_remap
from saa_lite.data import Batches, ImageSet, normalization
from saa_lite.data.seeds import generator_for
from saa_lite.nn import AdderConv2d
from saa_lite.search.space import Candidate, Inside, Space, widened
from saa_lite.train import Method, backward_pass, reestimate_batch_norm
from saa_lite.train.run import Run

DRAWN_STREAM = 3  # beside order, augmentation, dropout and an augmented pass's configuration


def make_supernet(space: Space, seed: int = 0) -> AugmentedNet:
    """The untrained SuperNet of a space, its weights drawn from ``seed``."""
    torch.manual_seed(seed)
    smallest = space.extreme(0, "conv")
    stages = tuple(
        stage._replace(blocks=tuple(b._replace(kernel=space.kernels[-1]) for b in stage.blocks))
        for stage in smallest.stages
    )
    target = space.build(Candidate(smallest.stem, "conv", stages))
    config = AugmentConfig(
        width=space.multiples,
        expand=tuple(expansion / space.expansions[0] for expansion in space.expansions),
        depth=space.depths[-1] - space.depths[0],
        kernels=space.kernels[:-1],
        fan="wide",
    )
    return augment(target, config)


def configuration(space: Space, model: AugmentedNet, candidate: Candidate) -> Configuration:
    """How the SuperNet runs as a candidate, operators aside."""
    widths = [axis for axis in model.axes if not axis.is_inner]
    inner = [axis for axis in model.axes if axis.is_inner]
    stem = space.multiple(candidate.stem, space.stem)
    stages = zip(candidate.stages, space.widths, strict=True)
    chosen = [stem, stem, *(space.multiple(stage.width, base) for stage, base in stages)]
    multiples = {axis.name: m for axis, m in zip(widths, chosen, strict=True)}
    # One place per block of the deepest network; those that a candidate has not stay as they are.
    places = [(stage, i) for stage in candidate.stages for i in range(space.depths[-1])]
    blocks = [stage.blocks[i] if i < len(stage.blocks) else None for stage, i in places]
    for axis, block in zip(inner, blocks, strict=True):
        multiple = 1.0 if block is None else block.expansion / space.expansions[0]
        multiples[axis.name] = multiple
    depths = [len(stage.blocks) - space.depths[0] for stage in candidate.stages]
    active = dict(zip(model.deepened, depths, strict=True)) if model.deepened else {}
    sizes = [space.kernels[-1] if block is None else block.kernel for block in blocks]
    kernels = dict(zip(model.kernels, sizes, strict=True)) if model.kernels else {}
    return Configuration(multiples, active, kernels)


def inherit(space: Space, model: AugmentedNet, candidate: Candidate) -> nn.Module:
    """The candidate as a network of its own, with the SuperNet's weights.

    Its batch norm has statistics of other networks: measure them anew.
    """
    plain = plain_network(model, configuration(space, model, candidate)).state_dict()
    net = space.build(candidate)
    net.load_state_dict(dict(zip(net.state_dict(), plain.values(), strict=True)))
    remap = make_remap("analytic")
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, AdderConv2d):
                layer.weight.copy_(remap(layer.weight))
    return net.eval()


class SuperNetTraining(Method):
    """Smallest, largest and one drawn configuration in each step, with labels alone (ours).

    Give it to :func:`saa_lite.train.train` with a SuperNet. What the loop tests is the network
    that all others contain: the smallest but for its kernels, statistics measured anew.

    Args:
        batch_norm_images: training images, at most, for these statistics.
    """

    passes = ("train", "largest", "drawn")

    def __init__(self, batch_norm_images: int = 2000) -> None:
        self.batch_norm_images = batch_norm_images

    def settings(self, model: nn.Module) -> dict[str, Any]:
        supernet = check_augmented(model, "SuperNetTraining")
        return {"supernet": supernet.config.as_settings()}

    def begin_epoch(self, run: Run) -> None:
        check_augmented(run.model, "SuperNetTraining")

    def backward(self, run: Run, images: Tensor, labels: Tensor) -> Tensor:
        model = check_augmented(run.model, "SuperNetTraining")
        place = run.config.seed, run.epoch, run.step, DRAWN_STREAM
        drawn = model.draw(generator_for(*place))
        totals = []
        for chosen in (model.smallest, model.largest, drawn):
            with model.configured(chosen):
                totals.append(backward_pass(run, images, labels))
        return torch.cat(totals)

    def before_test(self, run: Run) -> None:
        batches = max(1, self.batch_norm_images // run.batches.batch_size)
        reestimate_batch_norm(run.model, islice(run.batches.epoch(run.epoch), batches))


class InheritedAccuracy:
    """Accuracy in % of candidates with the SuperNet's weights, statistics measured anew.

    Args:
        train_set: its first images, whole batches of them, give the statistics.
        validation_set: what the accuracy is of.
        batch_norm_images: how many images for the statistics.
    """

    def __init__(
        self,
        space: Space,
        model: AugmentedNet,
        train_set: ImageSet,
        validation_set: ImageSet,
        *,
        batch_norm_images: int = 500,
        batch_size: int = 250,
    ) -> None:
        self.space, self.model = space, model
        mean, std = normalization(train_set)
        size = min(batch_size, batch_norm_images, len(train_set))
        loader = Batches(train_set, size, mean=mean, std=std)
        count = max(1, batch_norm_images // size)
        self.statistics = [images for _, images, _ in islice(loader.epoch(0), count)]
        tested = Batches(validation_set, batch_size, mean=mean, std=std).epoch(0)
        self.tested: Sequence[tuple[Tensor, Tensor]] = [(x, y) for _, x, y in tested]

    def __call__(self, candidate: Candidate) -> float:
        return self.of(inherit(self.space, self.model, candidate))

    @torch.no_grad()
    def of(self, net: nn.Module) -> float:
        """The same for any network: statistics anew, then the accuracy on the same images."""
        reestimate_batch_norm(net, self.statistics)
        right = sum(int((net(x).argmax(1) == y).sum()) for x, y in self.tested)
        return 100 * right / sum(len(y) for _, y in self.tested)


def trained_inside(space: Inside, target: Candidate, **options: Any) -> AugmentedNet:
    """A target, untrained, inside the network that its space lies in.

    The whole's further blocks stand behind each stage, and its further channels around each width;
    what is between target and whole is drawn in each step, too. All of that multiplies, and is
    gone from what :func:`saa_lite.augment.export` returns.

    Args:
        options: of :class:`AugmentConfig`, such as remapping and mutation.
    """
    whole = space.whole
    assert whole is not None
    multiples = dict.fromkeys(("stem", "blocks.0.out"), _between(space, "stem", target.stem))
    extra: dict[str, tuple[tuple[int, int], ...]] = {}
    index = 1
    for place, (mine, all_) in enumerate(zip(target.stages, whole.stages, strict=True), 1):
        multiples[f"blocks.{index}.out"] = _between(space, f"{place}.width", mine.width)
        for i, block in enumerate(mine.blocks):
            most = all_.blocks[i].expansion
            allowed = [e for e in space.expansions if block.expansion <= e <= most]
            multiples[f"blocks.{index + i}.inner"] = tuple(e / block.expansion for e in allowed)
        index += len(mine.blocks)
        further = all_.blocks[len(mine.blocks) :]
        extra[f"blocks.{index - 1}"] = tuple((b.expansion, b.kernel) for b in further)
    config = AugmentConfig(around=Around(multiples, extra), **options)
    return augment(space.build(target), config)


def _between(space: Inside, name: str, width: int) -> tuple[float, ...]:
    """Multiples of a width of the target, up to that of the whole."""
    base = space.stem if name == "stem" else space.widths[int(name.partition(".")[0]) - 1]
    allowed = [widened(base, multiple) for multiple in space.choices[name]]
    return tuple(each / width for each in allowed if each >= width)
