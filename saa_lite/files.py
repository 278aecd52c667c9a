"""Where things lie, and how files are written so that a crash never leaves half of one."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saa_lite.errors import SaaLiteError, UsageError

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """Folder of ``data/``, ``figures/`` and ``notebooks/``, wherever the process was started.

    ``SAA_HOME``, else the checkout that this package lies in, else the nearest checkout that holds
    the current folder, else the current folder itself.
    """
    if given := os.environ.get("SAA_HOME"):
        return folder_named("SAA_HOME", Path(given))
    here = Path.cwd()
    return next(filter(_is_checkout, (PACKAGE.parent, here, *here.parents)), here)


def _is_checkout(folder: Path) -> bool:
    """Whether ``folder`` is a checkout of this project: that of another has its own data."""
    try:
        return f'name = "{PACKAGE.name}"' in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return False


def folder_named(origin: str, folder: Path) -> Path:
    """``folder`` itself, which need not exist yet.

    Args:
        origin: the variable or option that names it, for the message.

    Raises:
        UsageError: it is a file.
    """
    if folder.is_file():
        raise UsageError(f"{origin} must name a folder; {folder} is a file")
    return folder


def runs_dir() -> Path:
    """Untracked output of runs."""
    return project_root() / "data" / "runs"


def measured_dir() -> Path:
    """Tracked records, the only source that README, scorecard and status quote."""
    return project_root() / "data" / "measured"


def bench_dir() -> Path:
    """Tracked benchmarks, a file for each processor."""
    return measured_dir() / "bench"


def figures_dir() -> Path:
    """Drawn figures and tables, ``figures/<source>/<item>.*``."""
    return project_root() / "figures"


def cache_dir() -> Path:
    """Generated data sets; safe to delete."""
    return Path(os.environ.get("SAA_CACHE") or project_root() / "data" / "cache")


def check_writable(folder: Path) -> None:
    """Write where ``folder`` is, or would be made, and leave nothing behind.

    Permission bits do not tell about full or read-only disks.

    Raises:
        SaaLiteError: it cannot be written.
    """
    try:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(1))
    except NotADirectoryError as error:
        raise SaaLiteError(f"cannot write in {folder}: {existing} is a file") from error
    except OSError as error:
        raise SaaLiteError(f"cannot write in {folder}: {error.strerror or error}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` only if the block succeeds.

    Raises:
        SaaLiteError: the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
    except OSError as error:
        raise SaaLiteError(f"cannot write {path}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes 0600 files; give them the mode an ordinary open() would.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """fsync, so that a rename never becomes durable before the bytes it names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, naming the file in any error."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SaaLiteError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise SaaLiteError(f"{path} is not valid JSON: {error}") from error
