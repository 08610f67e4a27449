"""The worker as a host meets it: a process, asked through the client."""

import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest

from fewstroke.plugin.client import PROTOCOL, Request, RequestCancelled, SharedMemory, Worker, WorkerError

Load = Callable[[Path], np.ndarray]
COMMAND = [sys.executable, "-m", "fewstroke.plugin.cli"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
PATIENCE = 120.0


def save(path: Path, pixels: np.ndarray, kind: str) -> None:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    output = oiio.ImageOutput.create(str(path))
    assert output is not None and output.open(str(path), spec)
    assert output.write_image(np.ascontiguousarray(pixels, np.float32)) and output.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker([*COMMAND, "worker"], ENVIRONMENT) as worker:
        yield worker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Path:
    """Four frames of footage, a painting of the second, and a model that the worker trained on it."""
    folder = tmp_path_factory.mktemp("a shot")
    rng = np.random.default_rng(0)
    canvas = rng.random((10, 16, 3)).repeat(6, 0).repeat(6, 1).astype(np.float32)
    for frame in range(1, 5):
        save(folder / f"plate.{frame:04d}.exr", canvas[:51, frame : frame + 70], "half")
    save(folder / "paint.png", 1 - canvas[:51, 2:72], "uint8")
    worker.ask("train", **training(folder), steps=3).wait(PATIENCE)
    return folder


def training(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "shot": {"footage": str(folder / "plate.####.exr"), "prefilter": {"radius": 1}, "guide": {"keyframe": 2}},
        "keyframes": [{"frame": 2, "path": str(folder / "paint.png")}],
        "out": str(folder / "shot.onnx"),
        **changes,
    }


def painting(folder: Path, frame: int, **changes: Any) -> dict[str, Any]:
    return {
        "frame": frame,
        "shot": {"footage": str(folder / "plate.####.exr")},
        "model": str(folder / "shot.onnx"),
        "out": str(folder / "painted.####.exr"),
        **changes,
    }


def wait_for(request: Request, event: str) -> dict[str, Any]:
    """The next event of a kind."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not request.ended:
        for news in request.news():
            if news["event"] == event:
                return news
        time.sleep(0.01)
    raise AssertionError(f"no '{event}' came; the request ended with {request.wait(0)}")


def refused(worker: Worker, do: str, **fields: Any) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        worker.ask(do, **fields).wait(PATIENCE)
    assert "\n" not in str(caught.value)
    return caught.value


def test_it_says_who_it_is(worker: Worker) -> None:
    facts = worker.ask("hello").wait(PATIENCE)
    assert facts["protocol"] == PROTOCOL and facts["pid"] == worker._process.pid and facts["trains"] is True


def test_it_describes_footage_and_models(worker: Worker, folder: Path) -> None:
    facts = worker.ask("footage", shot={"footage": str(folder / "plate.####.exr")}).wait(PATIENCE)
    assert (facts["frames"], facts["width"], facts["height"], facts["linear"]) == ("1-4", 70, 51, True)
    model = worker.ask("model", model=str(folder / "shot.onnx")).wait(PATIENCE)
    assert model["steps"] == 3 and model["guide"]["keyframe"] == 2 and model["prefilter"]["radius"] == 1


def test_frames_are_the_bytes_that_the_command_writes(worker: Worker, folder: Path, tmp_path: Path) -> None:
    command = ["render", "--model", folder / "shot.onnx", "--footage", folder / "plate.####.exr", "--frames", "1,3-4"]
    subprocess.run([*COMMAND, *map(str, command), "--out", tmp_path / "c.####.exr"], check=True, capture_output=True)
    requests = [worker.ask("frame", **painting(folder, n, out=str(tmp_path / "w.####.exr"))) for n in (4, 1, 3)]
    for request in requests:
        done = request.wait(PATIENCE)
        assert done["made"] is True
        assert Path(done["path"]).read_bytes() == (tmp_path / f"c.{done['frame']:04d}.exr").read_bytes()


def test_a_frame_that_is_right_is_not_made_again(worker: Worker, folder: Path, tmp_path: Path) -> None:
    fields = painting(folder, 3, out=str(tmp_path / "p.####.exr"))
    assert worker.ask("frame", **fields).wait(PATIENCE)["made"] is True
    before = (tmp_path / "p.0003.exr").read_bytes()
    assert worker.ask("frame", **fields).wait(PATIENCE)["made"] is False
    assert worker.ask("frame", **fields, strength=0.5).wait(PATIENCE)["made"] is True
    (tmp_path / "p.0003.exr").write_bytes(before[: len(before) // 2])
    assert worker.ask("frame", **fields).wait(PATIENCE)["made"] is True
    assert (tmp_path / "p.0003.exr").read_bytes() == before


@pytest.mark.parametrize("want", ["footage", "filtered", "guide"])
def test_what_the_network_sees_can_be_had_too(
    worker: Worker, folder: Path, tmp_path: Path, load: Load, want: str
) -> None:
    fields = {"shot": training(folder)["shot"], "want": want, "out": str(tmp_path / f"{want}.####.exr")}
    done = worker.ask("frame", frame=2, **fields).wait(PATIENCE)
    pixels, plate = load(Path(done["path"])), load(folder / "plate.0002.exr")
    assert pixels.shape == plate.shape == (51, 70, 3)
    assert np.array_equal(pixels, plate) == (want == "footage")


def test_pixels_come_through_shared_memory(worker: Worker, folder: Path, tmp_path: Path, load: Load) -> None:
    with SharedMemory() as memory:
        done = worker.ask("frame", **painting(folder, 3, out="", share=memory.path)).wait(PATIENCE)
        shared = np.array(memory.pixels(done["shared"]["shape"]))
        assert set(done) == {"frame", "shared"}
        assert (done["shared"]["shape"], done["shared"]["alpha"]) == ([51, 70, 3], "none")
        # The next picture is another and smaller one; with a file beside it, too.
        nodes = {"plate": {"type": "Read", "params": {"path": str(folder / "small.####.exr")}}}
        save(folder / "small.0001.exr", np.full((5, 7, 4), 0.5), "half")
        nodes["write"] = {"type": "Write", "params": {"path": "s.####.png"}, "inputs": {"image": "plate"}}
        (tmp_path / "small.json").write_text(json.dumps({"fewstroke": 1, "nodes": nodes, "output": "write"}))
        done = worker.ask("frame", frame=1, graph=str(tmp_path / "small.json"), share=memory.path).wait(PATIENCE)
        small = np.asarray(memory.pixels(done["shared"]["shape"]))
        assert done["shared"]["alpha"] == "premultiplied" and done["made"] and (tmp_path / "s.0001.png").exists()
    assert small.shape == (5, 7, 4) and (small == 0.5).all(), "what was taken out stays"
    done = worker.ask("frame", **painting(folder, 3, out=str(tmp_path / "p.####.exr"))).wait(PATIENCE)
    assert np.array_equal(shared.astype(np.float16), load(Path(done["path"])))


SHARING = """
import json, os, sys, time
from fewstroke.plugin.client import SharedMemory, Worker
worker, memory = Worker(json.loads(sys.argv[1])), SharedMemory()
fields = json.loads(sys.argv[2])
while True:
    done = worker.ask("frame", share=memory.path, **fields).wait()
    pixels = memory.pixels(done["shared"]["shape"])
    print(worker._process.pid, pixels[0, 0, 0], flush=True)
"""


@pytest.mark.parametrize("killed", ["asker", "worker", "both"])
def test_shared_memory_is_gone_with_whoever_is_killed(folder: Path, killed: str) -> None:
    before = shared_files()
    fields = {name: value for name, value in painting(folder, 3).items() if name != "out"}
    command = [sys.executable, "-c", SHARING, json.dumps([*COMMAND, "worker"]), json.dumps(fields)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline().split()[0])
        if killed != "asker":
            os.kill(pid, signal.SIGKILL)
        if killed != "worker":
            asker.kill()
        said = asker.communicate()[1]
    assert killed != "worker" or "the worker ended (exit code -9)" in said
    ends(pid)
    assert shared_files() == before


def shared_files() -> set[str]:
    return {path for folder in ("/dev/shm", tempfile.gettempdir()) for path in glob.glob(f"{folder}/fewstroke-*")}


def ends(pid: int) -> None:
    """Waits for a process that is no child of ours."""
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


def test_a_graph_on_disk_is_as_good_as_a_shot(worker: Worker, folder: Path, tmp_path: Path, load: Load) -> None:
    nodes = {
        "plate": {"type": "Read", "params": {"path": os.path.relpath(folder / "plate.####.exr", tmp_path)}},
        "write": {"type": "Write", "params": {"path": "copy.####.exr"}, "inputs": {"image": "plate"}},
    }
    (tmp_path / "copy.json").write_text(json.dumps({"fewstroke": 1, "nodes": nodes, "output": "write"}))
    done = worker.ask("frame", frame=4, graph=str(tmp_path / "copy.json")).wait(PATIENCE)
    assert Path(done["path"]) == tmp_path / "copy.0004.exr"
    assert np.array_equal(load(tmp_path / "copy.0004.exr"), load(folder / "plate.0004.exr"))


def test_training_tells_how_it_goes_and_cancelling_keeps_it(worker: Worker, folder: Path, tmp_path: Path) -> None:
    request = worker.ask("train", **training(folder, out=str(tmp_path / "new.onnx")), seconds=600)
    assert wait_for(request, "loaded")["step"] == 0
    model = wait_for(request, "model")  # comes at once and every few seconds, and can be used while training goes on
    assert Path(model["model"]).exists() and model["step"] == 1
    step = wait_for(request, "step")
    assert step["step"] > 0 and step["l1"] > 0 and 0 < step["seconds_left"] <= 600
    assert worker.ask(
        "frame", **painting(folder, 1, **{"model": model["model"], "out": str(tmp_path / "p.####.exr")})
    ).wait(PATIENCE)["made"]
    assert not request.ended
    request.cancel()
    done = request.wait(PATIENCE)
    assert done["step"] >= model["step"]
    assert worker.ask("model", model=str(tmp_path / "new.onnx")).wait(PATIENCE)["steps"] == done["step"]


def test_training_goes_on_where_it_was_unless_told_otherwise(worker: Worker, folder: Path, tmp_path: Path) -> None:
    fields = training(folder, out=str(tmp_path / "new.onnx"))
    assert worker.ask("train", **fields, steps=2).wait(PATIENCE)["step"] == 2
    again = worker.ask("train", **fields, steps=4)
    assert again.wait(PATIENCE)["step"] == 4 and again.news()[0] == {"event": "loaded", "step": 2}
    afresh = worker.ask("train", **fields, steps=1, resume=False)
    assert afresh.wait(PATIENCE)["step"] == 1 and afresh.news()[0] == {"event": "loaded", "step": 0}


def test_a_frame_can_be_cancelled(worker: Worker, folder: Path, tmp_path: Path) -> None:
    # More than there are threads, so that the last one waits and is cancelled before it begins.
    requests = [
        worker.ask("frame", **painting(folder, 1 + n % 4, out=str(tmp_path / f"{n}.####.exr")))
        for n in range(8 * (os.cpu_count() or 1))
    ]
    requests[-1].cancel()
    with pytest.raises(RequestCancelled):
        requests[-1].wait(PATIENCE)
    for request in requests[:-1]:
        request.wait(PATIENCE)
    assert not (tmp_path / f"{len(requests) - 1}.0004.exr").exists()


def test_mistakes_are_sentences(worker: Worker, folder: Path, tmp_path: Path) -> None:
    error = refused(worker, "frame", **painting(folder, 99))
    assert error.kind == "FrameMissingError" and error.frame == 99 and "plate.0099.exr" in str(error)
    error = refused(worker, "frame", **painting(folder, 1, model=str(tmp_path / "gone.onnx")))
    assert error.kind == "ModelError" and "gone.onnx" in str(error)
    fields = training(folder, keyframes=[])
    assert "no keyframe" in str(refused(worker, "train", **fields))
    fields = training(folder, keyframes=[{"frame": 2, "path": str(tmp_path / "none.png")}])
    assert "none.png" in str(refused(worker, "train", **fields))
    plate = str(folder / "plate.####.exr")
    assert "over the footage" in str(refused(worker, "frame", **painting(folder, 1, out=plate)))
    assert "'blur' of a shot" in str(refused(worker, "frame", **painting(folder, 1, want="blur")))
    assert "speed" in str(refused(worker, "frame", **painting(folder, 1, shot={"footage": plate, "speed": 2})))
    assert "no request 'fly'" in str(refused(worker, "fly"))
    assert "colour" in str(refused(worker, "frame", **painting(folder, 1), colour="red"))
    share = str(tmp_path / "nowhere")
    assert f"shared through {share}" in str(refused(worker, "frame", **painting(folder, 1, out="", share=share)))
    assert worker.alive


def test_what_is_no_request_is_answered_too() -> None:
    done = subprocess.run([*COMMAND, "worker"], input='no json\n[1]\n{"id": 5}\n', capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [(answer["id"], answer["event"]) for answer in answers] == [(None, "error"), (None, "error"), (5, "error")]


def test_the_death_of_the_worker_is_told_to_whoever_waits(folder: Path, tmp_path: Path) -> None:
    worker = Worker([*COMMAND, "worker"], ENVIRONMENT)
    request = worker.ask("train", **training(folder, out=str(tmp_path / "new.onnx")), seconds=600)
    wait_for(request, "step")
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="ended") as caught:
        request.wait(PATIENCE)
    assert caught.value.kind == "WorkerDied"
    with pytest.raises(WorkerError):
        worker.ask("hello").wait(PATIENCE)
    assert not worker.alive
    worker.close()
    assert (tmp_path / "new.checkpoint.safetensors").exists()


def test_it_ends_with_its_host_and_keeps_what_was_learnt(folder: Path, tmp_path: Path) -> None:
    """The host is a process that is killed, as a crash of Blender would."""
    program = f"""
import json, sys
from fewstroke.plugin.client import Worker
worker = Worker({[*COMMAND, "worker"]!r}, {ENVIRONMENT!r})
request = worker.ask("train", **json.loads(sys.argv[1]))
while not any(news["event"] == "step" for news in request.news()):
    pass
print(worker._process.pid, flush=True)
request.wait()
"""
    fields = training(folder, out=str(tmp_path / "new.onnx"), seconds=600)
    host = subprocess.Popen([sys.executable, "-c", program, json.dumps(fields)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    host.kill()
    host.wait()
    host.stdout.close()
    ends(pid)
    assert (tmp_path / "new.onnx").exists()


def test_a_program_that_is_no_worker_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="cannot be started"):
        Worker([str(tmp_path / "python")])
    command = [sys.executable, "-c", "raise SystemExit('no module named fewstroke')"]
    with Worker(command) as worker, pytest.raises(WorkerError, match="no module named fewstroke"):
        worker.ask("hello").wait(PATIENCE)


def test_the_client_needs_the_standard_library_only() -> None:
    program = """
import sys
import fewstroke.plugin.client
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"fewstroke", "__main__"}
print(sorted(name for name in foreign if not name.startswith("_")))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import sys; sys.path[:0] = ['build/dev']\n" + program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
