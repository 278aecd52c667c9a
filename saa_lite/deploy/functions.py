"""One C function per layer: windows, sums, and the staircases behind them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from saa_lite.deploy.arena import Arena
from saa_lite.deploy.graph import Layer, Map, Output
from saa_lite.deploy.kernels import Kernel, kernel_for, sum_type
from saa_lite.deploy.text import SIZES, Lines, literal, table
from saa_lite.errors import UsageError

Ints = np.ndarray
VIEWS = {"uint8_t": "u8", "int8_t": "s8", "int16_t": "s16", "bits": "u8"}


@dataclass(frozen=True)
class Function:
    """A layer in C.

    Attributes:
        text: its tables and its function.
        symbol: name of the function.
        weights, thresholds: bytes of the tables.
        weight_bits: that one weight takes in a table.
        terms: digits of weights that stand in the code instead.
        multiplications: of one image, in the inner loops.
    """

    text: str
    symbol: str
    weights: int
    thresholds: int
    weight_bits: float
    terms: int
    multiplications: int


def write_layer(index: int, layer: Layer, arena: Arena, *, lanes: bool, multiply: bool) -> Function:
    """The function of one layer.

    Args:
        lanes: use the instructions of Cortex-M4 and M7 on four bytes at once.
        multiply: leave multiplicative layers their multiplications.
    """
    symbol = f"net_layer_{index:02d}"
    writer = _Writer(index, layer, arena)
    c = Lines()
    c(f"/* {_described(layer)} */")
    kernel = None
    with c.block(f"void {symbol}(void)"):
        if layer.weight is not None:
            kernel = kernel_for(layer, writer.name, lanes=lanes, multiply=multiply)
            writer.filters(c, kernel)
        elif layer.kind == "add":
            writer.addition(c)
        else:
            writer.mean(c)
    tables = [*(kernel.tables if kernel else []), *writer.tables]
    pixels = layer.size[0] * layer.size[1] * (len(layer.weight) if layer.weight is not None else 0)
    return Function(
        "\n".join([*tables, str(c)]),
        symbol,
        kernel.bytes if kernel else 0,
        writer.bytes,
        kernel.bits if kernel else 0.0,
        kernel.terms if kernel else 0,
        pixels * kernel.multiplications if kernel else 0,
    )


def _described(layer: Layer) -> str:
    given = ", ".join(f"{m.channels} x {m.rows} x {m.columns}" for m in layer.inputs)
    made = layer.outputs[0].map
    text = f"{layer.name}: {layer.kind}, {given} -> {made.channels} x {made.rows} x {made.columns}"
    if layer.weight is None:
        return text
    window = " x ".join(map(str, layer.weight.shape[2:]))
    return f"{text}, window {window}, stride {layer.stride[0]}, groups {layer.groups}"


class _Writer:
    """Writes into one function; collects the tables of its staircases."""

    def __init__(self, index: int, layer: Layer, arena: Arena) -> None:
        self.name, self.layer, self.arena = f"{index:02d}", layer, arena
        self.window = arena.windows.get(index, 0)
        self.best = arena.best.get(index, 0)
        self.sum = sum_type(layer)
        self.tables: list[str] = []
        self.bytes = 0
        if layer.pool != (1, 1) and self.sum == "int64_t":
            raise UsageError(
                f"layer {layer.name!r} cannot be exported: its sums need more than 31 bits, and it "
                "pools them"
            )

    def _table(self, type: str, name: str, values: Ints) -> None:
        self.tables.append(table(type, name, values))
        self.bytes += len(values) * SIZES[type]

    def filters(self, c: Lines, kernel: Kernel) -> None:
        """Over the pixels of the output, over the windows that are pooled, over the filters."""
        layer, given, made = self.layer, self.layer.inputs[0], self.layer.outputs[0].map
        channels = given.per_pixel
        (down, right), (pool_down, pool_right) = layer.stride, layer.pool
        row_step, column_step = down * pool_down, right * pool_right
        start = -(layer.padding[0] * given.columns + layer.padding[1]) * channels
        next_row = (row_step * given.columns - column_step * made.columns) * channels
        c(f"int32_t row = {-layer.padding[0]}, from = {start};", "uint32_t y, x, t;")
        self._positions(c)
        head = f"for (y = 0; y < {made.rows}; y++, row += {row_step}, from += {next_row})"
        with c.block(head):
            c(f"int32_t column = {-layer.padding[1]};")
            step = f"column += {column_step}, from += {column_step * channels}"
            with c.block(f"for (x = 0; x < {made.columns}; x++, {step})"):
                if layer.pool == (1, 1):
                    self._window(c, "row", "column", "from", kernel)
                    self._sums(c, kernel, self._store)
                else:
                    self._pooled(c, kernel, channels)
                self._advance(c)

    def _pooled(self, c: Lines, kernel: Kernel, channels: int) -> None:
        """The greatest sum of each filter over the windows of one pooled pixel."""
        layer, columns = self.layer, self.layer.inputs[0].columns
        down, right = layer.pool
        best = f"net_arena.s32[{self.best // 4}u + t]"
        filters = len(layer.weight) if layer.weight is not None else 0
        c("uint32_t p, q;", "int32_t part_row = row, part = from;")
        next_row = (layer.stride[0] * columns - layer.stride[1] * right) * channels
        head = f"for (p = 0; p < {down}; p++, part_row += {layer.stride[0]}, part += {next_row})"
        with c.block(head):
            c("int32_t part_column = column;")
            step = f"part_column += {layer.stride[1]}, part += {layer.stride[1] * channels}"
            with c.block(f"for (q = 0; q < {right}; q++, {step})"):
                self._window(c, "part_row", "part_column", "part", kernel)

                def keep(c: Lines) -> None:
                    c(f"if ((p | q) == 0 || sum > {best}) {best} = sum;")

                self._sums(c, kernel, keep)
        with c.block(f"for (t = 0; t < {filters}; t++)"):
            c(f"const int32_t sum = {best};")
            self._store(c)

    def _window(self, c: Lines, row: str, column: str, source: str, kernel: Kernel) -> None:
        """Copy one window into the scratch, group by group; padding holds the code of 0."""
        layer, given = self.layer, self.layer.inputs[0]
        assert layer.weight is not None
        rows, columns = layer.weight.shape[2:]
        channels, bits = given.per_pixel, given.type == "bits"
        per_group, padded = channels // layer.groups, layer.padding != (0, 0)
        inside = f"(uint32_t)({row} + (int32_t)ky) < {given.rows}u && "
        inside += f"(uint32_t)({column} + (int32_t)kx) < {given.columns}u"
        at = self.arena.maps[given.index]
        if bits:
            c("int32_t valid = 0;", f"uint32_t m = {self.window + rows * columns * channels}u;")
        with c.block():
            c(f"uint32_t ky, kx, n, k = {self.window}u, at = {at}u + (uint32_t){source};")
            outer = f"for (ky = 0; ky < {rows}; ky++, at += {(given.columns - columns) * channels})"
            with c.block(outer), c.block(f"for (kx = 0; kx < {columns}; kx++)"):
                copied = "net_arena.u8[at++]"
                if padded:
                    c(f"const int inside = {inside};")
                    copied = f"inside ? net_arena.u8[at] : {layer.pad_code}"
                if layer.groups > 1:
                    self._spread(c, per_group, rows * columns, padded)
                elif padded:
                    c(f"for (n = 0; n < {channels}; n++, at++) net_arena.u8[k++] = {copied};")
                else:
                    c(f"for (n = 0; n < {channels}; n++) net_arena.u8[k++] = {copied};")
                if bits:
                    valid = "inside" if padded else "1"
                    c(f"net_arena.u8[m++] = {valid} ? 255 : 0;")
                    c(f"if ({valid}) valid += {given.channels};")
            if kernel.window:
                c(f"for (n = {layer.taps}; n < {kernel.window}; n++) net_arena.u8[k++] = 0;")

    def _spread(self, c: Lines, per_group: int, pixels: int, padded: bool) -> None:
        """One pixel's channels go to the windows of their groups."""
        layer = self.layer
        c("uint32_t g, to = k;")
        with c.block(f"for (g = 0; g < {layer.groups}; g++, to += {pixels * per_group})"):
            value = (
                f"inside ? net_arena.u8[at] : {layer.pad_code}" if padded else "net_arena.u8[at]"
            )
            c(f"for (n = 0; n < {per_group}; n++, at++) net_arena.u8[to + n] = {value};")
        c(f"k += {per_group};")

    def _sums(self, c: Lines, kernel: Kernel, use: Callable[[Lines], None]) -> None:
        """All filters on the window; ``use`` writes what becomes of each ``sum``."""
        layer = self.layer
        assert layer.weight is not None
        filters = len(layer.weight)
        if kernel.at_once:
            c(f"const uint32_t base = {self.window}u;", f"int32_t all[{filters}];")
            with c.block():
                kernel.write(c)
            with c.block(f"for (t = 0; t < {filters}; t++)"):
                c("const int32_t sum = all[t];")
                use(c)
            return
        c(f"uint32_t {', '.join(f'{n} = 0' for n in kernel.counters)}, base = {self.window}u;")
        if layer.groups == 1:
            with c.block(f"for (t = 0; t < {filters}; t++)"):
                self._one_sum(c, kernel, use)
            return
        c("uint32_t g, f;", "t = 0;")
        groups = f"for (g = 0; g < {layer.groups}; g++, base += {layer.taps})"
        with c.block(groups), c.block(f"for (f = 0; f < {filters // layer.groups}; f++, t++)"):
            self._one_sum(c, kernel, use)

    def _one_sum(self, c: Lines, kernel: Kernel, use: Callable[[Lines], None]) -> None:
        c(f"{self.sum} sum;")
        with c.block():
            kernel.write(c)
        use(c)

    def addition(self, c: Lines) -> None:
        """Two maps, number by number."""
        first, second = (self._read(m) for m in self.layer.inputs)
        made = self.layer.inputs[0]
        c("uint32_t x, t, k = 0;")
        self._positions(c)
        with c.block(f"for (x = 0; x < {made.rows * made.columns}; x++)"):
            with c.block(f"for (t = 0; t < {made.channels}; t++, k++)"):
                c(f"const int32_t sum = {first} + {second};")
                self._store(c)
            self._advance(c)

    def mean(self, c: Lines) -> None:
        """The sum over all pixels of each channel; its staircase divides."""
        given = self.layer.inputs[0]
        c("uint32_t t;")
        self._positions(c)
        with c.block(f"for (t = 0; t < {given.channels}; t++)"):
            c("uint32_t n, k = t;", "int32_t sum = 0;")
            pixels = given.rows * given.columns
            c(f"for (n = 0; n < {pixels}; n++, k += {given.channels}) sum += {self._read(given)};")
            self._store(c)

    def _read(self, found: Map) -> str:
        return f"net_arena.{VIEWS[found.type]}[{self.arena.maps[found.index]}u + k]"

    def _positions(self, c: Lines) -> None:
        """Where the next pixel of each output goes."""
        for o, output in enumerate(self.layer.outputs):
            size = 2 if output.map.type == "int16_t" else 1
            c(f"uint32_t to_{o} = {self.arena.maps[output.map.index] // size}u;")
            if output.map.type == "bits":
                c(f"uint32_t signs_{o} = 0;")

    def _advance(self, c: Lines) -> None:
        for o, output in enumerate(self.layer.outputs):
            c(f"to_{o} += {output.map.per_pixel};")

    def _store(self, c: Lines) -> None:
        for o, output in enumerate(self.layer.outputs):
            with c.block():
                self._count(c, f"{self.name}_{o}", output)
                self._put(c, o, output)

    def _count(self, c: Lines, name: str, output: Output) -> None:
        """``count``: how many thresholds the sum has passed."""
        stairs = output.stairs
        if not stairs.steps:
            c("const uint32_t count = 0;", "(void)sum;")
            return
        wide = stairs.width == 64
        number, rise = ("uint64_t", "int64_t") if wide else ("uint32_t", self.sum)
        base = self._constant(self.sum, f"b_{name}", stairs.base)
        up, down = f"({rise})sum - {base}", f"{base} - ({rise})sum"
        if stairs.down.all() or not stairs.down.any():
            c(f"const {rise} rise = {down if stairs.down.all() else up};")
        else:
            falls = self._constant("uint8_t", f"d_{name}", stairs.down.astype(np.int64))
            c(f"const {rise} rise = {falls} ? {down} : {up};")
        if stairs.steps == 1:
            c("const uint32_t count = rise >= 0;")
            return
        slope = self._constant(number, f"a_{name}", stairs.slope)
        phase = self._constant(number, f"p_{name}", -1 - stairs.phase)
        narrowed = rise == "int64_t" and not wide
        given = "(rise < 0 ? -1 : (int32_t)rise)" if narrowed else "rise"
        shape = f"{stairs.fraction}, {stairs.digits}, {stairs.steps}"
        c(f"const uint32_t count = net_steps{stairs.width}({given}, {slope}, {phase}, {shape});")

    def _constant(self, type: str, name: str, values: Ints) -> str:
        """A number of its own for each channel from a table, or one for all as a literal."""
        if len(values) == 1:
            return literal(type, int(values[0]))
        self._table(type, name, values)
        return f"{name}[t]"

    def _put(self, c: Lines, o: int, output: Output) -> None:
        made, first = output.map, output.stairs.first
        if made.type == "bits":
            channels = made.channels
            value = f"count + {first}u" if first else "count"
            c(f"signs_{o} |= ({value}) << (t & 7u);")
            with c.block(f"if ((t & 7u) == 7u || t == {channels - 1})"):
                c(f"net_arena.u8[to_{o} + (t >> 3)] = (uint8_t)signs_{o};", f"signs_{o} = 0;")
            return
        value = f"(int32_t)count + ({first})" if first else "count"
        c(f"net_arena.{VIEWS[made.type]}[to_{o} + t] = ({made.type})({value});")
