"""What goes wrong in C is found and named: a fault in any layer, undefined behaviour."""

import ctypes
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from deploy_samples import exported, grouped, images

from saa_lite.deploy import Graph, Source, write_source
from saa_lite.deploy.golden import CHECK, golden
from saa_lite.deploy.host import FLAGS, HostNetwork, compiler

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="no C compiler here: neither cc, gcc, clang nor the extra deploy"
)
SANITIZERS = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")


NETWORKS: dict[str, Callable[[], Graph]] = {
    "adder": lambda: exported("resnet8", "adder"),
    "shift": lambda: exported("resnet8", "shift"),
    "binary": lambda: exported("resnet8", "binary"),
    "pooled": lambda: exported("lenet5_bn", "binary", 4, 32),
    "grouped": grouped,
}


def with_switches(source: Source) -> Source:
    """Layer n writes wrong codes, all of its first output, while ``net_fault`` is n."""
    parts = re.split(r"(?=void net_layer_\d\d\(void\) \{)", source.code)
    for n, part in enumerate(parts[1:]):
        wrong = rf"count = (uint32_t)(net_fault == {n}) ^ (uint32_t)(\1);"
        parts[n + 1], changed = re.subn(r"count = (.*);", wrong, part, count=1)
        assert changed
    start = "union net_arena net_arena;"
    code = "".join(parts).replace(start, f"{start}\nint32_t net_fault = -1;")
    return replace(source, code=code)


@needs_compiler
@pytest.mark.parametrize("network", NETWORKS)
def test_a_fault_in_any_layer_is_named(network: str) -> None:
    graph = NETWORKS[network]()
    host = HostNetwork(with_switches(write_source(graph)), ("-O0",))
    fault = ctypes.c_int32.in_dll(host._library, "net_fault")
    expected = graph.expected(images(2, graph.input.rows, seed=5))
    assert host.first_difference(expected) is None
    for n, layer in enumerate(graph.layers):
        fault.value = n
        assert host.first_difference(expected) == layer.name


def test_these_faults_are_in_every_kind_of_layer() -> None:
    graphs = [make() for make in NETWORKS.values()]
    layers = [layer for graph in graphs for layer in graph.layers]
    kinds = {"adder", "shift", "binary", "multiply", "add", "mean"}
    assert {layer.kind for layer in layers} == kinds
    assert {layer.groups > 1 for layer in layers} == {layer.pool > (1, 1) for layer in layers}
    assert all(len({layer.name for layer in g.layers}) == len(g.layers) for g in graphs)


@cache
def no_sanitizers(folder: Path) -> str:
    """Why a program with both sanitizers cannot be had here; empty if it can."""
    command = compiler()
    if command is None:
        return "no C compiler here"
    (folder / "nothing.c").write_text("int main(void) { return 0; }\n")
    made = [*command, *SANITIZERS, "-o", "nothing", "nothing.c"]
    done = subprocess.run(made, cwd=folder, capture_output=True, text=True, check=False)
    ran = done.returncode or subprocess.run([folder / "nothing"], check=False).returncode
    return f"the C compiler here has no sanitizers: {done.stderr.strip()[-200:]}" if ran else ""


def sanitized(source: Source, folder: Path) -> subprocess.CompletedProcess[str]:
    """The program of the exported folder, checking itself under both sanitizers."""
    expected = source.graph.expected(images(2, source.graph.input.rows, seed=6))
    texts = {"net.h": source.header, "net.c": source.code, "check.c": CHECK}
    for name, text in {**texts, "golden.h": golden(source, expected)}.items():
        (folder / name).write_text(text)
    command = [*(compiler() or []), *FLAGS, "-O1", *SANITIZERS, "net.c", "check.c", "-o", "check"]
    subprocess.run([c for c in command if c != "-ffreestanding"], cwd=folder, check=True)
    return subprocess.run([folder / "check"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("lanes", [False, True])
def test_no_undefined_behaviour(
    network: str, lanes: bool, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if reason := no_sanitizers(tmp_path_factory.getbasetemp()):
        pytest.skip(reason)
    if lanes and network not in ("adder", "grouped"):
        return
    done = sanitized(write_source(NETWORKS[network](), lanes=lanes), tmp_path)
    assert (done.returncode, done.stderr, done.stdout[:9]) == (0, "", "2 images:")


FAULTS = {  # what is planted, and what the sanitizers call it
    "a table read beyond its end": ("v = w_01[i++];", "v = w_01[i++ + 9999u];", "out of bounds"),
    "a shift by all bits": ("count <<= 1;", "count <<= 1; left <<= 32u + digits;", "shift exp"),
    "a sum beyond int32_t": ("sum = -(int32_t)total;", "sum = -2147483647 - 1 - (int32_t)total;",
                             "signed integer overflow"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_undefined_behaviour_would_be_found(
    fault: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if reason := no_sanitizers(tmp_path_factory.getbasetemp()):
        pytest.skip(reason)
    right, wrong, said = FAULTS[fault]
    source = write_source(exported("resnet8", "adder"))
    faulty = replace(source, code=source.code.replace(right, wrong, 1))
    assert faulty.code != source.code
    done = sanitized(faulty, tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
