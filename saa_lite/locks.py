"""One writer at a time, across processes."""

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saa_lite.errors import SaaLiteError

WRITING, RUNNING, TRAINING = ".lock", ".running", ".training"  # one may be held inside another
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # as some network disks answer


@contextmanager
def locked(folder: Path, *, purpose: str = WRITING, busy: str | None = None) -> Iterator[None]:
    """Hold a folder exclusively; the system releases it even when the process is killed.

    A disk that knows no locks is used without, with a warning.

    Args:
        purpose: which of the folder's locks, by the name of its file.
        busy: what to say where it is held already; None waits for its turn.

    Raises:
        SaaLiteError: the folder cannot be made or written, or it is busy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / purpose, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SaaLiteError(f"cannot write in {folder}: {error.strerror or error}") from error
    try:
        try:
            _acquire(handle, wait=busy is None)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise SaaLiteError(f"{busy}; wait until it is done") from error
            warnings.warn(
                f"the disk of {folder} knows no locks: let no other process write there",
                UserWarning,
                stacklevel=4,
            )
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
