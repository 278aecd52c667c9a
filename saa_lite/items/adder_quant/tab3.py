"""The outlier clamp: accuracy over α, the quantile of the inputs that the codes reach.

Each α quantises the same trained adder network from the same calibration images in three ways,
because Table 3 does not say how it quantised and its numbers contradict Table 5's:

============================= =================================================================
accuracy                       post-training, statistics of batch norm taken anew (released code)
accuracy_without_reestimation  post-training, batch norm as trained
accuracy_trained               quantisation-aware: so quantised, then trained for a few epochs
============================= =================================================================

``logit_error`` is what the first of them does to the logits, ‖change‖² / ‖logits‖² in %, and does
not saturate where little is lost.

The network itself has the same three numbers under the method ``adder``: with statistics from the
calibration images, as trained, and after as many more epochs in full precision. Its differences to
these are what quantisation costs; against the network as trained, every protocol with fresh
statistics or more epochs gains something that has nothing to do with quantisation.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from torch import Tensor, nn

from saa_lite.items.adder_quant.networks import (
    SHIPPED,
    Network,
    Training,
    logit_error,
    trained_network,
)
from saa_lite.items.adder_quant.tab4 import setting_of, unit_of
from saa_lite.items.base import Context, Unit
from saa_lite.items.interval import per_image, signed, signed_mean
from saa_lite.items.output import Table
from saa_lite.items.registry import built
from saa_lite.items.select import configurations
from saa_lite.items.training import train_unit
from saa_lite.published import PublishedNumber, find_published
from saa_lite.quantize import quantize
from saa_lite.quantize.network import reestimate_statistics
from saa_lite.records import Record

FULL = "adder"  # the network before quantisation
PROTOCOLS = {
    "accuracy": "post-training",
    "accuracy_without_reestimation": "post-training, old batch norm",
    "accuracy_trained": "quantisation-aware",
}


@dataclass(frozen=True)
class Settings(Training):
    """The networks, the sweep, and the epochs of quantisation-aware training.

    ``tuned_epochs`` start at the rate ``tuned_lr``; our reading, the source has no number. With 0
    of them there is no quantisation-aware training.
    """

    bits: int = 4
    groups: int = 4
    alphas: tuple[float, ...] = (0.9985, 0.999, 0.9995, 1.0)
    tuned_epochs: int = 1
    tuned_lr: float = 0.01

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is recorded of each α."""
        protocols = tuple(PROTOCOLS) if self.tuned_epochs else tuple(PROTOCOLS)[:2]
        return ("logit_error", *protocols)


PROFILES = {
    "smoke": Settings(
        "digits",
        "lenet5_bn",
        100,
        50,
        4,
        1,
        batch_size=10,
        flip=False,
        alphas=(0.999, 1.0),
        tuned_epochs=1,
    ),
    "laptop": Settings(
        "digits", "resnet20", 1_297, 500, 15, 5, 16, batch_size=64, crop_padding=1, flip=False
    ),
    "full": Settings(
        "cifar100", "resnet20", 50_000, 10_000, 400, 5, batch_size=256, nesterov=False
    ),
    "shipped": Settings(**SHIPPED, tuned_epochs=0),
}


def method_of(alpha: float) -> str:
    """As Table 3's rows are called in ``published``."""
    return f"alpha {alpha:.4f}" if alpha < 1 else "alpha 1.0"


def run(settings: Settings, context: Context) -> Iterator[Record]:
    """Per seed: train once, then quantise the same network at every α."""
    methods: dict[str, float | None] = {FULL: None}
    methods |= {method_of(alpha): alpha for alpha in settings.alphas}
    for seed in range(settings.seeds):
        units = {name: unit_of(context, settings, name, seed) for name in methods}
        left = [name for name, unit in units.items() if not unit.done(*settings.metrics)]
        if not left:
            continue
        network = trained_network(settings, context, "adder", seed)
        images = network.calibration(settings)
        exact = network.logits(_copies(network.model, images, settings, None)[1])
        for name in left:
            unit = unit_of(context, settings, name, seed)  # its clock starts now
            yield from _measure(unit, settings, network, images, exact, methods[name])


