"""A dask.distributed cluster of real processes: a scheduler, workers, and one of them killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from farms import COMMAND, ENVIRONMENT, contents, events, make_shot, run

FRAMES = 24
PATIENCE = 120.0


class Cluster:
    """A scheduler and its workers, each a process."""

    def __init__(self, folder: Path):
        self._folder, self._file = folder, folder / "scheduler.json"
        self.processes = [self._start("scheduler", "--port", "0", "--scheduler-file", str(self._file))]
        end = time.monotonic() + PATIENCE
        while not self._file.exists() and time.monotonic() < end:
            time.sleep(0.05)

    def _start(self, kind: str, *arguments: str) -> "subprocess.Popen[bytes]":
        log = (self._folder / f"{kind}.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *arguments],
                stdout=log, stderr=log, cwd=self._folder, env={**os.environ, **ENVIRONMENT},
            )  # fmt: skip

    def add_worker(self) -> "subprocess.Popen[bytes]":
        worker = self._start("worker", "--scheduler-file", str(self._file), "--nthreads", "1", "--no-nanny")
        self.processes.append(worker)
        return worker

    @property
    def address(self) -> str:
        return json.loads(self._file.read_text())["address"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster")
    yield cluster
    for process in cluster.processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_frames_of_a_cluster_are_those_of_one_process_though_a_worker_is_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    graph = make_shot(tmp_path, FRAMES)
    assert run(COMMAND, "render", graph).returncode == 0
    right = contents(tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    doomed, _ = cluster.add_worker(), cluster.add_worker()
    command = [*COMMAND, "render", str(graph), "--scheduler", cluster.address, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        doomed.send_signal(signal.SIGKILL)
        said = events(first + process.stdout.read())
    assert process.returncode == 0, said
    assert [event["done"] for event in said[:-1]] == list(range(1, FRAMES + 1))
    left = contents(tmp_path / "out")
    assert {name: data for name, data in left.items() if not name.startswith(".fewstroke-")} == right
    # The frames are there now, so that the same again makes none; an error of a worker is the asker's sentence.
    done = run(COMMAND, "render", graph, "--scheduler", cluster.address, "--json", "--frames", "1-8")
    assert events(done.stdout)[-1]["whole"] == "1-8"
    (tmp_path / "plate.0003.exr").write_text("no picture")
    (tmp_path / "out" / "o.0003.exr").unlink()
    done = run(COMMAND, "render", graph, "--scheduler", cluster.address, "--frames", "3")
    assert done.returncode == 1 and "frame 3" in done.stderr and done.stderr.count("fewstroke: ") == 1, done.stderr


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = run(COMMAND, "render", make_shot(tmp_path, 2), "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 1 and "tcp://127.0.0.1:9" in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_an_interrupted_asker_stops_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    graph = make_shot(tmp_path, FRAMES, 480, 270)
    cluster.add_worker()
    command = [*COMMAND, "render", str(graph), "--scheduler", cluster.address, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    count = -1
    while count != (count := len(list((tmp_path / "out").iterdir()))):
        time.sleep(3)
    assert count < FRAMES
