"""Trainings that protocols fix: which there are, and running the part of them that is asked for.

What is compared, with which seeds, by which gates and when it stops is fixed in
:mod:`saa_lite.protocols`; an item of protocols runs what they say and draws it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from saa_lite.errors import UsageError, check_choice
from saa_lite.items import augmented
from saa_lite.items.augmented import Settings as Training
from saa_lite.items.base import Context, Unit
from saa_lite.protocols import Protocol, list_protocols, load_protocol
from saa_lite.records import Record

TRIED = Training(
    "digits", "resnet8", 8, True, 40, 20, epochs=2, seeds=1, batch_size=20, crop_padding=1,
    flip=False, width=(1.0, 1.5), expand=(1.0, 1.5), batch_norm_images=40, net_width=4, fan="wide",
    sort_every=1, decay_norms=False, channels_last=False, test_every=2, validation_images=100,
)  # fmt: skip

Finish = Callable[[Unit, Training], Iterator[Record]]


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


def profiles_of(item_id: str) -> dict[str, Settings]:
    """The item's profiles: all of its protocols, or in "smoke" none of them."""
    campaign = Settings(tuple(list_protocols(item_id)))
    return {"smoke": Settings(), "laptop": campaign, "full": campaign}


def run(
    settings: Settings,
    context: Context,
    tried: Sequence[str],
    *,
    training: Training = TRIED,
    finish: Finish = augmented.finish,
) -> Iterator[Record]:
    """Units seed by seed, so that an unfinished campaign is balanced.

    Args:
        tried: methods of the tiny ``training`` that stands in where no protocol is asked for.
        finish: see :func:`saa_lite.items.augmented.finish_each`.

    Raises:
        UsageError: an arm or a seed that no protocol of the run has.
        DivergenceError: some training diverged and says so in its record; the others are done.
    """
    yield from augmented.finish_each(asked(settings, context, tried, training), finish)


def asked(
    settings: Settings, context: Context, tried: Sequence[str], training: Training = TRIED
) -> Iterator[tuple[Unit, Training]]:
    """What :func:`run` runs: units of work and how each is trained."""
    if not settings.protocols:
        yield from ((unit, training) for unit in augmented.units(context, training, tried))
        return
    chosen = [load_protocol(name) for name in settings.protocols]
    _check_chosen(settings, chosen)
    for protocol in chosen:
        for seed, arm, each in trainings(protocol):
            if arm in (settings.arms or protocol.arms) and seed in (
                settings.seeds or protocol.seeds
            ):
                yield unit_of(protocol, context, arm, seed, each), each


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


def _check_chosen(settings: Settings, protocols: list[Protocol]) -> None:
    arms = {arm for protocol in protocols for arm in protocol.arms}
    for arm in settings.arms:
        check_choice("arms", arm, sorted(arms))
    seeds = {seed for protocol in protocols for seed in protocol.seeds}
    for seed in settings.seeds:
        if seed not in seeds:
            raise UsageError(f"seeds must be among {sorted(seeds)}; got {seed!r}")
