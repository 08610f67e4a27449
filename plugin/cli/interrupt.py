"""Ctrl-C and SIGTERM as a flag that work is asked to look at, so that nothing is cut in half."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fewstroke.engine.errors import CancelledError

INTERRUPTED = 130
"""Exit code of a process that was told to stop: 128 and the number of SIGINT, as shells have it."""

GRACE_SECONDS = 0.3
"""How long work may take to stop by itself: farms give a process a second or so before they kill it, and that includes
what the system takes to free its memory."""


class Interrupt:
    """Set by the first Ctrl-C or SIGTERM. A second Ctrl-C ends the process the usual way.

    last_act  called when the process is ended the hard way, `GRACE_SECONDS` later; None: it may take its time
    """

    def __init__(self, last_act: Callable[[], None] | None = None) -> None:
        self._event = threading.Event()
        self._last_act = last_act
        self._timer: threading.Timer | None = None

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
        if self._last_act is not None:
            self._timer = threading.Timer(GRACE_SECONDS, self._end)
            self._timer.daemon = True
            self._timer.start()

    def stopped(self) -> None:
        """Work has stopped in time: nothing is ended the hard way any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        """Work that is deep in native code (a tile of a large frame, a flow field) is not waited for."""
        assert self._last_act is not None
        self._last_act()
        os._exit(INTERRUPTED)


@contextmanager
def interruptible(last_act: Callable[[], None] | None = None) -> Iterator[Interrupt]:
    """Within, Ctrl-C and SIGTERM only set the flag; afterwards they do what they did before.

    last_act  what to do before the process ends that has not stopped in time; None: there is no such time
    """
    interrupt = Interrupt(last_act)
    before = {number: signal.signal(number, interrupt._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        interrupt.stopped()
