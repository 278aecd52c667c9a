"""Teachers that are trained before their students, and which mistakes a target shares with one.

ShiftAddAug's supplement explains why in-place distillation hurts: the target learns the augmented
network's mistakes. So beside accuracies stands the share of the target's errors on test images on
which the teacher gives the very same wrong answer. A teacher trained by itself tells whether it is
distillation that hurts, or this teacher.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from saa_lite.augment import AugmentedNet
from saa_lite.augment.method import whole_batches
from saa_lite.data import Batches, ImageSet, normalization
from saa_lite.data.seeds import mix
from saa_lite.items.base import Unit
from saa_lite.items.recipes import RECIPES
from saa_lite.items.targets import build, train_config
from saa_lite.items.training import Settings
from saa_lite.records import Record
from saa_lite.train import TrainConfig, evaluation_mode, reestimate_batch_norm, train
from saa_lite.train.run import make_batches

if TYPE_CHECKING:
    from saa_lite.items.augmented import Trained

TEACHER_STREAM = 3  # keeps the seeds of a unit's teacher apart from its own
TAUGHT_AS = "conv"


def trained_teacher(
    unit: Unit, settings: Settings, train_set: ImageSet, test_set: ImageSet
) -> nn.Module | None:
    """The unit's teacher, trained or taken from its checkpoint; None where it needs none.

    It has seen the same images as its student, starts from another seed, and is trained as the
    multiplicative target alone would be. Its statistics of batch norm are measured anew.
    """
    recipe = RECIPES[unit.method]
    if not recipe.teacher:
        return None
    seed = mix(unit.seed, TEACHER_STREAM)
    wider = replace(settings, net_width=recipe.teacher * settings.net_width)
    teacher = build(TAUGHT_AS, wider, train_set, seed)
    config = train_config(settings, TAUGHT_AS, seed)
    train(
        teacher,
        train_set,
        test_set,
        config,
        device=unit.context.device,
        checkpoint=unit.checkpoint / "teacher",
        progress=unit.context.progress,
    )
    measure_anew(teacher, train_set, config, settings)
    return teacher


def measure_anew(
    model: nn.Module, train_set: ImageSet, config: TrainConfig, settings: Settings
) -> None:
    """Statistics of batch norm of the finished weights, from whole batches of the last epoch."""
    device = next(model.parameters()).device
    batches = make_batches(train_set, config, device, channels_last=False)
    images = whole_batches(batches, config.epochs - 1, settings.batch_norm_images)
    reestimate_batch_norm(model, images)


def likeness(unit: Unit, settings: Settings, run: "Trained") -> Iterator[Record]:
    """Accuracy of each teacher that there is or might be, and the errors that its student shares.

    ``wide_…`` is of the largest configuration around the target, whether it has taught it or not;
    ``teacher_…`` of the network trained before it.
    """
    others: dict[str, nn.Module] = {}
    if isinstance(run.model, AugmentedNet):
        wide = deepcopy(run.model)
        wide.activate(wide.largest)
        measure_anew(wide, run.train_set, run.config, settings)
        others["wide"] = wide
    if run.teacher is not None:
        others["teacher"] = run.teacher
    labels = run.test_set.labels
    student = answers(run.model, run.train_set, run.test_set)
    for name, model in others.items():
        found = answers(model, run.train_set, run.test_set)
        right = 100 * (found == labels).double().mean().item()
        yield unit.record(f"{name}_accuracy", right, "%")
        if (shared := shared_errors(student, found, labels)) is not None:
            yield unit.record(f"{name}_shared_errors", shared, "%")


def shared_errors(student: Tensor, teacher: Tensor, labels: Tensor) -> float | None:
    """Of the images [N] that the student gets wrong, those (in %) with the teacher's answer.

    None where the student gets nothing wrong.
    """
    wrong = student != labels
    if not wrong.any():
        return None
    return 100 * (student == teacher)[wrong].double().mean().item()


@torch.no_grad()
def answers(model: nn.Module, train_set: ImageSet, test_set: ImageSet) -> Tensor:
    """Class of each test image, int64 [N], as a network in evaluation mode says."""
    mean, std = normalization(train_set)
    device = next(model.parameters()).device
    batches = Batches(test_set, 500, mean=mean, std=std, device=device)
    with evaluation_mode(model):
        return torch.cat([model(images).argmax(1).cpu() for _, images, _ in batches.epoch(0)])
