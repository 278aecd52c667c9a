"""Budget and recipe of the trainings of a target, and what of it tells two trainings apart."""

from dataclasses import asdict, dataclass, fields
from itertools import dropwhile
from typing import Any

from saa_lite.augment.config import EXPAND, WIDTH
from saa_lite.train.config import without_defaults

OUTSIDE = {"dataset", "network", "seeds", "methods"}
"""Settings that say which trainings there are, not what one of them is."""


@dataclass(frozen=True)
class Settings:
    """Budget and recipe; all but :data:`OUTSIDE` is in the hash.

    ``methods`` names those to train; empty, all of the item.

    The defaults are NetAug's official code where it says something: label smoothing, Nesterov,
    multiples, α = 1, sorting and drawn widths in the first half. Rate and decay are what the
    ShiftAddAug authors are said to use.

    Attributes:
        net_width: of the target, where ``create_model`` lets one choose it.
        fan, sort_every: see :class:`AugmentConfig` and :class:`AugmentedTraining`.
        validation_images: so many images of the training split are kept from training. Settings
            are chosen by them: where ``test_images`` is 0, they are tested.
        rates: pairs of a method and its learning rate, where ``lr`` is not everyone's.
        protocol: what was fixed before the first run, see :mod:`saa_lite.protocols`.
        eta: of all adder layers of the target, whatever they start from: root mean square of the
            gradient that moves an adder weight. 0.2 is AdderNet's, for weights of N(0, 1).
        mixup, smallest_crop: see :class:`saa_lite.train.TrainConfig`; of every pass of a step.
        task: ``"segmentation"`` makes ``network`` the encoder of a segmenter, with an output stride
            of 8 at most; an ``image_size`` of 0 then leaves images as they are.
    """

    dataset: str
    network: str
    image_size: int
    small_input: bool
    train_images: int
    test_images: int
    epochs: int
    seeds: int
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    warmup_epochs: float = 0.5
    crop_padding: int = 4
    flip: bool = True
    width: tuple[float, ...] = WIDTH
    expand: tuple[float, ...] = EXPAND
    alpha: float = 1.0
    width_epochs: float = 0.5
    sort: bool = True
    batch_norm_images: int = 16_000
    methods: tuple[str, ...] = ()
    net_width: int = 16
    fan: str = "own"
    sort_every: int = 0
    decay_norms: bool = True
    channels_last: bool = True
    test_every: int = 1
    validation_images: int = 0
    rates: tuple[tuple[str, float], ...] = ()
    protocol: str = ""
    eta: float = 0.2
    mixup: float = 0.0
    smallest_crop: float = 1.0
    task: str = "classification"


FIRST_LATER = "net_width"
LATER = {
    f.name: f.default for f in dropwhile(lambda field: field.name != FIRST_LATER, fields(Settings))
}
"""Settings that came later. At their defaults they stay out of the hash, as they did before."""


def recipe_settings(settings: Settings) -> dict[str, Any]:
    """What the methods of a seed share, as the plain JSON that is hashed."""
    shared = {f.name for f in fields(Settings)} - OUTSIDE  # not what an item's own settings add
    recipe = {k: v for k, v in asdict(settings).items() if k in shared}
    recipe = without_defaults(recipe, LATER)
    return (
        recipe
        | {name: list(recipe[name]) for name in ("width", "expand")}
        | ({"rates": dict(settings.rates)} if settings.rates else {})
    )
