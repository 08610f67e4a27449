"""Evaluation of graphs: one frame (`Evaluator`), or many on a thread pool (`render_frames` and its kin)."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from ..engine.errors import CancelledError
from .cache import DiskCache, MemoryCache
from .node import Cancel, Known, Node, never
from .write import Found, Write

LATEST_BYTES = 256 << 20
"""What some thirty frames ask for up to the working size, and twelve at 1080p: they take 8 and 20 MB each."""


class Evaluator:
    """Pulls results through a graph, each computed once while it stays in the cache. Thread-safe.

    memory  keeps every node's results
    disk    keeps those of artefact nodes, for the next process too, and in place of that memory: the flow fields of a
            frame take as much as all its pictures, and would drive out what costs more to make again than to read.
            Only the last LATEST_BYTES of them stay in memory as well, since frames beside each other ask for the same
    """

    def __init__(self, memory: MemoryCache | None = None, disk: DiskCache | None = None):
        self._memory = memory or MemoryCache()
        self._disk = disk or DiskCache()
        self._latest = MemoryCache(LATEST_BYTES)
        self._running: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def __call__(self, node: Node, frame: int, cancel: Cancel = never, known: Known | None = None) -> Any:
        """The node's result at a frame; whatever the node raises passes through.

        known  as of `Node.key`, from whoever needs this result for his own
        """
        cancel()
        known = {} if known is None else known
        passed = node.identity(frame)
        if passed is not None:
            return self(node.inputs[passed[0]], passed[1], cancel, known)
        key = node.key(frame, known)
        # Two threads that want the same result wait for one computation rather than doing it twice.
        with self._guard:
            lock = self._running.setdefault(key, threading.Lock())
        try:
            with lock:
                result = None if node.EFFECT else self._memory.get(key)
                if result is None and node.ARTEFACT:
                    result = self._latest.get(key)
                if result is None:
                    result, memory = self._compute(node, frame, key, cancel, known)
                    if memory is not None:
                        memory.put(key, result)
                return result
        finally:
            with self._guard:
                self._running.pop(key, None)

    def _compute(
        self, node: Node, frame: int, key: str, cancel: Cancel, known: Known
    ) -> tuple[Any, MemoryCache | None]:
        """The result, and the memory that is to keep it."""
        if not node.ARTEFACT:
            result = node.evaluate(frame, _Fetch(self, node, frame, cancel, known), cancel)
            return result, None if node.EFFECT else self._memory
        stored = self._disk.get(key)
        if stored is not None:
            return stored, self._latest
        with self._disk.turn(key, cancel):
            stored = self._disk.get(key)  # another process may have made it meanwhile
            if stored is not None:
                return stored, self._latest
            result = node.evaluate(frame, _Fetch(self, node, frame, cancel, known), cancel)
            return result, self._latest if self._disk.put(key, result) else self._memory


class _Fetch:
    """A node's `Fetch` at a frame."""

    def __init__(self, evaluate: Evaluator, node: Node, frame: int, cancel: Cancel, known: Known):
        self._evaluate, self._node, self._frame, self._cancel, self._known = evaluate, node, frame, cancel, known
        self._needed = node.frames_needed(frame)

    def __call__(self, name: str, frame: int) -> Any:
        return self._evaluate(self._input(name, frame), frame, self._cancel, self._known)

    def key(self, name: str, frame: int) -> str:
        return self._input(name, frame).key(frame, self._known)

    def _input(self, name: str, frame: int) -> Node:
        if frame not in self._needed.get(name, ()):
            kind = type(self._node).__name__
            raise AssertionError(f"{kind} read '{name}' at {frame}, undeclared for frame {self._frame}")
        return self._node.inputs[name]


@dataclass(frozen=True)
class FrameDone:
    """One frame is done: an event of `render_frames`, or of `finish_frames`, whose result is a `Found`."""

    frame: int
    result: Any
    done: int
    total: int


