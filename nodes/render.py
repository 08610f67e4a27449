"""Evaluation of graphs: one frame (`Evaluator`), or many on a thread pool (`render_frames`)."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.errors import CancelledError
from ..engine.image import Image
from .node import Cancel, Node, never


class MemoryCache:
    """Results by key, bounded in bytes; the least recently used go first. Thread-safe."""

    def __init__(self, capacity_bytes: int = 512 << 20):
        self._capacity = capacity_bytes
        self._size = 0
        self._entries: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Any | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: str, value: Any) -> None:
        size = _bytes(value)
        with self._lock:
            if key in self._entries or size > self._capacity:
                return
            self._entries[key] = value
            self._size += size
            while self._size > self._capacity:
                _, dropped = self._entries.popitem(last=False)
                self._size -= _bytes(dropped)


def _bytes(value: Any) -> int:
    array = value.pixels if isinstance(value, Image) else value
    return array.nbytes if isinstance(array, np.ndarray) else 1024


class Evaluator:
    """Pulls results through a graph, each computed once while it stays in the cache. Thread-safe."""

    def __init__(self, cache: MemoryCache | None = None):
        self._cache = cache or MemoryCache()
        self._running: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def __call__(self, node: Node, frame: int, cancel: Cancel = never) -> Any:
        """The node's result at a frame; whatever the node raises passes through."""
        cancel()
        passed = node.identity(frame)
        if passed is not None:
            return self(node.inputs[passed[0]], passed[1], cancel)
        key = node.key(frame)
        # Two threads that want the same result wait for one computation rather than doing it twice.
        with self._guard:
            lock = self._running.setdefault(key, threading.Lock())
        try:
            with lock:
                result = self._cache.get(key)
                if result is None:
                    result = node.evaluate(frame, self._fetch(node, frame, cancel), cancel)
                    self._cache.put(key, result)
                return result
        finally:
            with self._guard:
                self._running.pop(key, None)

    def _fetch(self, node: Node, frame: int, cancel: Cancel) -> Callable[[str, int], Any]:
        needed = node.frames_needed(frame)

        def fetch(name: str, wanted: int) -> Any:
            if wanted not in needed.get(name, ()):
                raise AssertionError(f"{type(node).__name__} read '{name}' at {wanted}, undeclared for frame {frame}")
            return self(node.inputs[name], wanted, cancel)

        return fetch


@dataclass(frozen=True)
class FrameDone:
    """One frame was evaluated: an event of `render_frames`."""

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
    wanted = list(frames)
    evaluate = evaluator or Evaluator()
    stop = threading.Event()

    def cancelled() -> None:
        if stop.is_set():
            raise CancelledError
        cancel()

    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="fewstroke-frame") as pool:
        waiting = iter(wanted)
        running: dict[Future[Any], int] = {}
        done = 0
        try:
            while True:
                # Only as many frames are in flight as there are threads: a cancelled run has nothing queued to unwind.
                while len(running) < max(1, jobs) and (frame := next(waiting, None)) is not None:
                    running[pool.submit(evaluate, node, frame, cancelled)] = frame
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    frame = running.pop(future)
                    done += 1
                    yield FrameDone(frame, future.result(), done, len(wanted))
        finally:
            stop.set()
