"""Prefilter: takes sensor noise out of the footage before the network sees it, because the network answers to noise
with flicker (the paper, section 3.3).

The motion-compensated bilateral filter in time of Bennett and McMillan, "Video Enhancement Using Per-Pixel Virtual
Exposures", SIGGRAPH 2005: the neighbouring frames are brought to where things are in this one and averaged, pixel by
pixel, as far as they show the same (temporal.py). Where they do not (something was hidden, or the motion is wrong), few
samples come together, and as in that paper a bilateral filter in space takes out what is left, the stronger the fewer
they were.

What is taken out is a result of its own, `Grain`, and kept on disk: it takes as long as the network, and no painting
changes it.
"""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.color import decode
from ..engine.errors import ParameterError
from ..engine.image import Image, unpremultiply, with_rgb
from .motion import Vectors
from .node import Cancel, Fetch, Node
from .parallel import in_parallel
from .temporal import BAND, LEAST_EXPONENT, Aligned, Encoded, Neighbour, Temporal, measure_noise, weight
from .warp import enlarged


@dataclass(frozen=True)
class PrefilterParams:
    """strength  0 leaves the footage alone, 1 filters fully, between them the two are mixed, as light
    radius    frames before and after that are averaged, 0 or more; 2 for common noise, up to 5 for heavy noise
    noise     standard deviation of the noise in 1/255 of the encoded value (0..1); 0: measured in every frame
    spatial   radius in pixels of the filter in space, 0 for none
    """

    strength: float = 1.0
    radius: int = 2
    noise: float = 0.0
    spatial: int = 3


@dataclass(frozen=True)
class GrainParams:
    """As of `PrefilterParams`."""

    radius: int
    noise: float
    spatial: int


class Grain(Temporal):
    """The footage's noise: what the full filter takes out of the straight, scene-linear picture, float16 (H, W, 3).

    Half floats, as a frame at 4K takes 50 MB of them; they are exact to 0.05 % of the noise.

    Inputs as of `Temporal`. The input "encoded" is made here.
    """

    ARTEFACT = True
    params: GrainParams

    def __init__(self, params: GrainParams, footage: Node, vectors: Vectors | None):
        super().__init__(params, footage, vectors)
        self.inputs = {**self.inputs, "encoded": Encoded(footage)}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        frames = sorted((frame, *(frame + offset for offset in self.offsets(frame))))
        return {**super().frames_needed(frame), "encoded": tuple(frames)}

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        center = fetch("encoded", frame)
        neighbours = []
        for offset in self.neighbours(frame, fetch, cancel):
            flow = enlarged(fetch(f"motion{offset:+d}", frame), center.shape)
            neighbours.append(Neighbour(offset, fetch("encoded", frame + offset), flow))
        return _grain(center, neighbours, self.params, cancel)


class Prefilter(Node):
    """Footage with less noise and the same edges. Scene-linear in and out; alpha passes through untouched.

    Inputs as of `Temporal`. The input "grain" is made here.
    """

    VERSION = 4
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("vectors",)
    params: PrefilterParams

    def __init__(self, params: PrefilterParams, footage: Node, vectors: Vectors | None = None):
        if not 0 <= params.strength <= 1:
            raise ParameterError(f"the prefilter's strength is {params.strength:g}: use 0 (off) to 1 (full)")
        if params.radius < 0 or params.spatial < 0 or params.noise < 0:
            raise ParameterError("the prefilter's radius, spatial radius and noise cannot be negative: use 0 or more")
        super().__init__(params, footage=footage, vectors=vectors)
        grain = Grain(GrainParams(params.radius, params.noise, params.spatial), footage, vectors)
        self.inputs = {**self.inputs, "grain": grain}

    def identity(self, frame: int) -> tuple[str, int] | None:
        return ("footage", frame) if self.params.strength == 0 else None

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("footage", "grain"), (frame,))

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        image: Image = fetch("footage", frame)
        grain: np.ndarray = fetch("grain", frame)
        straight = unpremultiply(image)
        cancel()
        rgb = straight - np.float32(self.params.strength) * grain
        cancel()
        if image.pixels.shape[2] == 1:
            return image.with_pixels(np.ascontiguousarray(rgb[:, :, :1]))
        return with_rgb(image, rgb)


_LARGEST = np.finfo(np.float16).max


