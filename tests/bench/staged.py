"""How far registration is off where a thing grows, turns or passes before a still background, and where light changes.

    python tests/bench/staged.py SEQUENCE_FOLDER BACKGROUND_FOLDER

Of the first sequence the subject of the first frame is cut out, by mask/####.png, and moved over the first frame of the
second, which a camera may move over; both have input/####.jpg. So the motion is known exactly. For frames 10, 20 and 40
a table tells the median distance from it, in pixels, what part is more than 2 pixels off, and how sure the registration
is of itself, for the background and for the thing; of what both frames show, away from the outline.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.guide import Register, RegisterParams
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator

FRAMES = 40
REPORTED = (10, 20, 40)


@dataclass(frozen=True)
class Pose:
    """Where things are: scale, degrees, and pixels to the right and down from the middle of the frame."""

    background: tuple[float, float, float, float] = (1.1, 0, 0, 0)
    thing: tuple[float, float, float, float] | None = None
    light: float = 1.0


STAGED: dict[str, Callable[[float], Pose]] = {
    "thing grows to twice its size": lambda t: Pose(thing=(0.8 * 2**t, 0, 0, 20)),
    "thing shrinks to half its size": lambda t: Pose(thing=(1.5 * 0.5**t, 0, 0, 20)),
    "thing turns by 60 degrees": lambda t: Pose(thing=(0.8, 60 * t, 0, 0)),
    "camera comes nearer, not to the thing": lambda t: Pose((1.1 * 1.8**t, 0, 0, 0), (0.8, 0, 0, 10)),
    "pan": lambda t: Pose((1.9, 0, 200 - 400 * t, 0)),
    "camera rolls by 45 degrees": lambda t: Pose((1.6, 45 * t, 0, 0)),
    "picture fades to a quarter of its codes": lambda t: Pose((1.3, 0, 20 * t, 0), light=1 - 0.75 * t),
    "light flickers by a quarter": lambda t: Pose((1.3, 0, 20 * t, 0), light=1 + 0.25 * np.sin(84 * t)),
}


def moved(pose: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """The matrix (3, 3) that takes a picture of this height and width to its place in a frame as large."""
    scale, degrees, right, down = pose
    middle = (size[1] / 2, size[0] / 2)
    matrix = np.vstack([cv2.getRotationMatrix2D(middle, degrees, scale), [0, 0, 1]])
    matrix[:2, 2] += right, down
    return matrix


def laid(picture: np.ndarray, matrix: np.ndarray, border: int) -> np.ndarray:
    size = picture.shape[1::-1]
    return cv2.warpAffine(picture, matrix[:2], size, flags=cv2.INTER_CUBIC, borderMode=border)


def stage(pose: Pose, thing: np.ndarray, mask: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame, 8-bit, and where it shows the thing, 0..1."""
    size = mask.shape
    picture = laid(background, moved(pose.background, size), cv2.BORDER_REFLECT)
    cover = np.zeros(size, np.float32)
    if pose.thing is not None:
        there = moved(pose.thing, size)
        cover = np.clip(laid(mask, there, cv2.BORDER_CONSTANT), 0, 1)
        picture = picture + cover[..., None] * (laid(thing, there, cv2.BORDER_CONSTANT) - picture)
    return np.clip(np.rint(picture * pose.light), 0, 255).astype(np.uint8), cover


def report(name: str, folder: Path, thing: np.ndarray, mask: np.ndarray, background: np.ndarray) -> None:
    poses = [STAGED[name](n / FRAMES) for n in range(FRAMES)]
    covers = []
    for number, pose in enumerate(poses, 1):
        picture, cover = stage(pose, thing, mask, background)
        cv2.imwrite(str(folder / f"{number:04d}.png"), picture)
        covers.append(cover)
    register = Register(RegisterParams(1), Read(ReadParams(str(folder / "####.png"))))
    evaluate = Evaluator(disk=DiskCache(folder / "cache", capacity_bytes=0))
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    here = np.stack([x, y, np.ones_like(x)], -1).astype(np.float64)
    cells = []
    for frame in REPORTED:
        said = []
        last, (right, down, sure) = poses[frame - 1], np.moveaxis(evaluate(register, frame)[0], -1, 0)
        for part in ("background", "thing"):
            first_pose, last_pose = getattr(poses[0], part), getattr(last, part)
            if first_pose is None:
                continue
            matrix = moved(last_pose, mask.shape) @ np.linalg.inv(moved(first_pose, mask.shape))
            to_x, to_y = np.moveaxis((here @ matrix.T)[..., :2], -1, 0)
            arrived = cv2.remap(covers[frame - 1], to_x.astype(np.float32), to_y.astype(np.float32), cv2.INTER_LINEAR)
            parts = [covers[0], arrived] if part == "thing" else [1 - covers[0], 1 - arrived]
            whole = [cv2.erode(cover, np.ones((7, 7), np.uint8)) > 0.99 for cover in parts]
            seen = whole[0] & whole[1] & (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
            error = np.hypot(x + right - to_x, y + down - to_y)[seen]
            said.append(f"{np.median(error):.2f}, {100 * np.mean(error > 2):.0f} %, {sure[seen].mean():.2f}")
        cells.append("; ".join(said))
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("thing", type=Path)
    parser.add_argument("background", type=Path)
    arguments = parser.parse_args()
    pictures = []
    for path in (arguments.thing / "input/0001.jpg", arguments.background / "input/0001.jpg"):
        pictures.append(cv2.imread(str(path)))
    mask = cv2.imread(str(arguments.thing / "mask/0001.png"), cv2.IMREAD_GRAYSCALE)
    if mask is None or any(picture is None for picture in pictures):
        parser.error(
            f"{arguments.thing} and {arguments.background} need input/0001.jpg, the first mask/0001.png as well"
        )
    thing, background = (picture.astype(np.float32) for picture in pictures)
    print("| | " + " | ".join(f"frame {frame}" for frame in REPORTED) + " |")
    for name in STAGED:
        with tempfile.TemporaryDirectory() as folder:
            report(name, Path(folder), thing, mask.astype(np.float32) / 255, background)


if __name__ == "__main__":
    main()
