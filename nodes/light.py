"""Light: how much brighter the key frames are than a frame that shows the same.

The network copies a brush stroke where the plate of the key frame looks like the plate before it, but for a little
light. A shot that fades, a lamp that is turned off, are beyond that. Such a frame is shown to the network in the key
frames' light, and its paint is brought back into the frame's own (engine/stylizer.py).

And a shadow that falls on a wall takes no brush stroke from it: what is surely the same place is shown to the network
as light or dark as the key frame shows it, and keeps its paint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.color import decode
from ..engine.errors import ParameterError
from .guide import WorkPicture, work_matte
from .likeness import BLACK, FAINTEST, SEEN, Colors, light_between
from .node import Cancel, Fetch, Node
from .stmap import pages_near

EVEN = 1.15
"""Up to this factor of scene-linear light, a fifth of a stop, a painting stays as bright as it was painted. Beyond, it
changes by as much as exceeds this, so that nothing jumps. In shots of one light the factor was 0.99 to 1.01."""
WHITE = 0.95
"""A frame that is black as a whole, as at the end of a fade or after a cut, has nothing that could be found in a key
frame. Its light is that of its brightest parts, this quantile."""

SURE = 0.6
"""Places that are less sure say nothing of shadows."""
SPREAD = 16.0
"""Standard deviation over which places agree on a shadow, pixels of the working size. With less, things that are taken
for others are shown as these: inside the subjects up to 0.8 dB less with 4, 0.2 with 8."""
HELD = 0.1
"""How much the light that is there counts beside that of sure places: where there is none it is left alone."""
SHADOW = 2.0
"""By which factor of scene-linear light a shadow is lightened at the most: about that of `likeness.SHADE`."""
THIN = 3
"""Pixels of the working size to one that is compared."""
COARSE = 4
"""Of these, to one of the result, which is smoother."""


@dataclass(frozen=True)
class LightParams:
    """keyframes  those that the ST map leads to, at least one, in rising order
    lights     in how much light each of them is, the first being 1; empty: all are in one
    response   how far paintings follow the light of plates: 1 as far as it goes, 0 not at all, see `response_of`
    even       up to which factor light is taken to be even, 1 or more
    """

    keyframes: tuple[int, ...]
    lights: tuple[float, ...] = ()
    response: float = 1.0
    even: float = EVEN


class Light(Node):
    """By which factors of scene-linear RGB the network is to see each place of a frame, and what it paints be divided:
    float32 (2, h, w, 3), above 0, to be spread over the picture.

    Both bring the frame into the light of the first key frame, but for `even`, by medians of what both show: the same
    all over, 1 where the light is even. What the network sees is beside it freed of shadows that the key frame has not,
    and given those that it has. Key frames that are in another light are brought into that of the first, too.

    footage  the pictures
    stmap    where they lie in the key frames, see `STMap`
    matte    region of interest, as far as there is one: the light of a screen behind an actor is not his
    """

    VERSION = 2
    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage", "stmap")
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte",)
    params: LightParams

    def __init__(self, params: LightParams, footage: Node, stmap: Node, matte: Node | None = None):
        if not params.keyframes or list(params.keyframes) != sorted(set(params.keyframes)):
            raise ParameterError("light is compared with that of key frames; give at least one, in rising order")
        if params.lights and (len(params.lights) != len(params.keyframes) or min(params.lights) <= 0):
            raise ParameterError("give one light, above 0, for each key frame, or none")
        if not 0 <= params.response <= 1:
            raise ParameterError(f"the response to light is {params.response}: use 0 to 1")
        super().__init__(params, footage=footage, stmap=stmap, matte=matte)
        self._lights = params.lights or (1.0,) * len(params.keyframes)
        self.inputs = {**self.inputs, "colors": Colors(WorkPicture(footage))}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        keys = [self.params.keyframes[page] for page in pages_near(self.params.keyframes, frame)]
        here = {name: (frame,) for name in ("stmap", "matte") if name in self.inputs}
        return {**here, "colors": tuple(sorted({frame, *keys}))}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        here = decode(_thinned(fetch("colors", frame)))
        height, width = here.shape[:2]
        counts = np.ones((height, width), bool)
        if "matte" in self.inputs:
            counts = work_matte(fetch("matte", frame), counts.shape) > 0.5
        cancel()
        picture = fetch("stmap", frame)
        s, t, sure = cv2.split(cv2.resize(picture.pixels, (width, height), interpolation=cv2.INTER_NEAREST))
        s += _beside(width, picture.width)
        x, down = s * width - np.float32(0.5), (1 - t) * len(self.params.keyframes)
        down += _beside(height, picture.height)[:, None]
        known, there, whites = np.zeros(counts.shape, bool), np.ones_like(here), []
        for page in pages_near(self.params.keyframes, frame):
            cancel()
            key = decode(_thinned(fetch("colors", self.params.keyframes[page]))) / np.float32(self._lights[page])
            y = (down - page) * height - np.float32(0.5)
            on_page = counts & (sure > 0.5) & (np.floor(down) == page)
            there[on_page] = cv2.remap(key, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[on_page]
            known |= on_page
            whites.append(_white(key.reshape(-1, 3)))
        factor = np.ones(3, np.float32)
        if known.sum() > SEEN * counts.sum():
            factor = light_between(here[known], there[known])
        elif counts.any() and (white := _white(here[counts])) < BLACK:
            factor *= max(whites) / white
        even = self.params.even
        factor = np.maximum(factor / even, np.minimum(1, factor * even)).astype(np.float32)
        size = -(-width // COARSE), -(-height // COARSE)
        result = np.empty((2, *size[::-1], 3), np.float32)
        result[:] = factor
        if frame not in self.params.keyframes:
            held = np.where(known & (sure > SURE), sure, 0)
            result[0] *= cv2.resize(_without_shadows(here * factor, there, held), size, interpolation=cv2.INTER_AREA)
        result[1] **= np.float32(self.params.response)
        return result


def _without_shadows(here: np.ndarray, there: np.ndarray, held: np.ndarray) -> np.ndarray:
    """By which factors (h, w, 3) what is seen here gets the light that lies on it there.

    here, there  float32 (h, w, 3), scene-linear, the same places
    held         float32 (h, w), 0..1: how sure that is
    """
    weight, spread = held[..., None], SPREAD / THIN
    lit, seen, all_seen = (cv2.GaussianBlur(p, (0, 0), spread) for p in (weight * there, weight * here, here))
    rest = np.float32(HELD) * all_seen + FAINTEST
    return ((lit + rest) / (seen + rest)).clip(1 / np.float32(SHADOW), np.float32(SHADOW))


def _beside(few: int, many: int) -> np.ndarray:
    """By how much the middles of a few pixels of a line lie beside those of the pixels, of many, that are taken for
    them: float32 (few,), parts of the line."""
    each = np.arange(few)
    return ((each + 0.5) / few - (each * many // few + 0.5) / many).astype(np.float32)


def _thinned(colors: np.ndarray) -> np.ndarray:
    """Colours (h, w, 3) at a part of the size: neither medians nor shadows need more."""
    size = -(-colors.shape[1] // THIN), -(-colors.shape[0] // THIN)
    return cv2.resize(colors, size, interpolation=cv2.INTER_AREA)


def _white(pixels: np.ndarray) -> float:
    """The light of scene-linear pixels, (N, 3), as of WHITE."""
    return float(max(np.quantile(pixels.mean(axis=1), WHITE), FAINTEST))


STOPS = 1.0
"""By how much plates of key frames must differ in brightness, stops, before their lights are compared: less is mostly
what they show, and comparing takes seconds."""


def typical(pixels: np.ndarray) -> float:
    """The brightness of scene-linear pixels, (N, 3), as a mean that one lamp does not decide."""
    return float(np.sqrt(np.maximum(pixels, FAINTEST)).mean()) ** 2


def response_of(lights: Sequence[float], paintings: Sequence[float]) -> float:
    """How far paintings follow the light of their plates, the exponent that fits best, 0 to 1.

    Who paints a dark frame as bright as the others wants those between as bright, too.

    lights     that plates are in, not all the same
    paintings  how bright what was painted over them is
    """
    slope, _ = np.polyfit(np.log(lights), np.log(paintings), 1)
    return float(np.clip(slope, 0, 1))