def _grain(center: np.ndarray, neighbours: list[Neighbour], params: GrainParams, cancel: Cancel) -> np.ndarray:
    (noise,) = in_parallel(lambda given: measure_noise(center, neighbours, given), [params.noise], cancel)
    halo = params.spatial + 1
    grain = np.empty(center.shape, np.float16)

    def filter_band(top: int) -> None:
        rows = slice(max(0, top - halo), top + BAND + halo)
        own = slice(top - rows.start, top - rows.start + BAND)
        change, residual = _average_in_time(center[rows], [n.rows(rows) for n in neighbours], noise[rows])
        if params.spatial:
            change += _smooth_in_space(center[rows] + change, residual, params.spatial)
        # As a difference of decoded values, so that where nothing changes nothing is taken out, nor of what is brighter
        # than they can be.
        taken = decode(center[rows][own]) - decode(center[rows][own] + change[own])
        grain[top : top + BAND] = np.clip(taken, -_LARGEST, _LARGEST)

    in_parallel(filter_band, range(0, len(center), BAND), cancel)
    return grain


def _average_in_time(center: np.ndarray, aligned: list[Aligned], noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the weighted mean changes, (H, W, 3), and the standard deviation of the noise left in it, (H, W).

    There is no test of the flow there and back for what is hidden: it would cost as much flow again, and where things
    are hidden it changed nothing measurable (0.03 dB), as different things differ and like things may be averaged.
    """
    total = np.zeros_like(center)
    weights = np.ones(center.shape[:2], np.float32)
    squares = np.ones(center.shape[:2], np.float32)
    for neighbour in aligned:
        difference = neighbour.pixels - center
        share = weight(difference, neighbour, noise)
        difference *= cv2.merge([share] * 3)
        total += difference
        weights += share
        squares += np.square(share)
    total /= cv2.merge([weights] * 3)
    return total, noise * cv2.sqrt(squares) / weights


_CLOSENESS = 12.0
"""Two pixels that differ by noise alone, so that the squares of their three differences come to 6 times its variance,
weigh e^-(6 / _CLOSENESS). With 6.5 noise of 2/255 loses 0.3 dB more and noise of 25/255 0.8 dB less; above 12 it is the
other way round."""


def _smooth_in_space(pixels: np.ndarray, noise: np.ndarray, radius: int) -> np.ndarray:
    """What a bilateral filter whose range follows the noise changes: float32 (H, W, 3).

    Two pixels weigh exp(-distance^2 / (2 (2/3 radius)^2) - difference^2 / (_CLOSENESS noise noise')) in each other's
    mean, where the noises are their own: so each pair is compared once. OpenCV's bilateral filter has one range for the
    whole picture, and would have to be run for several.

    noise  standard deviation of the noise at every pixel, float32 (H, W)
    """
    height, width = noise.shape
    # Padded rows one after the other, so that a pixel's neighbours lie at the same distance everywhere.
    stride = width + 2 * radius
    sides = (0, 0, radius, radius, cv2.BORDER_REFLECT_101)
    planes = np.empty((3, height, stride), np.float32)
    cv2.split(cv2.copyMakeBorder(pixels, *sides), list(planes))
    sharp = np.float32(_CLOSENESS**-0.5) / cv2.copyMakeBorder(noise, *sides)
    planes, sharp = planes.reshape(3, -1), sharp.reshape(-1)
    total, weights = np.zeros_like(planes), np.ones_like(sharp)
    spare, squares, shares = np.empty_like(planes), np.empty_like(planes), np.empty_like(sharp)
    for down in range(radius + 1):
        for right in range(-radius, radius + 1):
            distance = right**2 + down**2
            if distance > radius**2 or (down == 0 and right <= 0):
                continue
            offset = down * stride + right
            count = sharp.size - offset
            if count <= 0:
                continue
            here, there = slice(0, count), slice(offset, None)
            difference, square, share = spare[:, here], squares[:, here], shares[here]
            np.subtract(planes[:, there], planes[:, here], out=difference)
            np.multiply(difference, difference, out=square)
            exponent = square[0]
            exponent += square[1]
            exponent += square[2]
            exponent *= sharp[here]
            exponent *= sharp[there]
            np.subtract(np.float32(-distance / (2 * (radius * 2 / 3) ** 2)), exponent, out=exponent)
            np.maximum(exponent, LEAST_EXPONENT, out=exponent)
            cv2.exp(exponent, share)
            difference *= share
            total[:, here] += difference
            total[:, there] -= difference
            weights[here] += share
            weights[there] += share
    total /= weights
    return cv2.merge(list(total.reshape(3, height, stride)))[:, radius : radius + width]
