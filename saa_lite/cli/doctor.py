"""``saa-lite doctor``: what this machine has, what is missing, and how to get it.

Each check is one function that returns one row or several.
"""

import importlib.util
import shutil
from argparse import Namespace
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from saa_lite.cli.output import show
from saa_lite.data.load import EMBEDDED
from saa_lite.errors import SaaLiteError
from saa_lite.files import cache_dir, check_writable, figures_dir, measured_dir, runs_dir
from saa_lite.provenance import device_name, git_state, versions

NEEDED = ("torchvision", "scipy", "matplotlib", "seaborn", "safetensors", "scikit-learn", "pillow")
NOTEBOOK = ("jupyterlab", "ipywidgets", "ipykernel", "nbclient")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CPU_FEATURES = ("avx2", "fma", "avx512f", "neon", "sve")
# What torchvision leaves in a data root, by our name of the set.
TORCHVISION_FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mnist": "MNIST",
    "flowers102": "flowers-102",
    "food101": "food-101",
    "voc2012": "VOCdevkit",
    "oxford-pets": "oxford-iiit-pet",
}


@dataclass(frozen=True)
class Check:
    """One row: "missing" is optional, "broken" stops the kit from working."""

    name: str
    state: Literal["ok", "missing", "broken"]
    found: str
    remedy: str = ""


def all_checks(data_root: Path | None = None) -> list[Check]:
    """Every check, in the order they are printed."""
    packages = python_and_packages()
    if any(check.state == "broken" for check in packages):
        return packages  # the checks below import them
    places = [*data_sets(data_root), *folders()]  # wrong ones are told before a kernel is compiled
    return [
        *packages,
        hardware(),
        cpu_features(),
        kernel(),
        gpu(),
        browser(),
        *places,
    ]


def python_and_packages() -> list[Check]:
    """Versions of Python and packages; the notebook packages are optional."""
    commit, dirty = git_state()
    checks = [
        Check(name, "broken" if number == "not installed" else "ok", number)
        for name, number in versions().items()
    ]
    checks.append(Check("commit", "ok", commit[:12] + (" with changes" if dirty else "")))
    checks += [_package(name, "broken", "make lab, or pip install -e .") for name in NEEDED]
    return checks + [_package(name, "missing", "make lab") for name in NOTEBOOK]


def _package(name: str, absent: Literal["missing", "broken"], remedy: str) -> Check:
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, absent, "not installed", remedy)


def hardware() -> Check:
    """Model, cores and threads of the CPU."""
    import torch  # noqa: PLC0415  (a second to import; torch tells its own thread count)

    return Check("cpu", "ok", device_name("cpu") + f", torch threads {torch.get_num_threads()}")


def cpu_features() -> Check:
    """Vector instructions that the kernels can use."""
    features = import_module("llvmlite.binding").get_host_cpu_features()  # comes with numba
    found = [name for name in CPU_FEATURES if features.get(name)]
    bits = import_module("saa_lite.kernels.machine").VECTOR_BITS
    used = f"kernels use {bits}-bit vectors" if bits else "kernels use no vectors"
    return Check("cpu features", "ok", f"{' '.join(found) or 'baseline only'}; {used}")


def kernel() -> Check:
    """Run the adder kernel on a small input against its formula; this also starts the threads."""
    import numba  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from saa_lite.kernels.compile import has_kernels  # noqa: PLC0415
    from saa_lite.ops import adder_conv2d  # noqa: PLC0415

    x, w = torch.arange(48.0).view(1, 3, 4, 4), torch.ones(2, 3, 1, 1)
    expected = -(x - 1).abs().sum(1, keepdim=True).expand(1, 2, 4, 4)
    if not torch.equal(adder_conv2d(x, w), expected):
        return Check("adder kernel", "broken", "wrong result", "please report this machine")
    if not has_kernels(x):
        found = "right result by torch operations, slowly: NUMBA_DISABLE_JIT is set"
        return Check("adder kernel", "missing", found, "unset NUMBA_DISABLE_JIT")
    threads = f"{numba.get_num_threads()} threads, layer {_threading_layer()}"
    return Check("adder kernel", "ok", f"right result; numba {threads}")


def _threading_layer() -> str:
    """What numba starts its threads with; known only after a parallel kernel has run."""
    import numba  # noqa: PLC0415

    try:
        return numba.threading_layer()
    except ValueError:
        return "none with one thread"


def gpu() -> Check:
    """GPUs that torch can use."""
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        remedy = "not needed; with an NVIDIA GPU, a torch build for CUDA and its driver"
        return Check("gpu", "missing", "none, everything runs on the CPU", remedy)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    has_triton = importlib.util.find_spec("triton") is not None
    triton = "Triton kernels" if has_triton else "plain torch operations, as Triton is missing"
    return Check("gpu", "ok", f"{', '.join(names)}; {triton}")


def browser() -> Check:
    """Chromium, which only the test of the sliders needs."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return Check("chromium", "ok", path)
    return Check("chromium", "missing", "none", "only for the browser test: apt install chromium")


def data_sets(data_root: Path | None) -> list[Check]:
    """Embedded sets, and real ones found in the data root."""
    from saa_lite.data import load  # noqa: PLC0415  (imports torch, a second)

    root = load.data_root(data_root)
    here = {path.name.removesuffix("-train.npz") for path in root.glob("*-train.npz")}
    here |= {name for name, folder in TORCHVISION_FOLDERS.items() if (root / folder).is_dir()}
    checks = [Check("data: embedded", "ok", ", ".join(EMBEDDED))]
    if here:
        checks.append(Check("data: found", "ok", f"{', '.join(sorted(here))} in {root}"))
    if absent := sorted(set(TORCHVISION_FOLDERS) - here):
        remedy = "--data-root DIR or SAA_DATA_ROOT, or --download"
        checks.append(Check("data: real sets", "missing", f"no {', '.join(absent)}", remedy))
    return checks


def folders() -> list[Check]:
    """Folders that runs, records, drawings and caches are written to."""
    named = {
        "runs": runs_dir(),
        "measured": measured_dir(),
        "figures": figures_dir(),
        "cache": cache_dir(),
    }
    return [_writable(f"folder: {name}", folder) for name, folder in named.items()]


def _writable(name: str, folder: Path) -> Check:
    try:
        check_writable(folder)
    except SaaLiteError as error:
        remedy = "make it writable, or set SAA_HOME to another folder"
        return Check(name, "broken", str(error), remedy)
    return Check(name, "ok", str(folder))


UNUSABLE = 1


def main(arguments: Namespace) -> int:
    """Print one row per check; status 0 if everything that is needed works."""
    checks = all_checks(arguments.data_root)
    rows = [
        {"check": c.name, "state": c.state, "found": c.found, "how to get it": c.remedy}
        for c in checks
    ]
    show(rows, as_json=arguments.json)
    if not arguments.json:
        print(f"\n{verdict(checks)}")
    return UNUSABLE if any(check.state == "broken" for check in checks) else 0


def verdict(checks: list[Check]) -> str:
    """One closing sentence."""
    broken = [check.name for check in checks if check.state == "broken"]
    missing = [check.name for check in checks if check.state == "missing"]
    if broken:
        return f"Not usable yet: {', '.join(broken)}."
    if missing:
        return f"Usable. Optional and not found: {', '.join(missing)}."
    return "Usable; nothing is missing."
