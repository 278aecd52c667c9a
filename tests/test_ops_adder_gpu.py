"""The GPU kernels compiled for sm_90 without a device, and the choice of kernels and tiles."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from saa_lite import ops
from saa_lite.ops import adder_gpu
from saa_lite.ops.adder_gpu import Tile, choose_tile

TILES = [Tile(8, 2, 16, 8), Tile(4, 2, 32, 4), Tile(2, 2, 64, 2)]
NEEDS_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed here"
)
ABSOLUTE, SATURATED, FUSED = r"FADD R\d+, \|?-?R?.*\|R\d+", r"FFMA\.SAT", "FFMA"

# Compiled for sm_90: kernel, tile, constants, pointers; the instruction that occurs once per
# |x − w|; float additions and all instructions per |x − w| in the loop, and registers, at most.
COMPILED = [
    ("forward_kernel", 0, {"FLAT": False, "PAD": True}, "*fp32", ABSOLUTE, 2.0, 2.4, 255),
    ("forward_kernel", 0, {"FLAT": True, "PAD": False}, "*fp32", ABSOLUTE, 2.0, 2.3, 255),
    ("forward_kernel", 1, {"FLAT": False, "PAD": True}, "*fp32", ABSOLUTE, 2.0, 2.5, 128),
    ("forward_kernel", 2, {"FLAT": False, "PAD": True}, "*bf16", ABSOLUTE, 2.0, 3.8, 128),
    (
        "input_gradient_kernel",
        1,
        {"FLAT": False, "KIND": "clip"},
        "*fp32",
        SATURATED,
        2.2,
        2.8,
        168,
    ),
    ("input_gradient_kernel", 2, {"FLAT": True, "KIND": "clip"}, "*fp32", SATURATED, 2.2, 2.9, 168),
    ("input_gradient_kernel", 1, {"FLAT": False, "KIND": "full"}, "*fp32", FUSED, 2.0, 2.7, 168),
    ("input_gradient_kernel", 2, {"FLAT": False, "KIND": "sign"}, "*fp16", FUSED, 2.0, 9.0, 168),
]


def compiled(
    folder: Path, kernel: str, tile: Tile, constants: dict[str, Any], pointer: str
) -> tuple[str, int]:
    """(SASS, registers per thread) of one variant, without a device."""
    import triton  # noqa: PLC0415
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    from saa_lite.ops import adder_triton  # noqa: PLC0415

    function = getattr(adder_triton, kernel)
    constants = tile._asdict() | {"VK": 4, "VS": 4} | constants
    pointers = [n for n in function.arg_names if n in ("x", "w", "y", "g", "checksum")]
    types = dict.fromkeys(function.arg_names, "i32") | dict.fromkeys(pointers, pointer)
    types |= dict.fromkeys(constants, "constexpr") | {"checksum": "*fp32"}
    source = ASTSource(
        function,
        {n: types[n] for n in function.arg_names},
        constexprs={(function.arg_names.index(n),): value for n, value in constants.items()},
        attrs={(function.arg_names.index(n),): [["tt.divisibility", 16]] for n in pointers},
    )
    options = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": True}
    if kernel == "input_gradient_kernel":
        options["maxnreg"] = adder_triton.GRADIENT_REGISTERS
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(binary.asm["cubin"])
    usage = subprocess.run(
        [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(cubin)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return binary.asm["sass"], int(re.findall(r"REG:(\d+)", usage)[0])


def hot_loop(sass: str, mark: str) -> list[str]:
    """The loop without inner loops in which the marked instruction occurs most often."""
    lines = sass.splitlines()
    labels = {line[:-1]: n for n, line in enumerate(lines) if re.fullmatch(r"LBB\d+:", line)}
    jumps = [
        (n, match[1]) for n, line in enumerate(lines) if (match := re.search(r"BRA (LBB\d+)", line))
    ]
    spans = [(labels[target], n) for n, target in jumps if labels[target] < n]
    inner = [s for s in spans if not any(s != t and s[0] <= t[0] and t[1] <= s[1] for t in spans)]
    loops = [
        [line.split("\t")[-1] for line in lines[first + 1 : last + 1]] for first, last in inner
    ]
    return max(loops, key=lambda loop: sum(bool(re.search(mark, line)) for line in loop))


@NEEDS_TRITON
@pytest.mark.parametrize(
    ("kernel", "tile", "constants", "pointer", "mark", "floats", "instructions", "registers"),
    COMPILED,
)
def test_compiled_loops_are_tight(
    kernel: str, tile: int, constants: dict[str, Any], pointer: str, mark: str, floats: float,
    instructions: float, registers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What the kernels promise about speed can be read off the machine code."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    sass, used = compiled(tmp_path, kernel, TILES[tile], constants, pointer)
    loop = hot_loop(sass, mark)
    count = sum(bool(re.search(mark, line)) for line in loop)
    assert count >= TILES[tile].TM * 8 * 4
    assert sum(bool(re.search("FADD|FFMA", line)) for line in loop) <= floats * count
    assert len(loop) <= instructions * count
    assert not [line for line in loop if re.search("LDL|STL|BAR|LDS|STS", line)]
    assert any(("LDG.E.128" if pointer == "*fp32" else "LDG.E.64") in line for line in loop)
    assert used <= registers


def meta_case(**changes: Any) -> SimpleNamespace:
    """A stand-in for a CUDA tensor: what the choice of kernels looks at."""
    shape = (8, 16, 8, 8)
    looks = {
        "is_cuda": True,
        "device": torch.device("cuda"),
        "dtype": torch.float32,
        "shape": shape,
    }
    return SimpleNamespace(**looks | {"numel": lambda: 8 * 16 * 64} | changes)


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAA_TRITON", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(adder_gpu, "_triton_module", lambda: torch)


@pytest.mark.usefixtures("ampere")
def test_kernels_are_chosen_by_device_dtype_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(w: Tensor, groups: int = 1, **changes: Any) -> bool:
        case, output = meta_case(**changes), changes.get("output", (8, 32, 8, 8))
        return adder_gpu.kernels(case, w, output, groups) is not None  # type: ignore[arg-type]

    w = torch.ones(32, 16, 3, 3)
    assert chosen(w)
    assert chosen(w, dtype=torch.bfloat16)
    assert chosen(w[:, :4], 4)
    assert not chosen(w, is_cuda=False)
    assert not chosen(w, dtype=torch.float64)
    assert not chosen(w[:16, :1], 16)
    assert not chosen(w, numel=lambda: 0)
    assert not chosen(w, shape=(1 << 20, 16, 32, 32))
    assert not chosen(w, output=(1 << 20, 32, 32, 32))  # of a small input with much padding
    assert not chosen(w[:0])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not chosen(w)


@pytest.mark.usefixtures("ampere")
def test_the_environment_switches_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAA_TRITON", "0")
    w, output = torch.ones(32, 16, 3, 3), (8, 32, 8, 8)
    assert adder_gpu.kernels(meta_case(), w, output, 1) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler"),
        FileNotFoundError("gcc"),
        subprocess.CalledProcessError(1, "gcc"),
    ],
)
def test_without_a_compiler_torch_takes_over_and_says_so_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start() -> None:
        raise error

    module = ModuleType("saa_lite.ops.adder_triton")
    module.start = start  # type: ignore[attr-defined]
    monkeypatch.setattr(ops, "adder_triton", module, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(torch.version, "cuda", "13")
    adder_gpu._triton_module.cache_clear()
    try:
        with pytest.warns(UserWarning, match="needs a C compiler") as said:
            found = [adder_gpu._triton_module() for _ in range(3)]
    finally:
        adder_gpu._triton_module.cache_clear()
    assert found == [None] * 3
    assert len(said) == 1


def test_the_package_works_where_triton_is_absent() -> None:
    program = """
import sys
sys.modules["triton"] = None
import torch
torch.version.cuda = "13"
from saa_lite.ops import adder_conv2d, adder_gpu
assert adder_gpu._triton_module() is None
adder_conv2d(torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)


def test_importing_the_operators_leaves_triton_alone() -> None:
    program = "import sys, saa_lite.ops; assert 'saa_lite.ops.adder_triton' not in sys.modules"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("filters", [1, 10, 16, 24, 64, 96, 320])
@pytest.mark.parametrize("task", ["forward", "gradient"])
def test_tiles_cover_the_output(filters: int, task: str) -> None:
    for pixels in (1, 100, 8192, 1 << 20):
        tile = choose_tile(pixels, filters, 1, 132, task)
        tall, wide = tile.blocks(pixels, filters)
        assert tile.PM * tile.PN == adder_gpu.THREADS
        assert tall * tile.TM * tile.PM >= pixels
        assert wide * tile.filters >= filters


def test_small_outputs_take_small_tiles() -> None:
    assert choose_tile(1 << 20, 64, 1, 132, "forward").TM == 8
    assert choose_tile(8192, 64, 1, 132, "forward").TM < 8
    assert choose_tile(1 << 20, 16, 1, 132, "forward").filters == 16
