"""Compiling Numba kernels: cached on disk, never stale, and not in silence.

Numba's own cache looks at the file of the outermost function alone: an edit in an imported helper
would run the old code. Here the cache folder is named after the contents of this package, so any
edit of a kernel starts a new folder; versions, processor and its features Numba checks by itself.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core import config
from torch import Tensor

from saa_lite.errors import UsageError
from saa_lite.kernels.machine import VECTOR_BITS

HERE = Path(__file__).resolve().parent
_LOOKED_UP: set[Any] = set()


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` for what drivers call: it becomes a part of these, in memory and on disk.

    Where ``NUMBA_DISABLE_JIT=1`` forbids to compile: the function itself, which nothing calls.
    """
    alone = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # take time, and nothing needs
    return (lambda function: function) if config.DISABLE_JIT else numba.njit(**alone, **options)


def drivers(**options: Any) -> Callable[[Callable[..., Any]], tuple[Any, Any]]:
    """One body compiled twice: on the calling thread, where ``prange`` is ``range``, and on many.

    The second has a name of its own, by which Numba keeps what it compiled.
    """

    def decorate(function: Callable[..., Any]) -> tuple[Any, Any]:
        name = f"{function.__name__}_parallel"
        parallel = FunctionType(function.__code__, function.__globals__, name)
        # Numba keeps compiled code by this name: with one for both, either would be loaded as both.
        parallel.__module__, parallel.__qualname__ = function.__module__, name
        return _kept(function, options), _kept(parallel, {**options, "parallel": True})

    return decorate


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Compiled when it is first called, and on disk then."""
    if config.DISABLE_JIT:
        return function
    dispatcher = numba.njit(**options)(function)
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())  # read when caching is enabled, and only then
    try:
        dispatcher.enable_caching()
    finally:
        config.CACHE_DIR = before
    return dispatcher


def has_kernels(tensor: Tensor) -> bool:
    """Whether compiled kernels take the tensor; elsewhere, torch's own operations compute.

    They do for tensors on a CPU, unless ``NUMBA_DISABLE_JIT=1`` is set.
    """
    return tensor.device.type == "cpu" and not config.DISABLE_JIT


def check_compiling(user: str) -> None:
    """Raise :class:`UsageError` if ``NUMBA_DISABLE_JIT=1`` keeps kernels from being compiled."""
    if config.DISABLE_JIT:
        raise UsageError(f"{user} needs compiled kernels, and NUMBA_DISABLE_JIT forbids them")


@cache
def cache_folder() -> Path:
    """Beside the sources if that can be written, else in the user's cache, else temporary."""
    digest = hashlib.sha256(f"vectors of {VECTOR_BITS} bits".encode())
    for path in sorted(HERE.glob("*.py")):
        digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    given = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "saa_lite"
    for parent in (*given, HERE / "__pycache__", user):
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent / name):
                return parent / name
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="saa_lite-"))


def announce_first_compilation(dispatcher: Any) -> None:
    """Say that a kernel is about to be compiled, if neither this process nor the disk has it.

    Silent where progress bars are switched off (``TQDM_DISABLE=1``).
    """
    if dispatcher in _LOOKED_UP:  # every call of an operator comes here
        return
    _LOOKED_UP.add(dispatcher)
    if os.environ.get("TQDM_DISABLE") == "1" or any(
        cache_folder().rglob(f"*.{dispatcher.__name__}-*.nbi")
    ):
        return
    name = dispatcher.__name__.replace("_", " ")
    stream = sys.stdout if _in_notebook() else sys.stderr  # red is for errors there
    print(f"saa_lite compiles a kernel for this machine, once: {name} …", file=stream, flush=True)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