def render_frames(
    node: Node,
    frames: Iterable[int],
    *,
    jobs: int = 1,
    cancel: Cancel = never,
    evaluator: Evaluator | None = None,
) -> Iterator[FrameDone]:
    """Evaluates `node` (usually a Write) at many frames on `jobs` threads; yields each as it is done, in no set order.

    The first error stops the rest and is raised. Closing the iterator, or `cancel` raising, stops the rest too.
    """
    evaluate = evaluator or Evaluator()
    return _on_threads(lambda frame, cancelled: evaluate(node, frame, cancelled), frames, jobs, cancel)


def finish_frames(
    write: Write,
    frames: Iterable[int],
    *,
    jobs: int = 1,
    cancel: Cancel = never,
    evaluator: Evaluator | None = None,
) -> Iterator[FrameDone]:
    """As `render_frames`, but leaves whole frames of the same graph alone. Results say what was found in their place.

    Any number of processes may finish the same frames: they write the same bytes, each file in one piece.
    """
    evaluate = evaluator or Evaluator()

    def finish(frame: int, cancelled: Cancel) -> Found:
        cancelled()
        found = write.found(frame)
        if found is not Found.WHOLE:
            evaluate(write, frame, cancelled)
        return found

    return _on_threads(finish, frames, jobs, cancel)


def prepare_frames(
    node: Node,
    frames: Iterable[int],
    *,
    jobs: int = 1,
    cancel: Cancel = never,
    evaluator: Evaluator | None = None,
) -> Iterator[FrameDone]:
    """As `render_frames`, but works out only the artefacts (motion, registrations, places, grain), into the disk cache.

    Results say how many a frame asks for.
    """
    evaluate = evaluator or Evaluator()

    def prepare(frame: int, cancelled: Cancel) -> int:
        wanted = _artefacts(node, frame)
        for artefact, at in wanted:
            evaluate(artefact, at, cancelled)
        return len(wanted)

    return _on_threads(prepare, frames, jobs, cancel)


def _artefacts(node: Node, frame: int) -> list[tuple[Node, int]]:
    """What of a graph a disk cache keeps for a frame, without what that is made of in turn."""
    found: dict[tuple[int, int], tuple[Node, int]] = {}

    def visit(node: Node, frame: int) -> None:
        passed = node.identity(frame)
        if passed is not None:
            visit(node.inputs[passed[0]], passed[1])
        elif node.ARTEFACT:
            found[id(node), frame] = node, frame
        else:
            for name, frames in node.frames_needed(frame).items():
                for needed in frames:
                    visit(node.inputs[name], needed)

    visit(node, frame)
    return list(found.values())


APART = 8
"""Frames side by side have so many between them, if there are enough: those next to each other ask for the same motion
and places at the same time, and one waits while the other works them out (a sixth of the time, on two cores)."""


def _spread(frames: Sequence[int], jobs: int) -> Iterator[int]:
    """The frames in the order in which they are begun."""
    for start in range(0, len(frames), APART * jobs):
        block = frames[start : start + APART * jobs]
        apart = -(-len(block) // jobs)
        for first in range(apart):
            yield from block[first::apart]


def _on_threads(
    work: Callable[[int, Cancel], Any], frames: Iterable[int], jobs: int, cancel: Cancel
) -> Iterator[FrameDone]:
    wanted, jobs = list(frames), max(1, jobs)
    stop = threading.Event()

    def cancelled() -> None:
        if stop.is_set():
            raise CancelledError
        cancel()

    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="fewstroke-frame") as pool:
        waiting = _spread(wanted, jobs)
        running: dict[Future[Any], int] = {}
        done = 0
        try:
            while True:
                # Only as many frames are in flight as there are threads: a cancelled run has nothing queued to unwind.
                while len(running) < jobs and (frame := next(waiting, None)) is not None:
                    running[pool.submit(work, frame, cancelled)] = frame
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    frame = running.pop(future)
                    done += 1
                    yield FrameDone(frame, future.result(), done, len(wanted))
        finally:
            stop.set()
