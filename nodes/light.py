"""Light: how much brighter the key frames are than a frame that shows the same.

The network copies a brush stroke where the plate of the key frame looks like the plate before it, but for a little
light. A shot that fades, a lamp that is turned off, are beyond that. Such a frame is shown to the network in the key
frames' light, and its paint is brought back into the frame's own (engine/stylizer.py).
"""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.color import brightness, decode
from ..engine.errors import ParameterError
from .guide import WorkPicture, work_matte
from .likeness import SEEN, Colors
from .node import Cancel, Fetch, Node
from .stmap import pages_near

EVEN = 1.15
"""Up to this factor of scene-linear light, half a stop and a little, the network copies as it is, and a painting stays
as it was painted. Beyond, light counts by as much as exceeds this, so that nothing jumps. Of shots in one light the
factor is within 0.98 and 1.02."""
BLACK = 0.002
"""Scene-linear; seven of 255 code values. What is as dark in both frames tells nothing of light, and a frame that is as
dark as a whole, as at the end of a fade or after a cut, has nothing that could be found in a key frame: ..."""
WHITE = 0.95
"""... its light is then that of its brightest parts, this quantile."""
DARKEST = 1e-4
"""Scene-linear: what is darker counts as if it were so dark. A third of a code value."""


@dataclass(frozen=True)
class LightParams:
    """keyframes  those that the ST map leads to, at least one"""

    keyframes: tuple[int, ...]


class Light(Node):
    """By which factor of scene-linear light a frame becomes as bright as what it shows is in the key frames, but for
    EVEN: float32 (1,), above 0, and 1 where the light is even. One for all of the frame, a median.

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
        bright = _light(fetch("colors", frame))
        height, width = bright.shape
        counts = np.ones((height, width), bool)
        if "matte" in self.inputs:
            counts = work_matte(fetch("matte", frame), counts.shape) > 0.5
        places = cv2.resize(fetch("stmap", frame).pixels, (width, height), interpolation=cv2.INTER_NEAREST)
        s, t, sure = cv2.split(places)
        x, down = s * width - np.float32(0.5), (1 - t) * len(self._keyframes)
        factors, whites = [], []
        for page in pages_near(self._keyframes, frame):
            cancel()
            key = _light(fetch("colors", self._keyframes[page]))
            y = (down - page) * height - np.float32(0.5)
            there = cv2.remap(key, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            known = counts & (sure > 0.5) & (np.floor(down) == page) & (np.maximum(there, bright) > BLACK)
            factors.append(there[known] / bright[known])
            whites.append(float(np.quantile(key, WHITE)))
        known = np.concatenate(factors)
        factor = 1.0
        if known.size > SEEN * counts.sum():
            factor = float(np.median(known))
        elif counts.any() and (white := float(np.quantile(bright[counts], WHITE))) < BLACK:
            factor = max(whites) / white
        return np.array([max(factor / EVEN, min(1.0, factor * EVEN))], np.float32)


def _light(colors: np.ndarray) -> np.ndarray:
    """Scene-linear brightness, float32 (h, w), of colours (h, w, 3) as of `Colors`."""
    return np.maximum(brightness(decode(colors)), np.float32(DARKEST))
