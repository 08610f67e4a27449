"""The way back: for every pixel of a frame, where it comes from in a key frame by the registration."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from .guide import Register
from .likeness import Colors, in_light_of
from .node import Cancel, Fetch, Node
from .outlines import settled_outlines


@dataclass(frozen=True)
class WayBackParams:
    """keyframe  where it leads"""

    keyframe: int


class WayBack(Node):
    """For every pixel of a frame its way back into the key frame: float32 (L, h, w, 3), layers as of `Register`.

    x (right) and y (down) in pixels of the working size, and how far anything of the key frame has come to lie there,
    0..1. "colors" shows both frames at that size, which decide on the outlines (nodes/outlines.py).
    """

    VERSION = 6
    INPUTS: ClassVar[tuple[str, ...]] = ("registration", "colors")
    params: WayBackParams

    def __init__(self, params: WayBackParams, registration: Register, colors: Colors):
        super().__init__(params, registration=registration, colors=colors)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return {"registration": (frame,), "colors": tuple(sorted({frame, self.params.keyframe}))}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        here, there = fetch("colors", frame), fetch("colors", self.params.keyframe)
        layers = []
        for deformation in fetch("registration", frame):
            cancel()
            way = _inverse(deformation)
            layers.append(settled_outlines(way, in_light_of(here, there, way), there, cancel))
        return np.stack(layers)


SOFTNESS = 1.0
"""Standard deviation, pixels of the working size, over which neighbouring pixels agree on where they came from."""

SURROUNDINGS = 16.0
"""Standard deviation of the surroundings, pixels of the working size, that lead back where nothing came to lie."""

HIDDEN = 0.01
"""The least weight of a pixel that was not found again: it counts where no other came to lie."""

_MARGIN = 4


def _inverse(deformation: np.ndarray) -> np.ndarray:
    """For every pixel of the second frame its way back into the first, x and y, and how much lies there, 0..1: float32
    (h, w, 3).

    Every pixel of the first frame lays its own way down where it has come to lie, the surer the heavier.

    deformation  float32 (h, w, 3), as of `Register`
    """
    height, width = deformation.shape[:2]
    if not deformation.any():  # lost, as over a cut
        return np.zeros_like(deformation)
    from .sparse import csc_matrix  # here: see there

    right, down, sure = cv2.split(deformation)
    weight = np.square(np.maximum(sure, np.float32(HIDDEN)))
    values = cv2.merge([-right * weight, -down * weight, weight, np.ones_like(weight)])
    rows, columns = height + 2 * _MARGIN, width + 2 * _MARGIN
    right += np.arange(_MARGIN, _MARGIN + width, dtype=np.float32)
    down += np.arange(_MARGIN, _MARGIN + height, dtype=np.float32)[:, None]
    x, y = np.clip(right, 0, columns - 1.001), np.clip(down, 0, rows - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    x -= left
    y -= top
    # Each pixel is a column of a sparse matrix: the four places it is laid down on, and its parts there.
    first = top * columns + left
    places = cv2.merge([first, first + 1, first + columns, first + columns + 1])
    parts = cv2.merge([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    starts = np.arange(0, 4 * first.size + 1, 4, dtype=np.int32)
    laying = csc_matrix((parts.ravel(), places.ravel(), starts), (rows * columns, first.size))
    picture = (laying @ values.reshape(-1, 4)).reshape(rows, columns, 4)
    near = cv2.GaussianBlur(picture, (0, 0), SOFTNESS)
    # Where nothing came to lie, the way back is that of the wider surroundings; they need no detail.
    small = cv2.resize(picture, (-(-columns // 4), -(-rows // 4)), interpolation=cv2.INTER_AREA)
    wide = cv2.resize(cv2.GaussianBlur(small, (0, 0), SURROUNDINGS / 4), (columns, rows))
    inner = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    found = cv2.split(near[inner] + np.float32(1e-4) * wide[inner])
    weight = found[2] + np.float32(1e-12)
    return cv2.merge([found[0] / weight, found[1] / weight, np.minimum(1, 2 * near[inner][..., 3])])
