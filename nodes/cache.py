"""Where results are kept: the latest in memory (`MemoryCache`), the expensive ones on disk (`DiskCache`).

Both go by `Node.key`, which names everything a result depends on, so nothing here is ever out of date: a result is
either right or absent. The disk cache is shared by all processes of a user, or of a farm where `$FEWSTROKE_CACHE` names
a common folder, and is right without locks: a file appears whole or not at all, and two writers of one key write equal
bytes. Locks only keep two processes from working out the same at once, where the file system has them.
"""

import contextlib
import io
import logging
import os
import sys
import tempfile
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..engine.digest import digest
from ..engine.image import Image
from .node import Cancel

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

_log = logging.getLogger("fewstroke.cache")


class MemoryCache:
    """Results by key, bounded in bytes; the least recently used go first. Thread-safe."""

    def __init__(self, capacity_bytes: int = 2 << 30):
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


def cache_folder() -> Path:
    """`$FEWSTROKE_CACHE`, or `fewstroke` in the platform's folder for what may be deleted at any time."""
    if chosen := os.environ.get("FEWSTROKE_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fewstroke" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fewstroke"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fewstroke"


@dataclass(frozen=True)
class CacheInfo:
    """What `fewstroke cache` shows.

    oldest  when the entry that would go first was last used, in seconds since 1970; None where the cache is empty
    """

    path: Path
    count: int
    bytes: int
    oldest: float | None


_MAGIC = b"fewstroke artefact 2\n"
_DIGEST = 32
_SUFFIX = ".artefact"
_LOCK = ".lock.tmp"
_ABANDONED_SECONDS = 3600
"""A temporary file this old belongs to a process that was killed: writing one takes seconds."""

PATIENCE_SECONDS = 60.0
"""How long one waits for what another process works out: a machine that hangs must not hold up the others."""

_POLL_SECONDS = 0.05


class DiskCache:
    """Arrays by key in a folder, bounded in bytes. Safe in threads and processes.

    What is large and has not been used for long goes first: by its size times the time since its last use, as in
    Aggarwal, Wolf and Yu, "Caching on the World Wide Web", IEEE TKDE 1999. To make a megabyte of a registration took
    130 ms, of flow 55, of grain 30; but the grain of a shot at 4K would by itself fill the folder, and drive them out.

    A file is the magic line, a checksum of key and body, and the array as NumPy's .npy (never a pickle). One that is
    damaged counts as absent and is deleted. Where the folder cannot be written, one warning goes to the logger
    "fewstroke.cache" (which Python prints unless told otherwise), nothing is written any more, and no call fails.
    """

    def __init__(self, folder: Path | None = None, capacity_bytes: int = 8 << 30):
        """folder: by default `cache_folder()`; made when the first entry is written."""
        self._folder = folder or cache_folder()
        self._capacity = capacity_bytes
        # The folder is measured at the first write and then after every sixteenth of its capacity, not at every write:
        # so it may overshoot by a sixteenth per process.
        self._until_trim = 0
        self._writable = True
        self._lock = threading.Lock()

    def get(self, key: str) -> np.ndarray | None:
        """The array under this key, or None. Counts as a use."""
        path = self._path(key)
        try:
            array = _unpack(key, path.read_bytes())
            # The time of last use is the file's modification time; access times are switched off on many machines.
            with contextlib.suppress(OSError):
                os.utime(path)
            return array
        except OSError:
            return None
        except ValueError as damage:
            _log.info("%s is damaged (%s) and will be made again", path, damage)
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def put(self, key: str, array: np.ndarray) -> bool:
        """Keeps the array under this key; whether that was possible."""
        if not self._writable or array.nbytes > self._capacity:
            return False
        try:
            self._write(key, array)
            with self._lock:
                self._until_trim -= array.nbytes
                trim_now = self._until_trim < 0
                if trim_now:
                    self._until_trim = self._capacity // 16
            if trim_now:
                self._trim()
            return True
        except OSError as error:
            self._writable = False
            _log.warning(
                "results cannot be kept in %s (%s), so they will be computed again next time; "
                "set FEWSTROKE_CACHE to a folder that can be written",
                self._folder,
                error.strerror or error,
            )
            return False

    @contextlib.contextmanager
    def turn(self, key: str, cancel: Cancel) -> Iterator[None]:
        """Within, no other process is within with the same key. That saves work and nothing depends on it, so where it
        cannot be had, or not within `PATIENCE_SECONDS`, one goes on without; a process that is killed lets go.
        """
        path = self._path(key).with_suffix(_LOCK)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError:
            yield
            return
        with file:
            end = time.monotonic() + PATIENCE_SECONDS
            while not _locked(file) and time.monotonic() < end:
                cancel()
                time.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()

    def info(self) -> CacheInfo:
        """Number, size and age of the entries."""
        entries = self._entries()
        return CacheInfo(
            path=self._folder,
            count=len(entries),
            bytes=sum(size for _, size, _ in entries),
            oldest=min((used for used, _, _ in entries), default=None),
        )

    def clear(self) -> CacheInfo:
        """Deletes every entry; returns what there was. Results in use elsewhere are unharmed: they are in memory."""
        before = self.info()
        for path in [path for _, _, path in self._entries()] + self._temporaries():
            with contextlib.suppress(OSError):
                path.unlink()
        return before

    def _path(self, key: str) -> Path:
        # Folders by the first two digits: file servers slow down with many thousand files in one.
        return self._folder / key[:2] / (key + _SUFFIX)

    def _write(self, key: str, array: np.ndarray) -> None:
        path, content = self._path(key), _pack(key, array)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=key, suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            # On Windows a file that somebody is reading cannot be replaced; it holds the same bytes already.
            if not (isinstance(error, PermissionError) and path.exists()):
                raise

    def _entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of every entry; those that another process deletes meanwhile are left out."""
        entries = []
        for path in self._folder.glob(f"??/*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                entries.append((stat.st_mtime, stat.st_size, path))
        return entries

    def _temporaries(self) -> list[Path]:
        return list(self._folder.glob("??/*.tmp"))

    def _trim(self) -> None:
        now = time.time()
        entries = sorted(self._entries(), key=lambda entry: (now - entry[0]) * entry[1], reverse=True)
        size = sum(size for _, size, _ in entries)
        for _, freed, path in entries:
            if size <= self._capacity:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            size -= freed
        for path in self._temporaries():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()


def _locked(file: IO[bytes]) -> bool:
    """Whether there is nothing to wait for: the lock is ours, or there are no locks here."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _pack(key: str, array: np.ndarray) -> bytes:
    body = io.BytesIO()
    np.lib.format.write_array(body, array, allow_pickle=False)
    return _heading(key, body.getbuffer()) + body.getbuffer()


def _unpack(key: str, content: bytes) -> np.ndarray:
    """Raises ValueError unless this is exactly what `_pack` made under the same key."""
    start = len(_MAGIC) + _DIGEST
    if content[:start] != _heading(key, memoryview(content)[start:]):
        raise ValueError("its checksum is wrong")
    body = io.BytesIO(content)
    body.seek(start)
    return np.lib.format.read_array(body, allow_pickle=False)


def _heading(key: str, body: memoryview) -> bytes:
    # A CRC notices what disks and networks do to a file, in a sixth of the time that a digest of it takes.
    return _MAGIC + digest(key, len(body), zlib.crc32(body)).encode()
