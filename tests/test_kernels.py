"""Tiles in explicit vectors: no spilled registers, nothing read or written out of bounds."""

import ctypes
import mmap
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import llvmlite.binding
import llvmlite.ir
import numpy as np
import pytest
import torch
from adder_samples import Case, check
from ops_samples import LAYOUTS
from torch import Tensor
from torch.nn import functional as F

from saa_lite.bench import limits
from saa_lite.kernels import machine, tables
from saa_lite.kernels.machine import Machine
from saa_lite.ops import adder_conv2d, adder_conv2d_u8, adder_vector, reference

WIDTHS = [bits for bits in machine.BITS if bits <= machine.supported_bits()]
X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
MACHINES = {
    "avx512": Machine(512, 32, False, X86, "skylake-avx512", ""),
    "avx512-absolute": Machine(512, 32, True, X86, "znver4", ""),
    "haswell": Machine(256, 16, True, X86, "haswell", ""),
    "zen3": Machine(256, 16, True, X86, "znver3", ""),
    "sse": Machine(128, 16, True, X86, "x86-64", ""),
    "neon": Machine(128, 32, True, ARM, "generic", "+neon"),
}
MODULES = {kind: partial(tables.module_of, kind) for kind in tables.KINDS}
MODULES["limits"] = limits.module_of
STACK = re.compile(r"\(%rsp|\[sp\b")  # no function has a frame pointer, which is tested


def assembly_of(module: llvmlite.ir.Module, target: Machine) -> str:
    """What the functions of a module become on a machine."""
    if target.triple != machine.numba_target()[0]:
        llvmlite.binding.initialize_all_targets()
        llvmlite.binding.initialize_all_asmprinters()
    compiler = machine.target_of(target, jit=False)
    return str(compiler.emit_assembly(machine.optimised(module, target, compiler)))


def loops_of(assembly: str) -> list[list[str]]:
    """The innermost loops: from a label to a jump back to it, without another label between."""
    found, here, label = [], [], ""
    for line in assembly.splitlines():
        if (start := re.match(r"(\.L\w+):", line)) is not None:
            label, here = start[1], []
        elif label and re.match(r"\s+(j|b\.|cb|tb)\w*\s.*" + re.escape(label) + r"$", line):
            found.append(here)
            label = ""
        elif label:
            here.append(line)
    return found


def moves_of(loop: list[str]) -> list[str]:
    """Instructions that touch the stack."""
    return [line for line in loop if STACK.search(line)]


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("kind", MODULES)
def test_no_register_of_an_innermost_loop_is_spilled(kind: str, name: str) -> None:
    """Read in the assembly; vectors beyond the sixteen of AVX2 do not appear in it either."""
    target = MACHINES[name]
    text = assembly_of(MODULES[kind](target), target)
    functions = re.findall(r"^(\w+):$", text, re.MULTILINE)
    loops = loops_of(text)
    assert len(functions) > 2
    assert len(loops) >= len(functions)
    assert not [move for loop in loops for move in moves_of(loop)]
    assert not re.search(r"%rsp, %rbp|x29, sp", text)
    if target.registers == 16:
        assert not re.search(r"zmm|mm(1[6-9]|2\d|3\d)\b", text)
    if target.bits == 256:
        assert "ymm" in text


def test_the_spill_test_can_fail() -> None:
    """Sixteen pixels × two vectors need twice the registers of AVX2."""
    module = tables.ir.Module()
    tables.distance_tile(module, "tile", MACHINES["haswell"], 8, 2)
    loops = loops_of(assembly_of(module, MACHINES["haswell"]))
    assert any(moves_of(loop) for loop in loops)


ARITHMETIC = re.compile(
    r"\s+(v?(max|add|sub|mul|and)ps|v?fmadd\w+|v?psadbw|v?paddu?s?w"
    r"|fabd|fsub|fmla|uabd|uadalp|ssra|add\s+v\d+)\b"
)
# Vector operations to a sum: a maximum and an addition, a multiply-add, a sum of differences and
# an addition.
FEWEST = {"adder": 2.0, "convolution": 1.0, "uint8": 2.0}
MORE = {
    ("adder", "avx512-absolute"): 3.0,  # a subtraction, a logical and, and another subtraction
    ("adder", "haswell"): 3.0,
    ("adder", "zen3"): 3.0,
    ("adder", "sse"): 3.0,
    ("convolution", "sse"): 2.0,  # a product and an addition
}

