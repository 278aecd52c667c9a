"""Where a number comes from: versions, hardware and commit, but no host name and no path."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from saa_lite import __version__
from saa_lite.files import PACKAGE

LIBRARIES = ("torch", "numpy", "numba")


def provenance(device: str = "cpu") -> dict[str, Any]:
    """Versions of what computes, the hardware behind ``device``, the commit of the code.

    Returns:
        ``{"versions": {name: version}, "device": str, "commit": str, "dirty": bool}``;
        commit is "unknown" outside a git checkout, ``dirty`` says whether the package differs
        from the commit.
    """
    commit, dirty = git_state()
    return {
        "versions": versions(),
        "device": device_name(device),
        "commit": commit,
        "dirty": dirty,
    }


@cache
def _library_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def versions() -> dict[str, str]:
    """Versions of python, saa_lite, torch, numpy and numba, without importing any of them."""
    return {"python": platform.python_version(), "saa_lite": __version__, **_library_versions()}


def device_name(device: str = "cpu") -> str:
    """Name of the GPU, or model, cores and threads of the CPU."""
    if str(device).startswith("cuda"):
        import torch  # noqa: PLC0415  (a second to import, and not needed on a CPU)

        return torch.cuda.get_device_name(device)
    plural = "" if threads() == 1 else "s"
    return f"{cpu_model()} ({available_cores()} cores, {threads()} thread{plural})"


@cache
def cpu_model() -> str:
    """Marketing name of the processor, or its architecture where the system tells no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine() or "unknown CPU"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Threads of torch where it is loaded, else what OMP_NUM_THREADS or the cores allow."""
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() else available_cores()


@cache
def git_state() -> tuple[str, bool]:
    """Commit of the checkout that holds the package and whether ``saa_lite/`` differs from it."""
    root = PACKAGE.parent
    top = _git("rev-parse", "--show-toplevel")
    commit = _git("rev-parse", "HEAD")
    # A package installed inside somebody else's repository must not borrow its commit.
    if not top or not commit or Path(top).resolve() != root.resolve():
        return "unknown", False
    return commit, bool(_git("status", "--porcelain", "--", PACKAGE.name))


def _git(*arguments: str) -> str:
    """Output of a git command in the checkout; empty where git or the checkout is missing."""
    # Without optional locks `git status` only reads: it never rewrites the index.
    command = ["git", "--no-optional-locks", "-C", str(PACKAGE.parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
