"""From a finished training to a file of the package, and from there back to its accuracy.

Every number that a file states is measured on the weights as they are stored, float16, loaded the
way a user loads them.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from saa_lite.data import ImageSet, load_dataset, normalization
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.models import (
    WeightsInfo,
    WeightsName,
    create_model,
    describe,
    list_weights,
    load_weights,
    weights_info,
)
from saa_lite.models.trained import probe_pixels, stored, write_trained
from saa_lite.provenance import provenance
from saa_lite.recipes.recipe import Recipe
from saa_lite.train import load_checkpoint, per_image
from saa_lite.train.config import settings_of

PROBED = 8  # noise images whose logits a file states
MOVED = 0.001  # share of test images that another processor's rounding may decide otherwise


def ship(recipe: Recipe, run: Path, train_set: ImageSet, test_set: ImageSet) -> WeightsInfo:
    """Write the network of a finished training, with what is known of it, into the package.

    Args:
        run: checkpoint folder of :func:`saa_lite.train.train` with this recipe.

    Raises:
        UsageError: the training began with other weights that are shipped.
        CheckpointError: ``run`` holds no training, another one, or one that is not finished.
    """
    if recipe.weights is not None:
        raise UsageError(
            "only what began with fresh weights can be shipped, as nobody could repeat it after "
            f"its start is replaced; this recipe begins with weights {recipe.weights!r}"
        )
    network, config = recipe.network(train_set), recipe.config
    state = load_checkpoint(run, network, config=settings_of(config, train_set, test_set))
    if state["epoch"] < config.epochs:
        raise CheckpointError(
            f"{run} holds {state['epoch']} of {config.epochs} epochs: go on with saa-lite train "
            f"--recipe {recipe.name} --out {run} --resume"
        )
    tensors = stored(network)
    load_weights(network.eval(), tensors)
    mean, std = normalization(train_set)
    losses, hits = per_image(network, test_set, mean=mean, std=std)
    info = WeightsInfo(
        model=recipe.model,
        conv=recipe.conv,
        weights=recipe.dataset,
        num_classes=train_set.num_classes,
        in_channels=train_set.in_channels,
        width=describe(recipe.model).width,
        class_names=train_set.class_names,
        image_size=train_set.images.shape[2],
        mean=tuple(mean),
        std=tuple(std),
        train_images=len(train_set),
        test_images=len(test_set),
        correct=int(hits.sum()),
        test_loss=losses.double().mean().item(),
        options=dict(recipe.options),
        training=asdict(config),
        history=tuple(state["history"]),
        probe=(),
        provenance=provenance(),
    )
    pixels = probe_pixels(PROBED, info.in_channels, info.image_size)
    with torch.no_grad():
        logits = network(info.normalize(pixels)).tolist()
    info = replace(info, probe=tuple(map(tuple, logits)))
    write_trained(info, tensors)
    return info


@dataclass(frozen=True)
class Check:
    """Right answers of one shipped network, as its file states and as they are now."""

    name: WeightsName
    test_images: int
    stated: int
    found: int

    @property
    def holds(self) -> bool:
        """Whether both agree, but for images that rounding decides."""
        return abs(self.stated - self.found) <= MOVED * self.test_images

    def as_row(self) -> dict[str, str]:
        """For a table or JSON; accuracies in percent."""
        return {
            "network": str(self.name),
            "test images": str(self.test_images),
            "stated %": f"{100 * self.stated / self.test_images:.2f}",
            "found %": f"{100 * self.found / self.test_images:.2f}",
            "result": "holds" if self.holds else "fails",
        }


def check(
    root: Path | str | None = None, *, download: bool = False, device: str = "cpu"
) -> Iterator[Check]:
    """Test every shipped network again, on all test images of its set.

    Args:
        root, download: where the sets lie, see :func:`saa_lite.data.load_dataset`.

    Raises:
        DataError: a set is not there.
        CheckpointError: a file is missing, torn or exchanged.
        UsageError: the set here has another number of test images.
    """
    sets: dict[str, ImageSet] = {}
    for name in list_weights():
        info = weights_info(*name[:2], weights=name.weights)
        if name.weights not in sets:
            sets[name.weights] = load_dataset(name.weights, "test", root=root, download=download)
        test_set = sets[name.weights]
        if len(test_set) != info.test_images:
            raise UsageError(
                f"{name} was tested on {info.test_images} images; {name.weights} has "
                f"{len(test_set)} here"
            )
        network = create_model(name.model, conv=name.conv, weights=name.weights).to(device)
        _, hits = per_image(network, test_set, mean=info.mean, std=info.std, device=device)
        yield Check(name, info.test_images, info.correct, int(hits.sum()))
