"""Moving numbers about in explicit vectors: copies, sums and transpositions.

Compiled kernels call these with int64 byte addresses, which need no alignment. Where fewer numbers
than a vector holds are left, lanes are masked: memory behind them is neither read nor written. All
take sixteen floats at once, whatever the machine's vectors: LLVM splits what is too long.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from saa_lite.kernels.ir import FLOAT, I1, I8, I16, I32, I64, Code, Value, inlined
from saa_lite.kernels.machine import BLOCK as LANES

BYTES = FLOAT * LANES  # of a vector


@intrinsic
def call(context, address, arguments):  # type: ignore[no-untyped-def]
    """Call the function at an address with a tuple of int64, such as a tile of this package."""

    def generate(_context, b, signature, args):  # type: ignore[no-untyped-def]
        address, values = args
        kind = ir.FunctionType(ir.VoidType(), [I64] * signature.args[1].count)
        b.call(b.inttoptr(address, kind.as_pointer()), cgutils.unpack_tuple(b, values))
        return _context.get_dummy_value()

    return types.void(types.int64, arguments), generate


@inlined
def copy_bytes(code: Code, source: Value, target: Value, count: Value) -> None:
    """``count`` bytes from one address to another."""
    places = code.pointer(target, I8), code.pointer(source, I8)
    code.intrinsic("llvm.memcpy.p0.p0.i64", ir.VoidType(), *places, count, ir.Constant(I1, 0))


@inlined
def fill_bytes(code: Code, target: Value, value: Value, count: Value) -> None:
    """``count`` bytes set to the lowest one of an int64."""
    values = code.pointer(target, I8), code.trunc(value, I8), count, ir.Constant(I1, 0)
    code.intrinsic("llvm.memset.p0.i64", ir.VoidType(), *values)


def _vectors(code: Code, run: Value) -> Value:
    """How many hold ``run`` floats."""
    return code.sdiv(code.add(run, code.number(LANES - 1)), code.number(LANES))


@inlined
def add_run(code: Code, source: Value, target: Value, run: Value) -> None:
    """``run`` ≥ 1 floats at ``source`` added to those at ``target``."""
    loop = code.loop(_vectors(code, run), [])
    mask = code.first_lanes(code.sub(run, code.times(loop.index, LANES)), code.floats)
    here, there = (code.add(at, code.times(loop.index, BYTES)) for at in (source, target))
    total = code.fadd(*(code.load_lanes(at, mask, code.floats) for at in (there, here)))
    code.store_lanes(total, there, mask)
    loop.close([])


@inlined
def sum_runs(
    code: Code, address: Value, step: Value, run: Value, count: Value, target: Value
) -> None:
    """Sums of ``run`` ≥ 1 floats at address, address + step, …: ``count`` of them, at most 16.

    They go to ``target``, side by side. The order of summation does not depend on ``count``.
    """
    last, heads = code.sub(count, code.number(1)), []
    for i in map(code.number, range(LANES)):
        index = code.select(code.icmp_signed("<", i, count), i, last)
        heads.append(code.add(address, code.mul(step, index)))
    loop = code.loop(_vectors(code, run), [code.same(0.0)] * LANES)
    mask = code.first_lanes(code.sub(run, code.times(loop.index, LANES)), code.floats)
    here = [code.add(head, code.times(loop.index, BYTES)) for head in heads]
    values = [code.load_lanes(at, mask, code.floats) for at in here]
    sums = loop.close([code.fadd(*both) for both in zip(loop.values, values, strict=True)])
    total = _sums_of_lanes(code, sums)
    code.store_lanes(total, target, code.first_lanes(count, code.floats))


def _sums_of_lanes(code: Code, vectors: list[Value]) -> Value:
    """Sixteen vectors to one of their sums: neighbours are added lane to lane, four times."""
    while half := len(vectors) // 2:
        ours = [k ^ half if k & half else k for k in range(LANES)]  # in each of a pair
        first = [lane + LANES if k & half else lane for k, lane in enumerate(ours)]
        second = [lane ^ half for lane in first]
        pairs = zip(vectors[:half], vectors[half:], strict=True)
        vectors = [code.fadd(*(code.shuffle(*pair, o) for o in (first, second))) for pair in pairs]
    return vectors[0]


@inlined
def move_run(
    code: Code, source: Value, step: Value, lanes: Value, count: Value, target: Value
) -> None:
    """``count`` ≥ 1 vectors of ``lanes`` floats, ``step`` apart, to neighbours; 0 in the others."""
    loop = code.loop(count, [source, target])
    here, there = loop.values
    code.store_at(code.load_lanes(here, code.first_lanes(lanes, code.floats), code.floats), there)
    loop.close([code.add(here, step), code.at(there, BYTES)])


@inlined
def sum_vectors(code: Code, source: Value, count: Value, target: Value) -> None:
    """The sum of ``count`` ≥ 1 neighbouring vectors, to ``target``."""
    loop = code.loop(count, [code.same(0.0), source])
    total, here = loop.values
    total = code.fadd(total, code.load_from(here, code.floats))
    code.store_at(loop.close([total, code.at(here, BYTES)])[0], target)


@inlined
def transpose_tile(
    code: Code, source: Value, source_step: Value, rows: Value, columns: Value, target: Value,
    target_step: Value,
) -> None:  # fmt: skip
    """Up to 16 × 16 floats: row i, column j of ``source`` to row j, column i of ``target``."""
    nothing = ir.Constant(ir.VectorType(I1, LANES), None)

    def mask_of(row: int, count: Value, length: Value) -> Value:
        inside = code.icmp_signed("<", code.number(row), count)
        return code.select(inside, code.first_lanes(length, code.floats), nothing)

    lines = []
    for i in range(LANES):
        address, mask = code.add(source, code.times(source_step, i)), mask_of(i, rows, columns)
        lines.append(code.load_lanes(address, mask, code.floats))
    for j, line in enumerate(transposed(code, lines)):
        address = code.add(target, code.times(target_step, j))
        code.store_lanes(line, address, mask_of(j, columns, rows))


def transposed(code: Code, rows: list[Value]) -> list[Value]:
    """Columns of sixteen rows of sixteen numbers of 32 bits."""
    columns: dict[int, Value] = {}
    fours = []
    for i in range(0, 16, 4):  # 4 × 4 blocks within each 128 bits
        low, high = (code.zipped(rows[i + k], rows[i + k + 2], 4) for k in (0, 1))
        fours.append([*code.zipped(low[0], high[0], 4), *code.zipped(low[1], high[1], 4)])
    for k in range(4):  # then the blocks of 128 bits
        for half in (0, 1):
            order = [*range(8 * half, 8 * half + 8), *range(16 + 8 * half, 24 + 8 * half)]
            pair = [code.shuffle(fours[i][k], fours[i + 1][k], order) for i in (0, 2)]
            for q in (0, 1):
                order = [8 * block + 4 * q + lane for block in range(4) for lane in range(4)]
                columns[8 * half + 4 * q + k] = code.shuffle(pair[0], pair[1], order)
    return [columns[i] for i in range(16)]


@inlined
def interleave(code: Code, source: Value, step: Value, target: Value, target_step: Value) -> None:
    """Eight bytes from each of eight rows, ``step`` apart, to eight words of one byte from each."""
    rows = [
        code.load_from(code.add(source, code.times(step, i)), ir.VectorType(I8, 8), 1)
        for i in range(8)
    ]
    order = [k // 2 + 8 * (k % 2) for k in range(16)]
    parts = [code.shuffle(rows[i], rows[i + 1], order) for i in range(0, 8, 2)]
    for kind, apart in ((ir.VectorType(I16, 8), 1), (ir.VectorType(I32, 4), 2)):
        cast = [code.bitcast(part, kind) for part in parts]
        pairs = [(i, i + apart) for i in range(4) if not i & apart]
        zipped = [code.zipped(cast[i], cast[k], kind.count) for i, k in pairs]
        parts = [part for both in zipped for part in both]
    for i, words in enumerate(code.bitcast(part, ir.VectorType(I64, 2)) for part in parts):
        for k in (0, 1):
            word = code.extract_element(words, ir.Constant(I32, k))
            code.store_at(word, code.add(target, code.times(target_step, 2 * i + k)), 1)
