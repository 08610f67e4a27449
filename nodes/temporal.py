"""What `Prefilter` and `Steady` share: the frames round one, brought to where things are in it, and how far they count.

A neighbouring frame counts at a pixel as far as it shows the same there: the weights of the motion-compensated
bilateral filter in time of Bennett and McMillan, "Video Enhancement Using Per-Pixel Virtual Exposures", SIGGRAPH 2005.
They come from differences measured in units of the noise, so one setting suits every noise, exposure and brightness.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from ..engine.color import brightness, encode
from ..engine.image import unpremultiply
from .motion import Cut, Flow, FlowParams, Vectors
from .node import Cancel, Fetch, Node
from .parallel import in_parallel
from .warp import positions, within

BAND = 64
"""Rows worked on at once: what fits the processor's cache is several times faster than the whole picture."""


class Temporal(Node):
    """A node that looks at the frames round the one it makes. Those missing, or beyond a cut, do not count.

    footage  pictures of one size
    vectors  the renderer's motion, used in place of estimated flow

    Inputs called "motion+1" and so on and "cut" are made here, so that flow fields and cuts are results of their own,
    shared between frames and kept on disk; they are no links of a graph. `params.radius` is the number of frames before
    and after.
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("vectors",)

    def __init__(self, params: Any, footage: Node, vectors: Vectors | None, **others: Node | None):
        super().__init__(params, footage=footage, vectors=vectors, **others)
        motion = vectors or Flow(FlowParams(), footage)
        offsets = [offset for offset in range(-params.radius, params.radius + 1) if offset]
        ways = {f"motion{offset:+d}": motion.towards(offset) for offset in offsets}
        self.inputs = {**self.inputs, **ways, "cut": Cut(footage)}

    def offsets(self, frame: int) -> list[int]:
        """Offsets of the neighbouring frames there are, those before from near to far, then those after."""
        there = self.inputs["footage"]
        steps = [direction * step for direction in (-1, 1) for step in range(1, self.params.radius + 1)]
        return [step for step in steps if there.has(frame + step) and self.inputs[f"motion{step:+d}"].has(frame)]

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        needed: dict[str, tuple[int, ...]] = {"footage": (frame,)}
        needed |= {f"motion{offset:+d}": (frame,) for offset in self.offsets(frame)}
        steps = sorted({0, *self.offsets(frame)})
        if cuts := self._steps(frame + steps[0], frame + steps[-1]):
            needed["cut"] = cuts
        return needed

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def neighbours(self, frame: int, fetch: Fetch, cancel: Cancel) -> list[int]:
        """Those of `offsets` that no cut hides."""
        seen: list[int] = []
        cut = {-1: False, 1: False}
        at = {-1: frame, 1: frame}
        for offset in self.offsets(frame):
            direction = 1 if offset > 0 else -1
            for step in self._steps(*sorted((at[direction], frame + offset))):
                cancel()
                cut[direction] = cut[direction] or bool(fetch("cut", step))
            at[direction] = frame + offset
            if not cut[direction]:
                seen.append(offset)
        return seen

    def _steps(self, first: int, last: int) -> tuple[int, ...]:
        """The frames there are from `first` up to the one before `last`."""
        there = self.inputs["footage"].frames()
        return tuple(frame for frame in range(first, last) if frame in there)


@dataclass(frozen=True)
class EncodedParams:
    """There are none."""


class Encoded(Node):
    """A picture's straight colour, encoded: float32 (H, W, 3). A node, so that each frame is encoded only once."""

    INPUTS: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, image: Node):
        super().__init__(EncodedParams(), image=image)

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        straight = unpremultiply(fetch("image", frame))
        result = np.empty(straight.shape, np.float32)

        def encode_band(top: int) -> None:
            result[top : top + BAND] = encode(straight[top : top + BAND])

        in_parallel(encode_band, range(0, len(straight), BAND), cancel)
        return result


