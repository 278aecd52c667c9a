"""The GPU kernels compiled without a device, and the choice of kernels and tiles."""

import importlib.util
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from saa_lite import ops
from saa_lite.bench.gpu_cases import TILES
from saa_lite.ops import adder_gpu, adder_tiles
from saa_lite.ops.adder_tiles import Tile, choose_tile

NEEDS_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed here"
)
ARCHITECTURES = (80, 86, 89, 90)
ABSOLUTE, SATURATED, FUSED = r"FADD R\d+, \|?-?R?.*\|R\d+", r"FFMA\.SAT", "FFMA"
WHOLE = {"VK": 4, "VS": 4, "PER": 0, "DEPTH": 0, "FLAT": False}
DEPTHWISE = WHOLE | {"VK": 1, "PER": 1, "DEPTH": 1}
FORWARD, BYTES = {"PAD": True, "BYTES": ""}, {"PAD": True, "BYTES": "vabsdiff4"}


class Promise(NamedTuple):
    """A kernel compiled with constants for some chips, and what its loop over the taps holds.

    The marked instruction occurs once per |x − w|, or per four bytes; float additions and all
    instructions per mark, and registers, at most.
    """

    kernel: str
    tile: Tile
    constants: dict[str, Any]
    mark: str
    floats: float
    instructions: float
    registers: int
    chips: tuple[int, ...] = (90,)


PROMISES = [
    Promise("forward_kernel", TILES[0], WHOLE | FORWARD, ABSOLUTE, 2.0, 2.4, 255),
    Promise("forward_kernel", TILES[1], WHOLE | FORWARD, ABSOLUTE, 2.0, 2.5, 128, (86, 89)),
    Promise("forward_kernel", TILES[2], WHOLE | BYTES, "VABSDIFF4", 0.0, 1.6, 128, ARCHITECTURES),
    Promise("forward_kernel", TILES[2], DEPTHWISE | FORWARD, ABSOLUTE, 2.0, 8.0, 80, (80,)),
    Promise(
        "input_gradient_kernel", TILES[1], WHOLE | {"KIND": "clip"}, SATURATED, 2.2, 2.8, 168,
        (80, 90),
    ),
    Promise(
        "input_gradient_kernel", TILES[1], WHOLE | {"KIND": "sign"}, SATURATED, 3.2, 3.7, 168,
        (89,),
    ),
    Promise(
        "input_gradient_kernel", TILES[1], WHOLE | {"KIND": "full"}, FUSED, 2.0, 2.7, 168, (86,)
    ),
    Promise(
        "input_gradient_kernel", TILES[2], DEPTHWISE | {"KIND": "clip"}, SATURATED, 3.2, 15, 168
    ),
    Promise("weight_sign_kernel", TILES[1], WHOLE | {"VK": 1}, SATURATED, 3.5, 6.6, 168),
]  # fmt: skip
COMPILED = [(promise, chip) for promise in PROMISES for chip in promise.chips]


