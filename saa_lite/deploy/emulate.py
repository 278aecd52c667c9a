"""A linked network run in an emulator, layer by layer: its bits, and the instructions it took.

Instructions, not cycles: an emulator knows nothing of memories, caches and pipelines. What it
counts is what a disassembly of the run would list, branches taken.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from saa_lite.deploy.source import Source
from saa_lite.deploy.targets import FLASH, RAM, STACK_TOP, TARGETS, Image, check_tools

Ints = np.ndarray
PAGE = 0x1000
FLASH_END, STOP = 0x1000000, 0x8000  # where returning from a layer leads to


@dataclass(frozen=True)
class Run:
    """One image.

    Attributes:
        logits: int16 [classes].
        instructions: of each layer.
        maps: map index → its bytes, uint8.
    """

    logits: Ints
    instructions: tuple[int, ...]
    maps: dict[int, Ints]


class Emulator:
    """A processor with a network in its memory.

    Raises:
        UsageError: the extra ``deploy`` is missing.
    """

    def __init__(self, source: Source, image: Image) -> None:
        check_tools()
        import unicorn  # noqa: PLC0415  (an extra)

        self.source, self.image = source, image
        self.thumb = TARGETS[image.target].thumb
        self._registers = _registers(self.thumb)
        self._machine = _machine(image.target, self.thumb)
        self._machine.mem_map(STOP, PAGE)
        self._machine.mem_map(FLASH, FLASH_END - FLASH)
        self._machine.mem_map(RAM, STACK_TOP - RAM + PAGE)
        self._load()
        self._lengths: dict[tuple[int, int], int] = {}
        self._count = 0
        self._machine.hook_add(unicorn.UC_HOOK_BLOCK, self._block)

    def run(self, image: Ints) -> Run:
        """Codes of one image, as :meth:`Map.stored` gives them, through all layers."""
        graph, arena = self.source.graph, self.source.arena
        memory = self.image.symbols["net_arena"][0]
        self._machine.mem_write(memory + arena.maps[0], image.tobytes())
        counts, maps = [], {}
        for layer, function in zip(graph.layers, self.source.functions, strict=True):
            counts.append(self._call(function.symbol))
            for output in layer.outputs:
                found = self._machine.mem_read(
                    memory + arena.maps[output.map.index], output.map.bytes
                )
                maps[output.map.index] = np.frombuffer(bytes(found), dtype=np.uint8)
        return Run(maps[graph.logits.index].view("<i2"), tuple(counts), maps)

    def first_difference(self, run: Run, expected: dict[int, Ints], number: int) -> str | None:
        """The first layer whose map is not the expected one of that image; None if all are."""
        for layer in self.source.graph.layers:
            for output in layer.outputs:
                index = output.map.index
                if not np.array_equal(run.maps[index], expected[index][number]):
                    return layer.name
        return None

    def _call(self, symbol: str) -> int:
        """Call a function without arguments; the instructions it executed."""
        stack, link = self._registers
        self._machine.reg_write(stack, STACK_TOP)
        self._machine.reg_write(link, STOP | self.thumb)
        self._count = 0
        begin = self.image.symbols[symbol][0]
        self._machine.emu_start(begin | self.thumb, STOP)
        return self._count

    def _block(self, machine: Any, address: int, size: int, data: Any) -> None:
        """Add the instructions of a block that is about to run."""
        if not self.thumb:
            self._count += size >> 2
            return
        known = self._lengths.get((address, size))
        if known is None:
            known = _thumb_instructions(bytes(machine.mem_read(address, size)))
            self._lengths[address, size] = known
        self._count += known

    def _load(self) -> None:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415  (an extra)

        for segment in ELFFile(BytesIO(self.image.elf)).iter_segments():
            if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]:
                self._machine.mem_write(segment["p_vaddr"], segment.data())


def _thumb_instructions(code: bytes) -> int:
    """How many there are: a halfword that begins with 0b11101 or more is the first of two."""
    count = at = 0
    while at < len(code):
        first = code[at + 1] >> 3
        at += 4 if first >= 0b11101 else 2
        count += 1
    return count


def _machine(target: str, thumb: bool) -> Any:
    import unicorn as uc  # noqa: PLC0415  (an extra)
    from unicorn import arm_const as arm  # noqa: PLC0415

    if not thumb:
        return uc.Uc(uc.UC_ARCH_RISCV, uc.UC_MODE_RISCV32)
    machine = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
    models = {
        "cortex-m0": arm.UC_CPU_ARM_CORTEX_M0,
        "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
        "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
    }
    machine.ctl_set_cpu_model(models[target])
    return machine


def _registers(thumb: bool) -> tuple[int, int]:
    """Stack pointer and link register."""
    from unicorn import arm_const, riscv_const  # noqa: PLC0415  (an extra)

    if thumb:
        return arm_const.UC_ARM_REG_SP, arm_const.UC_ARM_REG_LR
    return riscv_const.UC_RISCV_REG_SP, riscv_const.UC_RISCV_REG_RA
