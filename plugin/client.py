"""The asking side of worker.py: starts the process or finds one that is there, sends requests, collects answers.

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
import math
import mmap
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

PROTOCOL = 2
"""Raised when a host that was written for an older worker could not talk to this one, or would miss something."""

LAST_WORDS = 20
"""Lines of the worker's standard error that are kept, for when it dies."""

START_SECONDS = 60.0
"""How long a shared worker may take until it listens: a second, or much more from a cold network drive."""


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

    def __init__(self, worker: "AnyWorker", number: int):
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


class AnyWorker:
    """A worker that can be asked, over two streams of lines: `Worker` or `SharedWorker`."""

    def __init__(self, requests: IO[str], answers: IO[str]):
        self._outgoing, self._incoming = requests, answers
        self._numbers = itertools.count(1)
        self._requests: dict[int, Request] = {}
        self._lock = threading.Lock()
        self._death: dict[str, Any] | None = None
        self._listener = threading.Thread(target=self._listen, name="fewstroke-listener", daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether requests can still be answered."""
        return self._death is None

    def ask(self, do: str, **fields: Any) -> Request:
        """Sends a request; see the methods of `worker.Worker` for what can be asked. Never raises, never waits long."""
        with self._lock:
            request = Request(self, next(self._numbers))
            self._requests[request.number] = request
            if self._death is None:
                # A worker that has just died is noticed by the listener, which ends this request, too.
                with contextlib.suppress(OSError, ValueError):
                    self._outgoing.write(json.dumps({"id": request.number, "do": do, **fields}) + "\n")
                    self._outgoing.flush()
            else:
                request._hear(self._death)
        return request

    def close(self) -> None:
        """Hangs up: what was asked for ends, and a training is kept."""
        raise NotImplementedError

    def _last_words(self) -> str:
        """How the worker ended, once it has."""
        raise NotImplementedError

    def _heard(self, line: str) -> None:
        """A line came that is no answer."""

    def _listen(self) -> None:
        """Passes answers on to their requests until the worker's end; then ends those that are left."""
        with contextlib.suppress(OSError):  # a socket whose other end was killed
            for line in self._incoming:
                try:
                    event = json.loads(line)
                    number = event.pop("id")
                except (ValueError, KeyError, TypeError):
                    self._heard(line)
                    continue
                with self._lock:
                    request = self._requests.get(number)
                    if request is not None and event["event"] in ("done", "error", "cancelled"):
                        del self._requests[number]
                if request is not None:
                    request._hear(event)
        self._incoming.close()
        death = {"event": "error", "kind": "WorkerDied", "message": self._last_words()}
        with self._lock:
            self._death = death
            left, self._requests = list(self._requests.values()), {}
        for request in left:
            request._hear(death)


class Worker(AnyWorker):
    """A worker process of one's own. It ends with `close`, or when this process does, however that ends."""

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
        assert self._process.stdin is not None and self._process.stdout is not None
        self._said: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._overhearer = threading.Thread(target=self._overhear, name="fewstroke-overhearer", daemon=True)
        self._overhearer.start()
        super().__init__(self._process.stdin, self._process.stdout)

    @property
    def alive(self) -> bool:
        return super().alive and self._process.poll() is None

    def close(self, seconds: float = 20.0) -> None:
        """Ends the worker: what it trains is kept; it is killed where that takes longer than so many seconds."""
        with self._lock, contextlib.suppress(OSError):
            self._outgoing.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for listener in (self._listener, self._overhearer):
            if listener is not threading.current_thread():
                listener.join()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._overhearer.join()
        said = "".join(self._said).strip().splitlines()
        return f"the worker ended (exit code {code}){f'; its last words: {said[-1]}' if said else ''}"

    def _heard(self, line: str) -> None:
        self._said.append(line)  # some other program was started

    def _overhear(self) -> None:
        """Keeps the last lines of standard error, and shows them in the host's own."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line)
            print(line, end="", file=sys.stderr)
        self._process.stderr.close()


class SharedWorker(AnyWorker):
    """A worker that listens on a Unix socket (`fewstroke worker --socket`) and lives on when this asker hangs up."""

    def __init__(self, path: Path, command: Sequence[str], environment: Mapping[str, str] | None = None):
        """command: what starts it where there is none (see `connect`). Raises WorkerError where that fails."""
        self._path = path
        try:
            self._socket = connect(path, command, environment)
        except OSError as error:
            raise WorkerError(
                f"the worker at {path} cannot be asked ({error}); its last words are in {log_of(path)}",
                kind="WorkerDied",
            ) from None
        super().__init__(
            self._socket.makefile("w", encoding="utf-8"), self._socket.makefile("r", encoding="utf-8")
        )  # fmt: skip

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._listener is not threading.current_thread():
            self._listener.join()
        with contextlib.suppress(OSError):
            self._outgoing.close()
        self._socket.close()

    def _last_words(self) -> str:
        return f"the worker at {self._path} has hung up; its last words are in {log_of(self._path)}"


def connect(path: Path, command: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> socket.socket:
    """A connection to the worker that listens at a path.

    command      starts one where there is none; empty: none is started
    environment  variables to set for it, beside those of this process

    Raises OSError where there is none in the end.
    """
    try:
        return _connect(path)
    except OSError:
        if not command:
            raise
    with log_of(path).open("ab") as log:
        # A session of its own and no pipe of ours: a farm waits for a task's pipes to close, and kills its group.
        worker = subprocess.Popen(
            [*command, "--socket", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            return _connect(path)
        if worker.poll() is not None:
            raise OSError(f"it ended with exit code {worker.returncode}")
        time.sleep(0.02)
    worker.kill()
    raise OSError(f"it has not listened within {START_SECONDS:g} s")


def _connect(path: Path) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no Unix sockets")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def log_of(path: Path) -> Path:
    """Where a worker that listens at a path says what goes wrong."""
    return path.with_name(path.name + ".log")


class SharedMemory:
    """Memory that a worker fills with a picture, for frames that need not become files.

    It is this process's: gone with `close`, or when the process ends, however. The next picture takes the place of the
    one before.

    path  what a request is given as `share`
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):  # Linux: it has no name, so nothing can be left behind
            self._handle = os.memfd_create("fewstroke")
            self.path = f"/proc/{os.getpid()}/fd/{self._handle}"
        else:  # a file of the temporary folder, which a process that is killed leaves there
            self._handle, self.path = tempfile.mkstemp(prefix="fewstroke-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def pixels(self, shape: Sequence[int]) -> "memoryview[float]":
        """The picture as single-precision numbers, not copied: `numpy.asarray` takes it, and so does [y, x, channel].

        shape  what the answer says: height, width, channels
        """
        return memoryview(mmap.mmap(self._handle, 4 * math.prod(shape))).cast("f", list(shape))

    def close(self) -> None:
        """Pictures that were taken out stay as they are."""
        os.close(self._handle)
        with contextlib.suppress(OSError):  # Linux has no file of that name any more; Windows keeps one in use
            os.unlink(self.path)
