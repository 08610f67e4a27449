"""What is painted where the light of a shot changes, with `Light` (nodes/light.py) and without.

    python tests/bench/light.py SEQUENCE_FOLDER... [--steps 480] [--out FOLDER]

A sequence has input/####.jpg and painted/####.png, the first of which is learnt. Its footage is brought into another
light from frame to frame, scene-linear, and saved as 8-bit PNG. For four frames a table tells the psnr of what is
painted against the right painting, both in one light: the painting is divided by the frame's light, and made as bright
as the right one in the median, since how bright it ought to be is the painter's to say. The last row of each shot is of
the footage as it is. With --out the frames of both are kept beside each other: without, with, right.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fewstroke.engine import color
from fewstroke.engine.train import Budget
from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.shot import Painting, Shot, load_keyframes
from fewstroke.nodes.stylize import Stylize, StylizeParams
from fewstroke.plugin.trainer import Trainer

LIGHTS: dict[str, Callable[[float], float | np.ndarray]] = {
    "fades by four stops": lambda t: 2.0 ** (-4 * t),
    "fades to 1/250": lambda t: 250.0**-t,
    "a lamp goes out, 2.7 stops": lambda t: 1.0 if t < 0.2 else 0.15,
    "gets brighter by two stops, and clips": lambda t: 2.0 ** (2 * t),
    "turns red, as at dusk": lambda t: np.array([0.8, 0.3, 0.15]) ** t,
    "flickers by a stop": lambda t: float(2.0 ** np.sin(84 * t)),
    "as it is": lambda t: 1.0,
}


def linear(path: Path) -> np.ndarray:
    """A picture, scene-linear RGB."""
    picture = cv2.imread(str(path))
    assert picture is not None, f"{path} cannot be read"
    return color.decode(picture[..., ::-1].astype(np.float32) / 255)


def codes(linear: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(color.encode(linear) * 255), 0, 255).astype(np.uint8)


def psnr(painted: np.ndarray, right: np.ndarray) -> float:
    """Of scene-linear pictures, float32 (H, W, 3), the first made as bright as the second."""
    bright, wanted = (np.maximum(picture.mean(axis=2), 1e-4) for picture in (painted, right))
    same = painted * np.float32(np.median(wanted / bright))
    difference = np.clip(color.encode(same), 0, 1) - np.clip(color.encode(right), 0, 1)
    return float(10 * np.log10(1 / np.mean(np.square(difference))))


def report(name: str, sequence: Path, steps: int, folder: Path, out: Path | None) -> None:
    count = len(list((sequence / "input").glob("*.jpg")))
    lights = {frame: np.float32(LIGHTS[name]((frame - 1) / (count - 1))) for frame in range(1, count + 1)}
    for frame, light in lights.items():
        picture = codes(linear(sequence / f"input/{frame:04d}.jpg") * light)
        cv2.imwrite(str(folder / f"plate.{frame:04d}.png"), picture[..., ::-1])
    shot = Shot(str(folder / "plate.####.png"), prefilter=PrefilterParams(), guide=GuideParams(1))
    paintings = [Painting(1, str(sequence / "painted/0001.png"))]
    trainer = Trainer(shot, paintings, load_keyframes(shot, paintings), folder / "m.onnx")
    for _ in trainer.run(Budget(steps=steps)):
        pass
    trainer.finish()
    evaluate, cells = Evaluator(disk=DiskCache(folder / "cache")), []
    shown = {"source": shot.source_node, "guide": shot.guide_node, "stmap": shot.stmap_node}
    for frame in (count // 4, count // 2, count * 3 // 4, count):
        right = linear(sequence / f"painted/{frame:04d}.png")
        figures, pictures = [], []
        for linked in (None, shot.light_node):
            params = StylizeParams(str(folder / "m.onnx"))
            painted = evaluate(Stylize(params, footage=shot.footage_node, light=linked, **shown), frame).pixels
            figures.append(f"{psnr(painted / lights[frame], right):.1f}")
            pictures.append(codes(painted))
        cells.append(f"{lights[frame].mean():.3f}: {figures[0]}, {figures[1]}")
        if out is not None:
            pictures.append(codes(right * lights[frame]))
            kept = f"{sequence.name} {name} {frame:04d}.png"
            cv2.imwrite(str(out / kept), np.concatenate(pictures, axis=1)[..., ::-1])
    print(f"| `{sequence.name}` {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for sequence in arguments.sequences:
        if not (sequence / "input/0001.jpg").exists() or not (sequence / "painted/0001.png").exists():
            parser.error(f"{sequence} needs input/0001.jpg and painted/0001.png, and so on")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    print("| light: psnr without, with | a quarter of the shot | half | three quarters | last |")
    print("| --- | --- | --- | --- | --- |")
    for sequence in arguments.sequences:
        for name in LIGHTS:
            with tempfile.TemporaryDirectory() as folder:
                report(name, sequence, arguments.steps, Path(folder), arguments.out)


if __name__ == "__main__":
    main()
