"""Compiled tiles by address, for every count of vectors and of pixels."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from llvmlite import ir

from saa_lite.kernels.adder_f32 import clipped_tile, distance_tile
from saa_lite.kernels.adder_u8 import sad_tile
from saa_lite.kernels.machine import BITS, BLOCK, Machine, addresses_of, fingerprint, machine_of

Generator = Callable[[ir.Module, str, Machine, int, int], None]
SIZES = 4  # of tiles: 1, 2, 4 and 8 pixels


class Kind(NamedTuple):
    """What tiles of one kind compute, and how large they may be."""

    generate: Generator
    vectors: dict[int, int]  # bits → most vectors
    sums: dict[tuple[int, int], int]  # (bits, registers) → of the largest tile


BLOCKS = {bits: 32 * BLOCK // bits for bits in BITS}
# Half of the registers hold sums where the other half holds inputs, or where there are but sixteen:
# weights, a pixel, a constant and a term need some, too.
KINDS = {
    "distance": Kind(
        distance_tile, BLOCKS, {(512, 32): 8, (256, 16): 8, (128, 32): 16, (128, 16): 8}
    ),
    "clipped": Kind(clipped_tile, BLOCKS, {(512, 32): 8, (256, 16): 4, (128, 32): 8, (128, 16): 4}),
    "bytes": Kind(
        sad_tile, dict.fromkeys(BITS, 2), {(512, 32): 16, (256, 16): 8, (128, 32): 16, (128, 16): 8}
    ),
}


class Tiles(NamedTuple):
    """Compiled tiles of one kind."""

    largest: tuple[int, ...]  # log₂ of most pixels, with one vector, two, …
    addresses: tuple[tuple[int, ...], ...]  # [vectors − 1][log₂ pixels], 0 where there is none


def largest_of(kind: str, machine: Machine) -> tuple[int, ...]:
    """log₂ of the pixels of the largest tile with one vector, two, …"""
    _, most, sums = KINDS[kind]
    each = range(1, most[machine.bits] + 1)
    at_most = sums[machine.bits, machine.registers]
    return tuple(min(SIZES, (at_most // vectors).bit_length()) - 1 for vectors in each)


def name_of(vectors: int, size: int) -> str:
    """What the tile of so many vectors and 2^``size`` pixels is called."""
    return f"v{vectors}p{1 << size}"


def module_of(kind: str, machine: Machine) -> ir.Module:
    """All tiles of a kind, by :func:`name_of`."""
    module = ir.Module(kind)
    for vectors, largest in enumerate(largest_of(kind, machine), 1):
        for size in range(largest + 1):
            KINDS[kind].generate(module, name_of(vectors, size), machine, 1 << size, vectors)
    return module


@lru_cache
def tiles_of(kind: str, bits: int, folder: Path) -> Tiles:
    """The tiles of a kind for vectors of ``bits`` bits; compiled ones are kept in ``folder``."""
    machine = machine_of(bits)
    largest = largest_of(kind, machine)
    rows = [[name_of(v, size) for size in range(SIZES)] for v in range(1, len(largest) + 1)]
    there = [name for row, most in zip(rows, largest, strict=True) for name in row[: most + 1]]
    file = folder / f"{kind}-{bits}-{fingerprint(machine)}.o"
    found = addresses_of(lambda: module_of(kind, machine), machine, there, file)
    return Tiles(largest, tuple(tuple(found.get(name, 0) for name in row) for row in rows))
