"""Every way in which the augmentation items train a target, by the name in their records.

========================= ========================================================================
shift, adder, conv        the target alone; conv is the multiplicative network
aug-shift, aug-adder      the target inside its hybrid: width and expansion, remapped weights
netaug                    the multiplicative target inside a wider multiplicative network
aug-shift-width, -expand  one of the two alone
aug-shift-depth           extra blocks alone
aug-shift-mutation        blocks begin as convolutions, beside width and expansion
aug-shift-all             width, expansion, depth and mutation
remap-shift               remapped weights, nothing else: is it only a reparametrisation?
aug-shift-raw             width and expansion, weights not remapped
aug-shift-free            the widened part is multiplication-free, too: is it only width?
aug-shift-affine, aug-adder-affine  a learned affine map instead of the analytic one
remap-adder, aug-adder-raw  the same two for adder targets
aug-adder-calm-raw        aug-adder-raw from the start of adder-calm
adder-calm                Add from a start that deep adder networks learn from, see
                          :mod:`saa_lite.models.calm`
adder-frozen, adder-calm-frozen  control: their adder weights stay where they start; the rest learns
signs-frozen              control: adder-calm whose adder layers are sums with its fixed signs, ±1
adder-rectified           remedy: every adder layer of a MobileNet stands behind a ReLU
adder-annealed            remedy: squared distances give way to absolute ones in the first half
adder-normalised          remedy: adder weights take the deviation of their inputs in every step
adder-wide, adder-silent  half of that start each: wider weights alone, silent branches alone
adder-calm-depthwise      adder-calm with adder layers in the depthwise positions, too
adder-calm-stem           adder-calm with an adder layer as stem, too
adder-calm-classifier     adder-calm with an adder layer as classifier, too (no norm behind it)
aug-adder-calm            AugAdd from such a start
…-unsorted                the same, and no channel ever changes sides
aug-adder-pass, aug-adder-raw-pass  AdderNet's adaptive rate in each pass, as its code would have it
                          inside NetAug's, and not once per step
remap-adder-affine        remap-adder with the affine map: its offset lets a layer's weights move
                          away from 0 together, which the analytic map undoes in every step
remap-adder-calm          remap-adder from such a start
shift-add3                Shift with adder layers in the first three places that may have them
shiftadd                  ShiftAddNet's layer, target alone
aug-shift-M-A             AugShift with multiple M of width and expansion and α = A, see GRID
…-kl-W, …-ce-W            in-place distillation of weight W, see :mod:`saa_lite.train.distillation`
…-attached, …-mean        its teacher not detached; its D a mean over classes, too
…-external-W              the teacher is a multiplicative network, wider, trained by itself before
…-poor-W                  control: so is this one, but for one epoch, so that it is often wrong
========================= ========================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # claims read the recipes, and `saa-lite items` answers without torch
    from saa_lite.augment import Mutation


@dataclass(frozen=True)
class Start:
    """Arguments of :func:`saa_lite.models.calm_start`."""

    spread: float
    zero_init_residual: bool


CALM = Start(6.0, zero_init_residual=True)  # the defaults, which cannot be read without torch


@dataclass(frozen=True)
class Recipe:
    """Operator of the target and what surrounds it.

    Attributes:
        operator: of the registry's network.
        augmentation: options of :class:`AugmentConfig` beside the settings' widths; None trains
            the target alone.
        training: options of :class:`AugmentedTraining` beside the settings'.
        mutates: whether blocks begin as convolutions, by :func:`mutation_for`.
        converts: layers that take the operator although the registry keeps them multiplicative,
            as ``keep_…=False`` of :func:`saa_lite.nn.convert`.
        first_adders: so many of the first layers that may change are adders instead.
        start: of :func:`saa_lite.models.calm_start`, or None for AdderNet's own.
        adders: ``"trained"``; ``"frozen"`` keeps adder weights as they start; ``"signs"`` makes the
            layers convolutions with the signs of these, frozen: what an adder layer computes, up
            to a constant per filter, while its weights lie beyond its inputs.
        rectified: whether adder layers that read linear bottlenecks get a ReLU before them.
        normalised: whether adder weights take the deviation of their inputs in every step, see
            :mod:`saa_lite.nn.weight_norm`; of targets trained alone.
        annealed: share of the updates in which squared distances give way to absolute ones, see
            :class:`saa_lite.train.Annealing`; 0 has absolute ones from the start.
        adaptive_lr: of the target's adder layers, see :mod:`saa_lite.nn.adaptive_lr`.
        distillation: options of :class:`saa_lite.train.Distillation`; empty, labels are the only
            teacher.
        teacher: where it is not the augmented pass, how many times as wide as the target the
            multiplicative network is that is trained before it; 0, it is that pass.
        teacher_share: of the student's epochs, how much of them that network is trained for; at
            least one epoch.
    """

    operator: str
    augmentation: Mapping[str, Any] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    mutates: bool = False
    converts: tuple[str, ...] = ()
    first_adders: int = 0
    start: Start | None = None
    adders: str = "trained"
    rectified: bool = False
    normalised: bool = False
    annealed: float = 0.0
    adaptive_lr: str = "step"
    distillation: Mapping[str, Any] = field(default_factory=dict)
    teacher: int = 0
    teacher_share: float = 1.0


REMAPPED: Mapping[str, Any] = {"remap": "analytic"}
AFFINE: Mapping[str, Any] = {"remap": "affine-z"}
UNSORTED: Mapping[str, Any] = {"sort": False}
ALONE: Mapping[str, Any] = {"width": (1.0,), "expand": (1.0,)}
RECIPES: dict[str, Recipe] = {
    "shift": Recipe("shift"),
    "aug-shift": Recipe("shift", REMAPPED),
    "conv": Recipe("conv"),
    "adder": Recipe("adder"),
    "aug-adder": Recipe("adder", REMAPPED),
    "netaug": Recipe("conv", {}),
    "aug-shift-width": Recipe("shift", {**REMAPPED, "expand": (1.0,)}),
    "aug-shift-expand": Recipe("shift", {**REMAPPED, "width": (1.0,)}),
    "aug-shift-depth": Recipe("shift", {**REMAPPED, **ALONE, "depth": 1}),
    "aug-shift-mutation": Recipe("shift", REMAPPED, mutates=True),
    "aug-shift-all": Recipe("shift", {**REMAPPED, "depth": 1}, mutates=True),
    "remap-shift": Recipe("shift", {**REMAPPED, **ALONE}, {"alpha": 0.0, "sort": False}),
    "aug-shift-raw": Recipe("shift", {}),
    "aug-shift-free": Recipe("shift", {**REMAPPED, "reading": "free"}),
    "aug-shift-affine": Recipe("shift", AFFINE),
    "remap-adder": Recipe("adder", {**REMAPPED, **ALONE}, {"alpha": 0.0, "sort": False}),
    "aug-adder-raw": Recipe("adder", {}),
    "aug-adder-raw-unsorted": Recipe("adder", {}, UNSORTED),
    "aug-adder-calm-raw": Recipe("adder", {}, start=CALM),
    "adder-calm-depthwise": Recipe("adder", converts=("depthwise",), start=CALM),
    "adder-calm-stem": Recipe("adder", converts=("first",), start=CALM),
    "adder-calm-classifier": Recipe("adder", converts=("last",), start=CALM),
    "remap-adder-calm": Recipe(
        "adder",
        {**REMAPPED, **ALONE},
        {"alpha": 0.0, "sort": False},
        start=CALM,
    ),
    "shift-add3": Recipe("shift", first_adders=3),
    "adder-calm": Recipe("adder", start=CALM),
    "adder-wide": Recipe("adder", start=Start(6.0, zero_init_residual=False)),
    "adder-silent": Recipe("adder", start=Start(1.0, zero_init_residual=True)),
    "aug-adder-calm": Recipe("adder", REMAPPED, start=CALM),
    "aug-shift-unsorted": Recipe("shift", REMAPPED, UNSORTED),
    "aug-adder-unsorted": Recipe("adder", REMAPPED, UNSORTED),
    "aug-adder-calm-unsorted": Recipe("adder", REMAPPED, UNSORTED, start=CALM),
    "shiftadd": Recipe("shiftadd"),
    "aug-adder-affine": Recipe("adder", AFFINE),
    "remap-adder-affine": Recipe("adder", {**AFFINE, **ALONE}, {"alpha": 0.0, "sort": False}),
    "adder-frozen": Recipe("adder", adders="frozen"),
    "adder-calm-frozen": Recipe("adder", start=CALM, adders="frozen"),
    "signs-frozen": Recipe("adder", start=CALM, adders="signs"),
    "adder-rectified": Recipe("adder", rectified=True),
    "adder-annealed": Recipe("adder", annealed=0.5),
    "adder-normalised": Recipe("adder", normalised=True),
    "aug-adder-pass": Recipe("adder", REMAPPED, adaptive_lr="pass"),
    "aug-adder-raw-pass": Recipe("adder", {}, adaptive_lr="pass"),
}

MULTIPLES = (1.5, 2.6, 4.0)
ALPHAS = (0.3, 1.0, 3.0)
GRID = {(m, a): f"aug-shift-{m}-{a}" for m in MULTIPLES for a in ALPHAS}
"""Methods by (multiple of width and expansion, α); either multiple or none is drawn."""
RECIPES |= {
    name: Recipe("shift", {**REMAPPED, "width": (1.0, m), "expand": (1.0, m)}, {"alpha": a})
    for (m, a), name in GRID.items()
}

IN_PLACE: dict[str, Mapping[str, Any]] = {
    "kl-0.3": {"weight": 0.3},
    "kl-0.9": {"weight": 0.9},
    "kl-1": {"weight": 1.0},
    "ce-0.3": {"weight": 0.3, "criterion": "ce"},
    "ce-0.9": {"weight": 0.9, "criterion": "ce"},
    "kl-0.9-attached": {"weight": 0.9, "detach": False},
    "ce-0.9-attached": {"weight": 0.9, "criterion": "ce", "detach": False},
    "kl-0.9-mean": {"weight": 0.9, "reduction": "mean"},
}
EXTERNAL = {"external-0.3": {"weight": 0.3}, "external-0.9": {"weight": 0.9}}
POOR = "aug-shift-poor-0.9"  # shows that a setting can lose by distillation
TEACHER_WIDTH = 3  # about what is around a target whose multiples end at 2.6 and 2.8
DISTILLED = {f"{base}-{how}": base for base in ("aug-shift", "netaug") for how in IN_PLACE}
"""Methods with a teacher → the same without; first those that are taught in place."""
RECIPES |= {
    name: replace(RECIPES[base], distillation=IN_PLACE[name.removeprefix(f"{base}-")])
    for name, base in DISTILLED.items()
}
for _base in ("shift", "aug-shift", "conv", "netaug"):
    for _how, _options in EXTERNAL.items():
        DISTILLED[f"{_base}-{_how}"] = _base
        RECIPES[f"{_base}-{_how}"] = replace(
            RECIPES[_base], distillation=_options, teacher=TEACHER_WIDTH
        )
DISTILLED[POOR] = "aug-shift"
RECIPES[POOR] = replace(RECIPES["aug-shift-external-0.9"], teacher_share=0.0)


def mutation_for(epochs: int) -> "Mutation":
    """All blocks together, after a fifth of the epochs, blended over a tenth of them (ours).

    Fewer than ten epochs leave none for blending: the blocks change at once, after the first epoch
    at the earliest. A single epoch has no room for both: there nothing begins as a convolution.

    With 300 epochs that is a start in epoch 60. The source gives no schedule, and one block after
    the other would not end in a short run.
    """
    from saa_lite.augment import Mutation  # noqa: PLC0415

    start = min(max(1, epochs // 5), epochs - 1)
    return Mutation(start=start, every=0, blend=epochs // 10)
