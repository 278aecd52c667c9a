"""Segmentation in the one training loop: scores, void pixels, and the same bits after a kill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import nn
from train_samples import CONFIG, assert_same_run, make_model, make_set, stopped_in_step

from saa_lite.data import Augment, Batches, ImageSet
from saa_lite.data.image_set import VOID
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.train import (
    SEGMENTATION,
    Scores,
    TrainConfig,
    confusion_matrix,
    evaluate,
    has_checkpoint,
    train,
)
from saa_lite.train.config import settings_of
from saa_lite.train.run import Run

NAMES = ("ground", "left", "right")


def drawn(split: str = "train", count: int = 16, seed: int = 0) -> ImageSet:
    """Noise whose masks are halves of the picture, some pixels without a label."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    masks = (images[:, 0] > 127).byte() + (images[:, 1] > 200).byte()
    masks[:, 0, :3] = VOID
    labels = torch.zeros(count, dtype=torch.int64)
    return ImageSet("halves", split, images, labels, ("scene",), masks, NAMES)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Conv2d(6, len(NAMES), 1),
    )


def fitted(folder: Path | None, config: TrainConfig = CONFIG, **options):
    model = network()
    options = {"task": SEGMENTATION, "progress": False, "checkpoint_every": 1} | options
    return model, train(model, drawn(), drawn("test", 8, 1), config, checkpoint=folder, **options)


# --- scores ------------------------------------------------------------------------------------


def test_a_known_confusion():
    masks = torch.tensor([[0, 0, 1], [1, VOID, 1]])
    answers = torch.tensor([[0, 1, 1], [1, 2, 0]])
    matrix = confusion_matrix(answers, masks, 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [0] * 4, [0] * 4]
    scores = Scores(matrix, ("a", "b", "c", "d"))
    assert scores.iou == {"a": 1 / 3, "b": 2 / 4}  # by hand
    assert scores.absent == ("c", "d")
    assert scores.miou == pytest.approx(5 / 12)
    assert scores.accuracy == pytest.approx(3 / 5)


def test_scores_are_scikit_learns():
    generator = np.random.default_rng(0)
    masks, answers = generator.integers(0, 4, (2, 5, 7, 6))
    masks[masks == 3] = VOID
    answers[0] = masks[0] % 4
    labelled = masks != VOID
    matrix = confusion_matrix(torch.from_numpy(answers), torch.from_numpy(masks), 5)
    scores = Scores(matrix, tuple("abcde"))
    theirs = jaccard_score(masks[labelled], answers[labelled], average=None)
    assert list(scores.iou.values()) == pytest.approx(list(theirs))
    macro = jaccard_score(masks[labelled], answers[labelled], average="macro")
    assert scores.miou == pytest.approx(macro)
    assert scores.absent == ("e",)


@pytest.mark.parametrize(
    ("answers", "masks", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), r"one shape; got \[2, 3\] and \[3, 2\]"),
        (torch.zeros(2), torch.tensor([0, 3]), r"masks must hold 0\.\.2; got 0\.\.3"),
        (torch.tensor([-1, 0]), torch.zeros(2), r"answers must hold 0\.\.2; got -1\.\.0"),
    ],
)
def test_what_no_matrix_is_made_of(answers, masks, message):
    with pytest.raises(UsageError, match=message):
        confusion_matrix(answers, masks, 3)


def test_nothing_to_score():
    with pytest.raises(UsageError, match="no pixel is labelled"):
        Scores(torch.zeros(2, 2, dtype=torch.int64), ("a", "b"))
    with pytest.raises(UsageError, match="3 classes must be square"):
        Scores(torch.ones(2, 2, dtype=torch.int64), tuple("abc"))


def test_scores_are_of_the_whole_set_whatever_the_batches():
    images, model = drawn(), network()
    stats = {"mean": (0.5,) * 3, "std": (0.3,) * 3}
    whole, pieces = (
        evaluate(model, images, batch_size=size, task=SEGMENTATION, **stats) for size in (16, 3)
    )
    batch = Batches(images, 16, targets="masks", **stats)
    _, pixels, masks = next(batch.epoch(0))
    with torch.no_grad():
        said = model.eval()(pixels).argmax(1)
    labelled = (masks != VOID).numpy()
    macro = jaccard_score(masks.numpy()[labelled], said.numpy()[labelled], average="macro")
    assert whole["miou"] == pieces["miou"] == pytest.approx(macro)
    assert whole["loss"] == pytest.approx(pieces["loss"], rel=1e-5)


# --- masks and their images -----------------------------------------------------------------------


@pytest.mark.parametrize("augment", [Augment(2, flip=True), Augment(flip=False), Augment(0)])
def test_masks_move_with_their_images(augment):
    masks = torch.randint(1, 9, (12, 9, 7), dtype=torch.uint8)
    images = masks[:, None].repeat(1, 3, 1, 1)
    moved, found = augment.with_masks(images, masks, torch.Generator().manual_seed(3))
    assert torch.equal(moved[:, 0], torch.where(found == VOID, 0, found))
    alone = augment(images, torch.Generator().manual_seed(3))
    assert torch.equal(moved, alone)
    assert bool((found == VOID).any()) == (augment.crop_padding > 0)


