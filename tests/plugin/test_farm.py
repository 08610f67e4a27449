"""A farm's tasks as a farm meets them: processes that are started, killed and started again, and what they leave."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from farms import COMMAND, ENVIRONMENT, TASK, contents, events, make_shot, run
from openjd.sessions import PathFormat, PathMappingRule

from fewstroke.engine.errors import ParameterError
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes.mapping import PathMapping
from fewstroke.plugin.client import Worker

FRAMES = 12
PATIENCE = 120.0


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shot of twelve frames, all rendered in one process."""
    folder = tmp_path_factory.mktemp("right")
    done = run(COMMAND, "render", make_shot(folder, FRAMES), FEWSTROKE_CACHE=str(folder / "cache"))
    assert done.returncode == 0, done.stderr
    assert len(contents(folder / "out")) == FRAMES
    return folder


@pytest.fixture
def shot(right: Path, tmp_path: Path) -> Path:
    """The same shot in a folder of its own, with no frame rendered."""
    folder = tmp_path / "shot"
    shutil.copytree(right, folder, ignore=shutil.ignore_patterns("out", "cache"))
    return folder


def test_chunks_are_the_frames_of_one_run(right: Path, shot: Path) -> None:
    for chunk in ("3/3", "1/3", "2/3"):
        done = run(COMMAND, "render", shot / "shot.json", "--chunk", chunk, "--json")
        assert events(done.stdout)[-1]["frames"] == FRAMES // 3, done.stdout
    assert contents(shot / "out") == contents(right / "out")


def test_only_what_is_not_whole_and_of_this_graph_is_made(right: Path, shot: Path) -> None:
    shutil.copytree(right / "out", shot / "out")
    (shot / "out" / "o.0003.exr").unlink()
    whole = (shot / "out" / "o.0005.exr").read_bytes()
    (shot / "out" / "o.0005.exr").write_bytes(whole[:-40])
    shutil.copy(shot / "plate.0007.exr", shot / "out" / "o.0007.exr")
    untouched = (shot / "out" / "o.0002.exr").stat().st_mtime_ns
    done = run(COMMAND, "render", shot / "shot.json", "--json")
    assert done.returncode == 0, done.stdout
    end = events(done.stdout)[-1]
    assert (end["missing"], end["damaged"], end["foreign"]) == ("3", "5", "7")
    assert tuple(FrameRange.parse(end["whole"])) == (1, 2, 4, 6, 8, 9, 10, 11, 12)
    assert contents(shot / "out") == contents(right / "out")
    assert (shot / "out" / "o.0002.exr").stat().st_mtime_ns == untouched
    graph = json.loads((shot / "shot.json").read_text())
    next(node for node in graph["nodes"].values() if node["type"] == "Mix")["params"]["strength"] = 0.5
    (shot / "shot.json").write_text(json.dumps(graph))
    done = run(COMMAND, "render", shot / "shot.json", "--frames", "1-2")
    assert "made again, of another graph: 1-2" in done.stderr


def test_openjd_reads_its_progress(shot: Path) -> None:
    done = run(COMMAND, "render", shot / "shot.json", "--frames", "1-5:2", "--openjd")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("openjd_progress: ")][-1] == "openjd_progress: 100.0"
    assert sum(line.startswith("openjd_status: frame ") for line in lines) == 3 and done.stderr == ""
    failed = run(COMMAND, "render", shot / "shot.json", "--frames", "99", "--openjd")
    assert failed.returncode == 1 and failed.stdout.startswith("openjd_fail: frame 99 ")


def test_a_graph_is_saved_and_takes_the_place_of_the_options(right: Path, shot: Path) -> None:
    given = ["--model", shot / "shot.onnx", "--footage", shot / "plate.####.exr", "--out", shot / "p.####.exr"]
    assert run(COMMAND, "render", *given, "--save", shot / "saved.json").returncode == 0
    assert run(COMMAND, "render", shot / "saved.json", "--frames", 4).returncode == 0
    saved = (shot / "p.0004.exr").read_bytes()
    (shot / "p.0004.exr").unlink()
    assert run(COMMAND, "render", *given, "--frames", 4).returncode == 0
    assert (shot / "p.0004.exr").read_bytes() == saved


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--strength", "0.5"], 2, "--strength"),
        (["--chunk", "5/4"], 2, "chunk 5 of 4"),
        (["--chunk", "half"], 2, "'half'"),
        (["--map", "/a"], 2, "THERE=HERE"),
        (["--path-mapping", "none.json"], 2, r"none.json"),
        (["--frames", "40"], 1, "frame 40"),
    ],
)
def test_what_a_graph_cannot_be_asked_is_one_sentence(shot: Path, arguments: list[str], code: int, named: str) -> None:
    done = run(COMMAND, "render", shot / "shot.json", *arguments)
    assert done.returncode == code and named in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not (shot / "out").exists()


# ---- paths


