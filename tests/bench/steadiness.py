"""How steady a painted shot is, and what for: the table of the README's section on flicker.

    python tests/bench/steadiness.py SHOT_FOLDER... [--steps 1000] [--out FOLDER] [--only NAME...]

Trains the preset `fast` on the shot's key frames once for each way of showing it the footage, paints every frame, and
prints, over all frames but the keys: psnr (dB, against the painting), swd (sliced Wasserstein distance of 7x7 patches
over three octaves, x1000: whether the texture is the painter's), and flicker (mean change of a frame against the one
before moved along the flow, in 1/255, less what the painting itself changes). The ways:

    plain          the footage as it is
    prefilter, guide, both; the guide with its exemplar, as it is by default
    lone           both, but no exemplar: the guide layer as in the paper
    coordinates    prefilter, and pixel coordinates in place of the guide layer (the paper compares with that)
    steady         both, and `Steady` at 1 after the network

A rendered shot has input/, painted/, flow/ (true motion to the next frame) and meta.json with `key_frame_single`. A
filmed one has footage/, painted/ with the keys 000.jpg and so on, and no truth: flicker is then along estimated flow,
and nothing is taken off. Training goes by steps, so a busy machine changes nothing.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from fewstroke.engine.color import encode
from fewstroke.engine.config import NetworkConfig, TrainConfig
from fewstroke.engine.export import export_model
from fewstroke.engine.image import Image, unpremultiply
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.model import ModelInfo
from fewstroke.engine.train import Budget, Training
from fewstroke.nodes.guide import Guide, GuideParams
from fewstroke.nodes.motion import Flow, FlowParams, consistent
from fewstroke.nodes.node import Cancel, Fetch, Node
from fewstroke.nodes.prefilter import Prefilter, PrefilterParams
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.steady import Steady, SteadyParams
from fewstroke.nodes.stmap import STMap, STMapParams
from fewstroke.nodes.stylize import Stylize, StylizeParams
from fewstroke.nodes.warp import warp

WAYS = ("plain", "prefilter", "guide", "both", "lone", "coordinates", "steady")


class Coordinates(Node):
    """Each pixel's place in the frame as red and green, 0..1."""

    INPUTS = ("footage",)

    def __init__(self, footage: Node):
        super().__init__(PrefilterParams(), footage=footage)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        picture = fetch("footage", frame)
        x, y = np.meshgrid(np.linspace(0, 1, picture.width), np.linspace(0, 1, picture.height))
        return Image(np.stack([x, y, np.zeros_like(x)], -1).astype(np.float32))


class Shot:
    """A folder as described above."""

    def __init__(self, folder: Path):
        self.folder, self.rendered = folder, (folder / "flow").is_dir()
        if self.rendered:
            self.footage = Read(ReadParams(str(folder / "input/####.jpg")))
            self.keys: list[int] = json.loads((folder / "meta.json").read_text())["key_frame_single"]
        else:
            self.footage = Read(ReadParams(str(folder / "footage/###.jpg")))
            self.keys = [frame for frame in self.footage.frames() if (folder / f"painted/{frame:03d}.jpg").is_file()]

    def painting(self, frame: int) -> np.ndarray | None:
        """Encoded, (H, W, 3): the truth of a rendered shot, or a key."""
        path = self.folder / (f"painted/{frame:04d}.png" if self.rendered else f"painted/{frame:03d}.jpg")
        picture = cv2.imread(str(path)) if self.rendered or frame in self.keys else None
        return None if picture is None else picture[..., ::-1].astype(np.float32) / 255

    def motion(self, frame: int, evaluate: Evaluator) -> tuple[np.ndarray, np.ndarray]:
        """To the next frame: (H, W, 2), and where it can be believed, (H, W)."""
        if self.rendered:
            with np.load(self.folder / f"flow/{frame:04d}.npz") as data:
                return data["flow"].astype(np.float32), data["valid"]
        forward = Flow(FlowParams(), self.footage)
        there = evaluate(forward, frame)
        return there, consistent(there, evaluate(forward.towards(-1), frame + 1))


