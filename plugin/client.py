"""The asking side of worker.py: starts the process, sends requests, collects answers.

Standard library only, and nothing of the engine, so that it runs inside any host's Python.

    with Worker([python, "-m", "fewstroke.plugin.cli", "worker"]) as worker:
        shot = {"footage": "plate.####.exr"}
        worker.ask("frame", frame=37, out="painted.####.exr", shot=shot, model="shot.onnx").wait()

A host's main loop calls `request.news()` now and then instead of waiting. All methods may be called from any thread.
"""

import collections
import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

LAST_WORDS = 20
"""Lines of the worker's standard error that are kept, for when it dies."""


class WorkerError(Exception):
    """A request failed. `str(error)` is the sentence to show.

    kind   the engine's name of the error; "WorkerDied" where there is no worker any more
    path   the file it is about, or None
    frame  the frame it is about, or None
    """

    def __init__(self, message: str, *, kind: str, path: str | None = None, frame: int | None = None):
        super().__init__(message)
        self.kind, self.path, self.frame = kind, path, frame


class RequestCancelled(Exception):
    """A request was cancelled before it was done."""


class Request:
    """What was asked, and what has been answered so far."""

    def __init__(self, worker: "Worker", number: int):
        self._worker, self.number = worker, number
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._end: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        """Whether `result` would answer at once."""
        return self._ended.is_set()

    def news(self) -> list[dict[str, Any]]:
        """The events since the last call, without the one that ends the request."""
        events = []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self._news.get_nowait())
        return events

    def wait(self, seconds: float | None = None) -> dict[str, Any]:
        """The facts of "done". Raises WorkerError, RequestCancelled, or TimeoutError after so many seconds."""
        if not self._ended.wait(seconds):
            raise TimeoutError(f"the worker has not answered within {seconds} s")
        end = dict(self._end)
        event = end.pop("event")
        if event == "cancelled":
            raise RequestCancelled
        if event == "error":
            raise WorkerError(end["message"], kind=end["kind"], path=end.get("path"), frame=end.get("frame"))
        return end

    def cancel(self) -> None:
        """Asks for the end; a training keeps what it has learnt."""
        if not self.ended:
            self._worker.ask("cancel", of=self.number)

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] in ("done", "error", "cancelled"):
            self._end = event
            self._ended.set()
        else:
            self._news.put(event)


class Worker:
    """A running worker process. It ends with `close`, or when this process does, however that ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None):
        """environment: variables to set, beside those of this process.

        Raises WorkerError where the command cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, **(environment or {})},
                # A Ctrl-C in the host's terminal is for the host; and no window pops up on Windows.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise WorkerError(
                f"'{command[0]}' cannot be started ({error.strerror}); choose another Python", kind="WorkerDied"
            ) from None
        self._numbers = itertools.count(1)
        self._requests: dict[int, Request] = {}
        self._lock = threading.Lock()
        self._last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._death: dict[str, Any] | None = None
        self._listeners = [
            threading.Thread(target=target, name="fewstroke-listener", daemon=True)
            for target in (self._listen, self._overhear)
        ]
        for listener in self._listeners:
            listener.start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether requests can still be answered."""
        return self._death is None and self._process.poll() is None

    def ask(self, do: str, **fields: Any) -> Request:
        """Sends a request; see the methods of `worker.Worker` for what can be asked. Never raises, never waits long."""
        with self._lock:
            request = Request(self, next(self._numbers))
            self._requests[request.number] = request
            if self._death is None:
                # A worker that has just died is noticed by the listener, which ends this request, too.
                with contextlib.suppress(OSError, ValueError):
                    assert self._process.stdin is not None
                    self._process.stdin.write(json.dumps({"id": request.number, "do": do, **fields}) + "\n")
                    self._process.stdin.flush()
            else:
                request._hear(self._death)
        return request

    def close(self, seconds: float = 20.0) -> None:
        """Ends the worker: what it trains is kept; it is killed where that takes longer than so many seconds."""
        with self._lock, contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for listener in self._listeners:
            if listener is not threading.current_thread():
                listener.join()

    def _listen(self) -> None:
        """Passes answers on to their requests until the worker's end; then ends those that are left."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = json.loads(line)
                number = event.pop("id")
            except (ValueError, KeyError, TypeError):
                self._last_words.append(line)  # not one of ours: some other program was started
                continue
            with self._lock:
                request = self._requests.get(number)
                if request is not None and event["event"] in ("done", "error", "cancelled"):
                    del self._requests[number]
            if request is not None:
                request._hear(event)
        self._process.stdout.close()
        code = self._process.wait()
        self._listeners[1].join()
        said = "".join(self._last_words).strip().splitlines()
        why = f"; its last words: {said[-1]}" if said else ""
        death = {
            "event": "error",
            "kind": "WorkerDied",
            "message": f"the worker ended (exit code {code}){why}",
        }
        with self._lock:
            self._death = death
            left, self._requests = list(self._requests.values()), {}
        for request in left:
            request._hear(death)

    def _overhear(self) -> None:
        """Keeps the last lines of standard error, and shows them in the host's own."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last_words.append(line)
            print(line, end="", file=sys.stderr)
        self._process.stderr.close()
