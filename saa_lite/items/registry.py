"""What an item is (a figure, table, equation or claim of a paper), which there are, finding one.

An item's module holds one frozen dataclass of settings and one function that measures::

    @dataclass(frozen=True)
    class Settings:
        epochs: int
        seeds: int

    def run(settings: Settings, context: Context) -> Iterator[Record]:
        for method in ("conv", "adder"):
            for seed in range(settings.seeds):
                unit = context.unit(
                    method=method, model="resnet20", dataset="cifar10", seed=seed,
                    epochs=settings.epochs, settings={"epochs": settings.epochs},
                )
                if unit.done("accuracy"):
                    continue
                history = train(..., checkpoint=unit.checkpoint)
                yield unit.record("accuracy", 100 * history[-1]["test_accuracy"], "%", log=history)

    ITEM = built(
        "addernet-impacts/fig-loss-cifar10",
        profiles={"smoke": Settings(1, 1), "laptop": Settings(5, 2), "full": Settings(400, 5)},
        run=run,
        draw=draw,
    )

It lives where its id says, ``a-b/fig-c`` in ``saa_lite/items/a_b/fig_c.py``; those that share
their measurements share a module, too (:data:`SHARED`), which then has ``ITEMS``.
"""

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from saa_lite.errors import UsageError
from saa_lite.items.base import Context
from saa_lite.items.claims import CLAIMS, Claim
from saa_lite.items.output import Table
from saa_lite.published import PublishedNumber, load_published
from saa_lite.records import Record, measured_records

if TYPE_CHECKING:  # matplotlib takes half a second, and `saa-lite items` answers without it
    from matplotlib.figure import Figure

Kind = Literal["figure", "table", "equation", "claim"]
Draw = Callable[[list[Record], list[PublishedNumber]], "Figure | Table"]
Run = Callable[[Any, Context], Iterator[Record]]


@dataclass(frozen=True)
class Item:
    """One figure, table, equation or claim of a source.

    ``profiles`` maps smoke, laptop and full to a settings dataclass; ``run`` measures, ``draw``
    pictures, both None until the item is built. ``matches`` tells which records stand beside a
    published number in the scorecard. ``timed`` items measure times, which other work on the same
    machine would spoil, so their campaigns are not shared.
    """

    id: str
    title: str
    source: str
    kind: Kind
    notebook: str
    profiles: Mapping[str, Any] = field(default_factory=dict)
    run: Run | None = None
    draw: Draw | None = None
    claims: tuple[Claim, ...] = ()
    matches: Callable[[PublishedNumber, Record], bool] | None = None
    timed: bool = False


GRADIENTS = "01_addernet_gradients.ipynb"
FEATURES = "02_what_adder_layers_see.ipynb"
DISTRIBUTIONS = "03_weight_distributions.ipynb"
REMAPPING = "04_weight_remapping.ipynb"
AUGMENTATION = "05_hybrid_augmentation.ipynb"
STARTING = "06a_how_an_adder_network_starts.ipynb"
ON_DATA = "06b_does_augmentation_help.ipynb"
SEARCH = "07_two_stage_search.ipynb"
DISTILLATION = "08_distillation.ipynb"
TRAINING_COST = "09_training_cost.ipynb"
ENERGY = "10_operations_and_energy.ipynb"
QUANTISATION = "11_adder_quantisation.ipynb"
TRANSFORMER = "12_adder_vision_transformer.ipynb"
SEGMENTATION = "13_segmentation.ipynb"


def _item(item_id: str, kind: Kind, notebook: str, title: str) -> Item:
    claims = tuple(claim for claim in CLAIMS if claim.item == item_id)
    return Item(item_id, title, item_id.partition("/")[0], kind, notebook, claims=claims)


