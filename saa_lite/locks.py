"""One writer at a time, across processes; and leases, across the machines that share a folder."""

import errno
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

from saa_lite.errors import SaaLiteError

WRITING, RUNNING, TRAINING = ".lock", ".running", ".training"  # one may be held inside another
LEASE = ".lease"  # how the file that stands for a lease ends
LEASE_SECONDS = 300.0  # all must agree: who is not heard of for so long has lost what he held
HEARTBEAT_SECONDS = 60.0
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


class Lease:
    """A claim on something that many processes on many machines could work on.

    It needs nothing of a shared disk but exclusive creation and renaming. The holder gives a sign
    of life every minute. That of a process which died on this machine is taken over at once, any
    other after five minutes of silence on the contender's own clock: keep the object, since it is
    what remembers how long the holder has been silent. A lease is no guarantee: whoever was
    stopped for long and goes on may overlap with a successor, and is told by ``lost``.

    Args:
        path: file that stands for it; should end with :data:`LEASE`.
        lost: called, in another thread, when a successor has taken over.
    """

    def __init__(self, path: Path, lost: Callable[[], None] | None = None) -> None:
        self.path = path
        self._lease = SoftFileLease(
            str(path),
            lease_duration=LEASE_SECONDS,
            heartbeat_interval=HEARTBEAT_SECONDS,
            on_compromise=None if lost is None else lambda compromise: lost(),
        )

    def take(self, *, wait: bool = False) -> bool:
        """Whether it is held now; with ``wait`` only returns when it is.

        Raises:
            SaaLiteError: the folder cannot be made or written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_torn()
            self._lease.acquire(timeout=-1 if wait else 0, poll_interval=1.0)
        except Timeout:
            return False
        except OSError as error:
            reason = error.strerror or error
            raise SaaLiteError(f"cannot write in {self.path.parent}: {reason}") from error
        return True

    def leave(self) -> None:
        """Let others take it; nothing happens if it is not held."""
        self._lease.release()

    @property
    def holder(self) -> tuple[str, int] | None:
        """Machine and process id of whoever holds it; None if nobody does."""
        owner = self._lease.owner
        return None if owner is None else (owner.hostname.partition("?")[0], owner.pid)

    def _remove_torn(self) -> None:
        """An empty file is of a process killed while it made it; nobody else would remove it."""
        with suppress(FileNotFoundError):
            found = self.path.stat()
            if found.st_size == 0 and time.time() - found.st_mtime > LEASE_SECONDS:
                self.path.unlink()


if sys.platform == "win32":
    import msvcrt

    def _acquire(handle: int, *, wait: bool) -> None:
        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _acquire(handle: int, *, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
