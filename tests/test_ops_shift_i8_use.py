"""The int8 shift convolutions: wrong arguments, threads, compiling, and other machines."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from ops_samples import LAYOUTS, same, without_avx512
from test_ops_shift_i8 import OPERATORS, narrow, sample

from saa_lite.errors import UsageError
from saa_lite.kernels import machine
from saa_lite.ops import _launch, shift_conv2d_i8, shift_conv2d_i8_matmul, shift_ir, vector_ir
from saa_lite.ops.shift_i8_plan import plan_arrays

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("batch", [1, 5, 70])
@pytest.mark.parametrize("kernel", [1, 3])
def test_thread_count_changes_no_number(
    layout: str, batch: int, kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_launch, "SMALL_WORK", 0)
    x, shift, sign = sample(batch, 9, 40, (11, 9), (kernel, kernel))
    x, before, results = LAYOUTS[layout](x), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(shift_conv2d_i8(x, shift, sign, 1, kernel // 2, bits=4))
    finally:
        torch.set_num_threads(before)
    same(*results)


def test_two_threads_at_once() -> None:
    x, shift, sign = sample(4, 8, 16, (9, 9), (3, 3))
    expected, got = shift_conv2d_i8(x, shift, sign, bits=4), []
    workers = [
        threading.Thread(
            target=lambda: got.extend(shift_conv2d_i8(x, shift, sign, bits=4) for _ in range(20))
        )
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(got) == 40
    assert all(torch.equal(y, expected) for y in got)


def test_changed_codes_are_seen() -> None:
    """Nothing about the weights is remembered between calls, neither by address nor by version."""
    x, shift, sign = sample(2, 4, 6, (5, 5), (3, 3))
    base = shift_conv2d_i8(x, shift, sign, bits=4)
    sign.numpy()[:] *= -1
    same(shift_conv2d_i8(x, shift, sign, bits=4), -base)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_opcheck(operator: Any, layout: str) -> None:
    x, shift, sign = sample(2, 4, 6, (7, 5), (3, 3), groups=2)
    arguments = (LAYOUTS[layout](x), narrow(shift), sign, [2, 1], [1, 0], [1, 2], 2, -7)
    torch.library.opcheck(getattr(torch.ops.saa_lite, operator.__name__), arguments)


@pytest.mark.parametrize("operator", OPERATORS)
def test_compiles_in_one_graph(operator: Any) -> None:
    torch._dynamo.reset()
    x, shift, sign = sample(2, 4, 6, (7, 5), (3, 3))
    shift = narrow(shift)
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    same(compiled(x, shift, sign, 2, 1, bits=4), operator(x, shift, sign, 2, 1, bits=4))


@pytest.mark.gpu
@pytest.mark.parametrize("operator", OPERATORS)
def test_cuda_gives_the_integers_of_the_cpu(operator: Any) -> None:
    x, shift, sign = sample(3, 4, 6, (11, 9), (3, 3), groups=2)
    shift = narrow(shift)
    moved = (tensor.cuda() for tensor in (x, shift, sign))
    expected = operator(x, shift, sign, 2, 1, 1, 2, bits=4)
    same(operator(*moved, 2, 1, 1, 2, bits=4).cpu(), expected)


def broken(**changes: Any) -> dict[str, Any]:
    """The arguments of a sound call with some replaced."""
    x, shift, sign = sample(2, 4, 6, (7, 5), (3, 3), bits=3)
    return {"input": x, "shift": shift, "sign": sign, **changes}


ONES = torch.ones(6, 4, 3, 3, dtype=torch.int8)
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    (broken(input=torch.ones(2, 4, 7, 5)), TypeError, "input must be torch.int8; got torch.float"),
    (broken(input=torch.ones(2, 4, 7, 5).byte()), TypeError, "input must be torch.int8"),
    (broken(input=None), TypeError, "input must be a torch.Tensor; got NoneType"),
    (broken(shift=ONES.float()), TypeError, "shift must be torch.int8; got torch.float32"),
    (broken(sign=ONES.bool()), TypeError, "sign must be torch.int8; got torch.bool"),
    (broken(sign=ONES[:5]), UsageError, r"one shape; got \[6, 4, 3, 3\] and \[5, 4, 3, 3\]"),
    (broken(sign=ONES.to("meta")), UsageError, "on one device; got cpu and sign on meta"),
    (broken(input=torch.ones(4, 7, 5).char()), UsageError, "input must have shape"),
    (broken(shift=ONES[0], sign=ONES[0]), UsageError, "shift must have shape"),
    (broken(input=torch.ones(2, 3, 7, 5).char()), UsageError, "input must have 4 channels"),
    (broken(groups=4), UsageError, "divisible by groups=4"),
    (broken(groups=0), UsageError, "groups must be an int of at least 1"),
    (broken(stride=0), UsageError, "stride must be at least 1; got 0"),
    (broken(padding=-1), UsageError, "padding must be at least 0"),
    (broken(dilation=4), UsageError, "fit into the padded input"),
    (broken(bits=7), UsageError, "bits must be an integer from 2 to 6"),
    (broken(shift=ONES), UsageError, "shift must lie between -15 and 0; got 1"),
    (broken(shift=ONES * -16), UsageError, "shift must lie between -15 and 0; got -16"),
    (broken(shift=ONES * -4, bits=3), UsageError, "shift must lie between -3 and 0; got -4"),
    (broken(sign=ONES * 2), UsageError, "sign must lie between -1 and 1; got 2"),
    (broken(sign=ONES * -2), UsageError, "sign must lie between -1 and 1; got -2"),
]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_arguments(
    operator: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{operator.__name__}: .*{message}|^{message}"):
        operator(**arguments)


@pytest.mark.parametrize("operator", OPERATORS)
def test_sums_that_may_leave_int32_are_refused(operator: Any) -> None:
    """Exactly where the bound says: 511 taps of 2^15 fit, 512 may reach 2^31."""
    x = torch.zeros(1, 512, 1, 1, dtype=torch.int8)
    shift, sign = torch.zeros_like(x), torch.ones_like(x)
    message = r"may reach 128·Σ2\^\(p − pmin\) = 2147483648 .* int32 holds at most 2147483647"
    with pytest.raises(UsageError, match=message):
        operator(x, shift, sign)
    sign[0, 7] = 0  # what has no sign adds nothing
    operator(x, shift, sign)
    operator(x, shift - 1, sign * 0 + 1)
    with pytest.raises(UsageError, match="use fewer bits, or shift_conv2d"):
        operator(x[:, :1], shift[:, :1], sign[:, :1], bits=6)


def test_int8_products_need_shifts_within_six() -> None:
    x, shift, sign = sample(2, 4, 6, (5, 5), (3, 3))
    shift[0, 0, 0, :2], sign[0, 0, 0, :2] = torch.tensor([0, -7], dtype=torch.int8), 1
    with pytest.raises(UsageError, match=r"may span at most 6, .* got -7 to 0"):
        shift_conv2d_i8_matmul(x, shift, sign, bits=4)
    shift_conv2d_i8_matmul(x, shift, sign * (shift > -7), bits=4)


@pytest.mark.parametrize(("batch", "size", "lanes"), [(64, 8, 64), (32, 8, 64), (1, 32, 32)])
def test_lanes_are_filled_with_bands_of_rows(batch: int, size: int, lanes: int) -> None:
    shape = (batch, 16, size, size)
    plan = plan_arrays(shape, shape, (16, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1, False)
    assert len({tuple(lane) for lane in plan[1].tolist()}) == lanes


@pytest.mark.skipif(not vector_ir.WIDE, reason="this machine is generic already: no AVX-512")
def test_a_machine_without_avx512_passes_the_same_tests(tmp_path: Path) -> None:
    """These kernels know two machines only, with AVX-512 and without."""
    environment = (
        os.environ
        | without_avx512()
        | {
            machine.VECTOR_BITS_NAME: "0",
            "NUMBA_CACHE_DIR": str(tmp_path),
            "SAA_EXPECT_NARROW": "1",
        }
    )
    chosen = "around_the_lanes or any_configuration or overflow or blocks or expected_narrow"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen]
    files = ["tests/test_ops_shift_i8.py", "tests/test_ops_shift_i8_use.py"]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout.splitlines()[-1]


@pytest.mark.skipif("SAA_EXPECT_NARROW" not in os.environ, reason="run by the test above")
def test_expected_narrow() -> None:
    assert shift_ir.PIXELS == shift_ir.QUAD
