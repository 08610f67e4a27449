"""A shot for farms: footage, a network that nobody trained, and the saved graph that paints the one with the other."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
from networks import facts, random_generator

from fewstroke.engine.export import export_model
from fewstroke.nodes.graph import save_graph
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.shot import Shot, stylized
from fewstroke.nodes.write import Write, WriteParams

COMMAND = [sys.executable, "-m", "fewstroke.plugin.cli"]
TASK = [sys.executable, "-m", "fewstroke.plugin.task"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def make_shot(folder: Path, frames: int, width: int = 70, height: int = 51, *, prefilter: bool = True) -> Path:
    """The graph, `shot.json`; beside it plate.####.exr, shot.onnx, and where its frames go, `out/`."""
    rng = np.random.default_rng(0)
    canvas = rng.random((height, width + frames, 3)).astype(np.float32)
    for frame in range(1, frames + 1):
        save(folder / f"plate.{frame:04d}.exr", canvas[:, frame : frame + width])
    generator = random_generator()
    (folder / "shot.onnx").write_bytes(export_model(generator, facts(generator)))
    shot = Shot(str(folder / "plate.####.exr"), prefilter=PrefilterParams(radius=1) if prefilter else None)
    painted = stylized(shot, str(folder / "shot.onnx"))
    save_graph(Write(WriteParams(str(folder / "out" / "o.####.exr")), image=painted), folder / "shot.json")
    return folder / "shot.json"


def save(path: Path, pixels: np.ndarray) -> None:
    output = oiio.ImageOutput.create(str(path))
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], "half")
    assert output is not None and output.open(str(path), spec)
    assert output.write_image(np.ascontiguousarray(pixels)) and output.close()


def run(command: Sequence[str], *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT, **environment},
    )


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
