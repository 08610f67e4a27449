"""How far the guide layer's registration drifts from the true motion, against optical flow chained frame by frame.

    python tests/bench/drift.py SEQUENCE_FOLDER... [--after 10 24 47] [--interval 4] [--sheets FOLDER]

A sequence has input/####.jpg, flow/####.npz (true motion to the next frame: `flow` (H, W, 2) and `valid` (H, W)),
mask/####.png (the subject) and meta.json (`key_frame_single`). For each key frame (the first one, and that of
meta.json) a table tells the distance in pixels, mean and median over all points of the key frame that are visible in
all frames up to the one compared: of ours, of chained DIS flow (what the published code does), and both again inside
and outside the subject. After that: seconds and memory for one frame whose anchors exist, for the first such frame, and
for 1080p. With --sheets, PNGs of the guide over the footage show whether points stick.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.guide import Guide, GuideParams, Register, RegisterParams
from fewstroke.nodes.node import Cancel, Fetch, Node
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.warp import compose, warp


def fresh() -> Evaluator:
    return Evaluator(disk=DiskCache(Path(tempfile.gettempdir()) / "fewstroke-drift", capacity_bytes=0))


def true_displacements(folder: Path, key: int, last: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Frame -> (displacement from the key frame (H, W, 2), visible in all frames up to there (H, W))."""
    total = seen = None
    result: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for frame in range(key, last):
        with np.load(folder / f"flow/{frame:04d}.npz") as data:
            flow, valid = data["flow"].astype(np.float32), data["valid"]
        if total is None or seen is None:
            total, seen = np.zeros_like(flow), np.ones(valid.shape, bool)
        height, width = valid.shape
        y, x = np.mgrid[:height, :width]
        left = np.floor(np.clip(x + total[..., 0], 0, width - 2)).astype(int)
        top = np.floor(np.clip(y + total[..., 1], 0, height - 2)).astype(int)
        around = [(top + j, left + i) for j in (0, 1) for i in (0, 1)]
        # Interpolated across the outline of a thing, even true motion is wrong: such points are given up.
        motions = np.stack([flow[place] for place in around])
        seen = seen & np.all([valid[place] for place in around], axis=0) & (np.ptp(motions, axis=0).max(axis=-1) < 1)
        total = compose(total, flow)
        seen &= (x + total[..., 0] >= 0) & (x + total[..., 0] <= width - 1)
        seen &= (y + total[..., 1] >= 0) & (y + total[..., 1] <= height - 1)
        result[frame + 1] = total, seen
    return result


def chained_displacements(folder: Path, key: int, last: int) -> dict[int, np.ndarray]:
    """Frame -> displacement from the key frame by OpenCV's DIS, preset medium, from each frame to the next."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    result: dict[int, np.ndarray] = {}
    total = None
    before = cv2.imread(str(folder / f"input/{key:04d}.jpg"), cv2.IMREAD_GRAYSCALE)
    for frame in range(key + 1, last + 1):
        after = cv2.imread(str(folder / f"input/{frame:04d}.jpg"), cv2.IMREAD_GRAYSCALE)
        assert before is not None and after is not None
        flow = dis.calc(before, after, np.zeros((*before.shape, 2), np.float32))
        total = flow if total is None else total + warp(flow, total)
        result[frame], before = total, after
    return result


def drift_table(folder: Path, key: int, after: list[int], interval: int) -> None:
    register = Register(RegisterParams(key, interval), Read(ReadParams(str(folder / "input/####.jpg"))))
    last = register.frames().last
    after = [n for n in after if key + n <= last]
    evaluate = fresh()
    truth = true_displacements(folder, key, key + max(after))
    chained = chained_displacements(folder, key, key + max(after))
    mask = cv2.imread(str(folder / f"mask/{key:04d}.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    subject = mask > 127
    for n in after:
        true, seen = truth[key + n]
        ours = np.linalg.norm(evaluate(register, key + n)[0, ..., :2] - true, axis=2)
        theirs = np.linalg.norm(chained[key + n] - true, axis=2)

        def cell(where: np.ndarray, errors: tuple[np.ndarray, ...] = (ours, theirs)) -> str:
            if where.sum() < 50:
                return "- | - | -"
            values = " | ".join(f"{np.mean(e[where]):.2f} ({np.median(e[where]):.2f})" for e in errors)
            return f"{100 * where.mean():.1f} % | {values}"

        print(
            f"| {folder.name} | {key} | {n} | {cell(seen)} | {cell(seen & subject)} | {cell(seen & ~subject)} |",
            flush=True,
        )


class _Enlarged(Node):
    """Footage at another size."""

    INPUTS = ("footage",)

    def __init__(self, footage: Node):
        super().__init__(ReadParams("1920x1080"), footage=footage)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        return Image(cv2.resize(fetch("footage", frame).pixels, (1920, 1080), interpolation=cv2.INTER_CUBIC))


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cost_table(folder: Path, interval: int) -> None:
    footage = Read(ReadParams(str(folder / "input/####.jpg")))
    for name, node in (("512x288", footage), ("1920x1080", _Enlarged(footage))):
        guide = Guide(GuideParams(1, interval=interval), footage=node)
        evaluate = fresh()
        first = seconds(lambda: evaluate(guide, 33))  # noqa: B023
        others = [seconds(lambda: evaluate(guide, frame)) for frame in (34, 35, 36)]  # noqa: B023
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {name} | {first:.1f} | {np.mean(others):.2f} | {peak:.0f} |", flush=True)


def sheet(folder: Path, target: Path, interval: int) -> None:
    """Guide and footage under it, for a few frames in a row and a few far ones."""
    footage = Read(ReadParams(str(folder / "input/####.jpg")))
    guide = Guide(GuideParams(1, interval=interval), footage=footage)
    evaluate = fresh()
    frames: FrameRange = guide.frames()
    rows = []
    for frame in (f for f in (1, 8, 9, 10, 24, 47) if f in frames):
        layer = np.rint(evaluate(guide, frame).pixels[..., ::-1] * 255).astype(np.uint8)
        picture = cv2.imread(str(folder / f"input/{frame:04d}.jpg"))
        assert picture is not None
        rows.append(np.hstack([layer, cv2.addWeighted(layer, 0.5, picture, 0.5, 0)]))
    target.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target / f"{folder.name}.png"), np.vstack(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", type=Path, nargs="+")
    parser.add_argument("--after", type=int, nargs="+", default=[10, 24, 47])
    parser.add_argument("--interval", type=int, default=GuideParams(1).interval)
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    print("| sequence | key | after | seen | ours: mean (median) px | DIS | subject | ours | DIS | rest | ours | DIS |")
    print("| --- " * 12 + "|")
    for folder in arguments.sequences:
        single = json.loads((folder / "meta.json").read_text())["key_frame_single"]
        for key in dict.fromkeys([1, *single]):
            drift_table(folder, key, arguments.after, arguments.interval)
    print("\n| size | first frame (8 anchors), s | a frame whose anchors exist, s | peak memory, MiB |")
    print("| --- " * 4 + "|")
    cost_table(arguments.sequences[0], arguments.interval)
    if arguments.sheets:
        for folder in arguments.sequences:
            sheet(folder, arguments.sheets, arguments.interval)


if __name__ == "__main__":
    main()