def paint(shot: Shot, way: str, steps: int, evaluate: Evaluator, folder: Path) -> dict[int, np.ndarray]:
    """Every frame of the shot, encoded, 0..1; also written to `folder`."""
    source = shot.footage if way in ("plain", "guide") else Prefilter(PrefilterParams(), shot.footage)
    guide: Node | None = None
    stmap: Node | None = None
    if way in ("guide", "both", "lone", "steady"):
        guide = Guide(GuideParams(shot.keys[0]), shot.footage)
        stmap = STMap(STMapParams(tuple(shot.keys)), shot.footage) if way != "lone" else None
    elif way == "coordinates":
        guide = Coordinates(shot.footage)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "shot.onnx"
    if way == "steady":  # the network is that of "both"
        model = folder.parent / "both" / "shot.onnx"
    else:
        keyframes = []
        for key in shot.keys:
            shown = [encode(unpremultiply(evaluate(source, key)))]
            shown += [evaluate(node, key).pixels for node in (guide, stmap) if node is not None]
            painting = shot.painting(key)
            assert painting is not None
            keyframes.append(Keyframe(key, np.concatenate(shown, 2), painting, np.ones(painting.shape[:2], "f4")))
        channels = keyframes[0].source.shape[2]
        exemplars = shot.keys if stmap is not None else ()
        network, config = NetworkConfig("fast", channels), TrainConfig.for_preset("fast")
        training = Training(keyframes, network, config, exemplars=exemplars)
        for _ in training.run(Budget(steps=steps)):
            pass
        info = ModelInfo(
            name=way, channels=tuple("RGBXYZstc"[:channels]), working_space=shot.footage.working(),
            footage_space=shot.footage.space(), halo=training.generator.halo, size_multiple=4, keyframes=(),
            network={}, training={}, steps=steps, losses={},
        )  # fmt: skip
        model.write_bytes(export_model(training.generator, info))
    node: Node = Stylize(StylizeParams(str(model)), footage=shot.footage, source=source, guide=guide, stmap=stmap)
    if way == "steady":
        node = Steady(SteadyParams(steadiness=1), image=node, footage=shot.footage)
    painted = {}
    for frame in shot.footage.frames():
        painted[frame] = np.clip(encode(evaluate(node, frame).pixels), 0, 1)
        cv2.imwrite(str(folder / f"{frame:04d}.png"), np.rint(painted[frame][..., ::-1] * 255).astype(np.uint8))
    return painted


def swd(picture: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> float:
    """Karras et al. 2018: patches from the same places of both, projected on random directions, sorted, compared."""
    distances = []
    for _ in range(3):
        lows = [cv2.pyrDown(p) for p in (picture, truth)]
        bands = [p - cv2.pyrUp(low, dstsize=p.shape[1::-1]) for p, low in zip((picture, truth), lows, strict=True)]
        height, width = truth.shape[:2]
        corners = np.stack([rng.integers(0, height - 7, 1024), rng.integers(0, width - 7, 1024)], -1)
        patches = [np.stack([band[y : y + 7, x : x + 7].ravel() for y, x in corners]) for band in bands]
        directions = rng.standard_normal((147, 128)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        apart = np.abs(np.sort(patches[0] @ directions, 0) - np.sort(patches[1] @ directions, 0)).mean()
        distances.append(apart / patches[1].std())
        picture, truth = lows
    return 1000 * float(np.mean(distances))


def flicker(shot: Shot, painted: dict[int, np.ndarray], evaluate: Evaluator) -> float:
    changes = []
    for frame in list(painted)[:-1]:
        flow, valid = shot.motion(frame, evaluate)
        change = np.abs(warp(painted[frame + 1], flow) - painted[frame]).mean(axis=2)
        truth, after = (shot.painting(f) if shot.rendered else None for f in (frame, frame + 1))
        if truth is not None and after is not None:
            own = np.abs(warp(after, flow) - truth).mean(axis=2)
            # Where the painting itself does not follow the flow there is an occlusion, or new light.
            valid, change = valid & (own < 12 / 255), change - own
        changes.append(change[valid].mean())
    return 255 * float(np.mean(changes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shots", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("build/steadiness"))
    parser.add_argument("--only", nargs="+", default=WAYS, choices=WAYS)
    options = parser.parse_args()
    print("| shot | way | psnr | swd | flicker |\n| --- | --- | --- | --- | --- |")
    for folder in options.shots:
        shot, evaluate = Shot(folder), Evaluator()
        for way in options.only:
            painted = paint(shot, way, options.steps, evaluate, options.out / folder.name / way)
            figures = []
            for frame, picture in painted.items():
                truth = None if frame in shot.keys else shot.painting(frame)
                if truth is not None:
                    noise = -10 * np.log10(np.square(picture - truth).mean())
                    figures.append((noise, swd(picture, truth, np.random.default_rng(frame))))
            psnr_swd = "{:.1f} | {:.0f}".format(*np.mean(figures, axis=0)) if figures else "- | -"
            print(f"| {folder.name} | {way} | {psnr_swd} | {flicker(shot, painted, evaluate):.1f} |", flush=True)


if __name__ == "__main__":
    main()
