"""`fewstroke tune` as a person or a farm meets it: several workers, interrupts, kills, limits, and what comes of it."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest
from farms import COMMAND, ENVIRONMENT, events, run

from fewstroke.plugin.cli.main import main
from fewstroke.plugin.cli.tune import spread
from fewstroke.plugin.study import Outcome, Study
from fewstroke.plugin.tuner import Tuner

SMALL = ["--search", "patch=16", "--search", "batch=2", "--search", "blocks=1", "--search", "filters=8"]
"""One candidate, which takes milliseconds a step."""


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder "a shot" with five frames of footage, the right painting of each but the last, and a small one."""
    folder = tmp_path_factory.mktemp("a shot")
    canvas = np.random.default_rng(0).random((10, 16, 3)).repeat(6, 0).repeat(6, 1).astype(np.float32)

    def save(name: str, pixels: np.ndarray, kind: str) -> None:
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
        output = oiio.ImageOutput.create(str(folder / name))
        assert output is not None and output.open(str(folder / name), spec)
        assert output.write_image(np.ascontiguousarray(pixels, np.float32)) and output.close()

    for frame in range(1, 6):
        save(f"plate.{frame:04d}.exr", canvas[:51, frame : frame + 70], "half")
        if frame < 5:
            save(f"painted.{frame:04d}.png", 1 - canvas[:51, frame : frame + 70], "uint8")
    save("small.png", canvas[:20, :30], "uint8")
    return folder


def tuning(shot: Path, study: Path, *options: object, judged: tuple[object, ...] = ()) -> list[str]:
    """The command's arguments; judged by frames 3 and 4 of the reference unless something else is said."""
    by = judged or ("--reference", shot / "painted.####.png", "--frames", "3-4")
    common = ["--study", study, "--footage", shot / "plate.####.exr", "--keyframe", f"2={shot / 'painted.0002.png'}"]
    return ["tune", *map(str, [*common, *by, "--threads", 1, *options])]


