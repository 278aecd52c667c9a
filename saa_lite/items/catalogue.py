"""All figures, tables, equations and claims of the four sources, in the order of the papers."""

from saa_lite.items.base import Item, Kind
from saa_lite.items.claims import CLAIMS

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

CATALOGUE = {item.id: item for item in _ITEMS}
