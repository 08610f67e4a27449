"""How much noise the prefilter takes out, and how fast, against OpenCV's non-local means.

    python tests/bench/prefilter.py CLEAN_FRAMES_FOLDER [--sigmas 2 5 10 25] [--frames 20 24] [--size 1920x1080]

Reads a folder of clean frames (8-bit sRGB, in the order of their names), adds seeded noise, filters some of them both
ways and prints, for each kind of noise: PSNR against the clean frame of the noisy frame, of ours and of
cv2.fastNlMeansDenoisingColoredMulti (the best of three strengths, which it could not know), how sharp the edges are
compared with the clean frame's (1: as sharp), and how many times faster ours is. Both begin with frames in memory as
they take them, NLM with 8-bit sRGB, ours with scene-linear floats as `Read` gives them; ours estimates the motion,
encodes, decodes and fills its disk cache meanwhile.
Noise "film" is brightness-dependent: the variance grows with scene-linear light (shot noise) over a floor (read noise).
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

from fewstroke.engine.color import decode, encode
from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.node import Cancel, Fetch, Node
from fewstroke.nodes.prefilter import Prefilter, PrefilterParams
from fewstroke.nodes.render import Evaluator

WINDOW = 5  # frames that non-local means looks at; ours by default looks at as many


class Frames(Node):
    """Frames from memory, numbered from 0, given as 8-bit sRGB."""

    def __init__(self, frames: Sequence[np.ndarray]):
        super().__init__(PrefilterParams())
        self._frames = [Image(decode(frame.astype(np.float32) / 255)) for frame in frames]

    def frames(self) -> FrameRange:
        return FrameRange.of(range(len(self._frames)))

    def key_extra(self, frame: int) -> list[int]:
        return [id(self), frame]

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        return self._frames[frame]


def add_noise(clean: np.ndarray, sigma: float | None, rng: np.random.Generator) -> np.ndarray:
    """8-bit sRGB with Gaussian noise of `sigma`/255, or with film noise where that is None."""
    normal = rng.standard_normal(clean.shape)
    if sigma is not None:
        return np.clip(np.rint(clean + sigma * normal), 0, 255).astype(np.uint8)
    linear = decode(clean.astype(np.float32) / 255)
    noisy = linear + normal * np.sqrt(0.003 * linear + 0.004**2)
    return np.clip(np.rint(encode(noisy.astype(np.float32)) * 255), 0, 255).astype(np.uint8)


def psnr(picture: np.ndarray, clean: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((picture.astype(np.float64) - clean) ** 2))


def sharpness(picture: np.ndarray, clean: np.ndarray) -> float:
    """Slope across the clean frame's strongest 5 % of edges, along their own direction, relative to the clean frame."""

    def slopes(pixels: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return np.dstack([cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)])

    truth = slopes(clean)
    size = np.linalg.norm(truth, axis=2)
    edges = size > np.percentile(size, 95)
    return float((slopes(picture) * truth).sum(axis=2)[edges].sum() / np.square(size[edges]).sum())


def ours(noisy: Sequence[np.ndarray], at: int) -> tuple[np.ndarray, float]:
    """The filtered frame, and the seconds it took with nothing cached."""
    with tempfile.TemporaryDirectory() as folder:
        evaluate = Evaluator(disk=DiskCache(Path(folder)))
        node = Prefilter(PrefilterParams(), Frames(noisy))
        start = time.perf_counter()
        filtered = evaluate(node, at)
        seconds = time.perf_counter() - start
    return np.clip(np.rint(encode(filtered.pixels) * 255), 0, 255).astype(np.uint8), seconds


def theirs(noisy: Sequence[np.ndarray], at: int, strength: float) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    first = at - WINDOW // 2
    frames = list(noisy[first : first + WINDOW])
    filtered = cv2.fastNlMeansDenoisingColoredMulti(frames, WINDOW // 2, WINDOW, None, strength, strength, 7, 21)
    return filtered, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[2, 5, 10, 25])
    parser.add_argument("--frames", type=int, nargs="+", default=[20], help="which frames to filter, counted from 0")
    parser.add_argument("--size", default="", help="scale the frames to this size first, such as 1920x1080")
    parser.add_argument("--threads", type=int, default=0, help="of OpenCV; 0: its default")
    options = parser.parse_args()
    if options.threads:
        cv2.setNumThreads(options.threads)

    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".tif"))
    print(f"{options.folder}, OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads")
    print("frame  noise   psnr: noisy    ours     NLM   edges: ours    NLM   seconds: ours    NLM   ratio")
    for at in options.frames:
        near = range(at - WINDOW // 2, at + WINDOW // 2 + 1)
        clean = [np.array(oiio.ImageBuf(str(paths[index])).get_pixels(oiio.UINT8))[:, :, :3].copy() for index in near]
        if options.size:
            size = tuple(int(number) for number in options.size.split("x"))
            clean = [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in clean]
        middle = WINDOW // 2
        truth = clean[middle]
        ours(clean, middle)  # what only the first call does is not timed
        for sigma in [*options.sigmas, None]:
            rng = np.random.default_rng(at)
            noisy = [add_noise(frame, sigma, rng) for frame in clean]
            actual = float(np.std(noisy[middle].astype(np.float64) - truth))
            result, seconds = ours(noisy, middle)
            rivals = [theirs(noisy, middle, actual * factor) for factor in (0.5, 0.8, 1.1)]
            rival, rival_seconds = max(rivals, key=lambda pair: psnr(pair[0], truth))
            print(
                f"{at:5}  {'film' if sigma is None else f'{sigma:g}':>5}  "
                f"{psnr(noisy[middle], truth):12.2f} {psnr(result, truth):7.2f} {psnr(rival, truth):7.2f}  "
                f"{sharpness(result, truth):12.2f} {sharpness(rival, truth):6.2f}  "
                f"{seconds:14.2f} {rival_seconds:6.2f}  {rival_seconds / seconds:5.1f}x"
            )


if __name__ == "__main__":
    main()
