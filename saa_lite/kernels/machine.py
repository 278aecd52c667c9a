"""Vector lengths, the tiles that suit them, and compiling for a machine.

Numba compiles what walks over images; tiles are compiled here, one function each, and called by
address. So each of them has the registers to itself, what a test reads in the assembly is what
runs, and machines with shorter vectors can be emulated in one process, and others compiled for.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.registry import cpu_target

from saa_lite.errors import UsageError

VECTOR_BITS_NAME = "SAA_VECTOR_BITS"  # environment variable that emulates other machines
BITS = (128, 256, 512)
BLOCK = 16  # filters, or channels, whose weights are packed together
# Features that come with vectors of more bits; without them LLVM has no such registers.
LONGER = {
    128: ("avx", "avx2", "fma", "f16c", "avxvnni", "xop", "fma4", "vaes", "vpclmulqdq"),
    256: ("avx10.1", "avx10.2", "evex512"),
}
_ONE_AT_A_TIME = threading.Lock()


class Machine(NamedTuple):
    """What tiles are written for."""

    bits: int  # of a vector
    registers: int  # that hold vectors
    absolute: bool  # whether |x − w| costs no more than max(x, w) beside an addition
    triple: str
    cpu: str
    features: str

    @property
    def lanes(self) -> int:
        """Numbers of 32 bits in a vector."""
        return self.bits // 32

    @property
    def is_x86(self) -> bool:
        """Whether x86's own instructions can be asked for."""
        return self.triple.startswith(("x86_64", "i386", "i686"))

    @property
    def any_vector(self) -> str:
        """Any vector register, in LLVM's inline assembly."""
        return "w" if not self.is_x86 else "v" if self.registers == 32 else "x"

    @property
    def vectors(self) -> int:
        """Of a block."""
        return BLOCK // self.lanes


def numba_target() -> tuple[str, str, str]:
    """Triple, processor and features that Numba compiles for."""
    return cpu_target.target_context.codegen().magic_tuple()


def longest_bits() -> int:
    """Length of the longest vectors here: 512, 256, 128, or 0 on processors not known.

    512 stands for AVX-512 F, BW, DQ and VL, 256 for AVX2, 128 for SSE2 and NEON.
    """
    triple, _, features = numba_target()
    if triple.startswith(("aarch64", "arm64")):
        return 128
    if not triple.startswith("x86_64"):
        return 0
    found = set(features.split(","))
    wide = {"+avx512f", "+avx512bw", "+avx512dq", "+avx512vl"} <= found
    return 512 if wide else 256 if "+avx2" in found else 128


def supported_bits() -> int:
    """As :func:`longest_bits`, or less: ``SAA_VECTOR_BITS`` has other machines emulated."""
    given = os.environ.get(VECTOR_BITS_NAME, "512")
    if given not in ("0", *map(str, BITS)):
        raise UsageError(f"{VECTOR_BITS_NAME} must be 0, 128, 256 or 512; got {given!r}")
    return min(longest_bits(), int(given))


VECTOR_BITS = supported_bits()


def machine_of(bits: int) -> Machine:
    """This machine, as if its vectors were no longer than ``bits``."""
    triple, cpu, features = numba_target()
    arm = triple.startswith(("aarch64", "arm64"))
    if bits == 512:
        # On Zen 4 and later logic runs beside additions; Intel has two ports for all of it.
        return Machine(512, 32, cpu.startswith("znver"), triple, cpu, features)
    if arm:
        return Machine(128, 32, True, triple, cpu, features)
    gone = LONGER[256] + (LONGER[128] if bits == 128 else ())
    kept = [
        feature
        for feature in features.split(",")
        if feature and feature[1:] not in gone and not feature[1:].startswith(("avx512", "amx"))
    ]
    off = [f"-{name}" for name in ("avx512f", *(("avx",) if bits == 128 else ()))]
    return Machine(bits, 16, True, triple, cpu, ",".join([*kept, *off]))


def fingerprint(machine: Machine) -> str:
    """Short name of the processor and compiler that compiled tiles are for."""
    facts = (*machine, *llvm.llvm_version_info, llvmlite.__version__)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def target_of(machine: Machine, jit: bool) -> Any:
    """LLVM's compiler for a machine, which may be of another kind than this one."""
    target = llvm.Target.from_triple(machine.triple)
    model = "jitdefault" if jit else "default"
    return target.create_target_machine(
        machine.cpu, machine.features, opt=3, reloc="default", codemodel=model, jit=jit
    )


def optimised(module: ir.Module, machine: Machine, target: Any) -> Any:
    """What a module's functions become before they are compiled."""
    module.triple = machine.triple
    module.data_layout = str(target.target_data)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(parsed, builder)
    return parsed


_ALIVE: list[Any] = []  # engines, whose code would go with them


def addresses_of(
    make: Callable[[], ir.Module], machine: Machine, names: Sequence[str], file: Path
) -> dict[str, int]:
    """The functions of a module in this process, by name; 0 where it has none of that name.

    Args:
        make: the module; not called where ``file`` keeps what it was compiled to.
    """
    with _ONE_AT_A_TIME:
        target = target_of(machine, jit=True)
        if not file.exists():
            beside = file.with_name(f"{file.name}.{os.getpid()}")
            beside.write_bytes(target.emit_object(optimised(make(), machine, target)))
            beside.replace(file)
        empty = ir.Module()
        empty.triple = machine.triple
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(empty)), target)
        engine.add_object_file(llvm.ObjectFileRef.from_data(file.read_bytes()))
        engine.finalize_object()
        _ALIVE.append(engine)
        return {name: engine.get_function_address(name) for name in names}
