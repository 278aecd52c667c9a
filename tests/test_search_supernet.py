"""SuperNet, SubNet, TargetNet: networks of a space inside shared weights, and out again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from search_samples import SMALL, written
from torch.nn import functional as F
from train_samples import make_set

from saa_lite.augment import (
    Around,
    AugmentConfig,
    AugmentedTraining,
    Mutation,
    augment,
    export,
    plain_network,
)
from saa_lite.augment.depthwise import ElasticKernel
from saa_lite.costs import count
from saa_lite.errors import UsageError
from saa_lite.models import create_model
from saa_lite.ops.shift import shift_quantize
from saa_lite.search import (
    Candidate,
    InheritedAccuracy,
    Inside,
    SuperNetTraining,
    configuration,
    counted,
    inherit,
    make_supernet,
    predict,
    trained_inside,
)
from saa_lite.train import TrainConfig, train

SEVEN = replace(SMALL, kernels=(3, 5, 7), depths=(1, 2, 3), multiples=(1.0, 1.5, 2.0))
IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def drawn(seed: int, operators: tuple[str, ...] = ("conv",)) -> Candidate:
    space = replace(SEVEN, operators=operators)
    return space.express(space.draw(np.random.default_rng(seed)))


def test_smaller_kernels_are_middles_times_learned_matrices() -> None:
    kernel = ElasticKernel((3, 5), 7)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 1, 7, 7, generator=generator)
    kernel.active = 3
    assert torch.equal(kernel(weight), weight[..., 2:5, 2:5])
    with torch.no_grad():
        for matrix in kernel.maps.values():
            matrix.copy_(torch.randn(matrix.shape, generator=generator))
    five = torch.einsum("ci,ij->cj", weight[:, 0, 1:6, 1:6].reshape(4, 25), kernel.maps["5"])
    five = five.view(4, 5, 5)
    three = torch.einsum("ci,ij->cj", five[:, 1:4, 1:4].reshape(4, 9), kernel.maps["3"])
    torch.testing.assert_close(kernel(weight)[:, 0].reshape(4, 9), three)
    kernel.active = 5
    torch.testing.assert_close(kernel(weight)[:, 0], five)
    kernel.active = 7
    assert kernel(weight) is weight


def test_candidates_compute_what_the_supernet_does_as_them() -> None:
    model = make_supernet(SEVEN)
    with torch.no_grad():
        for kernel in model.kernels.values():
            for matrix in kernel.maps.values():
                matrix.add_(torch.randn_like(matrix), alpha=0.1)
    model.eval()
    for seed in range(8):
        candidate = drawn(seed)
        with torch.no_grad(), model.configured(configuration(SEVEN, model, candidate)):
            expected = model(IMAGES)
        found = inherit(SEVEN, model, candidate)(IMAGES)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # and the supernet is its target again
        torch.testing.assert_close(plain_network(model, None)(IMAGES), model(IMAGES))


def test_ends_of_the_supernet_are_those_of_the_space() -> None:
    model = make_supernet(SEVEN)
    for chosen, which in ((model.smallest, 0), (model.largest, -1)):
        net = plain_network(model, chosen)
        assert counted(count(net, (1, 1, 8, 8))) == predict(SEVEN, SEVEN.extreme(which, "conv"))


def test_operators_come_in_when_a_candidate_inherits() -> None:
    model = make_supernet(SMALL)
    convolved = SMALL.candidate(written(first="conv", stages=[
        {"width": 8, "blocks": [[5, 3, "conv"]]}, {"width": 8, "blocks": [[3, 2, "conv"]] * 2},
    ]))  # fmt: skip
    stages = tuple(
        stage._replace(blocks=tuple(b._replace(operator="shift") for b in stage.blocks))
        for stage in convolved.stages
    )
    plain = inherit(SMALL, model, convolved)
    shifted = inherit(SMALL, model, Candidate(convolved.stem, "shift", stages))
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name.endswith(("expand.conv.weight", "project.conv.weight")):
                parameter.copy_(shift_quantize(parameter, 5))
    torch.testing.assert_close(shifted(IMAGES), plain(IMAGES), rtol=1e-3, atol=1e-3)
    added = inherit(SMALL, model, replace(convolved, first="adder"))
    start = added.get_submodule("blocks.0.project.conv").get_parameter("weight")
    stored = plain.get_submodule("blocks.0.project.conv").get_parameter("weight")
    assert start.detach().std() > 2 * stored.detach().std()


def test_training_moves_all_of_it_and_resumes_to_the_same_bits(tmp_path_factory) -> None:
    sets = make_set("train"), make_set("test", 1)
    space = replace(SMALL, in_channels=3, num_classes=sets[0].num_classes)
    config = TrainConfig(epochs=2, batch_size=16, lr=0.05, crop_padding=1)
    whole = make_supernet(space)
    start = {name: p.clone() for name, p in whole.named_parameters()}
    history = train(whole, *sets, config, method=SuperNetTraining(32), progress=False)
    assert {"largest_accuracy", "drawn_loss", "test_accuracy"} <= set(history[-1])
    still = [name for name, p in whole.named_parameters() if torch.equal(p, start[name])]
    assert set(still) <= {"net.blocks.2.extra.0.depthwise.conv.kernel.maps.3"}  # if never drawn
    folder = tmp_path_factory.mktemp("supernet")
    again = make_supernet(space)
    options = {"method": SuperNetTraining(32), "progress": False, "checkpoint": folder}

    def stop(epoch: dict) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(again, *sets, config, on_epoch=stop, **options)
    again = make_supernet(space, seed=5)
    train(again, *sets, config, **options)
    assert all(
        torch.equal(p, dict(whole.named_parameters())[n]) for n, p in again.named_parameters()
    )


def test_inherited_accuracy_is_that_of_fresh_statistics() -> None:
    """The same candidate twice gives the same; what the running ones were does not matter."""
    shown, tested = make_set("train"), make_set("test", 1)
    space = replace(SMALL, in_channels=3, num_classes=shown.num_classes)
    model = make_supernet(space)
    accuracy = InheritedAccuracy(space, model, shown, tested, batch_norm_images=32, batch_size=16)
    candidate = SMALL.candidate(written())
    first = accuracy(candidate)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.fill_(3.0)
        norm.running_var.fill_(9.0)
    assert accuracy(candidate) == first
    assert 0 <= first <= 100
    right = first / 100 * len(tested)
    assert right == pytest.approx(round(right))


def test_a_target_lies_inside_its_subnet_and_comes_out_alone() -> None:
    whole = drawn(3, ("shift", "adder"))
    whole = replace(whole, stages=tuple(
        stage._replace(blocks=(*stage.blocks, *stage.blocks)[:3]) for stage in whole.stages
    ))  # fmt: skip
    space = Inside.of(SEVEN, whole)
    rng = np.random.default_rng(0)
    for _ in range(4):
        target = space.express(space.draw(rng))
        model = trained_inside(
            space, target, remap="analytic", mutation=Mutation(0, blend=0), fan="wide"
        )
        conv = replace(whole, first="conv", stages=tuple(
            s._replace(blocks=tuple(b._replace(operator="conv") for b in s.blocks))
            for s in whole.stages
        ))  # fmt: skip
        around = counted(count(plain_network(model, model.largest), (1, 1, 8, 8)))
        assert around == predict(SEVEN, conv)
        model.set_epoch(0)
        model.eval()
        alone = export(model)
        with torch.no_grad():
            assert torch.equal(alone(IMAGES), model(IMAGES))
        frozen = count(alone.requires_grad_(True), (1, 1, 8, 8))
        assert counted(frozen) == predict(space, target)


def test_target_trains_by_the_existing_method() -> None:
    sets = make_set("train"), make_set("test", 1)
    whole = replace(SMALL, in_channels=3, num_classes=sets[0].num_classes)
    space = Inside.of(whole, whole.extreme(-1, "shift"))
    model = trained_inside(
        space, space.extreme(0), remap="analytic", mutation=Mutation(1, blend=0), fan="wide"
    )
    config = TrainConfig(epochs=2, batch_size=16, lr=0.05, crop_padding=1)
    history = train(model, *sets, config, method=AugmentedTraining(), progress=False)
    assert "augmented_accuracy" in history[-1]
    images = F.interpolate(sets[0].images[:4].float() / 255, size=8)
    assert torch.equal(export(model).eval()(images), model.eval()(images))


def test_inside_has_nothing_above_the_whole() -> None:
    whole = SEVEN.candidate(SEVEN.extreme(-1, "shift").as_json())
    whole = replace(whole, stem=6)
    space = Inside.of(SEVEN, whole)
    assert space.choices["stem"] == (1.0, 1.5)
    assert space.choices["1.1.kernel"] == (7,)
    assert not [name for name in space.genes if name.endswith(("kernel", "operator", "first"))]
    assert space.extreme(-1) == whole
    assert space.candidate(whole.as_json()) == whole
    with pytest.raises(UsageError, match=r"stem must be one of 1.0, 1.5; got 2.0"):
        space.candidate(replace(whole, stem=8).as_json())


def test_what_surrounds_must_be_places_of_the_network() -> None:
    target = create_model("mobilenet_v2_tiny", small_input=True)
    for around, says in (
        (Around({"blocks.9.in": (1.0, 2.0)}, {}), "axis in around must be one of 'stem'"),
        (Around({}, {"blocks.1": ((3, 3),)}), "end of a stage in around must be one of 'blocks.2'"),
    ):
        with pytest.raises(UsageError, match=says):
            augment(target, AugmentConfig(around=around))
    with pytest.raises(UsageError, match="extra blocks of x must be pairs"):
        Around({}, {"x": ((3,),)})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="kernels must be a tuple of ascending odd sizes"):
        AugmentConfig(kernels=(4,))
