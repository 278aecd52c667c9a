"""What each arm of an experiment is, in words, read off its recipe: one table defines them all."""

from collections.abc import Iterable

from saa_lite.items.recipes import RECIPES, Recipe

OPERATORS = {
    "conv": "multiplies", "shift": "shifts", "adder": "adds", "shiftadd": "shifts, then adds",
}  # fmt: skip
PLACES = {
    "depthwise": "adder layers in depthwise positions, too",
    "first": "adder layer as stem, too",
    "last": "adder layer as classifier, too",
}
FROZEN = {
    "trained": "",
    "frozen": "adder weights never learn",
    "signs": "their signs alone, which never learn",
}


def start_rows(methods: Iterable[str]) -> list[dict[str, str]]:
    """Rows of networks trained alone: operator, start of adder weights, and what is different."""
    from saa_lite.viz.augmented import name_of  # noqa: PLC0415  (half a second of matplotlib)

    return [
        {
            "arm": name_of(method),
            "in the records": f"`{method}`",
            "the target": OPERATORS[RECIPES[method].operator],
            "adder weights start as": _start(RECIPES[method]),
            "what is different": "; ".join(_changes(RECIPES[method])),
        }
        for method in methods
    ]


def around_rows(methods: Iterable[str]) -> list[dict[str, str]]:
    """Rows of targets and what surrounds them; "—" in the last columns is "does not apply"."""
    from saa_lite.viz.augmented import name_of  # noqa: PLC0415

    return [
        {
            "arm": name_of(method),
            "in the records": f"`{method}`",
            "the target": _target(RECIPES[method]),
            "around it": _surroundings(RECIPES[method]),
            "remapped?": _remapped(RECIPES[method]),
            "sorted?": _sorted(RECIPES[method]),
        }
        for method in methods
    ]


def _start(recipe: Recipe) -> str:
    if recipe.operator != "adder":
        return ""
    if recipe.start is None or recipe.start.spread == 1:
        return "N(0, 1)"
    return f"{recipe.start.spread:g} times as wide"


def _changes(recipe: Recipe) -> list[str]:
    silent = recipe.start is not None and recipe.start.silent_branches
    found = [
        "residual branches start at 0" if silent else "",
        FROZEN[recipe.adders],
        "a ReLU before every adder layer" if recipe.rectified else "",
        "weights take the deviation of their inputs" if recipe.normalised else "",
        "squared distances give way to absolute ones" if recipe.annealed else "",
        f"adder layers in the first {recipe.first_adders} places" if recipe.first_adders else "",
        *(PLACES[place] for place in recipe.converts),
        *_lessons(recipe),
    ]
    return [text for text in found if text]


def _lessons(recipe: Recipe) -> list[str]:
    """What is learned beside the labels, and how."""
    if not recipe.distillation:
        return []
    options = {"criterion": "kl", "detach": True, "reduction": "batchmean", **recipe.distillation}
    wider = f"a network {recipe.teacher} times as wide, trained before"
    return [
        f"learns from {wider if recipe.teacher else 'the augmented pass'}",
        f"{options['criterion'].upper()} of weight {options['weight']:g}",
        "" if options["detach"] else "the teacher is not detached",
        "mean over classes, too" if options["reduction"] == "mean" else "",
    ]


def _target(recipe: Recipe) -> str:
    calm = ", from a calm start" if recipe.start and recipe.start.spread > 1 else ""
    once = ", rate set in each pass" if recipe.adaptive_lr == "pass" else ""
    return f"{OPERATORS[recipe.operator]}{calm}{once}"


def _surroundings(recipe: Recipe) -> str:
    around = recipe.augmentation
    if around is None or recipe.training.get("alpha") == 0:
        return "nothing"
    width, expand = (around.get(name) != (1.0,) for name in ("width", "expand"))
    parts = {"width": width, "expansion": expand, "depth": around.get("depth")}
    what = " and ".join(name for name, there in parts.items() if there)
    how = "multiplication-free" if around.get("reading") == "free" else "multiplying"
    return f"{what}, {how}" + ("; blocks mutate" if recipe.mutates else "")


def _remapped(recipe: Recipe) -> str:
    around = recipe.augmentation
    if recipe.operator == "conv":
        return ""
    maps = {"analytic": "yes", "affine-z": "by a learned affine map", None: "no"}
    return maps[around.get("remap") if around else None]


def _sorted(recipe: Recipe) -> str:
    if _surroundings(recipe) == "nothing":
        return ""
    return "yes" if recipe.training.get("sort", True) else "no"
