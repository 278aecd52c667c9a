"""An exported network as text: ``net.h`` and ``net.c``."""

from collections.abc import Sequence
from dataclasses import dataclass

from saa_lite.deploy.arena import Arena, plan
from saa_lite.deploy.functions import VIEWS, Function, write_layer
from saa_lite.deploy.graph import Graph, Map
from saa_lite.deploy.text import Lines

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
        f"   Input: {given.rows} x {given.columns} x {given.channels} codes, channels last: "
        f"{input_codes(given)}.",
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


def input_codes(given: Map) -> str:
    """What the numbers of ``NET_INPUT`` are, on two lines, as part of a sentence."""
    if given.type == "bits":
        return "one bit, 1 where a\n   normalised pixel is not negative; a pixel begins a byte"
    low, high = given.grid.low + given.shift, given.grid.high + given.shift
    plus = f", plus {given.shift}" if given.shift else ""
    return (
        "a normalised\n   pixel divided by "
        f"{float(given.grid.step).hex()}, rounded{plus}, from {low} to {high}"
    )


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
