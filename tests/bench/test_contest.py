"""The contest as a command, on a shot of six tiny frames."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

BENCH = Path(__file__).resolve().parent
SCORER = """
import json, pathlib, sys
folder, pattern = sys.argv[1:3]
frames = sorted(int(path.stem) for path in pathlib.Path(folder, "painted").glob("*.png"))
assert all(pathlib.Path(pattern % frame).is_file() for frame in frames)
print(json.dumps({"psnr": 20.0, "ssim": 0.5, "swd": 100.0, "flicker": 1.0}))
"""
STAND_IN = "import shutil, sys; shutil.copy(*sys.argv[1:3])"


@pytest.fixture
def data(tmp_path: Path, rng: np.random.Generator) -> Path:
    """One rendered shot, "tiny", and the program that judges: data/, tools/score.py."""
    folder = tmp_path / "data" / "tiny"
    canvas = rng.integers(0, 255, (12, 20, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    for kind in ("input", "painted", "mask", "flow"):
        (folder / kind).mkdir(parents=True)
    for frame in range(1, 7):
        plate = canvas[:48, frame : frame + 64]
        cv2.imwrite(str(folder / f"input/{frame:04d}.jpg"), plate)
        cv2.imwrite(str(folder / f"painted/{frame:04d}.png"), 255 - plate)
        cv2.imwrite(str(folder / f"mask/{frame:04d}.png"), np.full((48, 64), 255, np.uint8))
        np.savez(folder / f"flow/{frame:04d}.npz", flow=np.zeros((48, 64, 2)), valid=np.ones((48, 64), bool))
    (folder / "meta.json").write_text('{"key_frame_single": [1]}')
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "score.py").write_text(SCORER)
    return tmp_path / "data"


def command(data: Path, *arguments: str) -> list[str]:
    out = str(data.parent / "out")
    return [sys.executable, str(BENCH / "contest.py"), "--data", str(data), "--out", out, "--threads", "1", *arguments]


def rows(data: Path) -> dict[str, list[str]]:
    """The table: contestant -> its cells."""
    lines = (data.parent / "out" / "table.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: others for name, *others in cells[2:]}


@pytest.mark.slow
def test_a_contest_can_be_stopped_and_goes_on_until_table_and_page_are_whole(data: Path) -> None:
    out = data.parent / "out"
    names = ("--only", "colour", "ebsynth", "full-frame")
    missing = command(data, *names, "--steps", "1000000", "--ebsynth", "no-such-program {footage} {out}")
    with subprocess.Popen(missing, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        while not (out / "tiny/full-frame/log.txt").exists() and running.poll() is None:
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does; the contestant must not go on alone
        _, said = running.communicate()
    assert running.returncode == 130, said
    table = rows(data)
    assert list(table) == ["colour", "ebsynth"]
    assert table["ebsynth"][0] == "skipped: no-such-program is not there; give --ebsynth"
    floor = (out / "tiny/colour/result.json").stat().st_mtime_ns

    stand_in = data.parent / "stand_in.py"
    stand_in.write_text(STAND_IN)
    there = f"{shlex.join([sys.executable, str(stand_in)])} {{style}} {{out}}"
    again = subprocess.run(
        command(data, *names, "plain patch=16", "--steps", "2", "--halvings", "1", "--ebsynth", there),
        capture_output=True, text=True,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout
    assert (out / "tiny/colour/result.json").stat().st_mtime_ns == floor
    assert "colour" not in again.stderr
    table = rows(data)
    assert list(table) == ["colour", "ebsynth", "full-frame", "plain patch=16"]
    assert all(cells[0] == "20.0" for cells in table.values()), table
    # Two steps of forty patches of 32x32 are as many pixels as 27 frames of 48x64, or 8 batches of patches of 16x16.
    assert [cells[4] for cells in table.values()] == ["0", "0", "27", "8"]
    page = (out / "page.html").read_text()
    # Near and far: the footage, four contestants, the painting. A plot of the scores over time, and one of the study.
    assert len(re.findall("data:image/jpeg", page)) == 2 * 6
    assert len(re.findall("data:image/png", page)) == 2
    assert {path.name for path in (out / "plots").iterdir()} == {"tiny.png", "study-patch.png"}
