"""Ctrl-C between steps instead of in the middle of one, and signals that are treated alike.

Whoever lends a machine asks politely before it is taken away: by SIGTERM, or by a signal of the
user's choice, mostly SIGUSR1. Both stop as Ctrl-C does, but raise
:class:`~saa_lite.errors.Stopped`.
"""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from saa_lite.errors import Stopped
from saa_lite.train import parallel

# Windows has no SIGUSR1.
POLITE = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
KINDS = (None, KeyboardInterrupt, Stopped)


class StopRequest:
    """Whether Ctrl-C was pressed, or a signal asked for the same; known after :meth:`agree`."""

    _asked, _agreed = 0, 0  # of KINDS

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first is only noted, the second interrupts at once."""
        again, self._asked = self._asked, 2 if number in POLITE else 1
        if again:
            self._agreed = self._asked
            self.raise_if_requested()

    def agree(self) -> None:
        """Processes that train together all stop where one does: none waits for its gradients."""
        self._agreed = parallel.highest(self._asked)

    @property
    def requested(self) -> bool:
        """Whether to stop, as soon as nothing is half-done."""
        return self._agreed > 0

    def raise_if_requested(self) -> None:
        """Interrupt now, where nothing is half-done."""
        if kind := KINDS[self._agreed]:
            raise kind


@contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """The first Ctrl-C only sets ``requested``; a second one interrupts at once, as usual.

    Python lets only the main thread handle signals; elsewhere Ctrl-C acts as usual.
    """
    request = StopRequest()
    with _handled(dict.fromkeys((signal.SIGINT, *POLITE), request.ask)):
        yield request


@contextmanager
def stop_politely() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 raise :class:`~saa_lite.errors.Stopped` wherever they come.

    In a training :func:`stop_on_interrupt` lets them wait for the end of the step.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    with _handled(dict.fromkeys(POLITE, stop)):
        yield


@contextmanager
def _handled(handlers: Mapping[int, Any]) -> Iterator[None]:
    """Handle signals so inside, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
