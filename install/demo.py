"""The demo: one painted frame, a model, the whole shot, and a contact sheet that shows them. See demo.sh.

It runs the same commands that a person would type, and prints them.
"""

import os
import random
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from fewstroke.engine import color
from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.engine.sessions import read_info
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import render_frames

ROOT = Path(__file__).resolve().parent.parent
FOOTAGE = "install/footage/plate.####.exr"
PAINTING = "install/footage/painting.1001.png"
KEYFRAME = 1001
OUT = Path("demo-output")
MODEL = OUT / "shot.onnx"
RESULT = OUT / "frames" / "painted.####.exr"
SHEET = OUT / "contact-sheet.png"
TRAINING_SECONDS = 30
COLUMNS = 4


def main() -> None:
    os.chdir(ROOT)  # so that the commands on the screen are short, and right when typed there
    OUT.mkdir(exist_ok=True)
    frames = Read(ReadParams(FOOTAGE)).frames()
    cores = os.cpu_count()

    print(f"\n1/3  Learning from one painted frame, {TRAINING_SECONDS} s on {cores} cores. Ctrl-C stops.\n")
    training = ("--footage", FOOTAGE, "--keyframe", f"{KEYFRAME}={PAINTING}", "--out", str(MODEL))
    fewstroke("train", *training, "--time", f"{TRAINING_SECONDS}s")

    print(f"\n2/3  Painting {len(frames)} frames in random order on all cores.\n")
    shuffled = FrameRange.of(random.Random(0).sample(frames.frames, len(frames)))
    start = time.monotonic()
    fewstroke("render", "--model", str(MODEL), "--footage", FOOTAGE, "--frames", str(shuffled), "--out", str(RESULT))
    seconds = time.monotonic() - start

    print("\n3/3  Drawing the contact sheet.")
    info = read_info(MODEL)
    draw_sheet(
        [frames.frames[round(i * (len(frames) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)],
        [
            f"Frame {KEYFRAME} is the only one that was painted.",
            f"Training: {info.steps} steps in {TRAINING_SECONDS} s on {cores} cores.",
            f"Rendering: {len(frames)} frames in {seconds:.0f} s, in random order, each by itself.",
            f"Model: {MODEL.name}, {MODEL.stat().st_size / 1e6:.1f} MB; rendering needs no PyTorch.",
        ],
    )
    print(f"""
Look at      {SHEET.absolute()}
The frames   {RESULT.absolute()} (half float, scene-linear)
The model    {MODEL.absolute()}

What cannot be copied from the painting gets better with time. To go on learning for five minutes, and then to paint
again with the command above:

    cd {shlex.quote(str(ROOT))}
    {shown("train", *training, "--resume", "--time", "5m")}
""")


def fewstroke(*arguments: str) -> None:
    """Runs the command as a person would; ends where it ends badly, having said why itself."""
    print(f"$ {shown(*arguments)}\n", flush=True)
    # Ctrl-C reaches the command, too, which then keeps what it has: wait for that instead of killing it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    program = Path(sysconfig.get_path("scripts")) / "fewstroke"
    code = subprocess.run([program, *arguments]).returncode
    signal.signal(signal.SIGINT, before)
    if code:
        sys.exit(code)


def shown(*arguments: str) -> str:
    return shlex.join([".venv/bin/fewstroke", *arguments])


# ---- the sheet

MARGIN, GAP, CAPTION = 48, 16, 44
PAPER, INK, FAINT, ACCENT = (0.11, 0.11, 0.11), (0.86, 0.86, 0.86), (0.55, 0.55, 0.55), (1.0, 0.75, 0.25)
"""Colours in sRGB; the paper is a dark neutral grey, against which pictures are judged."""


def draw_sheet(frames: list[int], facts: list[str]) -> None:
    """Rows: footage, painting, result; a column per frame, every picture at its full size."""
    footage, result = pictures(FOOTAGE, frames), pictures(str(RESULT), frames)
    height, width, _ = footage[KEYFRAME].shape
    left = {frame: MARGIN + column * (width + GAP) for column, frame in enumerate(frames)}
    top = [MARGIN + CAPTION + row * (height + GAP + CAPTION) for row in range(3)]
    sheet = np.empty((top[2] + height + MARGIN, left[frames[-1]] + width + MARGIN, 3), np.float32)
    sheet[:] = PAPER

    for row in (0, 1):
        x, y, edge = left[KEYFRAME], top[row], 5
        sheet[y - edge : y + height + edge, x - edge : x + width + edge] = ACCENT
    for row, row_pictures in enumerate([footage, pictures(PAINTING, [KEYFRAME]), result]):
        for frame, pixels in row_pictures.items():
            sheet[top[row] : top[row] + height, left[frame] : left[frame] + width] = pixels

    canvas = oiio.ImageBuf(sheet)
    for frame in frames:
        write(canvas, left[frame] + width, top[0] - 14, str(frame), FAINT, align="right")
    captions = ("Footage", "Painting", "Result")
    for row, caption in enumerate(captions):
        write(canvas, MARGIN, top[row] - 14, caption, INK, bold=True)
    write(canvas, left[KEYFRAME] + width, top[1] - 14, f"keyframe {KEYFRAME}", ACCENT, align="right")
    for line, fact in enumerate(facts):
        y = top[1] + height // 2 + round((line - (len(facts) - 1) / 2) * 46)
        write(canvas, left[frames[1]] + MARGIN, y + 10, fact, FAINT if line else INK)
    if not canvas.write(str(SHEET), "uint8"):
        sys.exit(f"demo: {SHEET} cannot be written: {canvas.geterror()}")


def pictures(path: str, frames: Iterable[int]) -> dict[int, np.ndarray]:
    """Frame -> sRGB pixels (H, W, 3), for display."""
    node = Read(ReadParams(path))
    read: dict[int, Image] = {event.frame: event.result for event in render_frames(node, frames)}
    return {frame: color.convert(image.rgb, node.working(), color.SRGB).clip(0, 1) for frame, image in read.items()}


def write(
    canvas: oiio.ImageBuf, x: int, y: int, text: str, ink: tuple[float, ...], *, align: str = "left", bold: bool = False
) -> None:
    """Text on a base line y, with a font that OpenImageIO brings along."""
    font = "DroidSans-Bold" if bold else "DroidSans"
    if not oiio.ImageBufAlgo.render_text(canvas, x, y, text, 28, font, ink, alignx=align):
        raise RuntimeError(canvas.geterror())


if __name__ == "__main__":
    main()
