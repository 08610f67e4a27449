"""How many threads a network learns with: fewer while other programs want the same cores."""

from collections import deque
from collections.abc import Callable

SHARE = 0.85
"""Of its time, as much as the thread that waits for the others should have worked itself: they spin while they wait."""
STEPS = 3
"""Steps that are made before anything is said of them. The first after a change does not count: it has memory to
find."""
PATIENCE = 2.0
"""Seconds from one trial of fewer threads to the next; twice as many after each that was in vain, up to RETURN."""
RETURN = 30.0
"""Seconds from one trial to that of more threads. Beside a busy program such a trial costs a second."""
FASTER = 1.1
"""A step must be so many times shorter for the number of threads to change."""


class Threads:
    """Finds the number of threads with which a step takes least, by trying.

    At every layer all threads wait for the last of them, and where the system has put one aside for another program
    they wait for many milliseconds: on two cores, beside one program that keeps one of them busy, two threads made 2.4
    steps a second and one 7.5; alone 10.7 and 7. While the machine is its own nothing is tried, so that the same steps
    give the same weights.
    """

    def __init__(self, most: int, use: Callable[[int], None]):
        """most  as many as there may be, and the number to begin with
        use   is called with the number of threads that the next step is to have
        """
        self.count = most
        self._most, self._use = most, use
        self._steps: deque[tuple[float, float]] = deque(maxlen=STEPS)
        self._now = self._tried = 0.0
        self._patience = PATIENCE
        self._before: tuple[int, float] | None = None  # while another number is on trial: the one before, and its step
        self._fewer = most // 2  # the next to be tried

    def stepped(self, seconds: float, worked: float) -> None:
        """To be told of every step how long it took, and for how much of that the calling thread had a core."""
        self._now += seconds
        self._steps.append((seconds, worked))
        if len(self._steps) < STEPS:
            return
        _, *counted = self._steps
        took, had = (sum(each) / len(counted) for each in zip(*counted, strict=True))
        since = self._now - self._tried
        if self._before is not None:
            (before, step), self._before = self._before, None
            self._tried = self._now
            if took * FASTER > step:
                self._fewer = self.count // 2 if 1 < self.count < before else before // 2
                self._patience = min(2 * self._patience, RETURN)
                self._change(before)
            else:
                self._fewer = self.count // 2
                self._patience = PATIENCE
        elif self.count > 1 and had < SHARE * took and since >= self._patience:
            self._before = self.count, took
            self._change(self._fewer)
        elif self.count < self._most and since >= RETURN:
            self._before = self.count, took
            self._change(min(2 * self.count, self._most))

    def _change(self, count: int) -> None:
        self.count = count
        self._steps.clear()
        self._use(count)
