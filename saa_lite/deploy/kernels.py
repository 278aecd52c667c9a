"""The inner loops, one writer for each kind of layer: C that leaves a window's ``sum``.

Inside, ``base`` is the window in the arena; ``i`` and ``j`` walk through the weights of all
filters. Shapes are literals: told them as arguments, clang turns repeated additions into closed
forms, and those multiply.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from saa_lite.deploy.graph import Layer
from saa_lite.deploy.pack import (
    bits_for,
    dense,
    digit_lists,
    flat,
    lanes,
    on_a_line,
    sign_bytes,
    signed_digits,
)
from saa_lite.deploy.text import SIZES, Lines, table

Ints = np.ndarray
WRITTEN_OUT = 1024  # weights of a stem, at most, that become statements
NARROW_SUM = 1 << 30  # sums up to here are added and compared in int32_t


@dataclass
class Kernel:
    """What a layer needs beside its shape.

    Attributes:
        write: puts the statements that compute ``sum`` into the function.
        tables: C of the constants.
        bytes: size of the constants in memory.
        bits: that a weight takes, rounded up to what words can hold.
        counters: variables that walk through the tables, 0 at each pixel.
        window: taps to which a window is filled up with zeros; 0 for those that it has.
        multiplications: in the inner loop, for one window of one filter.
        at_once: ``write`` leaves the sums of all filters, in an array ``all``.
        terms: digits of weights that are written out.
    """

    write: Callable[[Lines], None]
    tables: list[str] = field(default_factory=list)
    bytes: int = 0
    bits: float = 0.0
    counters: Sequence[str] = ("i",)
    window: int = 0
    multiplications: int = 0
    at_once: bool = False
    terms: int = 0

    def add(self, type: str, name: str, values: Ints) -> None:
        """One more table."""
        self.tables.append(table(type, name, values))
        self.bytes += len(values) * SIZES[type]


def sum_type(layer: Layer) -> str:
    """The C type that holds every sum of a layer."""
    low, high = layer.bounds
    wide = max(-int(low.min()), int(high.max())) >= NARROW_SUM
    return "int64_t" if wide else "int32_t"


def kernel_for(layer: Layer, name: str, *, lanes: bool, multiply: bool) -> Kernel:
    """The writer of a layer of filters; arguments as those of ``write_layer``."""
    if layer.kind == "adder":
        return adder(layer, name, by_lanes=lanes)
    if layer.kind == "shift":
        return shift(layer, name)
    if layer.kind == "binary":
        return binary(layer, name)
    return multiplied(layer, name, by_lanes=lanes) if multiply else constants(layer, name)


def adder(layer: Layer, name: str, *, by_lanes: bool) -> Kernel:
    """Distances of bytes, added up. By lanes: four at once, where the processor has USADA8."""
    assert layer.weight is not None
    if by_lanes and layer.groups == 1:
        line = on_a_line(flat(layer.weight), from_zero=True)
        bits = next(b for b in (1, 2, 4, 8) if b >= line.bits)
        return _adder_by_lanes(line.codes, bits, line.shift, name)
    line = on_a_line(flat(layer.weight))
    packed = dense(line.codes, line.bits)
    step = f" << {line.shift}" if line.shift else ""
    least = f" + {line.least}u" if line.least else ""
    code = f"((v & {(1 << line.bits) - 1}u){step}){least}" if step or least else ""
    code = code or f"v & {(1 << line.bits) - 1}u"

    def tap(at: str) -> str:
        return f"total += net_distance(net_arena.u8[{at}], {code});"

    def write(c: Lines) -> None:
        c("uint32_t total = 0, k = base, v;")
        _through_words(c, f"w_{name}", layer.taps, packed.per_word, line.bits, tap)
        c("sum = -(int32_t)total;")

    kernel = Kernel(write, bits=32 / packed.per_word)
    kernel.add("uint32_t", f"w_{name}", packed.words)
    return kernel


def _adder_by_lanes(codes: Ints, bits: int, shift: int, name: str) -> Kernel:
    packed = lanes(codes, bits)
    words = len(packed.words) // len(codes)
    mask = f"0x{0x01010101 * ((1 << bits) - 1):08x}u"
    planes = 8 // bits

    def write(c: Lines) -> None:
        c("uint32_t total = 0, k = base >> 2, n, v;")
        with c.block(f"for (n = 0; n < {words}; n++)"):
            c(f"v = w_{name}[i++];")
            for plane in range(planes):
                down = f"(v >> {plane * bits})" if plane else "v"
                four = f"{down} & {mask}"
                four = f"({four}) << {shift}" if shift else four
                c(f"total = net_distances(net_arena.u32[k + {plane}], {four}, total);")
            c(f"k += {planes};")
        c("sum = -(int32_t)total;")

    kernel = Kernel(write, bits=float(bits), window=words * packed.per_word)
    kernel.add("uint32_t", f"w_{name}", packed.words)
    return kernel


def shift(layer: Layer, name: str) -> Kernel:
    """A bin for each ±2^p: inputs are added into the bin of their weight, then each bin shifted.

    So the variable shifts are as few as the exponents, and their amounts are literals.
    """
    assert layer.weight is not None
    weight = flat(layer.weight)
    values = np.unique(weight)
    bits = bits_for(len(values))
    packed = dense(np.searchsorted(values, weight), bits)
    view, wide = _view(layer), sum_type(layer) == "int64_t"

    def tap(at: str) -> str:
        return f"bin[v & {(1 << bits) - 1}u] += (uint32_t)net_arena.{view}[{at}];"

    def write(c: Lines) -> None:
        c(f"uint32_t bin[{1 << bits}], k = base, e, v;")
        total = "uint64_t" if wide else "uint32_t"
        c(f"{total} total = 0;")
        c(f"for (e = 0; e < {1 << bits}; e++) bin[e] = 0;")
        _through_words(c, f"w_{name}", layer.taps, packed.per_word, bits, tap)
        for place, value in enumerate(values.tolist()):
            if value:
                exponent = abs(value).bit_length() - 1
                found = f"(uint64_t)(int32_t)bin[{place}]" if wide else f"bin[{place}]"
                moved = f"({found} << {exponent})" if exponent else found
                c(f"total {'-' if value < 0 else '+'}= {moved};")
        c(f"sum = ({sum_type(layer)})total;")

    kernel = Kernel(write, bits=32 / packed.per_word)
    kernel.add("uint32_t", f"w_{name}", packed.words)
    return kernel


def binary(layer: Layer, name: str) -> Kernel:
    """Signs that differ, counted by a table of 16: sum = pixels that are not padding − 2·them."""
    assert layer.weight is not None
    rows, columns = layer.weight.shape[2:]
    packed = -(-layer.inputs[0].channels // 8)

    def write(c: Lines) -> None:
        c("uint32_t differ = 0, k = base, n, b;")
        with c.block(f"for (n = 0; n < {rows * columns}; n++)"):
            mask = f"net_arena.u8[base + {rows * columns * packed}u + n]"
            c(f"const uint32_t mask = {mask};")
            with c.block(f"for (b = 0; b < {packed}; b++)"):
                c(f"const uint32_t v = (net_arena.u8[k++] ^ (uint32_t)w_{name}[i++]) & mask;")
                c("differ += (uint32_t)net_ones[v & 15u] + net_ones[v >> 4];")
        c("sum = valid - (int32_t)(differ << 1);")

    kernel = Kernel(write, bits=8 * packed / layer.inputs[0].channels)
    kernel.add("uint8_t", f"w_{name}", sign_bytes(layer.weight))
    return kernel


def constants(layer: Layer, name: str) -> Kernel:
    """Multiplications by constants as shifts and additions, digit by digit.

    A stem, whose few weights meet every pixel, is written out: one statement a filter, such as
    ``x0 - (x1 << 3) + ...``. Elsewhere lists of taps say what to add: the taps of each digit are
    summed, and the sum doubled.
    """
    assert layer.weight is not None
    many_pixels = layer.size != (1, 1) and layer.groups == 1
    if many_pixels and layer.weight.size <= WRITTEN_OUT and sum_type(layer) == "int32_t":
        return _written_out(layer)
    lists = digit_lists(flat(layer.weight))
    view, wide = _view(layer), sum_type(layer) == "int64_t"
    number = "uint64_t" if wide else "uint32_t"
    cast = "(uint64_t)(int64_t)" if wide else "(uint32_t)"

    def write(c: Lines) -> None:
        c(f"{number} total = 0;", "uint32_t e, n;")
        with c.block(f"for (e = 0; e < {lists.exponents}; e++)"):
            c("total <<= 1;")
            for sign in "+-":
                taken = f"{cast}net_arena.{view}[base + p_{name}[i++]]"
                c(f"for (n = c_{name}[j++]; n > 0; n--) total {sign}= {taken};")
        c(f"sum = ({sum_type(layer)})total;")

    kernel = Kernel(write, counters=("i", "j"))
    kernel.add(_unsigned(layer.taps - 1), f"p_{name}", lists.taps)
    kernel.add(_unsigned(int(lists.counts.max())), f"c_{name}", lists.counts)
    kernel.bits = 8 * kernel.bytes / layer.weight.size
    return kernel


def _written_out(layer: Layer) -> Kernel:
    """Every digit of every weight is a term; there is no table."""
    assert layer.weight is not None
    weight, view = flat(layer.weight), _view(layer)

    def write(c: Lines) -> None:
        for tap in range(layer.taps):
            c(f"const uint32_t x{tap} = (uint32_t)net_arena.{view}[base + {tap}];")
        for t, row in enumerate(weight.tolist()):
            terms = [
                f" {'-' if sign < 0 else '+'} "
                + (f"(x{tap} << {exponent})" if exponent else f"x{tap}")
                for tap, value in enumerate(row)
                for exponent, sign in signed_digits(value)
            ]
            lines = ["".join(terms[at : at + 6]).lstrip() for at in range(0, len(terms), 6)]
            c(f"all[{t}] = (int32_t)(0u", *(f"    {line}" for line in lines))
            c.lines[-1] += ");"

    terms = sum(len(signed_digits(value)) for value in weight.ravel().tolist())
    return Kernel(write, counters=(), at_once=True, terms=terms)


def multiplied(layer: Layer, name: str, *, by_lanes: bool) -> Kernel:
    """Products of bytes, for the multiplicative twin. By lanes: two at once, with SMLAD."""
    assert layer.weight is not None
    view, taps = _view(layer), layer.taps
    weight = flat(layer.weight)
    if by_lanes and layer.groups == 1:
        return _multiply_by_lanes(weight, view, name)

    def tap(at: str) -> str:
        return f"sum += (int32_t)net_arena.{view}[{at}] * w_{name}[i++];"

    def write(c: Lines) -> None:
        c("uint32_t k = base, n;", "sum = 0;")
        with c.block(f"for (n = 0; n < {taps >> 2}; n++)"):
            c(*(tap("k++") for _ in range(4)))
        c(*(tap("k++") for _ in range(taps & 3)))

    kernel = Kernel(write, bits=8.0, multiplications=taps)
    kernel.add("int8_t", f"w_{name}", weight.ravel())
    return kernel


def _multiply_by_lanes(weight: Ints, view: str, name: str) -> Kernel:
    packed = lanes(weight & 255, 8)
    words = len(packed.words) // len(weight)
    signed = "1" if view == "s8" else "0"

    def write(c: Lines) -> None:
        c("uint32_t k = base >> 2, n;", "sum = 0;")
        with c.block(f"for (n = 0; n < {words}; n++)"):
            c(f"sum = net_products(net_arena.u32[k++], w_{name}[i++], sum, {signed});")

    kernel = Kernel(write, bits=8.0, window=4 * words, multiplications=weight.shape[1])
    kernel.add("uint32_t", f"w_{name}", packed.words)
    return kernel


def _through_words(
    c: Lines, words: str, taps: int, per_word: int, bits: int, tap: Callable[[str], str]
) -> None:
    """Whole words in a loop, the rest of the taps behind it."""

    def word(count: int) -> None:
        c(f"v = {words}[i++];")
        for place in range(count):
            c(tap(f"k + {place}" if place else "k"))
            if place + 1 < count:
                c(f"v >>= {bits};")

    whole, rest = divmod(taps, per_word)
    if whole:
        c("uint32_t n;")
        with c.block(f"for (n = 0; n < {whole}; n++)"):
            word(per_word)
            c(f"k += {per_word};")
    if rest:
        word(rest)


def _view(layer: Layer) -> str:
    """The member of the arena's union through which the window is read."""
    return {"uint8_t": "u8", "int8_t": "s8"}[layer.inputs[0].type]


def _unsigned(most: int) -> str:
    return "uint8_t" if most < 256 else "uint16_t"