def test_a_scaled_mask_takes_the_nearest_pixel():
    """Where the picture is smooth, the nearest pixel is within half a step of the blend."""
    ramp = torch.arange(0, 240, 15, dtype=torch.uint8)
    masks = ramp.expand(6, 16, 16).contiguous()
    augment = Augment(resized_crop=(0.2, 0.6), brightness=0.0)
    moved, found = augment.with_masks(masks[:, None], masks, torch.Generator().manual_seed(1))
    assert set(found.unique().tolist()) <= set(ramp.tolist())  # nothing in between
    assert int((moved[:, 0].int() - found.int()).abs().max()) <= 15 // 2 + 1
    assert not torch.equal(found, masks)


def test_batches_of_masks():
    batches = Batches(drawn(), 4, shuffle=True, augment=Augment(1), targets="masks")
    _, images, masks = next(batches.epoch(0))
    assert (images.shape, masks.shape, masks.dtype) == ((4, 3, 8, 8), (4, 8, 8), torch.int64)
    with pytest.raises(UsageError, match=r"halves \(train\) has no masks"):
        Batches(replace(drawn(), masks=None), 4, targets="masks")
    with pytest.raises(UsageError, match="augment must be an Augment"):
        Batches(drawn(), 4, targets="masks", augment=lambda images, generator: images)


# --- training ------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_labelled_pixels():
    model, images = network(), drawn()
    config = replace(CONFIG, batch_size=16, crop_padding=0, flip=False)
    run = Run(model, images, images, config, device="cpu", folder=None, task=SEGMENTATION)
    _, pixels, masks = next(run.batches.epoch(0))
    totals = run.method.backward(run, pixels, masks)
    first = model[4].weight.grad.clone()
    _, right, answers = totals.tolist()
    assert answers == int((masks != VOID).sum()) == 16 * 61
    assert 0 <= right <= answers
    # One gradient whatever the micro-batches are, as dropout and norm are off.
    model.eval()
    found = []
    for accumulate in (1, 4):
        model.zero_grad()
        run.config = replace(config, accumulate=accumulate)
        run.method.backward(run, pixels, masks)
        found.append(model[4].weight.grad.clone())
    expected = nn.functional.cross_entropy(model(pixels), masks, ignore_index=VOID)
    expected = torch.autograd.grad(expected, model[4].weight)[0]
    for gradient in found:
        torch.testing.assert_close(gradient, expected)
    assert not torch.equal(first, expected)


def test_void_pixels_teach_nothing():
    images = drawn()
    other = images.masks.clone()
    other[:, 4:] = VOID
    model = network().eval()
    logits = model(torch.randn(16, 3, 8, 8))
    shown = logits.detach().clone().requires_grad_()
    SEGMENTATION.loss(shown, other.long(), 0.1).backward()
    assert not shown.grad[:, :, 4:].any()
    assert shown.grad[:, :, 1:4].any()


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    alone = fitted(None)
    with stopped_in_step(4, monkeypatch):
        fitted(tmp_path)
    assert has_checkpoint(tmp_path)
    assert_same_run(alone, fitted(tmp_path))
    row = alone[1][-1]
    assert 0 < row["test_miou"] <= row["test_accuracy"] <= 1


def test_a_run_on_other_masks_does_not_go_on(tmp_path):
    fitted(tmp_path)
    other = replace(drawn(), masks=drawn().masks.flip(1))
    with pytest.raises(CheckpointError, match=r"train_set is .* there and .* here"):
        train(
            network(), other, drawn("test", 8, 1), CONFIG, task=SEGMENTATION, progress=False,
            checkpoint=tmp_path,
        )  # fmt: skip


def test_only_segmentation_is_named_in_a_checkpoint():
    sets = drawn(), drawn("test", 8, 1)
    assert settings_of(CONFIG, *sets, SEGMENTATION)["task"] == "segmentation"
    assert "task" not in settings_of(CONFIG, *sets)  # as in checkpoints of before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": None}, r"needs masks and mask_names; halves \(train\) has none"),
        ({"mask_names": ()}, "needs masks and mask_names"),
        (
            {"masks": torch.full((16, 8, 8), VOID, dtype=torch.uint8)},
            r"needs labelled pixels; halves \(train\) has none",
        ),
        ({"mask_names": (*NAMES, "more")}, "same number of mask_names; got 4 and 3"),
    ],
)
def test_sets_that_do_not_fit(changes, message):
    with pytest.raises(UsageError, match=message):
        train(
            network(), replace(drawn(), **changes), drawn("test"), CONFIG, task=SEGMENTATION,
            progress=False,
        )  # fmt: skip


def test_other_refusals():
    sets = drawn(), drawn("test")
    with pytest.raises(UsageError, match="classes of every pixel; its output is"):
        train(make_model(), *sets, CONFIG, task=SEGMENTATION, progress=False)
    with pytest.raises(UsageError, match="mixup mixes labels, not masks"):
        train(network(), *sets, replace(CONFIG, mixup=0.2), task=SEGMENTATION, progress=False)
    with pytest.raises(UsageError, match="task must be CLASSIFICATION or SEGMENTATION"):
        train(make_model(), make_set("train"), make_set("test"), CONFIG, task="pixels")
    with pytest.raises(UsageError, match=r"masks must hold 0\.\.1, or 255 .* got 2"):
        replace(drawn(), mask_names=("a", "b"))
