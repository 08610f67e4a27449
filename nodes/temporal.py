"""What `Prefilter` and `Steady` share: the frames round one, brought to where things are in it, and how far they count.

A neighbouring frame counts at a pixel as far as it shows the same there: the weights of the motion-compensated
bilateral filter in time of Bennett and McMillan, "Video Enhancement Using Per-Pixel Virtual Exposures", SIGGRAPH 2005.
They come from differences measured in units of the noise, so one setting suits every noise, exposure and brightness.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from ..engine.color import encode
from ..engine.image import Image, unpremultiply
from .motion import Flow, FlowParams, Vectors, is_cut
from .node import Cancel, Fetch, Node
from .warp import inside, warp_picture

BAND = 64
"""Rows worked on at once: what fits the processor's cache is several times faster than the whole picture."""


class Temporal(Node):
    """A node that looks at the frames round the one it makes. Those missing, or beyond a cut, do not count.

    footage  pictures of one size
    vectors  the renderer's motion, used in place of estimated flow

    Inputs called "motion+1" and so on are made here, so that flow fields are results of their own, shared between
    frames and kept on disk; they are no links of a graph. `params.radius` is the number of frames before and after.
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("vectors",)

    def __init__(self, params: Any, footage: Node, vectors: Vectors | None, **others: Node | None):
        super().__init__(params, footage=footage, vectors=vectors, **others)
        motion = vectors or Flow(FlowParams(), footage)
        offsets = [offset for offset in range(-params.radius, params.radius + 1) if offset]
        self.inputs = {**self.inputs, **{f"motion{offset:+d}": motion.towards(offset) for offset in offsets}}

    def offsets(self, frame: int) -> list[int]:
        """Offsets of the neighbouring frames there are, those before from near to far, then those after."""
        there = self.inputs["footage"].frames()
        steps = [direction * step for direction in (-1, 1) for step in range(1, self.params.radius + 1)]
        return [step for step in steps if frame + step in there and frame in self.inputs[f"motion{step:+d}"].frames()]

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        offsets = self.offsets(frame)
        footage = tuple(sorted((frame, *(frame + offset for offset in offsets))))
        return {"footage": footage, **{f"motion{offset:+d}": (frame,) for offset in offsets}}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def neighbours(self, frame: int, fetch: Fetch, cancel: Cancel) -> "list[Neighbour]":
        """Those of `offsets` that no cut hides."""
        found: list[Neighbour] = []
        for direction in (-1, 1):
            last = fetch("footage", frame)
            for offset in self.offsets(frame):
                if offset * direction < 0:
                    continue
                cancel()
                other = fetch("footage", frame + offset)
                if is_cut(last, other):
                    break
                found.append(Neighbour(offset, other, fetch(f"motion{offset:+d}", frame)))
                last = other
        return found


@dataclass(frozen=True)
class Neighbour:
    """A frame `offset` frames away, and the flow field that leads there."""

    offset: int
    image: Image
    flow: np.ndarray


@dataclass(frozen=True)
class Aligned:
    """A neighbour brought to the center frame.

    pixels   float32 (H, W, 3), encoded
    visible  bool (H, W): where it lies within the frame
    """

    offset: int
    pixels: np.ndarray
    visible: np.ndarray

    def rows(self, rows: slice) -> "Aligned":
        """A band of it."""
        return Aligned(self.offset, self.pixels[rows], self.visible[rows])


def align(neighbour: Neighbour) -> Aligned:
    """The neighbour as it looks from the center frame."""
    pixels = encoded(unpremultiply(neighbour.image))
    return Aligned(neighbour.offset, warp_picture(pixels, neighbour.flow), inside(neighbour.flow))


def encoded(pixels: np.ndarray) -> np.ndarray:
    """`color.encode`, band by band."""
    result = np.empty(pixels.shape, np.float32)
    for top in range(0, len(pixels), BAND):
        result[top : top + BAND] = encode(pixels[top : top + BAND])
    return result


_TOLERANCE = 2.0
"""How sharply a sample loses weight where it differs by more than noise does. From 1 to 4 it makes little difference:
0.1 dB on six rendered shots and a filmed one, with noise of 2 to 25."""
_FADE = 0.1
"""How much weight a frame loses per frame of distance: motion is less sure over more frames."""


def weight(center: np.ndarray, neighbour: Aligned, noise: np.ndarray) -> np.ndarray:
    """How far a neighbour shows the same as the center frame (H, W, 3) at every pixel: float32 (H, W), 0..1.

    noise  standard deviation of the noise at every pixel, in encoded values, float32 (H, W)
    """
    expected = 2 * center.shape[2] * np.square(noise)
    # Over 3x3 pixels, because the noise of one decides nothing, and a window larger than that blurs thin things.
    squares = cv2.transform(np.square(neighbour.pixels - center), np.ones((1, 3), np.float32))
    distance = cv2.blur(squares, (3, 3)) / expected
    weight = np.exp(-_TOLERANCE * np.maximum(distance - 1, 0) - np.float32(_FADE * (abs(neighbour.offset) - 1)))
    return weight * neighbour.visible


# ---- noise

_BLOCK = 8
_GROUPS = 8
_LEAST = 0.25 / 255
"""No noise is taken to be less: the rounding of 8-bit footage alone has 0.29/255."""


def measure_noise(center: np.ndarray, aligned: list[Aligned], given: float = 0.0) -> np.ndarray:
    """The standard deviation of the noise at every pixel, in encoded values: float32 (H, W).

    Film and sensors are noisier in some tones than in others, so it is measured as a function of the brightness: the
    picture's blocks are grouped by it, and in each group the quietest fifth decides, since motion errors, texture and
    changes of light only ever add to what noise does.

    given  the noise where it is known, in 1/255; 0: measured
    """
    if given > 0:
        return np.full(center.shape[:2], max(given / 255, _LEAST), np.float32)
    # A part of the rows is enough to measure in: at most some 400 of them, in bands as high as a block.
    step = max(1, len(center) // 400)
    rows = np.flatnonzero(np.arange(len(center)) // _BLOCK % step == 0)
    sample, nearest = center[rows], min((abs(a.offset) for a in aligned), default=0)
    near = [a.pixels[rows] for a in aligned if abs(a.offset) == nearest]
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
