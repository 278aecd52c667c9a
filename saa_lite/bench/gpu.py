"""``saa-lite bench --device cuda``: everything that only a GPU can tell, in under four minutes."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from saa_lite.bench import gpu_checks, gpu_times
from saa_lite.bench.gpu_run import BUDGET, Outcome, Place, Record, Row, Step, run_steps
from saa_lite.files import PACKAGE
from saa_lite.provenance import device_name, git_state, versions

STEPS = (
    Step("device", gpu_times.device, 40),
    Step("first calls", gpu_times.first_calls, 60),
    Step("kernels against the oracle", gpu_checks.kernels, 90),
    Step("edges against the oracle", gpu_checks.edges, 40),
    Step("operator against the oracle", gpu_checks.operator, 40),
    Step("repeats and streams", gpu_checks.repeats, 20),
    Step("CUDA graph", gpu_checks.graph, 20),
    Step("dtypes and empty batch", gpu_checks.dtypes, 20),
    Step("instructions", gpu_times.clocks, 20),
    Step("forward rates", gpu_times.forward_rates, 40),
    Step("input gradient rates", gpu_times.gradient_rates, 40),
    Step("layers beside convolution", gpu_times.company, 40),
    Step("launches", gpu_times.launches, 20),
    Step("torch.compile", gpu_checks.compiled, 40),
    Step("far addresses", gpu_checks.far, 20),
)


def measure_gpu(
    place: Place, path: Path | None = None, names: Sequence[str] = (), seconds: float = BUDGET
) -> Iterator[Outcome]:
    """Run the steps, those that ``path`` already holds excepted.

    Args:
        path: the record, a file of JSON lines; None keeps nothing.
        names: of steps, all by default.
    """
    steps = [step for step in STEPS if not names or step.name in names]
    yield from run_steps(steps, place, Record(path, header(place)), seconds)


def header(place: Place) -> Row:
    """Device, versions and code: a record is gone on with where all are the same."""
    commit, dirty = git_state()
    try:
        triton = metadata.version("triton")
    except metadata.PackageNotFoundError:
        triton = "not installed"
    return {
        "device": device_name(place.device),
        "rehearsal": place.rehearsal,
        "versions": versions() | {"triton": triton},
        "commit": commit + ("+dirty" if dirty else ""),
        "sources": _sources(),
    }


def _sources() -> str:
    """A hash of the code that runs, as a checkout may differ from its commit, or have none."""
    paths = [path for floor in ("ops", "bench") for path in (PACKAGE / floor).glob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:16]


def record_name(place: Place) -> str:
    """Of the device's record."""
    return re.sub(r"[^a-z0-9]+", "-", device_name(place.device).lower()).strip("-") + ".jsonl"
