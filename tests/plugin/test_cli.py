"""The command as a person or a farm meets it: as a process, with exit codes, lines and files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest

Save = Callable[..., Path]
Load = Callable[[Path], np.ndarray]
COMMAND = [sys.executable, "-m", "fewstroke.plugin.cli"]


def fewstroke(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder "a shot" with four frames of footage, a painting of the second, a mask, and a model trained on it."""
    folder = tmp_path_factory.mktemp("a shot")
    rng = np.random.default_rng(0)
    canvas = rng.random((10, 16, 3)).repeat(6, 0).repeat(6, 1).astype(np.float32)

    def save(name: str, pixels: np.ndarray, kind: str) -> None:
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
        output = oiio.ImageOutput.create(str(folder / name))
        assert output is not None and output.open(str(folder / name), spec)
        assert output.write_image(np.ascontiguousarray(pixels, np.float32)) and output.close()

    for frame in range(1, 5):
        save(f"plate.{frame:04d}.exr", canvas[:51, frame : frame + 70], "half")
    save("paint.png", 1 - canvas[:51, 2:72], "uint8")
    save("mask.png", np.ones((51, 70, 1), np.float32), "uint8")
    save("black.png", np.zeros((51, 70, 1), np.float32), "uint8")
    save("small.png", canvas[:20, :30], "uint8")
    done = fewstroke(*training(folder), "--steps", 3)
    assert done.returncode == 0, done.stderr
    return folder


def training(folder: Path, **changes: object) -> list[object]:
    options = {
        "--footage": folder / "plate.####.exr",
        "--keyframe": f"2={folder / 'paint.png'}",
        "--out": folder / "shot.onnx",
        **{f"--{name}": value for name, value in changes.items()},
    }
    return ["train", *(part for pair in options.items() for part in pair)]


def rendering(folder: Path, **changes: object) -> list[object]:
    options = {
        "--model": folder / "shot.onnx",
        "--footage": folder / "plate.####.exr",
        "--out": folder / "out" / "o.####.exr",
        **{f"--{name}": value for name, value in changes.items()},
    }
    return ["render", *(part for pair in options.items() for part in pair)]


def test_train_then_render_then_info(shot: Path) -> None:
    done = fewstroke(*rendering(shot, frames="4,1-2"), "--json")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    lines = events(done.stdout)
    assert {line["frame"] for line in lines if line["event"] == "frame"} == {1, 2, 4}
    assert lines[-1]["event"] == "done" and lines[-1]["frames"] == 3
    assert sorted(path.name for path in (shot / "out").iterdir()) == ["o.0001.exr", "o.0002.exr", "o.0004.exr"]
    facts = events(fewstroke("info", shot / "shot.onnx", "--json").stdout)[0]
    assert facts["steps"] == 3 and facts["keyframes"][0]["frame"] == 2 and facts["guide"]["keyframe"] == 2
    assert facts["exemplars"] == [2] and facts["channels"][-3:] == ["s", "t", "confidence"]
    assert "keyframes" in fewstroke("info", shot / "shot.onnx").stderr


def test_json_may_stand_anywhere_and_bars_stay_off_pipes(shot: Path) -> None:
    for arguments in (["--json", *rendering(shot, frames=1)], [*rendering(shot, frames=1), "--json"]):
        assert events(fewstroke(*arguments).stdout)[-1]["event"] == "done"
    plain = fewstroke(*rendering(shot, frames=1))
    assert "\x1b" not in plain.stderr and plain.stdout == ""


