"""The files of an exported network, as text: ``net.h``, ``net.c``, ``golden.h``."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saa_lite.deploy.arena import Arena, plan
from saa_lite.deploy.functions import VIEWS, Function, write_layer
from saa_lite.deploy.graph import Graph
from saa_lite.deploy.text import Lines, table

Ints = np.ndarray

HELPERS = """\
/* How many thresholds a rise above the first of them has passed: a division of so many digits, by
   shifts and subtractions. */
static inline NET_INLINE uint32_t net_steps32(
    int32_t rise, uint32_t slope, uint32_t phase,
    uint32_t fraction, uint32_t digits, uint32_t steps)
{
    uint32_t left, count = 0;
    if (rise < 0) return 0;
    left = (((uint32_t)rise + 1u) << fraction) + phase;
    while (digits > 0) {
        digits--;
        count <<= 1;
        if ((left >> digits) >= slope) {
            left -= slope << digits;
            count |= 1u;
        }
    }
    return count < steps ? count + 1u : steps;
}

/* The same in 64 bits; it shifts by literals only, for processors of 32. */
static inline NET_INLINE uint32_t net_steps64(
    int64_t rise, uint64_t slope, uint64_t phase,
    uint32_t fraction, uint32_t digits, uint32_t steps)
{
    uint64_t left;
    uint32_t count = 0;
    if (rise < 0) return 0;
    left = (((uint64_t)rise + 1u) << fraction) + phase;
    slope <<= digits - 1u;
    while (digits > 0) {
        digits--;
        count <<= 1;
        if (left >= slope) {
            left -= slope;
            count |= 1u;
        }
        slope >>= 1;
    }
    return count < steps ? count + 1u : steps;
}
"""

DISTANCE = """\
static inline NET_INLINE uint32_t net_distance(uint32_t x, uint32_t w)
{
    return x > w ? x - w : w - x;
}
"""

ONES = """\
static const uint8_t net_ones[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
"""

DISTANCES = """\
/* Four distances of bytes added to a sum: one instruction where the processor has it. */
#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#define net_distances(x, w, sum) __usada8((x), (w), (sum))
#else
static inline NET_INLINE uint32_t net_distances(
    uint32_t x, uint32_t w, uint32_t sum)
{
    sum += net_distance(x & 255u, w & 255u);
    sum += net_distance((x >> 8) & 255u, (w >> 8) & 255u);
    sum += net_distance((x >> 16) & 255u, (w >> 16) & 255u);
    return sum + net_distance(x >> 24, w >> 24);
}
#endif
"""

PRODUCTS = """\
/* Four products of bytes added to a sum: two instructions where the processor has them. */
#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
static inline NET_INLINE int32_t net_products(
    uint32_t x, uint32_t w, int32_t sum, int is_signed)
{
    const uint32_t y = (x >> 8) | (x << 24), v = (w >> 8) | (w << 24);
    sum = __smlad(is_signed ? __sxtb16(x) : (int32_t)__uxtb16(x), __sxtb16(w), sum);
    return __smlad(is_signed ? __sxtb16(y) : (int32_t)__uxtb16(y), __sxtb16(v), sum);
}
#else
static inline NET_INLINE int32_t net_products(
    uint32_t x, uint32_t w, int32_t sum, int is_signed)
{
    uint32_t n;
    for (n = 0; n < 4; n++, x >>= 8, w >>= 8) {
        const int32_t byte = (int32_t)(x & 255u), weight = (int32_t)(w & 255u);
        const int32_t input = is_signed && byte > 127 ? byte - 256 : byte;
        sum += input * (weight > 127 ? weight - 256 : weight);
    }
    return sum;
}
#endif
"""


@dataclass(frozen=True)
class Source:
    """An exported network.

    Attributes:
        graph, arena: what it was written from.
        functions: one per layer.
        lanes, multiply: see :func:`write_source`.
        header, code: text of ``net.h`` and ``net.c``.
    """

    graph: Graph
    arena: Arena
    functions: tuple[Function, ...]
    lanes: bool
    multiply: bool
    header: str
    code: str

    @property
    def multiplications(self) -> int:
        """Of one image, in the inner loops."""
        return sum(function.multiplications for function in self.functions)


def write_source(graph: Graph, *, lanes: bool = False, multiply: bool = False) -> Source:
    """``net.h`` and ``net.c``; the same text for the same graph.

    Args:
        lanes: lay bytes out for instructions on four at once (Cortex-M4 and M7); the code is
            portable all the same.
        multiply: leave the layers that multiply their multiplications, for a baseline; otherwise
            they are shifts and additions.
    """
    arena = plan(graph)
    functions = tuple(
        write_layer(index, layer, arena, lanes=lanes, multiply=multiply)
        for index, layer in enumerate(graph.layers)
    )
    return Source(
        graph,
        arena,
        functions,
        lanes,
        multiply,
        _header(graph, arena, functions),
        _code(arena, functions, lanes),
    )


def _header(graph: Graph, arena: Arena, functions: Sequence[Function]) -> str:
    given, logits = graph.input, graph.logits
    c = Lines()
    c(
        "/* Written by saa_lite.deploy. C99, freestanding, no heap, no library.",
        "",
        f"   Memory: {arena.bytes} bytes, one static array; the peak is in {arena.peak_layer}.",
        f"   Input: {given.rows} x {given.columns} x {given.channels} codes, channels last,"
        f" from {given.grid.low + given.shift} to {given.grid.high + given.shift};",
        f"   one step is {float(given.grid.step).hex()} of a normalised image.",
        f"   Logits: {logits.channels} codes; one step is {float(logits.grid.step).hex()}. */",
        "#ifndef NET_H",
        "#define NET_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define NET_ARENA_BYTES {arena.bytes}u",
        f"#define NET_INPUT_BYTES {given.bytes}u",
        f"#define NET_CLASSES {logits.channels}u",
        f"#define NET_LAYERS {len(functions)}u",
        "",
        "extern union net_arena {",
        "    uint8_t u8[NET_ARENA_BYTES];",
        "    int8_t s8[NET_ARENA_BYTES];",
        "    int16_t s16[NET_ARENA_BYTES / 2u];",
        "    int32_t s32[NET_ARENA_BYTES / 4u];",
        "    uint32_t u32[NET_ARENA_BYTES / 4u];",
        "} net_arena;",
        "",
        "/* Where an image goes before net_run, and where the logits lie behind it. */",
        f"#define NET_INPUT (net_arena.{VIEWS[given.type]} + {arena.maps[given.index]}u)",
        f"#define NET_LOGITS (net_arena.s16 + {arena.maps[logits.index] // 2}u)",
        "",
        "void net_run(void);",
        "",
        "/* The layers that net_run calls, one after the other. */",
    )
    c(*(f"void {function.symbol}(void);" for function in functions))
    c("void net_layer(uint32_t index);", "", "#endif")
    return str(c)


def _code(arena: Arena, functions: Sequence[Function], lanes: bool) -> str:
    body = "\n".join(function.text for function in functions)
    helpers = [HELPERS]
    for used, text in (
        ("net_distance", DISTANCE),
        ("net_ones", ONES),
        ("net_distances", DISTANCES),
        ("net_products", PRODUCTS),
    ):
        if used in body:
            helpers.append(text)
    c = Lines()
    with c.block("void net_layer(uint32_t index)"), c.block("switch (index)"):
        for index, function in enumerate(functions):
            c(f"case {index}: {function.symbol}(); break;")
        c("default: break;")
    c("")
    with c.block("void net_run(void)"):
        c(*(f"{function.symbol}();" for function in functions))
    inline = "#define NET_INLINE __attribute__((always_inline, unused))"
    start = ['#include "net.h"', "", inline, "", "union net_arena net_arena;", ""]
    return "\n".join([*start, *helpers, body, str(c)])


def golden(source: Source, expected: dict[int, Ints]) -> str:
    """``golden.h``: images, their logits, a CRC of every map that a layer writes, and a check.

    Args:
        expected: of :meth:`Graph.expected`, for a few images.
    """
    graph, arena = source.graph, source.arena
    images = expected[0].view(np.int8) if graph.input.type == "int8_t" else expected[0]
    logits = expected[graph.logits.index].view("<i2")
    written = [(i, o.map) for i, layer in enumerate(graph.layers) for o in layer.outputs]
    crcs = [[crc(expected[m.index][n]) for _, m in written] for n in range(len(images))]
    c = Lines()
    c(
        "/* Images and what must come of them, by the integer network in PyTorch. */",
        "#ifndef GOLDEN_H",
        "#define GOLDEN_H",
        "",
        '#include "net.h"',
        "",
        f"#define GOLDEN_IMAGES {len(images)}u",
        f"#define GOLDEN_MAPS {len(written)}u",
        "",
    )
    c(table(graph.input.type, "golden_images", images.ravel()))
    c(table("int16_t", "golden_logits", logits.ravel()))
    c(table("uint32_t", "golden_crcs", np.array(crcs).ravel()))
    c("/* For each map: the layer that writes it, its place in the arena, its bytes. */")
    c(table("uint32_t", "golden_layers", [layer for layer, _ in written]))
    c(table("uint32_t", "golden_places", [arena.maps[m.index] for _, m in written]))
    c(table("uint32_t", "golden_sizes", [m.bytes for _, m in written]))
    c(CHECK)
    return str(c)


CHECK = """
static uint32_t golden_crc(uint32_t place, uint32_t size)
{
    uint32_t crc = 0xffffffffu, n, bit;
    for (n = 0; n < size; n++) {
        crc ^= net_arena.u8[place + n];
        for (bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1u) ? 0xedb88320u : 0u);
    }
    return ~crc;
}

/* -1 if every map of every image is right; otherwise the layer whose map is the first wrong one. */
static int32_t golden_check(void)
{
    uint32_t image, layer, map, n, at = 0, crc = 0, logit = 0;
    for (image = 0; image < GOLDEN_IMAGES; image++) {
        for (n = 0; n < NET_INPUT_BYTES; n++) NET_INPUT[n] = golden_images[at++];
        map = 0;
        for (layer = 0; layer < NET_LAYERS; layer++) {
            net_layer(layer);
            for (; map < GOLDEN_MAPS && golden_layers[map] == layer; map++)
                if (golden_crc(golden_places[map], golden_sizes[map]) != golden_crcs[crc++])
                    return (int32_t)layer;
        }
        for (n = 0; n < NET_CLASSES; n++)
            if (NET_LOGITS[n] != golden_logits[logit++]) return (int32_t)NET_LAYERS - 1;
    }
    return -1;
}

#endif"""


def crc(stored: Ints) -> int:
    """CRC-32 of a map's bytes."""
    return zlib.crc32(np.ascontiguousarray(stored).tobytes())