COUNTING = {"decq", "subs"}


def operations(loop: list[str]) -> int:
    return sum(bool(ARITHMETIC.match(line)) for line in loop)


@pytest.mark.parametrize("name", MACHINES)
def test_a_limit_is_its_arithmetic_and_nothing_else(name: str) -> None:
    """No memory is touched, so no kernel of these operations can be faster."""
    target = MACHINES[name]
    loops = loops_of(assembly_of(limits.module_of(target), target))
    assert len(loops) == len(limits.STEPS)
    for kernel, loop in zip(limits.STEPS, loops, strict=True):
        assert operations(loop) == limits.SUMS * MORE.get((kernel, name), FEWEST[kernel])
        assert not [line for line in loop if re.search(r"[(\[]", line)]
        others = {line.split()[0] for line in loop if not ARITHMETIC.match(line)}
        assert others <= {*COUNTING, "#APP", "#NO_APP", "//APP", "//NO_APP", "movaps", "movdqa"}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(("kind", "kernel"), [("distance", "adder"), ("bytes", "uint8")])
def test_no_tile_gets_by_with_less_than_its_limit(kind: str, kernel: str, name: str) -> None:
    target = MACHINES[name]
    text = assembly_of(MODULES[kind](target), target)
    parts = re.split(r"^v(\d)p(\d):$", text, flags=re.MULTILINE)[1:]
    for vectors, pixels, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        sums = int(vectors) * int(pixels)
        loops = [operations(loop) for loop in loops_of(body)]
        assert min(loops) >= sums * MORE.get((kernel, name), FEWEST[kernel])
        assert min(loops) <= sums * 3  # and none that the formula has no use for


DEGENERATE = {
    "one pixel": Case(4, 5, (1, 1), (1, 1)),
    "one pixel with padding": Case(4, 5, (1, 1), (3, 3), padding=(1, 1)),
    "one row": Case(5, 3, (1, 9), (3, 3), padding=(1, 1)),
    "one column": Case(5, 3, (9, 1), (3, 3), padding=(1, 1), stride=(2, 2)),
    "one row and column of output": Case(3, 17, (5, 5), (5, 5)),
    "one channel": Case(1, 18, (5, 7), (3, 3), padding=(1, 1)),
    "one filter": Case(18, 1, (5, 7), (3, 3), padding=(1, 1)),
    "a kernel larger than the map": Case(3, 9, (2, 2), (5, 4), padding=(2, 2)),
    "padding beyond the kernel": Case(2, 2, (1, 2), (2, 3), padding=(3, 4), stride=(2, 3)),
    "dilation beyond the map": Case(9, 8, (3, 2), (2, 2), padding=(2, 3), dilation=(4, 5)),
    "a channel to a group": Case(1, 1, (4, 4), (3, 3), padding=(1, 1), groups=17),
    "two channels to a group": Case(2, 2, (4, 4), (3, 3), padding=(1, 1), groups=9),
    "an empty batch": Case(4, 4, (4, 4), (3, 3), padding=(1, 1), batch=0),
    "tails everywhere": Case(21, 27, (5, 13), (3, 2), padding=(1, 0), stride=(1, 2)),
}


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("case", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_shapes_at_every_width(
    case: Case, layout: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "VECTOR_BITS", bits)
    check(case, torch.float32, layout, ("full", "clip"))
    x, w = (u8(t) for t in case.tensors(torch.float32))
    up, side = case.padding
    padded = F.pad(x, (side, side, up, up), value=37).double()
    wanted = reference.adder_conv2d(
        padded, w.double(), case.stride, (0, 0), case.dilation, case.groups
    )
    got = adder_conv2d_u8(LAYOUTS[layout](x), w, *case.geometry, 37)
    assert torch.equal(got, wanted.int())


def u8(tensor: Tensor) -> Tensor:
    return (tensor * 40 + 128).clamp(0, 255).to(torch.uint8)


LIBC = ctypes.CDLL(None)
PAGE = mmap.PAGESIZE


class Guarded:
    """Copies of tensors that end (or begin) where no memory may be touched."""

    def __init__(self, at_end: bool) -> None:
        self.at_end, self.maps = at_end, []

    def __call__(self, tensor: Tensor) -> Tensor:
        size = tensor.numel() * tensor.element_size()
        pages = -(-size // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        whole = np.frombuffer(memory, np.uint8)
        start = whole.ctypes.data
        for edge in (start, start + (pages + 1) * PAGE):
            assert LIBC.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(PAGE), 0) == 0
        self.maps.append((start, pages, memory, whole))
        offset = PAGE + (pages * PAGE - size if self.at_end else 0)
        flat = torch.from_numpy(whole[offset : offset + size]).view(tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)

    def release(self) -> None:
        for start, pages, *_ in self.maps:
            for edge in (start, start + (pages + 1) * PAGE):
                LIBC.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(PAGE), 3)


