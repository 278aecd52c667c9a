"""Processors without a system, and the link that proves that nothing multiplies.

RV32I, the base of RISC-V, has no multiplication. Linked for it with ``-nostdlib``, every
multiplication that the compiler makes, of the source's or of its own, is a call of ``__mulsi3`` (or
of a relative), which nobody defines: the link fails and names the function. Where it succeeds there
is none, whatever the source looked like. Cortex-M processors multiply in one instruction, so there
a link proves nothing; the source is the same.

These tools are the optional extra ``deploy``.
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from saa_lite.deploy.source import Source
from saa_lite.errors import UsageError, check_choice

HOST = "host"  # this machine, among targets
EXTRA = ("ziglang", "unicorn", "elftools")
FLASH, RAM, STACK_TOP = 0x10000, 0x20000000, 0x20200000


@dataclass(frozen=True)
class Target:
    """A processor.

    Attributes:
        triple, cpu: as the compiler calls it.
        lanes: it has USADA8 and SMLAD, which work on four bytes at once.
        thumb: its instructions have 2 or 4 bytes; otherwise all have 4.
    """

    triple: str
    cpu: str
    lanes: bool
    thumb: bool


TARGETS = {
    "rv32i": Target("riscv32-freestanding-none", "generic_rv32", lanes=False, thumb=False),
    "cortex-m0": Target("thumb-freestanding-eabi", "cortex_m0", lanes=False, thumb=True),
    "cortex-m4": Target("thumb-freestanding-eabi", "cortex_m4", lanes=True, thumb=True),
    "cortex-m7": Target("thumb-freestanding-eabi", "cortex_m7", lanes=True, thumb=True),
}

# What a freestanding compiler may call on its own; a real program has them from its C library.
RUNTIME = """\
#include <stddef.h>
#include "net.h"

void *memset(void *to, int value, size_t size)
{
    unsigned char *at = to;
    while (size-- > 0) *at++ = (unsigned char)value;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *at = to;
    const unsigned char *read = from;
    while (size-- > 0) *at++ = *read++;
    return to;
}

void _start(void)
{
    net_run();
    for (;;) { }
}
"""

# For the multiplicative baseline on a processor that has no multiplication: a library's function.
MULTIPLICATION = """\
unsigned __mulsi3(unsigned a, unsigned b)
{
    unsigned product = 0;
    for (; b; a <<= 1, b >>= 1)
        if (b & 1u) product += a;
    return product;
}
"""

SCRIPT = f"""\
ENTRY(_start)
SECTIONS
{{
    . = {FLASH:#x};
    .text : {{ *(.text*) }}
    .rodata : {{ *(.rodata*) *(.srodata*) }}
    . = {RAM:#x};
    .data : {{ *(.data*) *(.sdata*) }}
    .bss : {{ *(.bss*) *(.sbss*) *(COMMON) }}
    /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.attributes*) *(.eh_frame*) *(.comment*) }}
}}
"""


@dataclass(frozen=True)
class Image:
    """A linked network.

    Attributes:
        elf: the file's bytes.
        symbols: name → (address, bytes).
        flash, ram: bytes of code and constants, and of variables, stack not counted.
    """

    target: str
    elf: bytes
    symbols: dict[str, tuple[int, int]]
    flash: int
    ram: int


class MultiplicationError(UsageError):
    """The linker found calls of functions that multiply."""


def missing_tools() -> list[str]:
    """Packages of the extra ``deploy`` that are not installed."""
    return [name for name in EXTRA if importlib.util.find_spec(name) is None]


def check_tools() -> None:
    """Raise :class:`UsageError` where the extra is missing."""
    if missing := missing_tools():
        raise UsageError(
            f"{' and '.join(missing)} must be installed to link and run for a processor: "
            "pip install 'saa_lite[deploy]'"
        )


def link(
    source: Source,
    target: str,
    flags: Sequence[str] = ("-O2",),
    *,
    lend_multiplication: bool = False,
) -> Image:
    """Compile and link a source for a processor without any library.

    Args:
        flags: of the compiler.
        lend_multiplication: link ``__mulsi3``, by shifts and additions as C libraries have it, so
            that a baseline that multiplies runs on RV32I, too. Nothing is proved then.

    Raises:
        UsageError: an unknown target, the extra is missing, or the compiler refuses the source.
        MultiplicationError: it multiplies (or divides), on a processor that cannot.
    """
    check_choice("target", target, TARGETS)
    check_tools()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"net.h": source.header, "net.c": source.code, "runtime.c": RUNTIME}
        if lend_multiplication:
            files["runtime.c"] += MULTIPLICATION
        for file, text in {**files, "net.ld": SCRIPT}.items():
            (folder / file).write_text(text, encoding="utf-8")
        command = _command(TARGETS[target], flags)
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if made.returncode:
            raise _refusal(target, made.stderr)
        return _read(target, (folder / "net.elf").read_bytes())


def _command(target: Target, flags: Sequence[str]) -> list[str]:
    return [
        *(sys.executable, "-m", "ziglang", "cc", "-std=c99", "-Wall", "-Wextra", "-Werror"),
        *("-target", target.triple, f"-mcpu={target.cpu}", "-ffreestanding", "-nostdlib"),
        *("-static", "-g", "-fno-sanitize=all", "-fno-builtin", *flags, "-Wl,-T,net.ld"),
        *("-Wl,--no-gc-sections", "net.c", "runtime.c", "-o", "net.elf"),
    ]


def _refusal(target: str, stderr: str) -> UsageError:
    undefined = sorted(set(re.findall(r"undefined symbol: (\w+)", stderr)))
    if undefined:
        return MultiplicationError(
            f"the source cannot be linked for {target} without a library, as the compiler calls "
            f"{', '.join(undefined)}"
        )
    return UsageError(f"the compiler refuses the source for {target}: {stderr.strip()[-1000:]}")


def _read(target: str, elf: bytes) -> Image:
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415  (an extra)

    file = ELFFile(BytesIO(elf))
    table: Any = file.get_section_by_name(".symtab")
    symbols = {
        symbol.name: (symbol["st_value"], symbol["st_size"])
        for symbol in table.iter_symbols()
        if symbol["st_info"]["type"] in ("STT_FUNC", "STT_OBJECT")
    }
    flash = ram = 0
    for section in file.iter_sections():
        if section["sh_flags"] & 2:  # SHF_ALLOC
            in_ram = section["sh_addr"] >= RAM
            ram += section["sh_size"] if in_ram else 0
            flash += 0 if in_ram else section["sh_size"]
    return Image(target, elf, symbols, flash, ram)
