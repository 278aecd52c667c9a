# mypy: disallow-untyped-defs=False
# (Triton gives kernel arguments their types at launch.)
"""How fast a GPU adds: float32 against ``vabsdiff4``, from registers alone. Imports Triton."""

import torch
import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]

CHAINS = 8  # independent sums of a thread, enough to hide their latency
THREADS = 128
UNROLLED = 16
ADD, BYTES = "add.f32 $0, $1, $2;", "vabsdiff4.u32.u32.u32.add $0, $1, $2, $2;"


@triton.jit
def instruction_kernel(
    y, ROUNDS, THREADS: tl.constexpr, CHAINS: tl.constexpr, UNROLLED: tl.constexpr,
    ASSEMBLY: tl.constexpr,
):  # fmt: skip
    """ROUNDS·UNROLLED·CHAINS instructions in every thread; y: [programs, THREADS·CHAINS]."""
    at = tl.program_id(0) * (THREADS * CHAINS) + tl.arange(0, THREADS * CHAINS)
    x = tl.load(y + at)
    acc = x
    for _ in range(ROUNDS):
        for _ in tl.static_range(UNROLLED):
            if ASSEMBLY == "":
                acc = acc + x
            else:
                acc = tl.inline_asm_elementwise(
                    ASSEMBLY, "=r,r,r" if y.dtype.element_ty == tl.int32 else "=f,f,f", [x, acc],
                    dtype=y.dtype.element_ty, is_pure=True, pack=1,
                )  # fmt: skip
    tl.store(y + at, acc)


def run_instructions(programs: int, rounds: int, assembly: str, device: str) -> int:
    """Launch the kernel; how many instructions that is, of single lanes."""
    kind = torch.float32 if assembly == ADD else torch.int32
    y = torch.ones(programs, THREADS * CHAINS, dtype=kind, device=device)
    instruction_kernel[(programs,)](
        y, rounds, THREADS, CHAINS, UNROLLED, assembly if y.is_cuda else "",
        num_warps=THREADS // 32,
    )  # fmt: skip
    return programs * THREADS * CHAINS * rounds * UNROLLED