def start(*arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.Popen([*COMMAND, *arguments, "--json"], stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(process: "subprocess.Popen[str]", event: str) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == event:
            return json.loads(line)
    raise AssertionError(f"the worker ended without saying '{event}'")


@pytest.mark.slow
def test_two_workers_one_killed_share_a_grid_whose_best_can_be_trained(shot: Path, tmp_path: Path) -> None:
    study, page = tmp_path / "a.tune", tmp_path / "page"
    grid = [*SMALL, "--search", "rate=0.0004,0.001,0.002", "--sampler", "grid", "--time", "0.4", "--patience", "6"]
    command = tuning(shot, study, *grid, "--report", page)
    with start(*command) as killed, start(*command) as living:
        wait_for(killed, "candidate")
        killed.send_signal(signal.SIGKILL)
        done = wait_for(living, "done")
        assert wait_for(living, "report")["settings"] == str(page / "settings.json")
    assert living.returncode == 0 and done["candidates"] == 3
    rates = [result.parameters["rate"] for result in Study(study).results()]
    assert sorted(rates) == [0.0004, 0.001, 0.002], "each once, none lost"
    assert all(result.outcome and result.outcome.loss is not None for result in Study(study).results())
    assert (page / "search.png").read_bytes().startswith(b"\x89PNG")
    text = (page / "index.html").read_text()
    assert "--config" in text and "plate.####.exr" in text and text.count("<tr>") > 6
    # The best settings are taken by `train`, and the model says so.
    settings = json.loads((page / "settings.json").read_text())
    assert settings["network"] == {"preset": "fast", "blocks": 1, "filters": 8}
    train = [
        "train",
        "--footage",
        shot / "plate.####.exr",
        "--keyframe",
        f"2={shot / 'painted.0002.png'}",
        "--steps",
        1,
    ]
    model = ["--config", page / "settings.json", "--out", tmp_path / "shot.onnx"]
    trained = run(COMMAND, *train, *model)
    assert trained.returncode == 0, trained.stderr
    facts = events(run(COMMAND, "info", tmp_path / "shot.onnx", "--json").stdout)[0]
    assert facts["network"]["blocks"] == 1 and facts["network"]["filters"] == 8 and facts["halo"] == 27
    assert facts["training"] == settings["training"] and facts["training"]["patch"] == 16


@pytest.mark.slow
def test_a_search_is_stopped_and_goes_on(
    shot: Path, tmp_path: Path, attempts: list[Tuner], capsys: pytest.CaptureFixture[str]
) -> None:
    command = tuning(shot, tmp_path / "a.tune", *SMALL, "--trials", 1, "--time", "10m")
    with start(*command) as process:
        candidate = wait_for(process, "candidate")
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 130 and "interrupted" in said
    study = Study(tmp_path / "a.tune")
    assert study.results() == [] and study.running() == 0
    assert tune(capsys, command)[0] == 0
    (result,) = study.results()
    assert result.parameters == candidate["parameters"] and len(attempts) == 1
    code, said = tune(capsys, [*command, "--time", "20m"])
    assert code == 2 and "--time 600.0, this command says 1200.0" in said


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Tuner]:
    """Whoever tries a candidate in this process, which then costs no time."""
    tried: list[Tuner] = []

    def attempt(self: Tuner, *arguments: Any, **others: Any) -> Outcome:
        tried.append(self)
        return Outcome(0.5, None, {"frame_seconds": 0.1, "l1": 0.2, "texture": 0.3, "psnr": 20.0, "steps": 1})

    monkeypatch.setattr(Tuner, "attempt", attempt)
    return tried


def tune(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    code = main(arguments)
    return code, capsys.readouterr().err


def test_what_is_too_slow_is_refused_without_training(
    shot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "a.tune"
    limited = tuning(shot, study, *SMALL, "--trials", 1, "--time", "10m", "--frame-time", "0.000001")
    code, said = tune(capsys, limited)
    assert code == 1 and "none of 1 candidates" in said and "the limit is 1e-06 s" in said.splitlines()[-1]
    for result in Study(study).results():
        assert result.outcome is not None and result.outcome.loss is None
        assert "s for a frame" in str(result.outcome.refused) and "steps" not in result.outcome.figures
    code, said = tune(capsys, ["tune", "--study", str(study), "--report", str(tmp_path / "page")])
    assert code == 1 and "no result yet" in said and not (tmp_path / "page").exists()


@pytest.mark.parametrize("held_out", [1, 2])
def test_what_is_held_out_is_not_learnt(
    shot: Path, tmp_path: Path, attempts: list[Tuner], capsys: pytest.CaptureFixture[str], held_out: int
) -> None:
    key = ("--keyframe", f"1={shot / 'painted.0001.png'}")
    code, said = tune(
        capsys, tuning(shot, tmp_path / "a.tune", *key, "--trials", 1, judged=("--holdout", held_out))
    )  # fmt: skip
    assert code == 0, said
    (tuner,) = attempts
    learnt = 3 - held_out
    assert [key.frame for key in tuner._keyframes] == [learnt]
    assert [view[0].frame for view in tuner._views] == [held_out]
    assert tuner._shot.guide is not None and tuner._shot.guide.keyframe == learnt
    assert tuner._shot.exemplars == (learnt,)
    # What is trained with the settings in the end is trained on all of them.
    assert [part for part in Study(tmp_path / "a.tune").command if "painted" in part] == [
        f"2={shot / 'painted.0002.png'}",
        f"1={shot / 'painted.0001.png'}",
    ]


def test_the_frames_of_a_reference_are_spread_and_unseen() -> None:
    assert spread(list(range(1, 50)), [1]) == [2, 14, 26, 37, 49]
    assert spread([1, 2, 3], [2]) == [1, 3] and spread([4], []) == [4] and spread([1], [1]) == []


BAD: dict[str, tuple[list[str], int, str]] = {
    "no footage": (["tune", "--study", "{t}/a"], 2, "--footage and --keyframe"),
    "report of nothing": (["tune", "--study", "{t}/a", "--report", "{t}/page"], 1, "there is no study"),
    "nothing to judge by": ([], 2, "--holdout"),
    "keyframe twice": (["--holdout", "2", "--keyframe", "2={d}/painted.0002.png"], 2, "twice"),
    "both to judge by": (["--holdout", "2", "--reference", "{d}/painted.####.png"], 2, "either --holdout"),
    "holdout that is not painted": (["--holdout", "3"], 2, "--holdout 3 has no --keyframe 3"),
    "all held out": (["--holdout", "2"], 2, "nothing to learn"),
    "frames of no reference": (["--holdout", "2", "--frames", "3"], 2, "--frames"),
    "reference that is not there": (["--reference", "{d}/none.####.png"], 1, r"none\.####\.png"),
    "judged by a keyframe": (["--reference", "{d}/painted.####.png", "--frames", "2-3"], 2, "frame 2 is a keyframe"),
    "judged by what is not painted": (["--reference", "{d}/painted.####.png", "--frames", "5"], 2, "frame 5"),
    "judged by nothing": (["--reference", "{d}/painted.0002.png", "--frames", "7"], 2, "frame 7"),
    "painting of another size": (["--reference", "{d}/painted.####.png", "--keyframe", "1={d}/small.png"], 1, "small"),
    "search of nothing": (["--reference", "{d}/painted.####.png", "--search", "size=3"], 2, "size=3"),
    "no time": (["--reference", "{d}/painted.####.png", "--time", "0"], 2, "greater than 0"),
    "study in no folder": (["--reference", "{d}/painted.####.png", "--study", "{t}/none/a"], 1, "none/a cannot be"),
    "study that is none": (["--reference", "{d}/painted.####.png", "--study", "{d}/small.png"], 1, "no study"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(shot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    given, code, named = BAD[case]
    given = [argument.format(d=shot, t=tmp_path) for argument in given]
    good = tuning(shot, tmp_path / "a", "--trials", "1", "--time", "0.1", judged=("--seed", 0))
    got, said = tune(capsys, given if given[:1] == ["tune"] else [*good, *given])
    lines = said.strip().splitlines()
    assert got == code, said
    assert len(lines) == 1 and lines[0].startswith("fewstroke: ") and re.search(named, lines[0]), said
    assert not list(tmp_path.rglob("page")) and not list(tmp_path.rglob("*.turn*"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("this is no JSON", "no JSON"),
        ("[1]", "network and training"),
        ('{"training": {"patches": 3}}', "no parameter 'patches'"),
        ('{"training": {"patch": 30}}', "multiple of 4"),
        ('{"network": {"preset": "paper"}}', "leave --preset out"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(
    shot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "s.json").write_text(text)
    train = ["train", "--footage", shot / "plate.####.exr", "--keyframe", f"2={shot / 'painted.0002.png'}"]
    options = ["--out", tmp_path / "a.onnx", "--config", tmp_path / "s.json", "--preset", "fast"]
    code, error = tune(capsys, [str(part) for part in (*train, *options)])
    assert code == 2 and "s.json" in error and said in error and len(error.strip().splitlines()) == 1, error
    code, error = tune(capsys, [str(part) for part in (*train, *options[:2], "--config", tmp_path / "none.json")])
    assert code == 2 and "none.json cannot be read" in error


@pytest.mark.parametrize("package", ["optuna", "matplotlib"])
def test_a_missing_package_is_one_sentence(shot: Path, tmp_path: Path, package: str) -> None:
    text = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
    (tmp_path / f"{package}.py").write_text(text)
    done = run(COMMAND, "tune", "--study", shot / "small.png", "--report", tmp_path / "p", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"needs the package {package}" in done.stderr and "pip install 'fewstroke[tune]'" in done.stderr
