"""Prefilter: takes sensor noise out of the footage before the network sees it, because the network answers to noise
with flicker (the paper, section 3.3).

The motion-compensated bilateral filter in time of Bennett and McMillan, "Video Enhancement Using Per-Pixel Virtual
Exposures", SIGGRAPH 2005: the neighbouring frames are brought to where things are in this one and averaged, pixel by
pixel, as far as they show the same. Where they do not (something was hidden, or the motion is wrong), few samples come
together, and as in that paper a bilateral filter in space takes out what is left, the stronger the fewer they were.
Weights come from differences measured in units of the noise, so one setting suits every noise, exposure and brightness.
"""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.color import decode, encode
from ..engine.errors import ParameterError
from ..engine.image import Image, unpremultiply, with_rgb
from .motion import Flow, FlowParams, Vectors, is_cut
from .node import Cancel, Fetch, Node
from .parallel import in_parallel
from .warp import inside, warp_picture


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


class Prefilter(Node):
    """Footage with less noise and the same edges. Scene-linear in and out; alpha passes through untouched.

    footage  pictures of one size
    vectors  the renderer's motion, used in place of estimated flow

    Frames that are missing, or lie beyond a cut, are not averaged in. Inputs called "motion+1" and so on are made here,
    so that flow fields are results of their own, shared between frames and kept on disk; they are no links of a graph.
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("vectors",)
    params: PrefilterParams

    def __init__(self, params: PrefilterParams, footage: Node, vectors: Vectors | None = None):
        if not 0 <= params.strength <= 1:
            raise ParameterError(f"the prefilter's strength is {params.strength:g}: use 0 (off) to 1 (full)")
        if params.radius < 0 or params.spatial < 0 or params.noise < 0:
            raise ParameterError("the prefilter's radius, spatial radius and noise cannot be negative: use 0 or more")
        super().__init__(params, footage=footage, vectors=vectors)
        motion = vectors or Flow(FlowParams(), footage)
        offsets = [offset for offset in range(-params.radius, params.radius + 1) if offset]
        self.inputs = {**self.inputs, **{f"motion{offset:+d}": motion.towards(offset) for offset in offsets}}

    def _neighbours(self, frame: int) -> list[int]:
        """Offsets of the frames to average, those before from near to far, then those after."""
        there = self.inputs["footage"].frames()
        steps = [direction * step for direction in (-1, 1) for step in range(1, self.params.radius + 1)]
        return [step for step in steps if frame + step in there and frame in self.inputs[f"motion{step:+d}"].frames()]

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        offsets = self._neighbours(frame)
        footage = tuple(sorted((frame, *(frame + offset for offset in offsets))))
        return {"footage": footage, **{f"motion{offset:+d}": (frame,) for offset in offsets}}

    def identity(self, frame: int) -> tuple[str, int] | None:
        return ("footage", frame) if self.params.strength == 0 else None

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        image: Image = fetch("footage", frame)
        neighbours: list[tuple[int, Image, np.ndarray]] = []
        for direction in (-1, 1):
            last = image
            for offset in self._neighbours(frame):
                if offset * direction < 0:
                    continue
                cancel()
                other = fetch("footage", frame + offset)
                if is_cut(last, other):
                    break
                neighbours.append((offset, other, fetch(f"motion{offset:+d}", frame)))
                last = other
        return _filter(image, neighbours, self.params, cancel)


Aligned = list[tuple[int, np.ndarray, np.ndarray]]
"""Neighbours brought to the center frame: offset, encoded pixels (H, W, 3), where they lie within the frame (H, W)."""

_BAND = 64
"""Rows worked on at once: what fits the processor's cache is several times faster than the whole picture."""


def _filter(
    image: Image, neighbours: list[tuple[int, Image, np.ndarray]], params: PrefilterParams, cancel: Cancel
) -> Image:
    straight = unpremultiply(image)
    center = _encoded(straight)
    cancel()
    aligned: Aligned = in_parallel(_align, neighbours, cancel)
    noise = _noise(center, aligned, params.noise)
    # Averaging n equal samples divides the noise by sqrt(n); so these are all the levels that may be left.
    ranges = _ladder(float(noise.min()) / np.sqrt(len(aligned) + 1), float(noise.max()))
    halo = params.spatial + 1
    rgb = np.empty_like(center)

    def filter_band(top: int) -> None:
        rows = slice(max(0, top - halo), top + _BAND + halo)
        part = [(offset, pixels[rows], visible[rows]) for offset, pixels, visible in aligned]
        filtered, residual = _average_in_time(center[rows], part, noise[rows])
        if params.spatial:
            filtered = _filter_in_space(filtered, residual, params.spatial, ranges)
        mixed = center[rows] + np.float32(params.strength) * (filtered - center[rows])
        rgb[top : top + _BAND] = decode(mixed[top - rows.start :][:_BAND])

    in_parallel(filter_band, range(0, len(center), _BAND), cancel)
    # `decode` ends where half floats end; a brighter pixel of a float file stays what it is.
    np.copyto(rgb, straight, where=np.abs(straight) > np.finfo(np.float16).max)
    if image.pixels.shape[2] == 1:
        return image.with_pixels(np.ascontiguousarray(rgb[:, :, :1]))
    return with_rgb(image, rgb)


