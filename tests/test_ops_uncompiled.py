"""``NUMBA_DISABLE_JIT=1``: operations of torch do what kernels would, or a sentence says no."""

import os
import subprocess
import sys
import textwrap

from saa_lite.cli.doctor import kernel

SCRIPT = """
import warnings
import torch
from saa_lite.bench.measure import measure
from saa_lite.cli.doctor import kernel
from saa_lite.errors import UsageError
from saa_lite.ops import adder_conv2d, adder_conv2d_u8, reference, shift_conv2d

geometry = (2, 1), (1, 0), (1, 2), 2
x, w = torch.randn(2, 8, 6, 7), torch.randn(4, 4, 3, 2)
for kind in ("clip", "full", "sign"):
    a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = adder_conv2d(a, b, *geometry, input_gradient=kind, weight_gradient="sign")
    y.sum().backward()
    ones, given = torch.ones_like(y), (x, w, *geometry)
    torch.testing.assert_close(y, reference.adder_conv2d(*given).float())
    for found, gradient, name in (
        (a.grad, reference.adder_input_gradient, kind),
        (b.grad, reference.adder_weight_gradient, "sign"),
    ):
        torch.testing.assert_close(found, gradient(ones, *given, name).float())

u, v = (torch.randint(0, 256, t.shape, dtype=torch.uint8) for t in (x, w))
assert torch.equal(adder_conv2d_u8(u, v, *geometry), reference.adder_conv2d(u, v, *geometry).int())

codes = torch.randint(-100, 100, x.shape, dtype=torch.int8)
shift = torch.randint(-7, 1, w.shape, dtype=torch.int8)
sign = torch.randint(-1, 2, w.shape, dtype=torch.int8)
weight = sign.double() * 2.0 ** (shift.double() + 7)
expected = torch.nn.functional.conv2d(codes.double(), weight, None, *geometry)
exact = shift_conv2d(codes.int(), shift, sign, *geometry, bits=4)
assert torch.equal(exact, expected.long())

assert kernel().state == "missing"
try:
    measure(1, progress=False)
except UsageError as error:
    print(error)
"""


def test_torch_operations_stand_in_for_kernels() -> None:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    run = subprocess.run(
        command, env=environment, check=False, timeout=300, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "timing needs compiled kernels, and NUMBA_DISABLE_JIT forbids them\n"


def test_doctor_finds_kernels_here() -> None:
    assert kernel().state == "ok"
