"""Prefilter: takes sensor noise out of the footage before the network sees it, because the network answers to noise
with flicker (the paper, section 3.3).

The motion-compensated bilateral filter in time of Bennett and McMillan, "Video Enhancement Using Per-Pixel Virtual
Exposures", SIGGRAPH 2005: the neighbouring frames are brought to where things are in this one and averaged, pixel by
pixel, as far as they show the same (temporal.py). Where they do not (something was hidden, or the motion is wrong), few
samples come together, and as in that paper a bilateral filter in space takes out what is left, the stronger the fewer
they were.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..engine.color import decode
from ..engine.errors import ParameterError
from ..engine.image import Image, unpremultiply, with_rgb
from .motion import Vectors
from .node import Cancel, Fetch, Node
from .parallel import in_parallel
from .temporal import BAND, Aligned, Neighbour, Temporal, align, encoded, measure_noise, weight


@dataclass(frozen=True)
class PrefilterParams:
    """strength  0 leaves the footage alone, 1 filters fully, between them the two are mixed
    radius    frames before and after that are averaged, 0 or more; 2 for common noise, up to 5 for heavy noise
    noise     standard deviation of the noise in 1/255 of the encoded value (0..1); 0: measured in every frame
    spatial   radius in pixels of the filter in space, 0 for none
    """

    strength: float = 1.0
    radius: int = 2
    noise: float = 0.0
    spatial: int = 3


class Prefilter(Temporal):
    """Footage with less noise and the same edges. Scene-linear in and out; alpha passes through untouched.

    Inputs as of `Temporal`.
    """

    params: PrefilterParams

    def __init__(self, params: PrefilterParams, footage: Node, vectors: Vectors | None = None):
        if not 0 <= params.strength <= 1:
            raise ParameterError(f"the prefilter's strength is {params.strength:g}: use 0 (off) to 1 (full)")
        if params.radius < 0 or params.spatial < 0 or params.noise < 0:
            raise ParameterError("the prefilter's radius, spatial radius and noise cannot be negative: use 0 or more")
        super().__init__(params, footage, vectors)

    def identity(self, frame: int) -> tuple[str, int] | None:
        return ("footage", frame) if self.params.strength == 0 else None

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        return _filter(fetch("footage", frame), self.neighbours(frame, fetch, cancel), self.params, cancel)


def _filter(image: Image, neighbours: list[Neighbour], params: PrefilterParams, cancel: Cancel) -> Image:
    straight = unpremultiply(image)
    (center,) = in_parallel(encoded, [straight], cancel)
    aligned = in_parallel(align, neighbours, cancel)
    (noise,) = in_parallel(lambda given: measure_noise(center, aligned, given), [params.noise], cancel)
    # Averaging n equal samples divides the noise by sqrt(n); so these are all the levels that may be left.
    ranges = _ladder(float(noise.min()) / np.sqrt(len(aligned) + 1), float(noise.max()))
    halo = params.spatial + 1
    rgb = np.empty_like(center)

    def filter_band(top: int) -> None:
        rows = slice(max(0, top - halo), top + BAND + halo)
        filtered, residual = _average_in_time(center[rows], [a.rows(rows) for a in aligned], noise[rows])
        if params.spatial:
            filtered = _filter_in_space(filtered, residual, params.spatial, ranges)
        mixed = center[rows] + np.float32(params.strength) * (filtered - center[rows])
        rgb[top : top + BAND] = decode(mixed[top - rows.start :][:BAND])

    in_parallel(filter_band, range(0, len(center), BAND), cancel)
    # `decode` ends where half floats end; a brighter pixel of a float file stays what it is.
    np.copyto(rgb, straight, where=np.abs(straight) > np.finfo(np.float16).max)
    if image.pixels.shape[2] == 1:
        return image.with_pixels(np.ascontiguousarray(rgb[:, :, :1]))
    return with_rgb(image, rgb)


_CLOSENESS = 3.7
"""Range of the filter in space, in standard deviations of the noise that is left."""
_RUNG = 1.6
"""Ratio of neighbouring ranges, between which the filter in space is mixed."""


def _average_in_time(center: np.ndarray, aligned: list[Aligned], noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean, (H, W, 3), and the standard deviation of the noise left in it, (H, W).

    There is no test of the flow there and back for what is hidden: it would cost as much flow again, and where things
    are hidden it changed nothing measurable (0.03 dB), as different things differ and like things may be averaged.
    """
    total = np.zeros_like(center)
    weights = np.ones(center.shape[:2], np.float32)
    squares = np.ones(center.shape[:2], np.float32)
    for neighbour in aligned:
        share = weight(center, neighbour, noise)
        total += (neighbour.pixels - center) * cv2.merge([share] * 3)
        weights += share
        squares += np.square(share)
    # As a difference to the center, so that what never changes stays the same to the last bit.
    return center + total / cv2.merge([weights] * 3), noise * np.sqrt(squares) / weights


def _ladder(low: float, high: float) -> np.ndarray:
    return np.geomspace(low, high, 1 + max(0, int(np.ceil(np.log(high / low) / np.log(_RUNG)))))


def _filter_in_space(pixels: np.ndarray, noise: np.ndarray, radius: int, ranges: np.ndarray) -> np.ndarray:
    """A bilateral filter whose range follows the noise at every pixel.

    cv2.bilateralFilter has one range for the whole picture, so it is run with a few, and each pixel is mixed from the
    two nearest to its own.
    """
    position = np.interp(np.log(noise), np.log(ranges), np.arange(len(ranges))).astype(np.float32)
    change = np.zeros_like(pixels)
    for index, level in enumerate(ranges):
        share = np.maximum(0, 1 - np.abs(position - np.float32(index)))
        if share.any():
            smooth = cv2.bilateralFilter(pixels, 2 * radius + 1, _CLOSENESS * level, radius * 2 / 3)
            change += (smooth - pixels) * cv2.merge([share] * 3)
    return pixels + change
