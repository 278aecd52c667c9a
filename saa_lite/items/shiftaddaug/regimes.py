"""Does augmentation help? The same small network where it underfits, in between, and overfits.

NetAug explains its gain by underfitting: a tiny network has no capacity to spare, so more
supervision helps and regularisation hurts. ShiftAddAug's own setting (half a million parameters,
300 epochs of CIFAR-100) may rather overfit, so that its gain could be that of a regulariser. The
two accounts predict opposite signs, and a training that has not converged shows neither.

So ResNet-8 of 4, 8 and 16 channels learns CIFAR-100 at 16² for as long as it takes, in three
regimes: U underfits, O overfits a small part of the images, M lies in between. What is compared,
with which seeds, by which gates and when it stops is fixed in :mod:`saa_lite.protocols`; this
module only runs what a protocol says.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from saa_lite.errors import UsageError, check_choice
from saa_lite.items import augmented
from saa_lite.items.augmented import Settings as Training
from saa_lite.items.base import Context, Unit, built
from saa_lite.items.fairness import FAIR, fair
from saa_lite.items.interval import t_interval
from saa_lite.protocols import Protocol, list_protocols, load_protocol
from saa_lite.published import PublishedNumber, find_published
from saa_lite.records import Record
from saa_lite.viz.regimes import Response, response_figure

ITEM_ID = "shiftaddaug/regimes"
REGIME = "regime-"  # how the names of its protocols begin; the letter follows
PAIRS = (("netaug", "conv"), ("aug-shift", "shift"))
PRINTED = ("ShiftAddAug point 2", "DeepShift point 2")  # MobileNetV2-w0.35 on CIFAR-100
TRIED = Training(
    "digits", "resnet8", 8, True, 40, 20, epochs=2, seeds=1, batch_size=20, crop_padding=1,
    flip=False, width=(1.0, 1.5), expand=(1.0, 1.5), batch_norm_images=40, net_width=4, fan="wide",
    sort_every=1, decay_norms=False, channels_last=False, test_every=2, validation_images=100,
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Which part of the campaign is run; none of it changes what a unit is.

    Attributes:
        protocols: names, in this order; empty, a tiny training that shows that the code works.
        arms, seeds: those of the protocols to run now; empty, all.
    """

    protocols: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


CAMPAIGN = Settings(tuple(list_protocols(ITEM_ID)))
PROFILES = {"smoke": Settings(), "laptop": CAMPAIGN, "full": CAMPAIGN}


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Units seed by seed, so that an unfinished campaign is balanced.

    Raises:
        UsageError: an arm or a seed that no protocol of the run has.
    """
    if not settings.protocols:
        yield from augmented.run(TRIED, context, ("conv", "netaug"))
        return
    chosen = [load_protocol(name) for name in settings.protocols]
    _check_chosen(settings, chosen)
    for protocol in chosen:
        for seed, arm, training in trainings(protocol):
            wanted = arm in (settings.arms or protocol.arms)
            unit = unit_of(protocol, context, arm, seed, training)
            if wanted and seed in (settings.seeds or protocol.seeds):
                yield from augmented.finish(unit, training)


def trainings(protocol: Protocol) -> Iterator[tuple[int, str, Training]]:
    """Seed, arm and settings of every training of a protocol."""
    for seed in protocol.seeds:
        for arm in (arm for arm in protocol.arms if seed in protocol.seeds_of(arm)):
            for point in product(*protocol.grid.values()):
                yield (
                    seed,
                    arm,
                    training_of(protocol, arm, dict(zip(protocol.grid, point, strict=True))),
                )


def training_of(protocol: Protocol, arm: str, point: dict[str, Any]) -> Training:
    """The settings of one arm.

    Raises:
        UsageError: a value outside its range, or a name that is no setting.
    """
    values = {**protocol.settings_of(arm), **point}
    names = [f.name for f in fields(Training)]
    for name in values:
        check_choice(f"setting of protocol {protocol.name}", name, names)
    values |= {k: tuple(values[k]) for k in ("width", "expand") if k in values}
    values |= {"rates": tuple(protocol.rates.items()), "protocol": protocol.label}
    training = Training(**{"seeds": len(protocol.seeds), "methods": (), **values})
    augmented.check_recipes(training, [protocol.method_of(arm)])
    return training


def unit_of(protocol: Protocol, context: Context, arm: str, seed: int, training: Training) -> Unit:
    """The unit of work; a variant is told by its settings."""
    shared = augmented.recipe_settings(training)
    if arm in protocol.variants:
        shared["arm"] = arm
    return context.unit(
        method=protocol.method_of(arm),
        model=training.network,
        dataset=training.dataset,
        seed=seed,
        epochs=training.epochs,
        settings=shared,
    )


def draw(records: list[Record], published: list[PublishedNumber]) -> Figure:
    """Dose and response: the difference that augmentation makes against the generalisation gap."""
    responses = {pair[0]: responses_of(records, *pair) for pair in PAIRS}
    shown = {arm: found for arm, found in responses.items() if found}
    title = "ResNet-8 on CIFAR-100 at 16²: U underfits, M in between, O overfits"
    gains = [find_published("shiftaddaug/fig5", row, "accuracy").value or 0.0 for row in PRINTED]
    return response_figure(shown, title, gains[0] - gains[1])


def responses_of(records: list[Record], augmented_arm: str, alone: str) -> list[Response]:
    """One per regime that has both arms, in the order of the gap."""
    found = []
    for name in sorted({name for r in records if (name := regime_of(r))}):
        accuracy = values_of(fair(records), name, FAIR)
        trained = values_of(records, name, augmented.TRAINED)
        seeds = sorted(set(accuracy[augmented_arm]) & set(accuracy[alone]) & set(trained[alone]))
        if not seeds:
            continue
        values = tuple(accuracy[augmented_arm][s] - accuracy[alone][s] for s in seeds)
        gap = fmean(trained[alone][s] - accuracy[alone][s] for s in seeds)
        interval = t_interval(values) if len(values) > 1 else None
        found.append(Response(name[len(REGIME) :].upper(), gap, values, interval))
    return sorted(found, key=lambda response: response.gap)


def regime_of(record: Record) -> str:
    """The regime's protocol, or "" for records of another one and of variants."""
    name = str(record.settings.get("protocol", "")).partition(" ")[0]
    return name if name.startswith(REGIME) and "arm" not in record.settings else ""


def values_of(records: list[Record], regime: str, metric: str) -> dict[str, dict[int, float]]:
    """Method → seed → value; a method without any is empty."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for record in records:
        if record.metric == metric and regime_of(record) == regime:
            found[record.method][record.seed] = record.value
    return found


def _check_chosen(settings: Settings, protocols: list[Protocol]) -> None:
    arms = {arm for protocol in protocols for arm in protocol.arms}
    for arm in settings.arms:
        check_choice("arms", arm, sorted(arms))
    seeds = {seed for protocol in protocols for seed in protocol.seeds}
    for seed in settings.seeds:
        if seed not in seeds:
            raise UsageError(f"seeds must be among {sorted(seeds)}; got {seed!r}")


ITEM = built(ITEM_ID, profiles=PROFILES, run=run, draw=draw)
