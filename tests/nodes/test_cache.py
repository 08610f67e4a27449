import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from standing import Footage

from fewstroke.engine.errors import CancelledError
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes import cache as cache_module
from fewstroke.nodes.cache import DiskCache, MemoryCache, cache_folder
from fewstroke.nodes.node import Cancel, Fetch, Node
from fewstroke.nodes.render import Evaluator

KEY, OTHER = "0" * 32, "1" * 32


def array(seed: int, size: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "value",
    [
        array(0),
        array(1).reshape(10, 50, 2),
        np.asfortranarray(array(2).reshape(20, 50)),
        np.zeros((0, 2)),
        np.bool_([1]),
    ],
)
def test_gives_back_what_was_put(tmp_path: Path, value: np.ndarray) -> None:
    DiskCache(tmp_path).put(KEY, value)
    found = DiskCache(tmp_path).get(KEY)
    assert found is not None and found.dtype == value.dtype and np.array_equal(found, value)
    assert DiskCache(tmp_path).get(OTHER) is None


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, array(0, 40))
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
    for content in damaged:
        path.write_bytes(content)
        assert cache.get(KEY) is None and not path.exists()
    cache.put(KEY, array(0, 40))
    assert np.array_equal(cache.get(KEY), array(0, 40))  # type: ignore[arg-type]


def test_a_file_under_another_key_is_not_taken_for_it(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, array(0))
    cache.put(OTHER, array(1))
    path, other = entries(tmp_path)
    os.replace(path, other)
    assert cache.get(OTHER) is None


def test_no_pickle_is_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        DiskCache(tmp_path).put(KEY, np.array([{}], dtype=object))
    assert entries(tmp_path) == []


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
import numpy as np
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes.cache import DiskCache
os.replace = lambda *_: os._exit(9)
DiskCache(Path({str(tmp_path)!r})).put({KEY!r}, np.zeros(1000))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    (remains,) = entries(tmp_path)
    cache = DiskCache(tmp_path)
    assert cache.get(KEY) is None and cache.info().count == 0
    long_ago = time.time() - 7200
    os.utime(remains, (long_ago, long_ago))
    cache.put(KEY, array(0))
    assert not remains.exists() and cache.get(KEY) is not None


