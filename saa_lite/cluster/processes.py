"""Further workers on this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

THREADS = "OMP_NUM_THREADS"
PROGRAM = ["-m", "saa_lite"]


@contextmanager
def companions(arguments: Sequence[str], workers: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """While this process works, so do ``workers - 1`` others; they end when it ends.

    The cores are divided among them all, unless OMP_NUM_THREADS says otherwise. Ctrl-C reaches
    this process alone, which asks the others to stop: each saves where it is.

    Args:
        arguments: of ``saa-lite``, for each of the others.

    Yields:
        The others. One that is killed counts as alive until it is polled.
    """
    if workers == 1:
        yield []
        return
    import torch  # noqa: PLC0415  (slow to import, and one worker alone has no need of it)

    threads = int(os.environ.get(THREADS) or max(1, torch.get_num_threads() // workers))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    started = [
        subprocess.Popen(
            [sys.executable, *PROGRAM, *arguments],
            env=os.environ | {THREADS: str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(workers - 1)
    ]
    try:
        yield started
    finally:
        torch.set_num_threads(before)
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait()
