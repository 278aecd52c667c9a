"""The vector kernels' own dangers: cancellation, other machines, stale compiled code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adder_samples import Case, error
from ops_samples import without_avx512

from saa_lite.kernels import compile, machine
from saa_lite.ops import adder_conv2d, adder_vector, reference

ROOT = Path(__file__).resolve().parent.parent
CASE = Case(24, 20, (9, 11), (3, 3), padding=(1, 1))


@pytest.mark.parametrize("offset", [0.0, 1.0, 10.0, 1e3, 1e6, -1e4])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_common_offset_costs_no_digits(offset: float, layout: str) -> None:
    """2Σmax − Σx − Σw alone would lose all digits at 1e6; tiles that cancel are done again."""
    x, w = (t + offset for t in CASE.tensors(torch.float32, layout))
    expected = reference.adder_conv2d(x, w, *CASE.geometry)
    inside = slice(1, -1)  # padded taps are as far away as the offset, and would hide the loss
    got = adder_conv2d(x, w, *CASE.geometry)
    assert error(got[..., inside, inside], expected[..., inside, inside]) <= 4e-6


def test_a_patch_that_equals_its_filter_gives_exactly_zero() -> None:
    w = torch.randn(16, 8, 3, 3) * 100 + 7
    x = w[5][None].contiguous(memory_format=torch.channels_last)
    assert adder_conv2d(x, w)[0, 5].item() == 0


def test_overflow_comes_where_the_sum_overflows() -> None:
    """Σx and 2Σmax leave the range of float32 long before Σ|x − w| does."""
    x = torch.full((1, 16, 4, 4), 3e38)
    near, far = torch.full((16, 16, 1, 1), 2.99e38), torch.full((16, 16, 1, 1), -1e38)
    args = (1, 1), (0, 0), (1, 1), 1
    torch.testing.assert_close(
        adder_conv2d(x, near), reference.adder_conv2d(x, near, *args).float(), rtol=1e-5, atol=0
    )
    assert adder_conv2d(x, far).isneginf().all()


@pytest.mark.parametrize("pixels", [1, 3, 4, 7, 8, 9])
@pytest.mark.parametrize("size", [1, 5, 16, 17])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_tails_of_tiles_and_blocks(pixels: int, size: int, layout: str) -> None:
    case = Case(max(2, size), max(2, size + 1), (2, pixels), (1, 1))
    x, w = case.tensors(torch.float32, layout)
    assert adder_vector.applies(x, w, 1)
    expected = reference.adder_conv2d(x, w, *case.geometry)
    assert error(adder_conv2d(x, w), expected) <= 2e-6


def test_memory_beside_the_output_is_left_alone() -> None:
    """Sixteen lanes are computed for five filters; only five may be stored."""
    case = Case(6, 5, (3, 9), (1, 1), batch=1)
    x, w = case.tensors(torch.float32, "channels_last")
    results = [adder_conv2d(x, w).clone() for _ in range(50)]
    assert all(torch.equal(results[0], again) for again in results)


@pytest.mark.skipif(machine.VECTOR_BITS < 512, reason="this machine has no AVX-512 already")
def test_a_machine_without_avx512_passes_the_same_tests(tmp_path: Path) -> None:
    """The same tests with 512-bit instructions switched off, and with LLVM told to avoid them."""
    environment = (
        os.environ
        | without_avx512()
        | {
            "NUMBA_CACHE_DIR": str(tmp_path),
            "SAA_EXPECT_AVX2": "1",
        }
    )
    chosen = "vector_kernel and size0 or nan_and_inf or costs_no_digits or expected_avx2"
    files = ["tests/test_ops_adder.py", "tests/test_ops_vectors.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout.splitlines()[-1]


@pytest.mark.skipif("SAA_EXPECT_AVX2" not in os.environ, reason="run by the test above")
def test_expected_avx2() -> None:
    assert machine.VECTOR_BITS == 256  # seen without being told
    assert "+avx512f" not in machine.numba_target()[2].split(",")


HELPER = "from saa_lite.kernels.compile import compiled\n@compiled()\ndef value():\n    return {}\n"
MAIN = """
import sys
from pathlib import Path
from saa_lite.kernels import compile
compile.HERE = Path(sys.argv[1])
compile.cache_folder.cache_clear()
sys.path.insert(0, sys.argv[1])
from outer import outer
print(outer[0]())
"""
OUTER = """
from helper import value
from saa_lite.kernels.compile import drivers
@drivers()
def outer():
    return value() + 1
"""


def test_an_edit_in_a_helper_is_never_overlooked(tmp_path: Path) -> None:
    """Numba's own cache would go on returning 2: the file of ``outer`` has not changed."""
    (tmp_path / "outer.py").write_text(OUTER)
    found = []
    for number in (1, 1, 41):
        (tmp_path / "helper.py").write_text(HELPER.format(number))
        command = [sys.executable, "-B", "-c", MAIN, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found.append(int(done.stdout))
    assert found == [2, 2, 42]
    folders = list((tmp_path / "__pycache__").glob("kernels-*"))
    assert len(folders) == 2


def test_all_compiled_code_lies_in_the_package_that_names_its_cache() -> None:
    """Or stale code would run."""
    package = compile.HERE.parent
    compiled = re.compile(r"^@(compiled|drivers|inlined|intrinsic|numba\.\w+)\b", re.MULTILINE)
    found = {p.parent for p in package.rglob("*.py") if compiled.search(p.read_text("utf-8"))}
    assert found == {compile.HERE}
    inside = "".join(path.read_text("utf-8") for path in compile.HERE.glob("*.py"))
    assert set(re.findall(r"^from saa_lite\.(\w+)", inside, re.MULTILINE)) == {"errors", "kernels"}


def test_first_compilation_is_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compile, "HERE", tmp_path)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    compile.cache_folder.cache_clear()
    try:

        @compile.drivers()
        def double_it(x: int) -> int:
            return 2 * x

        double_it, _ = double_it

        compile.announce_first_compilation(double_it)
        assert double_it(4) == 8
        compile.announce_first_compilation(double_it)
    finally:
        compile.cache_folder.cache_clear()
    said = capsys.readouterr()
    assert said.err.count("double it") == 1
    assert not said.out
