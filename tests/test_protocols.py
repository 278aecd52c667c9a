"""Protocols are older than their records, and nothing is recorded under one that it does not say.

What git can tell is asked where the whole history is at hand.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from history_samples import git, needs_history

from saa_lite.errors import RecordError
from saa_lite.items.claims import CLAIMS
from saa_lite.items.contrasts import arm_of
from saa_lite.items.registry import CATALOGUE
from saa_lite.protocols import Protocol, list_protocols, load_protocol
from saa_lite.protocols.load import parse
from saa_lite.records import Record, config_hash, measured_records

FOLDER = "saa_lite/protocols"
PROTOCOLS = [load_protocol(name) for name in list_protocols()]
each = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)


def recorded() -> Iterator[Record]:
    """Tracked records that name a protocol."""
    for item in CATALOGUE:
        yield from (r for r in measured_records(item) if r.settings.get("protocol"))


def complaint(record: Record, known: list[Protocol]) -> str:
    """What a record says that its protocol does not; empty, nothing."""
    label = record.settings["protocol"]
    protocol = next((one for one in known if one.label == label), None)
    if protocol is None:
        return f"no protocol is {label!r}"
    asked = (record.item, record.seed in protocol.seeds, arm_of(record) in protocol.arms)
    return "" if asked == (protocol.item, True, True) else f"not of {protocol.name}: {asked}"


def first_commit(name: str) -> str | None:
    """The commit that added a protocol's file; None before it is committed."""
    added = git("log", "--diff-filter=A", "--format=%H", "--", f"{FOLDER}/{name}.toml")
    return added.split()[-1] if added else None


def test_records_name_a_protocol_and_stay_within_it() -> None:
    found = [(r.key, said) for r in recorded() if (said := complaint(r, PROTOCOLS))]
    assert found == []


def record(**changes: Any) -> Record:
    settings = {"protocol": "u 555555555555"} | changes.pop("settings", {})
    made = Record(
        item="shiftaddaug/regimes", metric="accuracy", value=30.0, unit="%", method="shift",
        model="resnet8", dataset="cifar100", seed=0, profile="laptop", epochs=33, device="cpu",
        versions={}, config_hash=config_hash(settings), commit="unknown", seconds=1.0,
        peak_memory_mb=1.0, settings=settings,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"seed": 7}, "not of u"),
        ({"method": "adder"}, "not of u"),
        ({"settings": {"arm": "shift-long"}}, "not of u"),
        ({"item": "shiftaddaug/fig4"}, "not of u"),
        ({"settings": {"protocol": "u 555555555556"}}, "no protocol is"),  # another version
    ],
)
def test_the_check_itself_complains(changes: dict[str, Any], said: str) -> None:
    known = Protocol(
        "u", "5" * 64, "?", "shiftaddaug/regimes", "exploration", (0, 1), ("shift",), "", {}
    )
    assert complaint(record(**changes), [known]).startswith(said)
    assert bool(complaint(record(**changes), [known])) == bool(said)


@each
def test_contrasts_bear_on_statements_that_there_are(protocol: Protocol) -> None:
    statements = {claim.id for claim in CLAIMS if claim.table == "source"}
    named = {contrast.claim for contrast in protocol.contrasts if contrast.claim}
    assert named <= statements
    assert protocol.item in CATALOGUE


@each
def test_a_protocol_is_as_it_was_when_it_was_committed(protocol: Protocol) -> None:
    needs_history()
    commit = first_commit(protocol.name)
    if commit is None:
        assert not any(r.settings["protocol"].startswith(f"{protocol.name} ") for r in recorded())
        pytest.skip("not committed yet, and nothing is recorded")
    content = git("show", f"{commit}:{FOLDER}/{protocol.name}.toml")
    assert content is not None
    assert hashlib.sha256(content.encode()).hexdigest() == protocol.sha


def test_protocols_are_older_than_their_records() -> None:
    needs_history()
    firsts = {name: first_commit(name) for name in list_protocols()}
    pairs = {
        (firsts[r.settings["protocol"].partition(" ")[0]], r.commit.partition("+")[0])
        for r in recorded()
    }
    late = [pair for pair in pairs if git("merge-base", "--is-ancestor", *map(str, pair)) is None]
    assert late == []


def test_history_can_tell_the_order() -> None:
    needs_history()
    commits = (git("rev-list", "--max-count=2", "HEAD") or "").split()
    if len(commits) < 2:
        pytest.skip("one commit has no order")
    newer, older = commits
    assert git("merge-base", "--is-ancestor", older, newer) is not None
    assert git("merge-base", "--is-ancestor", newer, older) is None


GOOD = """
question = "?"
item = "shiftaddaug/regimes"
role = "test"
seeds = [0, 1]
arms = ["a", "b"]
decided = "?"
[settings]
epochs = 1
[[contrast]]
name = "a-b"
first = "a"
second = "b"
primary = true
matters = 0.5
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('role = "test"', 'role = "proof"', "role must be one of"),
        ('role = "test"', 'role = "choice"', "has contrasts, another none"),
        ("[0, 1]", "[0, 0]", "seeds must be distinct"),
        ('second = "b"', 'second = "c"', "none of the arms"),
        ("matters = 0.5", "", "matters"),
        ("matters = 0.5", 'matters = 0.5\n[[gate]]\nname="g"\nquantity="gap"\narm="a"', "no bound"),
    ],
)
def test_a_torn_protocol_is_refused(old: str, new: str, said: str) -> None:
    assert parse("good", GOOD.encode()).arms == ("a", "b")
    with pytest.raises(RecordError, match=f"protocol torn: .*{said}"):
        parse("torn", GOOD.replace(old, new).encode())
