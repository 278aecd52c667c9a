"""``golden.h`` and ``check.c``: a few images, what must come of them, and a check that says it."""

import json
import zlib

import numpy as np

from saa_lite.deploy.source import Source
from saa_lite.deploy.text import Lines, table

Ints = np.ndarray


def golden(source: Source, expected: dict[int, Ints]) -> str:
    """``golden.h``: images, their logits, a CRC of every map that a layer writes, and a check.

    Args:
        expected: of :meth:`Graph.expected`, for a few images.
    """
    graph, arena = source.graph, source.arena
    number = "int8_t" if graph.input.type == "int8_t" else "uint8_t"
    images = expected[0].view(np.int8) if number == "int8_t" else expected[0]
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
    c(table(number, "golden_images", images.ravel()))
    c(table("int16_t", "golden_logits", logits.ravel()))
    c(table("uint32_t", "golden_crcs", np.array(crcs).ravel()))
    c("/* For each map: the layer that writes it, its place in the arena, its bytes. */")
    c(table("uint32_t", "golden_layers", [layer for layer, _ in written]))
    c(table("uint32_t", "golden_places", [arena.maps[m.index] for _, m in written]))
    c(table("uint32_t", "golden_sizes", [m.bytes for _, m in written]))
    names = ",\n".join(f"    {json.dumps(layer.name)}" for layer in graph.layers)
    c(f"static const char *const golden_names[NET_LAYERS] = {{\n{names},\n}};")
    c(GOLDEN_CHECK)
    return str(c)


GOLDEN_CHECK = """
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


CHECK = """\
#include <stdio.h>
#include "golden.h"

int main(void)
{
    const int32_t wrong = golden_check();
    if (wrong >= 0) {
        printf("layer %s gives other bits than PyTorch\\n", golden_names[wrong]);
        return 1;
    }
    printf("%u images: every layer gives the bits of PyTorch\\n", GOLDEN_IMAGES);
    return 0;
}
"""
