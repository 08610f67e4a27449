"""Light: how much brighter the key frames are than a frame that shows the same.

The network copies a brush stroke where the plate of the key frame looks like the plate before it, but for a little
light. A shot that fades, a lamp that is turned off, are beyond that. Such a frame is shown to the network in the key
frames' light, and its paint is brought back into the frame's own (engine/stylizer.py).
"""

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


@dataclass(frozen=True)
class LightParams:
    """keyframes  those that the ST map leads to, at least one"""

    keyframes: tuple[int, ...]


class Light(Node):
    """By which factors of scene-linear RGB a frame comes into the light of the key frames, but for EVEN: float32 (3,),
    above 0, and 1 where the light is even. The same for all of the frame: medians of what both show.

    footage  the pictures
    stmap    where they lie in the key frames, see `STMap`
    matte    region of interest, as far as there is one: the light of a screen behind an actor is not his
    """

    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage", "stmap")
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte",)
    params: LightParams

    def __init__(self, params: LightParams, footage: Node, stmap: Node, matte: Node | None = None):
        if not params.keyframes:
            raise ParameterError("light is compared with that of a key frame; give at least one")
        super().__init__(params, footage=footage, stmap=stmap, matte=matte)
        self._keyframes = tuple(sorted(set(params.keyframes)))
        self.inputs = {**self.inputs, "colors": Colors(WorkPicture(footage))}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        keys = [self._keyframes[page] for page in pages_near(self._keyframes, frame)]
        here = {name: (frame,) for name in ("stmap", "matte") if name in self.inputs}
        return {**here, "colors": tuple(sorted({frame, *keys}))}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        here = decode(fetch("colors", frame))
        height, width = here.shape[:2]
        counts = np.ones((height, width), bool)
        if "matte" in self.inputs:
            counts = work_matte(fetch("matte", frame), counts.shape) > 0.5
        places = cv2.resize(fetch("stmap", frame).pixels, (width, height), interpolation=cv2.INTER_NEAREST)
        s, t, sure = cv2.split(places)
        x, down = s * width - np.float32(0.5), (1 - t) * len(self._keyframes)
        known, there, whites = np.zeros(counts.shape, bool), np.ones_like(here), []
        for page in pages_near(self._keyframes, frame):
            cancel()
            key = decode(fetch("colors", self._keyframes[page]))
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
        return np.maximum(factor / EVEN, np.minimum(1, factor * EVEN)).astype(np.float32)


def _white(pixels: np.ndarray) -> float:
    """The light of scene-linear pixels, (N, 3), as of WHITE."""
    return float(max(np.quantile(pixels.mean(axis=1), WHITE), FAINTEST))