def test_two_processes_may_write_one_key(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
import numpy as np
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes.cache import DiskCache
cache = DiskCache(Path({str(tmp_path)!r}))
for _ in range(100):
    cache.put({KEY!r}, np.arange(5000.0))
    assert np.array_equal(cache.get({KEY!r}), np.arange(5000.0))
"""
    writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(entries(tmp_path)) == 1


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    size = array(0).nbytes
    cache = DiskCache(tmp_path, capacity_bytes=int(4.9 * size))
    keys = [f"{n:032x}" for n in range(8)]
    for n, key in enumerate(keys[:4]):
        cache.put(key, array(n))
        os.utime(cache._path(key), (n, n))
    assert cache.get(keys[0]) is not None
    for n, key in enumerate(keys[4:6], start=4):
        cache.put(key, array(n))
    assert [cache.get(key) is not None for key in keys[:6]] == [True, False, False, True, True, True]
    assert cache.info().bytes <= 4.9 * size


@pytest.mark.parametrize(("seconds", "goes"), [(40, "large"), (20, "small")])
def test_what_is_large_goes_before_what_is_small(tmp_path: Path, seconds: int, goes: str) -> None:
    """The small one was last used five minutes ago; the large one, ten times its size, 40 or 20 seconds ago."""
    large, small = np.zeros(10_000), np.zeros(1000)
    cache = DiskCache(tmp_path, capacity_bytes=large.nbytes + small.nbytes + 500)
    for key, array, age in ((KEY, large, seconds), (OTHER, small, 300)):
        cache.put(key, array)
        used = time.time() - age
        os.utime(cache._path(key), (used, used))
    cache.put("2" * 32, small)
    assert (cache.get(KEY) is None) is (goes == "large")
    assert (cache.get(OTHER) is None) is (goes == "small")


def test_info_and_clear(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "not yet there")
    assert cache.info().count == 0 and cache.info().oldest is None
    cache.put(KEY, array(0))
    cache.put(OTHER, array(1))
    os.utime(cache._path(OTHER), (1000, 1000))
    info = cache.info()
    assert (info.count, info.oldest) == (2, 1000) and info.bytes > 2 * array(0).nbytes
    assert cache.clear() == info
    assert cache.info().count == 0 and cache.get(KEY) is None
    cache.put(KEY, array(0))
    assert cache.get(KEY) is not None


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file")
    with caplog.at_level(logging.WARNING, "fewstroke.cache"):
        for n in range(3):
            cache.put(f"{n:032x}", array(n))
            assert cache.get(f"{n:032x}") is None
    assert len(caplog.records) == 1 and "FEWSTROKE_CACHE" in caplog.text
    assert cache.info().count == 0 and cache.clear().count == 0


def test_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEWSTROKE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FEWSTROKE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "fewstroke"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_folder() == tmp_path / "fewstroke" / "cache"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "fewstroke"


class Measurement(Node):
    """An artefact that counts how often it is made."""

    ARTEFACT = True
    made: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__(Footage.Params())

    def frames(self) -> FrameRange:
        return FrameRange.of([3])

    def key_extra(self, frame: int) -> int:
        return frame

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        self.made.append(frame)
        return array(frame)


def test_the_evaluator_keeps_artefacts_for_the_next_process(tmp_path: Path) -> None:
    Measurement.made.clear()
    node = Measurement()
    for _ in range(2):
        evaluate = Evaluator(disk=DiskCache(tmp_path))
        assert np.array_equal(evaluate(node, 3), array(3))
    assert Measurement.made == [3]
    DiskCache(tmp_path).clear()
    assert np.array_equal(Evaluator(disk=DiskCache(tmp_path))(node, 3), array(3))
    assert Measurement.made == [3, 3]


def test_the_evaluator_has_the_last_artefacts_in_memory_too(tmp_path: Path) -> None:
    Measurement.made.clear()
    evaluate = Evaluator(disk=DiskCache(tmp_path))
    evaluate(Measurement(), 3)
    DiskCache(tmp_path).clear()
    assert np.array_equal(evaluate(Measurement(), 3), array(3))
    assert Measurement.made == [3]


def test_two_evaluators_do_not_work_out_the_same_at_once(tmp_path: Path) -> None:
    """As two processes would: they share the folder alone."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Measurement):
        def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
            begun.set()
            assert go_on.wait(60)
            return super().evaluate(frame, fetch, cancel)

    Measurement.made.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Evaluator(disk=DiskCache(tmp_path)), Slow(), 3)
        assert begun.wait(60)
        second = pool.submit(Evaluator(disk=DiskCache(tmp_path)), Slow(), 3)
        time.sleep(0.2)
        go_on.set()
        assert np.array_equal(first.result(), array(3)) and np.array_equal(second.result(), array(3))
    assert Measurement.made == [3]
    assert len(entries(tmp_path)) == 1, "no lock is left"


@pytest.mark.skipif(os.name == "nt", reason="there are no locks")
def test_the_turn_of_a_killed_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""
import time
from pathlib import Path
from fewstroke.nodes.cache import DiskCache
with DiskCache(Path({str(tmp_path)!r})).turn({KEY!r}, lambda: None):
    print("mine", flush=True)
    time.sleep(600)
"""
    cache = DiskCache(tmp_path)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(CancelledError), cache.turn(KEY, cancelled):
            raise AssertionError("it was not our turn")
        monkeypatch.setattr(cache_module, "PATIENCE_SECONDS", 0.0)
        with cache.turn(KEY, cancelled):
            pass  # not waited for any longer
        monkeypatch.undo()
        holder.kill()
    with cache.turn(KEY, cancelled):
        pass
    assert entries(tmp_path) == []


def cancelled() -> None:
    raise CancelledError


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    cache = MemoryCache(capacity_bytes=3 * array(0).nbytes)
    for n in range(3):
        cache.put(str(n), array(n))
    assert cache.get("0") is not None
    cache.put("3", array(3))
    assert [cache.get(str(n)) is not None for n in range(4)] == [True, False, True, True]