def compiled(folder: Path, promise: Promise, chip: int) -> tuple[str, int]:
    """(SASS, registers per thread) of one variant, without a device."""
    import triton  # noqa: PLC0415
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    from saa_lite.ops import adder_triton  # noqa: PLC0415

    function = getattr(adder_triton, promise.kernel)
    kept = {n: v for n, v in promise.constants.items() if n in function.arg_names}
    constants = promise.tile._asdict() | kept
    pointers = [n for n in function.arg_names if n in ("x", "w", "y", "g", "checksum")]
    pointer = "*i32" if constants.get("BYTES") else "*fp32"
    types = dict.fromkeys(function.arg_names, "i32") | dict.fromkeys(pointers, pointer)
    types |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        function,
        {n: types[n] for n in function.arg_names},
        constexprs={(function.arg_names.index(n),): value for n, value in constants.items()},
        attrs={(function.arg_names.index(n),): [["tt.divisibility", 16]] for n in pointers},
    )
    options = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": True}
    if promise.kernel == "input_gradient_kernel":
        options["maxnreg"] = adder_triton.GRADIENT_REGISTERS
    binary = triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options)
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
    ("promise", "chip"),
    COMPILED,
    ids=[f"{p.kernel}-{n}-sm_{chip}" for n, (p, chip) in enumerate(COMPILED)],
)
def test_compiled_loops_are_tight(
    promise: Promise, chip: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernels promise about speed can be read off the machine code."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    sass, used = compiled(tmp_path, promise, chip)
    loop = hot_loop(sass, promise.mark)
    count = sum(bool(re.search(promise.mark, line)) for line in loop)
    assert count >= promise.tile.TM * 8 * promise.constants.get("VK", 1)
    floats = sum(bool(re.search("FADD|FFMA", line)) for line in loop)
    assert floats <= promise.floats * count
    assert len(loop) <= promise.instructions * count
    assert not [line for line in loop if re.search("LDL|STL|BAR|LDS|STS", line)]
    assert any("LDG.E.128" in line for line in loop)
    assert used <= promise.registers


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
    def chosen(w: Tensor, **changes: Any) -> bool:
        case, output = meta_case(**changes), changes.get("output", (8, 32, 8, 8))
        return adder_gpu.kernels(case, w, output) is not None  # type: ignore[arg-type]

    w = torch.ones(32, 16, 3, 3)
    assert chosen(w)
    assert chosen(w[:16, :1])  # depthwise
    assert chosen(w, dtype=torch.uint8)
    assert not chosen(w, dtype=torch.bfloat16)
    assert not chosen(w, is_cuda=False)
    assert not chosen(w, dtype=torch.float64)
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
    assert adder_gpu.kernels(meta_case(), w, output) is None  # type: ignore[arg-type]


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


def test_the_package_works_where_triton_is_absent_and_leaves_it_alone_elsewhere() -> None:
    program = """
import sys
import saa_lite.ops
assert "saa_lite.ops.adder_triton" not in sys.modules
sys.modules["triton"] = None
import torch
torch.version.cuda = "13"
from saa_lite.ops import adder_conv2d, adder_gpu
assert adder_gpu._triton_module() is None
adder_conv2d(torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)


@NEEDS_TRITON
def test_addresses_off_the_grid_are_copied_and_others_are_not() -> None:
    from saa_lite.ops import adder_triton  # noqa: PLC0415

    dense = torch.arange(97.0)[:96].view(2, 4, 4, 3).permute(0, 3, 1, 2)
    assert adder_triton._channels_last(dense).data_ptr() == dense.data_ptr()
    moved = torch.arange(97.0)[1:].view(2, 4, 4, 3).permute(0, 3, 1, 2)
    copied = adder_triton._channels_last(moved)
    assert copied.data_ptr() % 16 == 0
    assert copied.stride() == moved.stride()
    assert torch.equal(copied, moved)


@pytest.mark.parametrize("filters", [1, 10, 16, 24, 64, 96, 320])
@pytest.mark.parametrize("task", ["forward", "gradient"])
def test_tiles_cover_the_output(filters: int, task: str) -> None:
    for pixels in (1, 100, 8192, 1 << 20):
        tile = choose_tile(pixels, filters, 1, 132, task)
        tall, wide = tile.blocks(pixels, filters)
        assert tile.PM * tile.PN == adder_tiles.THREADS
        assert tall * tile.TM * tile.PM >= pixels
        assert wide * tile.filters >= filters


def forget_tiles() -> None:
    adder_tiles._IN_USE.clear()
    choose_tile.cache_clear()


@pytest.fixture
def nothing_compiled() -> Iterator[None]:
    """The choice of tiles as in a new process."""
    forget_tiles()
    yield
    forget_tiles()


@pytest.mark.usefixtures("nothing_compiled")
def test_small_outputs_take_small_tiles_unless_larger_ones_are_at_hand() -> None:
    assert choose_tile(1 << 20, 16, 1, 132, "forward").filters == 16
    assert choose_tile(20_000, 64, 1, 132, "forward").TM == 2
    forget_tiles()
    assert choose_tile(1 << 20, 64, 1, 132, "forward").TM == 8
    assert choose_tile(20_000, 64, 1, 132, "forward").TM == 8  # up to half as long again
    assert choose_tile(8192, 64, 1, 132, "forward").TM == 2


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize("multiprocessors", [20, 46, 82, 108, 132])
def test_a_short_batch_compiles_next_to_nothing(multiprocessors: int) -> None:
    """ResNet-20 trained in batches of 128 that end in one of 80, then evaluated."""
    layers = [(16, 16, 32, 1), (16, 32, 32, 2), (32, 32, 16, 1), (32, 64, 16, 2), (64, 64, 8, 1)]

    def variants(batches: Sequence[int]) -> int:
        found: set[tuple[str, Tile]] = set()
        for batch, (channels, filters, size, stride) in itertools.product(batches, layers):
            inputs, outputs = batch * size**2, batch * (size // stride) ** 2
            for task, pixels, lanes in (
                ("forward", outputs, filters),
                ("gradient", inputs, channels),
            ):
                found.add((task, choose_tile(pixels, lanes, 1, multiprocessors, task)))
        return len(found)

    assert variants([128]) == 6  # two tasks, three widths
    assert variants([128, 80]) <= 7
    assert variants([128, 80, 256, 16, 500, 1000]) <= 8


@pytest.mark.parametrize(("taps", "filters"), [(9, 96), (144, 16), (576, 64), (3, 5)])
def test_weight_tiles_cover_the_weights(taps: int, filters: int) -> None:
    tile = adder_tiles.weight_tile(taps, filters)
    tall, wide = tile.blocks(taps, filters)
    assert tall * tile.TM * tile.PM >= taps
    assert wide * tile.filters >= filters


def test_partial_sums_share_out_the_lines() -> None:
    assert adder_tiles.choose_chunks(4096, 4, 132) == 132
    assert adder_tiles.choose_chunks(4096, 528, 132) == 1
    assert adder_tiles.choose_chunks(40, 4, 132) == 2
    assert adder_tiles.choose_chunks(1, 1, 132) == 1