def _measure(
    unit: Unit,
    settings: Settings,
    network: Network,
    images: list[Tensor],
    exact: Tensor,
    alpha: float | None,
) -> Iterator[Record]:
    """``exact`` are the logits in full precision with statistics taken anew."""
    old, fresh = _copies(network.model, images, settings, alpha)
    logits = exact if alpha is None else network.logits(fresh)
    yield unit.record("accuracy", network.accuracy(logits), "%", hits=network.hits(logits))
    yield unit.record("logit_error", logit_error(logits, exact), "%")
    logits = network.logits(old)
    yield unit.record(
        "accuracy_without_reestimation", network.accuracy(logits), "%", hits=network.hits(logits)
    )
    if settings.tuned_epochs:
        epochs, rate = settings.tuned_epochs, settings.tuned_lr
        tuned = replace(settings.config(unit.seed), epochs=epochs, lr=rate)
        train_unit(unit, fresh, network.train_set, network.test_set, tuned)
        yield unit.record("accuracy_trained", network.accuracy(network.logits(fresh)), "%")


def _copies(
    model: nn.Module, images: list[Tensor], settings: Settings, alpha: float | None
) -> tuple[nn.Module, nn.Module]:
    """With batch norm as trained, and anew; in full precision where α is None."""
    old = deepcopy(model)
    if alpha is not None:
        bits, groups = settings.bits, settings.groups
        old = quantize(model, images, bits=bits, groups=groups, alpha=alpha, reestimate=False)
    fresh = deepcopy(old)
    reestimate_statistics(fresh, images)
    return old, fresh


def draw(records: list[Record], published: list[PublishedNumber]) -> Table:
    """A row per setting of ours and α: published accuracy; ours in three protocols, and its cost.

    The cost is the difference to full precision under the same protocol, with its 95 % interval.
    """
    whole = find_published("adder-quant/tab5", "AddNN FP", "accuracy")
    printed = {FULL: whole} | {number.row: number for number in published if not number.related}
    rows = []
    for group in configurations(records):
        first, seeds = group[0], len({record.seed for record in group})
        budget = f"{first.model}, {first.dataset}, {first.epochs} epochs, {seeds} seeds"
        if first.settings.get("weights"):
            budget = setting_of(group)
        swept = [name for name in printed if any(record.method == name for record in group)]
        for name in swept:
            label = "full precision" if name == FULL else name.removeprefix("alpha ")
            rows.append((budget, label, f"{printed[name].printed} %", *_cells(group, name)))
    columns = ["logit error"]
    columns += [f"{name}{what}" for name in PROTOCOLS.values() for what in ("", ", cost")]
    header = ("setting of ours", "α", "published: ResNet-20, CIFAR-100, 400 epochs", *columns)
    return Table(header, tuple(rows))


def _cells(records: Sequence[Record], method: str) -> Iterator[str]:
    """Mean logit error, accuracy and cost; dashes where a protocol was not run."""
    errors = [r.value for r in records if (r.metric, r.method) == ("logit_error", method)]
    yield f"{sum(errors) / len(errors):.2f} %" if errors and method != FULL else "—"
    for metric in PROTOCOLS:
        value = {(r.method, r.seed): r.value for r in records if r.metric == metric}
        seeds = sorted(seed for name, seed in value if name == method and (FULL, seed) in value)
        costs = tuple(value[method, seed] - value[FULL, seed] for seed in seeds)
        mean = sum(value[method, seed] for seed in seeds) / max(len(seeds), 1)
        yield f"{mean:.2f} %" if seeds else "—"
        images = per_image(records, [(1.0, metric, method), (-1.0, metric, FULL)])
        if images and len(seeds) == 1 and method != FULL:
            yield signed(images.values[0], images.interval)
        else:
            yield signed_mean(costs) if seeds and method != FULL else "—"


def matches(number: PublishedNumber, record: Record) -> bool:
    """Beside a printed accuracy: post-training as released, on the published network and set."""
    same = (record.model, record.dataset) == ("resnet20", "cifar100")
    return same and (number.row, number.column) == (record.method, record.metric)


ITEM = built("adder-quant/tab3", profiles=PROFILES, run=run, draw=draw, matches=matches)
