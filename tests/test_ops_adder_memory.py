"""Peak memory of the adder convolution: no temporary that grows with taps times filters."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import json, sys
from pathlib import Path
import torch
from saa_lite.kernels.geometry import Geometry
from saa_lite.ops import adder_kernels

def rss(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(l for l in lines if l.startswith(field)).split()[1])

def extra(call):
    # Bytes at the peak beyond what was there before and what the call returns.
    kept = call(slice(0, 1))  # compiles, and warms the allocator on one image
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = rss("VmRSS")
    result = call(slice(None))
    return rss("VmHWM") - before - result.nbytes

def thrice(call):
    return [extra(call) for _ in range(3)]

torch.set_num_threads(2)
layout = getattr(torch, sys.argv[1])
x = torch.randn(64, 16, 64, 64).contiguous(memory_format=layout)
w = torch.randn(48, 16, 3, 3)
g = torch.randn(64, 48, 64, 64).contiguous(memory_format=layout)
geometry = Geometry((1, 1), (1, 1), (1, 1), 1)
conv = torch.ops.aten.convolution_backward
only_weight = (None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, (False, True, False))
print(json.dumps({
    "padded": 4 * 64 * 16 * 66 * 66 + w.nbytes,
    "forward": thrice(lambda i: adder_kernels.forward(x[i], w, geometry)),
    "input": thrice(lambda i: adder_kernels.input_gradient(g[i], x[i], w, geometry, "clip")),
    "weight": thrice(lambda i: adder_kernels.weight_gradient(g[i], x[i], w, geometry, "full")),
    "convolution": thrice(lambda i: conv(g[i], x[i], w, *only_weight)[1]),
}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_extra_memory(layout: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, layout]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    extra = json.loads(done.stdout)
    assert max(extra["forward"]) < extra["padded"], extra
    assert max(extra["input"]) < extra["padded"], extra
    # The ordinary gradient runs inside. Both vary by one buffer, as the allocator reuses or not.
    assert min(extra["weight"]) < max(extra["convolution"]) + 2**20, extra
