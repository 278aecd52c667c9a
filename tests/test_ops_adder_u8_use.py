"""The uint8 adder convolution: wrong arguments, choice of instructions, and the disk cache."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from saa_lite.errors import UsageError
from saa_lite.kernels import machine
from saa_lite.ops import adder_conv2d_u8

SUPPORTED = machine.supported_bits()


@pytest.mark.parametrize("given", ["0", "128", "256", "512"])
def test_the_environment_lowers_the_vector_length(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAA_VECTOR_BITS", given)
    assert machine.supported_bits() == min(SUPPORTED, int(given))
    monkeypatch.setenv("SAA_VECTOR_BITS", "many")
    with pytest.raises(UsageError, match="SAA_VECTOR_BITS must be 0, 128, 256 or 512; got 'many'"):
        machine.supported_bits()


FEATURES = "import saa_lite.kernels.machine as m; print(m.VECTOR_BITS)"


def test_a_target_without_long_vectors_has_short_ones() -> None:
    """What Numba compiles for counts, not what the processor could do."""
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-W", "ignore", "-c", FEATURES]
    done = subprocess.run(
        command, env=environment, check=True, timeout=120, capture_output=True, text=True
    )
    assert done.stdout.strip() == "128"


ONES = torch.ones(1, 4, 5, 5, dtype=torch.uint8)
FILTER = torch.ones(6, 4, 3, 3, dtype=torch.uint8)
BAD_CALLS: list[tuple[type[Exception], str, Callable[[], object]]] = [
    (TypeError, "input must be a torch.Tensor; got list", lambda: adder_conv2d_u8([1], FILTER)),
    (TypeError, "input must be torch.uint8; got", lambda: adder_conv2d_u8(ONES.float(), FILTER)),
    (TypeError, "weight must be torch.uint8; got", lambda: adder_conv2d_u8(ONES, FILTER.char())),
    (UsageError, "on one device", lambda: adder_conv2d_u8(ONES.to("meta"), FILTER)),
    (UsageError, r"input must have shape \[batch", lambda: adder_conv2d_u8(ONES[0], FILTER)),
    (UsageError, "weight must have shape", lambda: adder_conv2d_u8(ONES, FILTER[0])),
    (UsageError, "must have 3 channels", lambda: adder_conv2d_u8(ONES, FILTER[:, :3])),
    (UsageError, "divisible by groups=4", lambda: adder_conv2d_u8(ONES, FILTER, groups=4)),
    (UsageError, "groups must be an int", lambda: adder_conv2d_u8(ONES, FILTER, groups=0)),
    (UsageError, "must fit into", lambda: adder_conv2d_u8(ONES, FILTER, dilation=3)),
    (UsageError, "stride must be at least 1", lambda: adder_conv2d_u8(ONES, FILTER, 0)),
    (UsageError, "stride must be an int", lambda: adder_conv2d_u8(ONES, FILTER, 1.5)),
    (UsageError, "padding must be at least 0", lambda: adder_conv2d_u8(ONES, FILTER, 1, -1)),
    (UsageError, "dilation must be an int", lambda: adder_conv2d_u8(ONES, FILTER, 1, 0, True)),
    *(
        (
            UsageError,
            f"padding_value must be an int from 0 to 255; got {value}",
            lambda value=value: adder_conv2d_u8(ONES, FILTER, padding_value=value),
        )
        for value in (-1, 256, 1.0, True, None)
    ),
]


@pytest.mark.parametrize(("kind", "message", "call"), BAD_CALLS)
def test_bad_arguments(kind: type[Exception], message: str, call: Callable[[], object]) -> None:
    with pytest.raises(kind, match=message):
        call()