_ITEMS = (
    _item("shiftaddaug/fig1", "figure", AUGMENTATION, "Hybrid layer and its export"),
    _item("shiftaddaug/fig2", "figure", DISTRIBUTIONS, "Weights: Gaussian and Laplace"),
    _item("shiftaddaug/fig3", "figure", REMAPPING, "Remapping shared weights"),
    _item("shiftaddaug/fig4", "figure", SEARCH, "Search, block mutation and depth"),
    _item("shiftaddaug/fig5", "figure", ENERGY, "Accuracy against energy, CIFAR-100"),
    _item("shiftaddaug/regimes", "claim", ON_DATA, "Does augmentation help? Three regimes"),
    _item("shiftaddaug/adders", "claim", STARTING, "How an adder network starts"),
    _item("shiftaddaug/claim-cifar100", "claim", ON_DATA, "Gain on CIFAR-100"),
    _item("shiftaddaug/claim-segmentation", "claim", SEGMENTATION, "Gain in segmentation"),
    _item("shiftaddaug-supp/fig1", "figure", ON_DATA, "Augmented above target in training"),
    _item("shiftaddaug-supp/tab1", "table", DISTILLATION, "In-place distillation"),
    _item("shiftaddaug-supp/tab2", "table", ON_DATA, "AddConv on four data sets"),
    _item("shiftaddaug-supp/tab3", "table", TRAINING_COST, "Training speed and memory"),
    _item("shiftaddaug-supp/addconv-nas", "claim", STARTING, "First three convolutions AddConv"),
    _item("addernet-impacts/eq-gradients", "equation", GRADIENTS, "AdderConv and its gradients"),
    _item("addernet-impacts/fig-features", "figure", FEATURES, "Feature clouds of LeNet++"),
    _item("addernet-impacts/fig-kernels", "figure", FEATURES, "First-layer kernels"),
    _item("addernet-impacts/fig-loss-cifar10", "figure", FEATURES, "Loss curves, CIFAR-10"),
    _item("addernet-impacts/fig-loss-cifar100", "figure", FEATURES, "Loss curves, CIFAR-100"),
    _item("addernet-impacts/claim-speed", "claim", FEATURES, "Inference speed"),
    _item("adder-quant/eq-flops", "equation", ENERGY, "Operations added by groups"),
    _item("adder-quant/tab1", "table", ENERGY, "Operations and accuracy, CIFAR"),
    _item("adder-quant/tab2", "table", ENERGY, "Operations and accuracy, ImageNet"),
    _item("adder-quant/tab3", "table", QUANTISATION, "Outlier clamp: choice of alpha"),
    _item("adder-quant/tab4", "table", TRANSFORMER, "Quantised adder DeiT-T"),
    _item("adder-quant/tab5", "table", TRANSFORMER, "Against AdaRound, BRECQ and QDrop"),
    _item("adder-quant/fig1", "figure", QUANTISATION, "Histograms before and after"),
)

SHARED = {
    "adder-quant/tab1": "adder_quant.operation_tables",
    "adder-quant/tab2": "adder_quant.operation_tables",
    "addernet-impacts/fig-loss-cifar10": "addernet_impacts.fig_loss",
    "addernet-impacts/fig-loss-cifar100": "addernet_impacts.fig_loss",
    "shiftaddaug-supp/fig1": "shiftaddaug.claim_cifar100",
}
"""Items that live in a module of several."""

CATALOGUE = {item.id: item for item in _ITEMS}
"""All figures, tables, equations and claims of the four sources, in the order of the papers."""


def built(
    item_id: str,
    *,
    profiles: Mapping[str, Any],
    run: Run,
    draw: Draw,
    matches: Callable[[PublishedNumber, Record], bool] | None = None,
    timed: bool = False,
) -> Item:
    """The catalogue's item with its settings, measurement and drawing attached."""
    return replace(
        CATALOGUE[item_id],
        profiles=dict(profiles),
        run=run,
        draw=draw,
        matches=matches,
        timed=timed,
    )


def list_items() -> list[Item]:
    """All items in catalogue order, as listed: their modules are not imported."""
    return list(CATALOGUE.values())


def find_item(item_id: str) -> Item:
    """The catalogue's entry, without run and drawing; cheap.

    Raises:
        UsageError: there is no such item; the message lists near matches.
    """
    if item_id in CATALOGUE:
        return CATALOGUE[item_id]
    raise UsageError(f"no item is called {item_id!r}; {_hint(item_id)}")


def get_item(item_id: str) -> Item:
    """The item with run and drawing; imports its module.

    Raises:
        UsageError: there is no such item; the message lists near matches.
    """
    find_item(item_id)
    name = module_name(item_id)
    module = importlib.import_module(name)
    items = {item.id: item for item in getattr(module, "ITEMS", ()) or (module.ITEM,)}
    if item_id not in items:
        raise TypeError(f"{name} must have the item {item_id} as ITEM or among its ITEMS")
    return items[item_id]


def module_name(item_id: str) -> str:
    """Where an item lives: ``a-b/fig-c`` in ``saa_lite.items.a_b.fig_c``, or as :data:`SHARED`."""
    own = item_id.replace("-", "_").replace("/", ".")
    return f"saa_lite.items.{SHARED.get(item_id, own)}"


def _hint(item_id: str) -> str:
    """Items that look like ``item_id`` or whose last part does."""
    tail = item_id.rpartition("/")[2]
    near = [name for name in CATALOGUE if name.rpartition("/")[2] == tail]
    close = difflib.get_close_matches(item_id, CATALOGUE, n=4, cutoff=0.5)
    near += [name for name in close if name not in near]
    if near:
        return f"did you mean {' or '.join(near[:4])}?"
    return "`saa-lite items` lists them all"


def item_status(item_id: str) -> str:
    """ "measured" where tracked records exist, else "not yet"."""
    return "measured" if measured_records(item_id) else "not yet"


def item_rows() -> list[dict[str, Any]]:
    """One row per item: what it is, where it is read, and whether it has been measured."""
    return [
        {
            "id": item.id,
            "title": item.title,
            "source": item.source,
            "kind": item.kind,
            "notebook": item.notebook,
            "status": item_status(item.id),
            "published": len(load_published(item.id)),
            "measured": len(measured_records(item.id)),
        }
        for item in list_items()
    ]