@dataclass(frozen=True)
class Neighbour:
    """A frame `offset` frames away, and where each pixel of the center frame lies in it.

    pixels  float32 (H, W, 3), encoded
    flow    float32 (H, W, 2)
    """

    offset: int
    pixels: np.ndarray
    flow: np.ndarray

    def rows(self, rows: slice) -> "Aligned":
        """A band of it as it looks from the center frame."""
        x, y = positions(self.flow[rows], rows.start)
        pixels = cv2.remap(self.pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return Aligned(self.offset, pixels.reshape(*x.shape, 3), within(x, y, self.pixels.shape))


@dataclass(frozen=True)
class Aligned:
    """A band of a neighbour, brought to where things are in the center frame.

    pixels   float32 (h, W, 3), encoded
    visible  bool (h, W): where it lies within the frame
    """

    offset: int
    pixels: np.ndarray
    visible: np.ndarray


_TOLERANCE = 2.0
"""How sharply a sample loses weight where it differs by more than noise does. From 1 to 4 it makes little difference:
0.1 dB on six rendered shots and a filmed one, with noise of 2 to 25."""
_FADE = 0.1
"""How much weight a frame loses per frame of distance: motion is less sure over more frames."""

LEAST_EXPONENT = np.float32(-30)
"""Less than e^-30 no weight is: it would make no difference, and numbers next to 0 are ten times as slow."""


def weight(difference: np.ndarray, neighbour: Aligned, noise: np.ndarray) -> np.ndarray:
    """How far a neighbour shows the same as the center frame at every pixel: float32 (h, W), 0..1.

    difference  neighbour less center frame, float32 (h, W, 3)
    noise       standard deviation of the noise at every pixel, in encoded values, float32 (h, W)
    """
    # Over 3x3 pixels, because the noise of one decides nothing, and a window larger than that blurs thin things.
    squares = cv2.transform(cv2.multiply(difference, difference), np.ones((1, 3), np.float32))
    exponent = cv2.blur(squares, (3, 3))
    # -tolerance * (distance - 1), where that is less than 0: distance 1 is what noise alone makes.
    exponent /= np.square(noise)
    exponent *= np.float32(-_TOLERANCE / (2 * difference.shape[2]))
    exponent += np.float32(_TOLERANCE)
    np.clip(exponent, LEAST_EXPONENT, 0, out=exponent)
    exponent -= np.float32(_FADE * (abs(neighbour.offset) - 1))
    share = cv2.exp(exponent)
    share[~neighbour.visible] = 0
    return share


# ---- noise

_BLOCK = 8
_GROUPS = 8
_COARSE = 4
_LEAST = 0.25 / 255
"""No noise is taken to be less: the rounding of 8-bit footage alone has 0.29/255."""


def measure_noise(center: np.ndarray, neighbours: list[Neighbour], given: float = 0.0) -> np.ndarray:
    """The standard deviation of the noise at every pixel, in encoded values: float32 (H, W).

    Film and sensors are noisier in some tones than in others, so it is measured as a function of the brightness: the
    picture's blocks are grouped by it, and in each group the quietest fifth decides, since motion errors, texture and
    changes of light only ever add to what noise does.

    center  the center frame, float32 (H, W, 3), encoded
    given   the noise where it is known, in 1/255; 0: measured
    """
    if given > 0:
        return np.full(center.shape[:2], max(given / 255, _LEAST), np.float32)
    nearest = min((abs(n.offset) for n in neighbours), default=0)
    near = [n for n in neighbours if abs(n.offset) == nearest]
    # A part of the rows is enough to measure in: some 125 of them, in bands as high as a block.
    every = max(1, round(len(center) / 125)) * _BLOCK
    powers, tones = [], []
    for top in range(0, len(center), every):
        rows = slice(top, top + _BLOCK)
        energies = _energies(center[rows], [n.rows(rows).pixels for n in near])
        powers += [_blocks(energy).ravel() for energy in energies]
        tones += [_blocks(brightness(center[rows])).ravel()] * len(energies)
    power, tone = np.concatenate(powers), np.concatenate(tones)

    order = np.argsort(tone, kind="stable")
    groups = np.array_split(order, min(_GROUPS, max(1, len(order) // 32)))
    curve_tones = [tone[group].mean() for group in groups]
    curve = [max(_LEAST, float(np.sqrt(np.percentile(power[group], 20)))) for group in groups]
    # Brightness of surroundings: a pixel's own value has the noise in it. They change slowly, so a quarter of the size
    # is enough.
    height, width = center.shape[:2]
    small = cv2.resize(center, (-(-width // _COARSE), -(-height // _COARSE)), interpolation=cv2.INTER_AREA)
    noise = np.interp(cv2.blur(brightness(small), (3, 3)), curve_tones, curve).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


def _energies(center: np.ndarray, near: list[np.ndarray]) -> list[np.ndarray]:
    """Estimates of the noise's variance at every pixel, each (H, W): from the nearest frames, or this one alone."""
    if near:
        # The difference of two frames has the noise of both; the one that was resampled has lost three tenths of its.
        return [_mean_square(pixels - center) / np.float32(1.7) for pixels in near]
    # Immerkaer, "Fast Noise Variance Estimation", CVIU 1996: a mask that sees no constant, slope or edge along an axis.
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    return [_mean_square(cv2.filter2D(center, -1, mask))]


def _mean_square(values: np.ndarray) -> np.ndarray:
    """Of the three channels: float32 (H, W)."""
    return brightness(cv2.multiply(values, values))


def _blocks(values: np.ndarray) -> np.ndarray:
    """Means over blocks of 8x8 pixels."""
    height, width = values.shape
    size = (max(1, width // _BLOCK), max(1, height // _BLOCK))
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA)