def by_vectors(case: Case) -> bool:
    return adder_vector.applies(*case.tensors(torch.float32), case.groups)


GUARDED = {
    "a heap of pixels": Case(13, 9, (3, 5), (1, 1)),
    "no padding": Case(8, 24, (6, 6), (3, 3)),
    "groups": Case(5, 3, (4, 7), (3, 3), padding=(1, 1), groups=2),
    **{name: case for name, case in DEGENERATE.items() if case.batch and by_vectors(case)},
}


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("case", GUARDED.values(), ids=GUARDED)
def test_nothing_beside_inputs_and_outputs_is_touched(
    case: Case, at_end: bool, layout: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read or a write beyond them would end the process with a fault."""
    monkeypatch.setattr(machine, "VECTOR_BITS", bits)
    x, w = case.tensors(torch.float32, layout)
    y = adder_conv2d(x, w, *case.geometry)
    g = torch.ones_like(y)
    dx = adder_vector.input_gradient(g, x, w, case.geometry)
    bytes_ = u8(x), u8(w)
    z = adder_conv2d_u8(*bytes_, *case.geometry, 9)
    guarded = Guarded(at_end)
    try:
        plain: dict[str, Callable[..., Tensor]] = {
            name: getattr(torch, name) for name in ("empty", "empty_like")
        }
        for name, make in plain.items():
            again = lambda *a, make=make, **k: guarded(make(*a, **k))  # noqa: E731
            monkeypatch.setattr(torch, name, again)
        args = (guarded(x), guarded(w))
        assert torch.equal(adder_vector.forward(*args, case.geometry), y)
        assert torch.equal(adder_vector.input_gradient(guarded(g), *args, case.geometry), dx)
        assert torch.equal(adder_conv2d_u8(*map(guarded, bytes_), *case.geometry, 9), z)
        assert len(guarded.maps) == 2 + 1 + 1 + 1 + 2 + 1
    finally:
        guarded.release()


@pytest.mark.parametrize("kind", tables.KINDS)
def test_compiled_tiles_are_kept(kind: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process need not compile them."""
    made = []
    module_of = tables.module_of
    monkeypatch.setattr(tables, "module_of", lambda *a: made.append(a) or module_of(*a))
    first = tables.tiles_of.__wrapped__(kind, WIDTHS[-1], tmp_path)
    second = tables.tiles_of.__wrapped__(kind, WIDTHS[-1], tmp_path)
    assert len(made) == len(list(tmp_path.iterdir())) == 1
    assert first.largest == second.largest
    assert [bool(a) for row in first.addresses for a in row] == [
        bool(a) for row in second.addresses for a in row
    ]


def test_compiled_code_of_one_thread_is_not_that_of_many() -> None:
    """Kept under one name, either was loaded as both, and torch's thread count changed with it."""
    script = (
        "import torch, saa_lite\n"
        "from saa_lite.nn import AdderConv2d\n"
        "layer, x = AdderConv2d(16, 16, 3, padding=1), torch.randn(32, 16, 32, 32)\n"
        "for threads in (2, 1):\n"
        "    torch.set_num_threads(threads)\n"
        "    layer(x).sum().backward()\n"
        "    assert torch.get_num_threads() == threads, threads\n"
    )
    once = script.replace("(2, 1)", "(1,)")
    for text in (script, once):  # the second finds both kept on disk
        subprocess.run([sys.executable, "-c", text], check=True, timeout=300)
