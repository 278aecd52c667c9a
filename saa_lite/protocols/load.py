"""Reading and checking protocols."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from saa_lite.errors import RecordError, check_choice
from saa_lite.files import PACKAGE

ROLES = ("test", "choice", "exploration")
SHOWN = 12  # hex digits of a hash in a record
LIMITS = ("least", "most")


@dataclass(frozen=True)
class Contrast:
    """Two arms that are compared, seed by seed.

    Attributes:
        first, second: arms; the estimate is ``metric(first) − metric(second)``.
        primary: whether a verdict of the source hangs on it; primary ones are corrected together.
        matters: the smallest difference, in points, that would matter to a user.
        published: the difference that the source prints, in points, or None.
        claim: id of the statement it bears on, or empty.
    """

    name: str
    first: str
    second: str
    primary: bool
    matters: float
    published: float | None = None
    claim: str = ""


@dataclass(frozen=True)
class Gate:
    """What must hold before the contrasts may be looked at: premise and positive control.

    Attributes:
        quantity: a metric, ``gap`` (training minus test accuracy) or ``longer``
            (``versus`` minus ``arm`` in test accuracy).
        arm, versus: the arm that is measured, and the one it is compared with.
        least, most: bounds of the mean over seeds; None where there is none.
        stands_for: the contrasts that are not testable where it fails; empty, all.
    """

    name: str
    quantity: str
    arm: str
    versus: str = ""
    least: float | None = None
    most: float | None = None
    stands_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """One experiment, as its file says.

    Attributes:
        name: of the file.
        sha: SHA-256 of the file, hex.
        role: ``"test"`` has contrasts with verdicts; ``"choice"`` chooses a setting and
            ``"exploration"`` shows estimates: neither judges.
        arms: methods of the item, or names of ``variants``.
        variants: arms that are another arm's method under settings of their own, such as a longer
            training: name → ``{"method": …, "seeds": some of the protocol's, setting: value, …}``.
        grid: settings of which every combination is run, by name.
        rates: learning rate per method, where ``settings`` has not one for all.
        decided: how it is judged and when it stops, in words.
        metric, unit: what is compared, and what contrasts are in; empty, accuracies that may be
            compared, in points. Seeds then number repeats if nothing is trained.
    """

    name: str
    sha: str
    question: str
    item: str
    role: str
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    decided: str
    settings: Mapping[str, Any]
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()
    gates: tuple[Gate, ...] = ()
    metric: str = ""
    unit: str = "points"

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Seeds that an arm is trained with: the protocol's, or fewer for a variant."""
        return tuple(self.variants.get(arm, {}).get("seeds", self.seeds))

    def method_of(self, arm: str) -> str:
        """The method behind an arm."""
        return str(self.variants.get(arm, {}).get("method", arm))

    def settings_of(self, arm: str) -> dict[str, Any]:
        """Settings of an arm, without the grid's and the rates."""
        own = self.variants.get(arm, {})
        return {**self.settings, **{k: v for k, v in own.items() if k not in ("method", "seeds")}}

    @property
    def label(self) -> str:
        """What records carry: the name, and enough of the hash to tell two versions apart."""
        return f"{self.name} {self.sha[:SHOWN]}"


def list_protocols(item: str | None = None) -> list[str]:
    """Names of all protocols, or of those of one item, sorted."""
    names = sorted(path.stem for path in _folder().glob("*.toml"))
    return [name for name in names if item is None or load_protocol(name).item == item]


@cache
def load_protocol(name: str) -> Protocol:
    """The protocol in ``saa_lite/protocols/NAME.toml``.

    Raises:
        UsageError: there is none of that name.
        RecordError: the file is torn or says something that no protocol says.
    """
    check_choice("protocol", name, sorted(path.stem for path in _folder().glob("*.toml")))
    return parse(name, (_folder() / f"{name}.toml").read_bytes())


def parse(name: str, content: bytes) -> Protocol:
    """A protocol from its file's bytes; see :func:`load_protocol`."""
    try:
        values = tomllib.loads(content.decode())
        values["contrasts"] = tuple(Contrast(**row) for row in values.pop("contrast", ()))
        values["gates"] = tuple(
            Gate(**{**row, "stands_for": tuple(row.get("stands_for", ()))})
            for row in values.pop("gate", ())
        )
        for key in ("seeds", "arms"):
            values[key] = tuple(values[key])
        values["grid"] = {k: tuple(v) for k, v in values.get("grid", {}).items()}
        protocol = Protocol(name=name, sha=hashlib.sha256(content).hexdigest(), **values)
        _check(protocol)
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"protocol {name}: {error}") from error
    return protocol


def _check(protocol: Protocol) -> None:
    if protocol.role not in ROLES:
        raise ValueError(f"role must be one of {', '.join(ROLES)}; got {protocol.role!r}")
    if not protocol.seeds or len(set(protocol.seeds)) != len(protocol.seeds):
        raise ValueError(f"seeds must be distinct and not empty; got {list(protocol.seeds)}")
    if (protocol.role == "test") != bool(protocol.contrasts):
        raise ValueError(f"a protocol that tests has contrasts, another none; got {protocol.role}")
    for arm, changes in protocol.variants.items():
        if arm not in protocol.arms or "method" not in changes:
            raise ValueError(f"variant {arm!r} must be one of the arms and name its method")
        if extra := set(protocol.seeds_of(arm)) - set(protocol.seeds):
            raise ValueError(f"variant {arm!r} has seeds {sorted(extra)}, which are no seeds")
    named = [(c.name, arm) for c in protocol.contrasts for arm in (c.first, c.second)]
    named += [(gate.name, arm) for gate in protocol.gates for arm in (gate.arm, gate.versus) if arm]
    for where, arm in named:
        if arm not in protocol.arms:
            raise ValueError(f"{where!r} names {arm!r}, which is none of the arms")
    names = {contrast.name for contrast in protocol.contrasts}
    for gate in protocol.gates:
        if gate.least is None and gate.most is None:
            raise ValueError(f"gate {gate.name!r} has no bound ({' or '.join(LIMITS)})")
        if unknown := set(gate.stands_for) - names:
            raise ValueError(f"gate {gate.name!r} stands for {sorted(unknown)}, no contrast")


def _folder() -> Path:
    return PACKAGE / "protocols"