def test_paths_of_another_machine_are_found(right: Path, shot: Path, tmp_path: Path) -> None:
    text = (shot / "shot.json").read_text()
    moved = text.replace('"plate.####.exr"', '"/mnt/a/plate.####.exr"').replace('"shot.onnx"', r'"Z:\\show\\shot.onnx"')
    (shot / "shot.json").write_text(moved)
    rules = tmp_path / "rules.json"
    rule = {"source_path_format": "WINDOWS", "source_path": "z:\\SHOW", "destination_path": str(shot)}
    rules.write_text(json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": [rule]}))
    done = run(
        COMMAND, "render", shot / "shot.json", "--frames", 2, "--map", f"/mnt/a={shot}", "--path-mapping", rules
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # The pixels and their stamp are the same wherever the footage lies.
    assert (shot / "out" / "o.0002.exr").read_bytes() == (right / "out" / "o.0002.exr").read_bytes()


PATHS = ["/mnt/show/plate.exr", "/mnt/shows/plate.exr", "/mnt/show", "/other", r"Z:\Show\a.exr", r"\\nas\show\a.exr"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("source", ["/mnt/show", r"z:\show", r"\\NAS\show", "/mnt"])
def test_rules_map_as_openjd_maps(path: str, source: str) -> None:
    windows = "\\" in source
    theirs = PathMappingRule(
        source_path_format=PathFormat.WINDOWS if windows else PathFormat.POSIX,
        source_path=(PureWindowsPath if windows else PurePosixPath)(source),
        destination_path=PurePosixPath("/here"),
    )
    mapped, result = theirs.apply(path=path)
    assert PathMapping.parse([f"{source}=/here"]).here(path) == (result if mapped else None)


def test_the_deepest_rule_wins_and_a_session_without_rules_has_none(tmp_path: Path) -> None:
    assert PathMapping.parse(["/a=/x", "/a/b=/y"]).here("/a/b/c") == "/y/c"
    rules = tmp_path / "rules.json"
    rules.write_text("{}")
    assert PathMapping.read_openjd(rules).rules == ()
    rules.write_text("[1]")
    with pytest.raises(ParameterError, match="rules"):
        PathMapping.read_openjd(rules)


# ---- killed, full, twice


def start(*arguments: object, command: list[str] = COMMAND) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )


def test_sigterm_ends_it_soon_with_nothing_half_written(shot: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    graph = make_shot(big, 12, 480, 270)
    with start("render", graph, "--jobs", 1) as process:
        assert process.stderr is not None
        process.stderr.readline()
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait()
        # 0.3 s at the most; the bound is generous since other programs may want the cores.
        assert time.monotonic() - begun < 20
        assert "nothing is half-written" in process.stderr.read()
    assert process.returncode == 130
    left = contents(big / "out")
    assert left and not [name for name in left if name.startswith(".")]
    done = run(COMMAND, "render", graph, "--frames", f"1-{len(left)}", "--json")
    assert not events(done.stdout)[-1]["damaged"]


def test_native_code_that_does_not_listen_is_not_waited_for(tmp_path: Path) -> None:
    program = f"""
import os, signal, time
from pathlib import Path
from fewstroke.nodes import write
from fewstroke.plugin.cli.interrupt import interruptible
place = Path({str(tmp_path)!r}) / "a.exr"
with interruptible(write.discard_unfinished), write._moved_into_place(place, "", 1, lambda: 0) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGTERM)
    while True:  # deaf to its flag
        time.sleep(1)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=PATIENCE)
    assert done.returncode == 130 and not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(right: Path, shot: Path) -> None:
    limit = 10_000  # bytes of a file: less than a frame takes

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [*COMMAND, "render", str(shot / "shot.json"), "--frames", "1-3"],
        capture_output=True, text=True, preexec_fn=small, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == 1 and os.strerror(errno.EFBIG).lower() in done.stderr, done.stderr
    assert sum(line.startswith("fewstroke: ") for line in done.stderr.splitlines()) == 1
    assert contents(shot / "out") == {}
    assert run(COMMAND, "render", shot / "shot.json").returncode == 0
    assert contents(shot / "out") == contents(right / "out")


@pytest.mark.slow
def test_chaos_ends_with_every_frame_whole_and_right(right: Path, shot: Path) -> None:
    """Two farms on one folder, their workers killed at random moments, a frame spoilt on the way."""
    rng = random.Random(5)
    kills = 0
    for round in range(6):
        farms = [start("render", shot / "shot.json", "--jobs", 1) for _ in range(2)]
        for process in farms:
            time.sleep(rng.uniform(0.2, 1.5))
            kills += process.poll() is None
            process.kill()
            process.communicate()
        if round == 3 and (spoilt := sorted((shot / "out").glob("o.*"))):
            spoilt[0].write_bytes(spoilt[0].read_bytes()[:200])
    farms = [start("render", shot / "shot.json", "--jobs", 1) for _ in range(2)]
    for process in farms:
        assert process.communicate()[1] and process.returncode == 0
    assert kills
    left = contents(shot / "out")
    for name in [name for name in left if name.startswith(".fewstroke-")]:
        del left[name]  # recognisable; deleted once an hour old
    assert left == contents(right / "out")
    spoilt = shot / "out" / "o.0004.exr"
    spoilt.write_bytes(spoilt.read_bytes()[:200])
    assert "made again, damaged: 4" in run(COMMAND, "render", shot / "shot.json").stderr
    assert spoilt.read_bytes() == (right / "out" / "o.0004.exr").read_bytes()


def test_what_was_left_unfinished_is_deleted_an_hour_later(shot: Path) -> None:
    (shot / "out").mkdir()
    old, new = (shot / "out" / f".fewstroke-{pid}-00ff.tmp.exr" for pid in (1, 2))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    assert run(COMMAND, "render", shot / "shot.json", "--frames", 1).returncode == 0
    assert sorted(contents(shot / "out")) == [new.name, "o.0001.exr"]


def test_what_was_prepared_is_not_worked_out_again(shot: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    prepared = run(COMMAND, "prepare", shot / "shot.json", "--frames", "2-3", FEWSTROKE_CACHE=str(cache))
    assert prepared.returncode == 0 and "2 frames prepared" in prepared.stderr and not (shot / "out").exists()
    kept = sorted(cache.rglob("*.artefact"))
    # Motion from 2 to 1 and 3, and from 3 to 2 and 4, whether there are cuts between these, and the grain of 2 and 3.
    assert len(kept) == 9
    run(COMMAND, "render", shot / "shot.json", "--frames", "2-3", FEWSTROKE_CACHE=str(cache))
    assert sorted(cache.rglob("*.artefact")) == kept


# ---- the warm worker


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "s"
    yield path
    assert run(TASK, "stop", path).returncode == 0


def test_tasks_share_a_warm_worker(right: Path, shot: Path, socket: Path) -> None:
    assert run(TASK, "start", socket).returncode == 0
    assert run(TASK, "prepare", socket, shot / "shot.json", "--frames=1-2").returncode == 0
    assert not (shot / "out").exists()
    for frames in ("1-6", "7-12"):
        done = run(TASK, "render", socket, shot / "shot.json", f"--frames={frames}")
        assert done.returncode == 0 and "openjd_progress: 100.0" in done.stdout, done.stdout
    assert contents(shot / "out") == contents(right / "out")
    (shot / "out" / "o.0003.exr").write_text("spoilt")
    assert "damaged 3" in run(TASK, "render", socket, shot / "shot.json", "--frames=1-9:2").stdout
    bad = run(TASK, "render", socket, shot / "shot.json", "--frames=40")
    assert bad.returncode == 1 and bad.stdout.startswith("openjd_fail: frame 40 ")
    assert run(TASK, "render", socket, shot / "shot.json", "--frames=a").returncode == 2


def test_a_task_needs_no_worker_to_be_there(shot: Path, socket: Path) -> None:
    done = run(TASK, "render", socket, shot / "shot.json", "--frames=3")
    assert done.returncode == 0 and (shot / "out" / "o.0003.exr").exists(), done.stdout


def test_a_killed_task_takes_its_frames_with_it_and_the_worker_lives(shot: Path, socket: Path) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with start("render", socket, shot / "shot.json", command=TASK) as task:
            assert task.stdout is not None
            task.stdout.readline()
            task.send_signal(kind)
        assert task.returncode == (130 if kind is signal.SIGTERM else -kind)
    assert run(TASK, "render", socket, shot / "shot.json", "--frames=1-12").returncode == 0
    assert len(contents(shot / "out")) == FRAMES


def test_the_asking_side_imports_the_standard_library_alone() -> None:
    program = """
import sys
before = set(sys.modules)
import fewstroke.plugin.task, fewstroke.plugin.client
ours = {"fewstroke", "fewstroke.plugin", "fewstroke.plugin.task", "fewstroke.plugin.client"}
others = {name for name in set(sys.modules) - before if name.partition(".")[0] not in sys.stdlib_module_names}
sys.exit(", ".join(sorted(others - ours)) or 0)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_hosts_may_ask_for_frames_of_a_graph_and_to_quit(right: Path, shot: Path) -> None:
    with Worker([*COMMAND, "worker"], ENVIRONMENT) as worker:
        request = worker.ask("render", graph=str(shot / "shot.json"), frames="2-4")
        assert request.wait(PATIENCE) == {"missing": "2-4", "whole": "", "damaged": "", "foreign": ""}
        assert sorted(event["frame"] for event in request.news()) == [2, 3, 4]
        worker.ask("quit").wait(PATIENCE)
        end = time.monotonic() + PATIENCE
        while worker.alive and time.monotonic() < end:
            time.sleep(0.01)
        assert not worker.alive
    assert (shot / "out" / "o.0003.exr").read_bytes() == (right / "out" / "o.0003.exr").read_bytes()
