"""Claims on what an export holds (Figure 1), what each augmentation adds (Figure 4, part b), and
controls of ours for the questions that the reviews left open.

Metrics: ``export_difference`` of logits, ``exported_bytes`` and ``plain_bytes`` of checkpoints
(fig1); accuracies of the target on the test set, compared as
:mod:`saa_lite.items.fairness` says, methods as in :mod:`saa_lite.items.recipes`
(fig4).
"""

from collections.abc import Callable

from saa_lite.items.base import Claim, Exact, Samples
from saa_lite.items.claims.shiftaddaug_augmented import trained_fully
from saa_lite.items.fairness import FAIR, fair
from saa_lite.items.select import combined, exact, paired
from saa_lite.records import Record

EXPORT, PARTS = "shiftaddaug/fig1", "shiftaddaug/fig4"


def _same(records: list[Record]) -> Exact | None:
    return exact(records, "export_difference", 0.0)


def _no_larger(records: list[Record]) -> Exact | None:
    """Whether every exported file is as large as that of the plain network."""
    sizes = {
        metric: {(r.method, r.seed, r.config_hash): r.value for r in records if r.metric == metric}
        for metric in ("exported_bytes", "plain_bytes")
    }
    both = sizes["exported_bytes"].keys() & sizes["plain_bytes"].keys()
    if not both:
        return None
    more = max(sizes["exported_bytes"][key] - sizes["plain_bytes"][key] for key in both)
    return Exact(more <= 0, f"{more:+.0f} bytes", f"{len(both)} networks")


def _export(name: str, text: str, judged: Callable[[list[Record]], Exact | None]) -> Claim:
    return Claim(f"{EXPORT}:{name}", text, EXPORT, "no number printed", "any network", judged)


def _part(name: str, text: str, methods: tuple[str, str], published: str = "curves only") -> Claim:
    def samples(records: list[Record]) -> Samples | None:
        return paired(fair(records), FAIR, methods, "above", at_published=trained_fully)

    return Claim(f"{PARTS}:{name}", text, PARTS, published, "CIFAR-100, 300 epochs", samples)


def _more_than_netaug(records: list[Record]) -> Samples | None:
    """(AugShift − Shift) − (NetAug − Mult), per seed."""
    signs = {"aug-shift": 1, "shift": -1, "netaug": -1, "conv": 1}
    terms = [(sign, FAIR, method) for method, sign in signs.items()]
    return combined(fair(records), terms, "above", at_published=trained_fully)


OURS = "no such control printed"
UNSORTED = {
    "better-shift": (
        "a shift target learns more where sorting moves no channel to the other side",
        ("aug-shift-unsorted", "aug-shift"),
    ),
    "better-add": (
        "an adder target learns more where sorting moves no channel to the other side (remapped; "
        "the last five seeds were added after a look at the first)",
        ("aug-adder-unsorted", "aug-adder"),
    ),
    "better-add-calm": (
        "from the calm start, too, an adder target learns more where sorting moves no channel",
        ("aug-adder-calm-unsorted", "aug-adder-calm"),
    ),
    "better-add-raw": (
        "where nothing is remapped, too, an adder target learns more unsorted",
        ("aug-adder-raw-unsorted", "aug-adder-raw"),
    ),
    "add": ("unsorted, augmentation improves an adder network", ("aug-adder-unsorted", "adder")),
    "add-calm": (
        "unsorted and from the calm start, augmentation improves an adder network",
        ("aug-adder-calm-unsorted", "adder-calm"),
    ),
}
PARTS_CLAIMS = (
    _export("equal", "The exported network computes the target's logits, to the last bit", _same),
    _export("size", "Nothing of the augmentation is left in the exported file", _no_larger),
    _part("width", "Width augmentation alone helps a shift network", ("aug-shift-width", "shift")),
    _part(
        "expand",
        "Expansion augmentation alone helps a shift network",
        ("aug-shift-expand", "shift"),
    ),
    _part("depth", "Depth augmentation alone helps a shift network", ("aug-shift-depth", "shift")),
    _part(
        "mutation",
        "Beginning blocks as convolutions helps beyond width and expansion",
        ("aug-shift-mutation", "aug-shift"),
    ),
    _part(
        "together",
        "Width and expansion augmentation help a shift network (its weights inherited) over the "
        "same network retrained",
        ("aug-shift", "shift"),
    ),
    _part(
        "together-add",
        "Width and expansion augmentation help an adder network over the same network retrained",
        ("aug-adder", "adder"),
    ),
    _part(
        "remap-alone",
        "Control, ours: remapped weights alone, without augmentation, help a shift network",
        ("remap-shift", "shift"),
        OURS,
    ),
    _part(
        "remap-alone-add",
        "Control, ours: remapped weights alone, without augmentation, help an adder network",
        ("remap-adder", "adder"),
        OURS,
    ),
    _part(
        "needs-remap",
        "Augmentation of a shift network needs remapping: remapped minus as stored, above 0",
        ("aug-shift", "aug-shift-raw"),
        "reported in the reviews: harmful without",
    ),
    _part(
        "needs-remap-add",
        "Augmentation of an adder network needs remapping: remapped minus as stored, above 0",
        ("aug-adder", "aug-adder-raw"),
        "reported in the reviews: harmful without",
    ),
    _part(
        "raw-shift",
        "Control, ours: augmentation without remapping improves a shift network",
        ("aug-shift-raw", "shift"),
        OURS,
    ),
    _part(
        "raw-add",
        "Control, ours: augmentation without remapping improves an adder network",
        ("aug-adder-raw", "adder"),
        OURS,
    ),
    _part(
        "raw-add-calm",
        "Control, ours: from the calm start, augmentation without remapping improves an adder "
        "network",
        ("aug-adder-calm-raw", "adder-calm"),
        OURS,
    ),
    _part(
        "unsorted-needs-remap-add",
        "Control, ours: unsorted, augmentation of an adder network needs remapping",
        ("aug-adder-unsorted", "aug-adder-raw-unsorted"),
        OURS,
    ),
    _part(
        "calm",
        "Control, ours: an adder network learns more from a start at which its layers hardly bend",
        ("adder-calm", "adder"),
        OURS,
    ),
    _part(
        "together-add-calm",
        "Control, ours: from that start augmentation improves an adder network, too",
        ("aug-adder-calm", "adder-calm"),
        OURS,
    ),
    _part(
        "beyond-remap-add-calm",
        "Control, ours: from that start augmentation helps beyond the remapping that comes with it",
        ("aug-adder-calm", "remap-adder-calm"),
        OURS,
    ),
    *(
        _part(f"unsorted-{name}", f"Control, ours: {text}", methods, OURS)
        for name, (text, methods) in UNSORTED.items()
    ),
    _part(
        "hybrid",
        "Control, ours: it is the multiplications around the target that help, not width alone: "
        "multiplicative minus multiplication-free augmentation, above 0",
        ("aug-shift", "aug-shift-free"),
        OURS,
    ),
    _part(
        "netaug",
        "Control, ours: a multiplicative target gains from augmentation, too",
        ("netaug", "conv"),
        OURS,
    ),
    Claim(
        f"{PARTS}:more-than-netaug",
        "Control, ours: a shift target gains more from augmentation than a multiplicative one",
        PARTS,
        OURS,
        "CIFAR-100, 300 epochs",
        _more_than_netaug,
    ),
    _part(
        "learned-map",
        "Control, ours: a learned affine map is better than the analytic one",
        ("aug-shift-affine", "aug-shift"),
        OURS,
    ),
)
