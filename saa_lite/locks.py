"""One writer at a time, across processes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saa_lite.errors import SaaLiteError

LOCK_NAME, RUN_LOCK_NAME = ".lock", ".running"


@contextmanager
def locked(folder: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold a folder exclusively; the system releases it even when the process is killed.

    Args:
        busy: what to say where another process holds it; None waits for its turn. The two kinds
            are different locks, so one may be held inside the other.

    Raises:
        SaaLiteError: the folder cannot be made or written, or it is busy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        name = LOCK_NAME if busy is None else RUN_LOCK_NAME
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SaaLiteError(f"cannot write in {folder}: {error.strerror or error}") from error
    try:
        try:
            _acquire(handle, wait=busy is None)
        except OSError as error:
            raise SaaLiteError(f"{busy}; wait until it is done") from error
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _acquire(handle: int, *, wait: bool) -> None:
        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _acquire(handle: int, *, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
