"""The innermost tiles of the uint8 adder: sums of absolute differences of bytes.

x86 sums |a − b| over each group of eight bytes (``psadbw``): each 64-bit lane takes in eight taps,
a *word*. ARM adds neighbours into 16 bits (``uabd``, ``uadalp``), and the four sums of a word only
at the end. A tile repeats a pixel's word in all lanes and has those of its filters side by side.

A word adds at most 8·255 to its lane, or 2·255 to each of four. 16 bits hold so many of them, and
the saturating 16-bit addition runs on a port that ``psadbw`` does not need; then the sums move on
to 64 bits. Addresses are byte addresses and need no alignment.
"""

from llvmlite import ir

from saa_lite.kernels.adder_f32 import ARGUMENTS, SEGMENT
from saa_lite.kernels.ir import I8, I16, I32, I64, Code, Value, function
from saa_lite.kernels.machine import Machine

TAPS = 8  # bytes that one 64-bit lane takes in
SUM_OF_DIFFERENCES = {
    128: "llvm.x86.sse2.psad.bw",
    256: "llvm.x86.avx2.psad.bw",
    512: "llvm.x86.avx512.psad.bw.512",
}


def words_in_16_bits(machine: Machine) -> int:
    """How many words may be added up before the sums move on."""
    return 65535 // (255 * (TAPS if machine.is_x86 else 2))


def add_distances(code: Code, machine: Machine, total: Value, a: Value, b: Value) -> Value:
    """Sums of a word's distances added to ``total``, all of them vectors of 64-bit lanes."""
    words, bits = total.type, machine.bits
    bytes_, shorts = ir.VectorType(I8, bits // 8), ir.VectorType(I16, bits // 16)
    a, b = code.bitcast(a, bytes_), code.bitcast(b, bytes_)
    if machine.is_x86:
        sad = code.bitcast(code.intrinsic(SUM_OF_DIFFERENCES[bits], words, a, b), shorts)
        name = f"llvm.uadd.sat.v{shorts.count}i16"
        return code.bitcast(code.intrinsic(name, shorts, code.bitcast(total, shorts), sad), words)
    distance = code.intrinsic(f"llvm.aarch64.neon.uabd.v{bytes_.count}i8", bytes_, a, b)
    name = f"llvm.aarch64.neon.uaddlp.v{shorts.count}i16.v{bytes_.count}i8"
    pairs = code.intrinsic(name, shorts, distance)
    return code.bitcast(code.add(code.bitcast(total, shorts), pairs), words)


def widened(code: Code, machine: Machine, total: Value) -> Value:
    """The 16-bit sums of each 64-bit lane as one number."""
    if machine.is_x86:
        return total
    shorts, ints = ir.VectorType(I16, machine.bits // 16), ir.VectorType(I32, machine.bits // 32)
    name = "llvm.aarch64.neon.uaddlp.v{}i{}.v{}i{}"
    value = code.bitcast(total, shorts)
    for to, of in ((ints, shorts), (total.type, ints)):
        full = name.format(to.count, to.element.width, of.count, of.element.width)
        value = code.intrinsic(full, to, value)
    return value


def sad_tile(module: ir.Module, name: str, machine: Machine, pixels: int, vectors: int) -> None:
    """Write −Σ|x − w| of ``pixels`` pixels × ``vectors`` vectors of filters, ``tiles`` times.

    Arguments as in :mod:`.adder_f32`; neither sums of weights nor own numbers are used.
    """
    code = function(module, name, ARGUMENTS, machine.bits)
    x, step, table, words, w, _, _, _, y, y_step, tiles, left = code.arguments
    vector = ir.VectorType(I64, machine.bits // 64)
    zeros = [ir.Constant(vector, None)] * (pixels * vectors)
    row = code.loop(tiles, [x, y])
    x, y = row.values
    heads = [code.add(x, code.times(step, i)) for i in range(pixels)]
    most = code.number(words_in_16_bits(machine))
    chunks = code.udiv(code.add(words, code.sub(most, code.number(1))), most)
    outer = code.loop(chunks, [*zeros, table, words])
    *totals, pair, rest = outer.values
    count = code.select(code.icmp_signed("<", rest, most), rest, most)
    inner = code.loop(count, [*zeros, pair])
    *sums, pair = inner.values
    at, there = code.load_from(pair, I64, 8), code.load_from(code.at(pair, 8), I64, 8)
    first, lanes = code.add(w, there), machine.bits // 8
    others = [code.load_from(code.at(first, j * lanes), vector, 1) for j in range(vectors)]
    for i, head in enumerate(heads):
        word = code.repeat(code.load_from(code.add(head, at), I64, 1), vector)
        for j, other in enumerate(others):
            k = i * vectors + j
            sums[k] = add_distances(code, machine, sums[k], word, other)
    *sums, pair = inner.close([*sums, code.at(pair, SEGMENT)])
    both = zip(totals, sums, strict=True)
    totals = [code.sub(total, widened(code, machine, value)) for total, value in both]
    totals = outer.close([*totals, pair, code.sub(rest, count)])[:-2]
    _store(code, totals, vectors, y, y_step, left)
    row.close([code.add(here, code.times(by, pixels)) for here, by in ((x, step), (y, y_step))])
    code.ret_void()


def _store(
    code: Code, totals: list[Value], vectors: int, y: Value, y_step: Value, left: Value
) -> None:
    """The low halves of the 64-bit sums of each row, into its first ``left`` lanes as int32.

    Memory behind the other lanes is not touched.
    """
    each = totals[0].type.count
    halves, ints = ir.VectorType(I32, 2 * each), ir.VectorType(I32, vectors * each)
    order = list(range(0, 2 * ints.count, 2))
    rows = []
    for i in range(0, len(totals), vectors):
        first, last = (code.bitcast(totals[k], halves) for k in (i, i + vectors - 1))
        place = code.add(y, code.times(y_step, i // vectors))
        rows.append((code.shuffle(first, last, order), place))
    whole = code.icmp_signed(">=", left, code.number(ints.count))
    mask = code.first_lanes(left, ints)
    with code.if_else(whole) as (then, otherwise):
        with then:
            for value, place in rows:
                code.store_at(value, place)
        with otherwise:
            for value, place in rows:
                code.store_lanes(value, place, mask)
