"""The job templates of install/farm, run by OpenJobDescription's own command."""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import yaml
from farms import COMMAND, ENVIRONMENT, contents, make_shot, run

FARM = Path(__file__).resolve().parents[2] / "install" / "farm"
OPENJD = Path(sysconfig.get_path("scripts")) / "openjd"


def template(name: str) -> Path:
    return FARM / name / "template.yaml"


def openjd(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [OPENJD, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )


def parameters(**values: object) -> list[str]:
    given = {"Python": sys.executable, **values}
    return [part for name, value in given.items() for part in ("-p", f"{name}={value}")]


def workers(cache: str) -> list[Path]:
    """The warm workers that run with a cache, as Linux lists them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            is_worker = b"fewstroke.plugin.cli\0worker\0--socket" in (process / "cmdline").read_bytes()
            if is_worker and cache.encode() in (process / "environ").read_bytes():
                found.append(process)
    return found


@pytest.mark.parametrize("name", ["shot", "render", "blender", "tune"])
def test_templates_are_valid(name: str) -> None:
    with openjd("check", template(name)) as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0, said


@pytest.mark.slow
def test_chunks_in_parallel_sessions_are_the_frames_of_one_run(tmp_path: Path) -> None:
    graph = make_shot(tmp_path, 9)
    assert run(COMMAND, "render", graph).returncode == 0
    right = contents(tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    rules = tmp_path / "rules.json"
    rule = {"source_path_format": "POSIX", "source_path": "/mnt/show", "destination_path": str(tmp_path)}
    rules.write_text(json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": [rule]}))
    graph.write_text(graph.read_text().replace('"plate.####.exr"', '"/mnt/show/plate.####.exr"'))
    values = parameters(Graph=graph, Frames="1-9", Cache=tmp_path / "cache")
    sessions = [
        openjd(
            "run", template("render"), *values, "--step", "Render", "--path-mapping-rules", f"file://{rules}",
            "--tasks", json.dumps([{"Frames": chunk} for chunk in chunks]),
        )
        for chunks in (["1-5:2", "2-4:2"], ["6-9"])
    ]  # fmt: skip
    for session in sessions:
        said, _ = session.communicate()
        assert session.returncode == 0, said
        assert "openjd_progress: 100.0" in said
    # The workers of both sessions go with them, as soon as their interpreters have ended.
    end = time.monotonic() + 60
    while (left := workers(str(tmp_path / "cache"))) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left
    assert contents(tmp_path / "out") == right


@pytest.mark.slow
def test_a_shot_is_trained_prepared_and_rendered(tmp_path: Path) -> None:
    make_shot(tmp_path, 6)
    for name in ("shot.json", "shot.onnx"):
        (tmp_path / name).unlink()
    (tmp_path / "plate.0002.exr").rename(tmp_path / "key.exr")
    save_again = (tmp_path / "key.exr").read_bytes()
    (tmp_path / "plate.0002.exr").write_bytes(save_again)
    values = parameters(
        Folder=tmp_path, Painting=tmp_path / "key.exr", Keyframe=2, Steps=2, Frames="1-6", ChunkSize=3,
        Cache=tmp_path / "cache",
    )  # fmt: skip
    with openjd("run", template("shot"), *values) as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0, said
    assert sorted(contents(tmp_path / "painted")) == [f"painted.{frame:04d}.exr" for frame in range(1, 7)]
    assert list((tmp_path / "cache").rglob("*.artefact"))
    again = run(COMMAND, "render", tmp_path / "shot.json", "--json")
    assert '"whole": "1-6"' in again.stdout


@pytest.mark.slow
def test_two_workers_search_for_settings_and_the_best_are_reported(tmp_path: Path) -> None:
    make_shot(tmp_path, 3)
    values = parameters(
        Folder=tmp_path, Painting=tmp_path / "plate.0002.exr", Keyframe=2, Reference="plate.####.exr",
        TrainingTime="0.3", FrameTime="1h", Search="blocks=1", Workers=2, Trials=2, Threads=1, Cache=tmp_path / "cache",
    )  # fmt: skip
    workers = [
        openjd("run", template("tune"), *values, "--step", "Search", "--tasks", json.dumps([{"Worker": worker}]))
        for worker in (1, 2)
    ]
    for worker in workers:
        said, _ = worker.communicate()
        assert worker.returncode == 0, said
        assert "openjd_progress: 100.0" in said
    with openjd("run", template("tune"), *values, "--step", "Report") as process:
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0, said
    assert json.loads((tmp_path / "settings" / "settings.json").read_text())["network"]["blocks"] == 1


@pytest.mark.parametrize("name", ["render", "tune"])
def test_the_bundle_for_deadline_names_parameters_that_there_are(name: str) -> None:
    values = yaml.safe_load((FARM / name / "parameter_values.yaml").read_text())["parameterValues"]
    known = {each["name"] for each in yaml.safe_load(template(name).read_text())["parameterDefinitions"]}
    assert {value["name"] for value in values} <= known
    assets = yaml.safe_load((FARM / name / "asset_references.yaml").read_text())["assetReferences"]
    assert set(assets) == {"inputs", "outputs", "referencedPaths"}
