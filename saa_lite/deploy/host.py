"""Generated C on this machine: compiled by the compiler that is there, called through ctypes."""

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from saa_lite.deploy.source import Source
from saa_lite.errors import UsageError

Ints = np.ndarray
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding")
SANITIZERS = ("-fsanitize=undefined", "-fno-sanitize-recover=all")


def compiler() -> list[str] | None:
    """The command of a C compiler: cc, gcc or clang, or the one of ``ziglang``; None if none."""
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    try:
        import ziglang  # noqa: F401, PLC0415  (an extra)
    except ImportError:
        return None
    return [sys.executable, "-m", "ziglang", "cc"]


def compiler_name() -> str:
    """Name and version of that compiler, as it tells them itself; "none" where there is none."""
    command = compiler()
    if command is None:
        return "none"
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).partition("\n")[0].strip()


class HostNetwork:
    """An exported network as a function of this process.

    Raises:
        UsageError: there is no C compiler, or it refuses the source.
    """

    def __init__(self, source: Source, flags: Sequence[str] = ()) -> None:
        self.source = source
        # A loaded library needs its file no longer, but on Windows, where it is left behind.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            self._library = ctypes.CDLL(str(build_library(source, Path(folder), flags)))
        size = source.arena.bytes
        arena = (ctypes.c_uint8 * size).in_dll(self._library, "net_arena")
        self._arena = np.ctypeslib.as_array(arena)

    def logits(self, images: Tensor) -> Ints:
        """Codes of the logits, int16 [N, classes], of normalised images [N, C, H, W]."""
        given = self.source.graph.input.stored(images)
        found = self.source.graph.logits
        rows = []
        for image in given:
            self._fill(image)
            self._library.net_run()
            rows.append(self._map(found.index).view("<i2"))
        return np.stack(rows)

    def first_difference(self, expected: dict[int, Ints]) -> str | None:
        """The first layer that writes something else than expected, by its name; None if all agree.

        Args:
            expected: of :meth:`~saa_lite.deploy.graph.Graph.expected`.
        """
        for number, image in enumerate(expected[0]):
            self._fill(image)
            for index, layer in enumerate(self.source.graph.layers):
                self._library.net_layer(index)
                for output in layer.outputs:
                    found = self._map(output.map.index)
                    if not np.array_equal(found, expected[output.map.index][number]):
                        return layer.name
        return None

    def _fill(self, image: Ints) -> None:
        start = self.source.arena.maps[0]
        self._arena[start : start + len(image)] = image

    def _map(self, index: int) -> Ints:
        start = self.source.arena.maps[index]
        return self._arena[start : start + self.source.graph.maps[index].bytes].copy()


def build_library(source: Source, folder: Path, flags: Sequence[str] = ()) -> Path:
    """Compile ``net.c`` into a shared library in ``folder``; every warning is an error."""
    command = compiler()
    if command is None:
        raise UsageError(
            "no C compiler is here (cc, gcc or clang), and the extra deploy, which brings one, is "
            "not installed: pip install 'saa_lite[deploy]'"
        )
    (folder / "net.h").write_text(source.header, encoding="utf-8")
    (folder / "net.c").write_text(source.code, encoding="utf-8")
    library = folder / "net.so"
    made = subprocess.run(
        [*command, *FLAGS, *flags, "-shared", "-fPIC", "-o", str(library), str(folder / "net.c")],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise UsageError(f"the C compiler refuses the source: {made.stderr.strip()[-1000:]}")
    return library