def test_the_same_seed_and_steps_write_the_same_model(shot: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert fewstroke(*training(shot, out=tmp_path / f"{name}" / "shot.onnx", steps=3)).returncode == 0
    assert (tmp_path / "one" / "shot.onnx").read_bytes() == (tmp_path / "two" / "shot.onnx").read_bytes()


def test_resume_ends_where_one_run_would_have(shot: Path, tmp_path: Path) -> None:
    straight, parts = tmp_path / "a" / "shot.onnx", tmp_path / "b" / "shot.onnx"
    assert fewstroke(*training(shot, out=straight, steps=5)).returncode == 0
    assert fewstroke(*training(shot, out=parts, steps=2)).returncode == 0
    done = fewstroke(*training(shot, out=parts, steps=5), "--resume", "--json")
    assert events(done.stdout)[0] == {"event": "resumed", "step": 2, "unchanged": True}
    assert straight.read_bytes() == parts.read_bytes()


def test_a_forgotten_resume_loses_no_checkpoint(shot: Path, tmp_path: Path) -> None:
    model = tmp_path / "shot.onnx"
    assert fewstroke(*training(shot, out=model, steps=2)).returncode == 0
    learnt = (tmp_path / "shot.checkpoint.safetensors").read_bytes()
    assert fewstroke(*training(shot, out=model, steps=1)).returncode == 0
    assert (tmp_path / "shot.checkpoint.previous.safetensors").read_bytes() == learnt


def test_training_without_pytorch_is_one_sentence(shot: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    done = fewstroke(*training(shot, out=tmp_path / "new.onnx", steps=1), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "needs the package torch" in done.stderr and not (tmp_path / "new.onnx").exists()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_learnt(shot: Path, tmp_path: Path, kind: signal.Signals) -> None:
    model = tmp_path / "shot.onnx"
    command = [*COMMAND, *map(str, training(shot, out=model, time="10m")), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "step"
        process.send_signal(kind)
        lines = events(process.stdout.read())
    assert process.returncode == 130
    assert lines[-1]["event"] == "model" and lines[-1]["interrupted"] is True and lines[-1]["step"] >= 1
    assert fewstroke(*rendering(shot, model=model, frames=1, out=tmp_path / "o.####.png")).returncode == 0


def test_an_interrupted_render_leaves_only_whole_frames(shot: Path, tmp_path: Path) -> None:
    command = [*COMMAND, *map(str, rendering(shot, out=tmp_path / "o.####.exr", jobs=1)), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait()
        assert time.monotonic() - start < 20  # a second, on a machine that does nothing else
    assert process.returncode in (0, 130)
    for path in tmp_path.iterdir():
        assert path.suffix == ".exr" and not oiio.ImageBuf(str(path)).has_error


BAD: dict[str, tuple[list[str], int, str]] = {
    "missing keyframe footage": (["train", "--keyframe", "9={d}/paint.png"], 1, r"frame 9"),
    "missing painting": (["train", "--keyframe", "2={d}/none.png"], 1, r"none\.png"),
    "painting of another size": (["train", "--keyframe", "2={d}/small.png"], 1, r"small\.png"),
    "empty mask": (["train", "--keyframe", "2={d}/paint.png", "--mask", "2={d}/black.png"], 1, r"black\.png"),
    "mask without painting": (["train", "--keyframe", "2={d}/paint.png", "--mask", "3={d}/mask.png"], 2, "--mask 3"),
    "keyframe without number": (["train", "--keyframe", "{d}/paint.png"], 2, "1001=paint.png"),
    "time that is none": (["train", "--keyframe", "2={d}/paint.png", "--time", "soon"], 2, "soon"),
    "unknown preset": (["train", "--keyframe", "2={d}/paint.png", "--preset", "best"], 2, "best"),
    "unknown colour space": (["train", "--keyframe", "2={d}/paint.png", "--paint-space", "sRGBB"], 1, "sRGBB"),
    "nothing to resume": (["train", "--keyframe", "2={d}/paint.png", "--out", "{t}/new.onnx", "--resume"], 1, "resume"),
    "training device that is none": (["train", "--keyframe", "2={d}/paint.png", "--device", "tpu"], 2, "tpu"),
    "no VGG weights": (["train", "--keyframe", "2={d}/paint.png", "--vgg", "{d}/none.pth"], 1, r"none\.pth"),
    "model with another name": (["train", "--keyframe", "2={d}/paint.png", "--out", "{t}/model.pt"], 2, "onnx"),
    "no footage at all": (["render", "--footage", "{d}/nothing.####.exr"], 1, r"nothing\.####\.exr"),
    "missing frame": (["render", "--frames", "3-5"], 1, "frame 5"),
    "empty range": (["render", "--frames", ""], 2, "empty"),
    "range that is none": (["render", "--frames", "a-b"], 2, "a-b"),
    "one file for many frames": (["render", "--out", "{t}/out.exr"], 2, "####"),
    "unknown file type": (["render", "--out", "{t}/out.####.doc"], 2, r"\.exr"),
    "model that is none": (["render", "--model", "{d}/paint.png"], 1, r"paint\.png"),
    "model that is missing": (["render", "--model", "{d}/none.onnx"], 1, r"none\.onnx"),
    "unknown device": (["render", "--device", "tpu"], 2, "tpu"),
    "strength out of range": (["render", "--strength", "2"], 2, "strength"),
    "output over the footage": (["render", "--out", "{d}/plate.####.exr"], 2, "footage"),
    "output folder is a file": (["render", "--out", "{d}/paint.png/o.####.exr"], 1, r"paint\.png"),
    "unknown option": (["render", "--fast"], 2, "--fast"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_an_exit_code_and_no_file(shot: Path, tmp_path: Path, case: str) -> None:
    arguments, code, named = BAD[case]
    command, *given = [argument.format(d=shot, t=tmp_path) for argument in arguments]
    good = {
        "train": ["--footage", shot / "plate.####.exr", "--out", tmp_path / "new.onnx", "--steps", 1],
        "render": rendering(shot, out=tmp_path / "o.####.exr")[1:],
    }
    done = fewstroke(command, *good[command], *given)  # the later of two options wins
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("fewstroke: "), done.stderr
    assert re.search(named, lines[0]), lines[0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "something was written"


def test_damaged_footage_names_file_and_frame(shot: Path, tmp_path: Path, save: Save) -> None:
    for frame in (1, 2, 3):
        shutil.copy(shot / f"plate.{frame:04d}.exr", tmp_path)
    truncated = tmp_path / "plate.0003.exr"
    truncated.write_bytes(truncated.read_bytes()[:-200])
    pixels = np.full((51, 70, 3), 0.5)
    pixels[5, 7, 0], pixels[9, 9, 1] = np.nan, np.inf
    save("plate.0002.exr", pixels, "half")
    (tmp_path / "plate.0001.exr").write_text("this is no picture")
    for frame, said in ((1, "0001"), (2, "2 NaN or infinite"), (3, "0003")):
        plate, out = tmp_path / "plate.####.exr", tmp_path / "o.####.exr"
        done = fewstroke(*rendering(shot, footage=plate, out=out, frames=frame))
        assert done.returncode == 1 and said in done.stderr and f"frame {frame}" in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.glob("o.*")) and not list(tmp_path.glob(".*"))


def test_errors_are_events_for_programs(shot: Path) -> None:
    done = fewstroke(*rendering(shot, frames="99"), "--json")
    assert done.returncode == 1 and done.stderr == ""
    (error,) = events(done.stdout)
    assert error["event"] == "error" and error["exit_code"] == 1 and "frame 99" in error["message"]


def test_a_matte_limits_training_and_painting(shot: Path, tmp_path: Path, save: Save, load: Load) -> None:
    matte = np.zeros((51, 70, 1))
    matte[:, :40] = 1
    for frame in range(1, 5):
        save(f"matte.{frame:04d}.png", matte, "uint8")
    pattern = tmp_path / "matte.####.png"
    model = tmp_path / "shot.onnx"
    assert fewstroke(*training(shot, out=model, matte=pattern, steps=2)).returncode == 0
    done = fewstroke(*rendering(shot, model=model, matte=pattern, frames=3, out=tmp_path / "o.####.exr"))
    assert done.returncode == 0, done.stderr
    got, plate = load(tmp_path / "o.0003.exr"), load(shot / "plate.0003.exr")
    assert np.array_equal(got[:, 40:], plate[:, 40:]) and not np.array_equal(got[:, :40], plate[:, :40])
    unmatted = fewstroke(*rendering(shot, model=model, frames=3, out=tmp_path / "p.####.exr"))
    assert unmatted.returncode == 1 and "matte" in unmatted.stderr


def test_motion_vectors_take_the_place_of_estimated_motion(shot: Path, tmp_path: Path, save: Save, load: Load) -> None:
    # Content moves by one pixel to the left from frame to frame.
    values = np.tile(np.array([-1, 0, 1, 0], np.float32), (51, 70, 1))
    for frame in range(1, 5):
        save(f"motion.{frame:04d}.exr", values, "float", ["forward.u", "forward.v", "backward.u", "backward.v"])
    pattern, model = tmp_path / "motion.####.exr", tmp_path / "shot.onnx"
    assert fewstroke(*training(shot, out=model, vectors=pattern, steps=2)).returncode == 0
    rendered = rendering(shot, model=model, frames="4,1", out=tmp_path / "o.####.exr")
    assert fewstroke(*rendered, "--vectors", pattern, "--steadiness", 0.5).returncode == 0
    without = fewstroke(*rendered)
    assert without.returncode == 1 and "trained with motion vectors" in without.stderr
    common = ["--footage", shot / "plate.####.exr", "--vectors", pattern, "--frames"]
    assert fewstroke("filter", *common, "4", "--out", tmp_path / "f.####.exr").returncode == 0
    assert fewstroke("guide", *common, "2,4", "--keyframe", 2, "--out", tmp_path / "g.####.exr").returncode == 0
    key, later = (load(tmp_path / f"g.{frame:04d}.exr") for frame in (2, 4))
    assert np.allclose(later[:, :-12], key[:, 2:-10], atol=0.02)
    assert fewstroke("stmap", *common, "4", "--keyframe", 2, "--out", tmp_path / "s.####.exr").returncode == 0
    back = load(tmp_path / "s.0004.exr")[:, :-12, 0] * key.shape[1] - 0.5
    assert np.allclose(back, np.arange(key.shape[1] - 12) + 2, atol=0.1)
    (tmp_path / "motion.0003.exr").unlink()
    gap = fewstroke("guide", *common, "4", "--keyframe", 2, "--out", tmp_path / "h.####.exr")
    assert gap.returncode == 1 and "3" in gap.stderr and "motion" in gap.stderr and "Traceback" not in gap.stderr


def test_filter_and_guide_are_sequences_of_their_own(shot: Path, tmp_path: Path, load: Load) -> None:
    footage = ["--footage", shot / "plate.####.exr", "--frames", "2-3"]
    done = fewstroke("filter", *footage, "--out", tmp_path / "f.####.exr", "--radius", 1)
    assert done.returncode == 0, done.stderr
    done = fewstroke("guide", *footage, "--keyframe", 2, "--out", tmp_path / "g.####.exr", "--json")
    assert done.returncode == 0 and events(done.stdout)[-1]["frames"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}.000{i}.exr" for n in "fg" for i in (2, 3)]
    guide = load(tmp_path / "g.0002.exr")
    assert guide.shape == (51, 70, 3) and 0 <= guide.min() < guide.max() <= 1
    assert fewstroke("stmap", *footage, "--keyframe", 2, "--out", tmp_path / "s.####.exr").returncode == 0
    stmap = load(tmp_path / "s.0002.exr")
    assert np.allclose(stmap[:, :, 0], (np.arange(70) + 0.5) / 70, atol=1e-5), "half floats would be off by 2e-4"
    assert np.allclose(stmap[:, :, 1], 1 - (np.arange(51)[:, None] + 0.5) / 51, atol=1e-5)


def test_strength_zero_filters_nothing(shot: Path, tmp_path: Path, load: Load) -> None:
    out = tmp_path / "f.####.exr"
    done = fewstroke("filter", "--footage", shot / "plate.####.exr", "--frames", 2, "--out", out, "--strength", 0)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(load(tmp_path / "f.0002.exr"), load(shot / "plate.0002.exr"))


def test_the_cache_is_shown_and_cleared(shot: Path, tmp_path: Path) -> None:
    cache = {"FEWSTROKE_CACHE": str(tmp_path / "cache")}
    out = tmp_path / "g.####.exr"
    footage = ["--footage", shot / "plate.####.exr", "--frames", 3]
    done = fewstroke("guide", *footage, "--keyframe", 1, "--out", out, **cache)
    assert done.returncode == 0, done.stderr
    (shown,) = events(fewstroke("cache", "--json", **cache).stdout)
    assert shown["count"] > 0 and shown["bytes"] > 0
    assert "deleted" in fewstroke("cache", "--clear", **cache).stderr
    assert events(fewstroke("cache", "--json", **cache).stdout)[0]["count"] == 0
