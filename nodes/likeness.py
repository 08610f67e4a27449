"""How alike two frames look: what decides whether a way from one to the other is believed."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.color import brightness, decode, encode
from .guide import WorkPicture
from .node import Cancel, Fetch, Node
from .warp import inside, warp

GRAIN = 1.0
"""Standard deviation over which sensor noise is smoothed before pictures are compared, pixels of the working size."""
LIGHT = 3.0
"""Standard deviation over which light is taken to be even, pixels of the working size."""
BLUR = 2.0
"""Standard deviation of what softens the confidence, and the difference that it is made of, pixels of the working size:
to what training shows the network."""

DIFFERENCE = 0.06
"""Agreement falls off as exp(-(difference / DIFFERENCE)^2) with the differences of single pixels, encoded, ..."""
TONE = 0.03
"""... and of what is broader, where a colour is another thing sooner."""
SHADE = 1.4
"""What is broad may be brighter by this factor, encoded, about twice in scene-linear light: the light has changed. With
the registration's own idea of agreement, which knows no light, a head that had begun to turn was hardly copied: of
`bust` after 300 steps psnr rises from 21.6 to 22.2 (inside the subject from 17.8 to 18.9)."""
DARKEST = 0.01
"""Below this, encoded, nothing is said of factors."""
FADED = 1.2
"""From this factor on, encoded, all of a frame is taken to be in another light than the key frame: a fifth less than
SHADE, so that parts of it may be in shade as well."""
LIT = 0.01
"""By how much less a frame may agree with the key frame in that light: as it does where SHADE had been enough."""
SEEN = 0.05
"""The least part of a frame that has to be known in the key frame to tell in which light it is."""
BLACK = np.float32(0.002)
"""Scene-linear; seven of 255 code values. What is as dark in both frames tells nothing of light."""
FAINTEST = np.float32(1e-4)
"""Scene-linear, a third of a code value: what is darker counts as if it were so."""


@dataclass(frozen=True)
class ColorsParams:
    """There are none."""


class Colors(Node):
    """A frame as it is compared with others: float32 (h, w, 3), encoded, at the working size, sensor noise smoothed. A
    node, so that it is made only once."""

    INPUTS: ClassVar[tuple[str, ...]] = ("picture",)

    def __init__(self, picture: WorkPicture):
        super().__init__(ColorsParams(), picture=picture)

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        return cv2.GaussianBlur(fetch("picture", frame), (0, 0), GRAIN)


def in_light_of(here: np.ndarray, there: np.ndarray, way: np.ndarray) -> np.ndarray:
    """A frame as bright as what it shows is in the key frame: float32 (h, w, 3). As it is, if it is nearly so.

    A shot that fades out is followed to the end, its colours only to SHADE: after that nothing of it was believed.

    here, there  float32 (h, w, 3), the frame and the key frame, encoded
    way          float32 (h, w, 3), as of `WayBack`
    """
    to = np.ascontiguousarray(way[..., :2])
    known = ((way[..., 2] > 0.5) & inside(to))[_THIN]
    if known.sum() <= SEEN * known.size:
        return here
    seen = warp(there, to)
    ours, theirs = here[_THIN][known], seen[_THIN][known]
    darkest = np.float32(DARKEST)
    factor = np.median(np.maximum(theirs, darkest) / np.maximum(ours, darkest), axis=0)
    if np.maximum(factor, 1 / factor).max() < FADED:
        return here
    lit = encode(decode(here) * light_between(decode(ours), decode(theirs)))
    # Where ways lead astray the factor is of other things.
    before, after = (agreement(picture, seen)[_THIN][known].mean() for picture in (here, lit))
    return lit if after >= before - LIT else here


_THIN = np.s_[1::3, 1::3]
"""Medians need no more pixels."""


def light_between(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """By which factors of RGB things seen here become as they are there: float32 (3,), medians.

    here, there  float32 (N, 3), scene-linear: the same N pixels of things
    """
    here, there = np.maximum(here, FAINTEST), np.maximum(there, FAINTEST)
    bright, wanted = here.mean(axis=1), there.mean(axis=1)
    told = np.maximum(bright, wanted) > BLACK
    clear = np.minimum(bright, wanted) > BLACK
    if 2 * clear.sum() > told.sum():
        return np.median(there[clear] / here[clear], axis=0)
    # In the dark a file has too few codes to tell colours.
    return np.full(3, np.median((wanted / bright)[told]) if told.any() else 1, np.float32)


def agreement(
    first: np.ndarray,
    second: np.ndarray,
    *,
    light: float = LIGHT,
    blur: float = BLUR,
    shade: float = SHADE,
    tone: float = TONE,
) -> np.ndarray:
    """How far two pictures (h, w, 3), encoded, agree but for their light: float32 (h, w), 0..1.

    light  standard deviation over which light is taken to be even, pixels
    blur   that over which finer differences are averaged
    """
    broad, other = (cv2.GaussianBlur(picture, (0, 0), light) for picture in (first, second))
    gain = brightness(broad) / np.maximum(brightness(other), np.float32(DARKEST))
    gain = cv2.merge([np.clip(gain, 1 / shade, shade)] * 3)
    colors = brightness(cv2.absdiff(broad, gain * other))
    fine = brightness(cv2.absdiff(first - broad, gain * (second - other)))
    fine = cv2.GaussianBlur(fine, (0, 0), blur)
    return np.exp(-np.square(colors / np.float32(tone)) - np.square(fine / np.float32(DIFFERENCE)))