def _align(neighbour: tuple[int, Image, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray]:
    offset, image, flow = neighbour
    return offset, warp_picture(_encoded(unpremultiply(image)), flow), inside(flow)


def _encoded(pixels: np.ndarray) -> np.ndarray:
    result = np.empty(pixels.shape, np.float32)
    for top in range(0, len(pixels), _BAND):
        result[top : top + _BAND] = encode(pixels[top : top + _BAND])
    return result


# ---- noise

_BLOCK = 8
_GROUPS = 8
_LEAST = 0.25 / 255
"""No noise is taken to be less: the rounding of 8-bit footage alone has 0.29/255."""


def _noise(center: np.ndarray, aligned: Aligned, given: float) -> np.ndarray:
    """The standard deviation of the noise at every pixel, in encoded values: float32 (H, W).

    Film and sensors are noisier in some tones than in others, so it is measured as a function of the brightness: the
    picture's blocks are grouped by it, and in each group the quietest fifth decides, since motion errors, texture and
    changes of light only ever add to what noise does.
    """
    if given > 0:
        return np.full(center.shape[:2], max(given / 255, _LEAST), np.float32)
    # A part of the rows is enough to measure in: at most some 400 of them, in bands as high as a block.
    step = max(1, len(center) // 400)
    rows = np.flatnonzero(np.arange(len(center)) // _BLOCK % step == 0)
    sample, nearest = center[rows], min((abs(offset) for offset, _, _ in aligned), default=0)
    near = [pixels[rows] for offset, pixels, _ in aligned if abs(offset) == nearest]
    power = np.concatenate([_blocks(energy).ravel() for energy in _energies(sample, near)])
    tones = np.tile(_blocks(_brightness(sample)).ravel(), max(1, len(near)))

    order = np.argsort(tones, kind="stable")
    groups = np.array_split(order, min(_GROUPS, max(1, len(order) // 32)))
    curve_tones = [tones[group].mean() for group in groups]
    curve = [max(_LEAST, float(np.sqrt(np.percentile(power[group], 20)))) for group in groups]
    # Brightness of blocks, again: a pixel's own value has the noise in it.
    tone = cv2.blur(_brightness(center), (_BLOCK + 1, _BLOCK + 1))
    return np.interp(tone, curve_tones, curve).astype(np.float32)


def _brightness(pixels: np.ndarray) -> np.ndarray:
    return cv2.transform(pixels, np.full((1, 3), 1 / 3, np.float32))


def _energies(center: np.ndarray, near: list[np.ndarray]) -> list[np.ndarray]:
    """Estimates of the noise's variance at every pixel, each (H, W): from the nearest frames, or this one alone."""
    if near:
        # The difference of two frames has the noise of both; the one that was resampled has lost three tenths of its.
        return [np.square(pixels - center).mean(axis=2) / np.float32(1.7) for pixels in near]
    # Immerkaer, "Fast Noise Variance Estimation", CVIU 1996: a mask that sees no constant, slope or edge along an axis.
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    return [np.square(cv2.filter2D(center, -1, mask)).mean(axis=2)]


def _blocks(values: np.ndarray) -> np.ndarray:
    """Means over blocks of 8x8 pixels."""
    height, width = values.shape
    size = (max(1, width // _BLOCK), max(1, height // _BLOCK))
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)


# ---- averaging

_TOLERANCE = 2.0
"""How sharply a sample loses weight where it differs by more than noise does. From 1 to 4 it makes little difference:
0.1 dB on six rendered shots and a filmed one, with noise of 2 to 25."""
_FADE = 0.1
"""How much weight a frame loses per frame of distance: motion is less sure over more frames."""
_CLOSENESS = 3.7
"""Range of the filter in space, in standard deviations of the noise that is left."""
_RUNG = 1.6
"""Ratio of neighbouring ranges, between which the filter in space is mixed."""


def _average_in_time(center: np.ndarray, aligned: Aligned, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean, (H, W, 3), and the standard deviation of the noise left in it, (H, W).

    There is no test of the flow there and back for what is hidden: it would cost as much flow again, and where things
    are hidden it changed nothing measurable (0.03 dB), as different things differ and like things may be averaged.
    """
    total = np.zeros_like(center)
    weights = np.ones(center.shape[:2], np.float32)
    squares = np.ones(center.shape[:2], np.float32)
    expected = 2 * center.shape[2] * np.square(noise)
    add_channels = np.ones((1, 3), np.float32)
    for offset, pixels, visible in aligned:
        difference = pixels - center
        # Over 3x3 pixels, because the noise of one decides nothing, and a window larger than that blurs thin things.
        distance = cv2.blur(cv2.transform(np.square(difference), add_channels), (3, 3)) / expected
        weight = np.exp(-_TOLERANCE * np.maximum(distance - 1, 0) - np.float32(_FADE * (abs(offset) - 1)))
        weight *= visible
        total += difference * cv2.merge([weight] * 3)
        weights += weight
        squares += np.square(weight)
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
