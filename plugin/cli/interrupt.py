"""Ctrl-C and SIGTERM as a flag that work is asked to look at, so that nothing is cut in half."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fewstroke.engine.errors import CancelledError

INTERRUPTED = 130
"""Exit code of a process that was told to stop: 128 and the number of SIGINT, as shells have it."""


class Interrupt:
    """Set by the first Ctrl-C or SIGTERM. A second Ctrl-C ends the process the usual way."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """A `Cancel` of the node contract."""
        if self.requested:
            raise CancelledError("interrupted")

    def _on_signal(self, number: int, frame: Any) -> None:
        self._event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within, Ctrl-C and SIGTERM only set the flag; afterwards they do what they did before."""
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
