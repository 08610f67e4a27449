"""The ST map: for every pixel of a frame, where it lies in the key frame.

It says the same as the guide layer, from the same registration, but as a place rather than as a colour: the network
looks the painted key frame up there (engine/exemplar.py). In Nuke, STMap with it as `stmap` lays anything that was made
for the key frame over any other frame.
"""

from typing import ClassVar

import cv2
import numpy as np

from ..engine.image import Image
from .guide import Register, RegisterParams, work_matte
from .motion import Vectors
from .node import Cancel, Fetch, Node


class STMap(Node):
    """An `Image` of three channels: s, t and confidence.

    s, t        0 to 1 over the key frame's width, from the left, and height, from below; a pixel's centre is at half
    confidence  0..1: how sure it is that the key frame shows this place, and shows it there

    Inputs as of `Guide`. The input "registration" is made here, the same
    artefacts as the guide's.
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: RegisterParams

    def __init__(
        self, params: RegisterParams, footage: Node, matte: Node | None = None, vectors: Vectors | None = None
    ):
        super().__init__(params, footage=footage, matte=None if vectors else matte, vectors=vectors)
        self.inputs = {**self.inputs, "registration": Register(params, footage, matte, vectors)}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return {name: (frame,) for name in ("footage", "matte", "registration") if name in self.inputs}

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        picture = fetch("footage", frame)
        size = picture.width, picture.height
        layers = []
        for deformation in fetch("registration", frame):
            cancel()
            height, width = deformation.shape[:2]
            parts = _inverse(deformation) / np.array([width, -height, 1], np.float32)  # of the picture, t up
            layers.append(cv2.resize(parts, size, interpolation=cv2.INTER_LINEAR))
        there = layers[0]
        if len(layers) == 2:
            # Not mixed: halfway between two places lies a third.
            subject = work_matte(fetch("matte", frame), there.shape[:2]) > 0.5
            there = np.where(subject[..., None], layers[1], there)
        cancel()
        own = np.stack(
            np.broadcast_arrays(
                (np.arange(picture.width, dtype=np.float32) + 0.5) / picture.width,
                1 - (np.arange(picture.height, dtype=np.float32)[:, None] + 0.5) / picture.height,
            ),
            axis=-1,
        )
        there[..., :2] += own
        return Image(np.ascontiguousarray(there))


SPECKLE = 5
"""Doubts narrower than this many pixels of the working size are dropped: they are edges that are a little off, which
the network sees for itself, and it would paint them as lines."""

BLUR = 2.0
"""Standard deviation of what softens the confidence, pixels of the working size, to what training shows the network."""

SOFTNESS = 1.0
"""Standard deviation, pixels of the working size, over which neighbouring pixels agree on where they came from."""

HIDDEN = 0.01
"""The least weight of a pixel that was not found again: it counts where no other came to lie."""

_MARGIN = 4


def _inverse(deformation: np.ndarray) -> np.ndarray:
    """For every pixel of the second frame its way back into the first, x and y, and the confidence: float32 (h, w, 3).

    Every pixel of the first frame lays its own way down where it has come to lie, the surer the heavier.

    deformation  float32 (h, w, 3), as of `Register`
    """
    height, width = deformation.shape[:2]
    sure = deformation[..., 2].astype(np.float64)
    weight = np.maximum(sure, HIDDEN) ** 2
    values = np.stack([-deformation[..., 0], -deformation[..., 1], sure, np.ones_like(sure)]) * weight
    size = height + 2 * _MARGIN, width + 2 * _MARGIN
    x, y = (
        np.clip(deformation[..., axis] + np.arange(length, dtype=np.float32).reshape(shape) + _MARGIN, 0, limit - 1.001)
        for axis, length, shape, limit in ((0, width, (1, -1), size[1]), (1, height, (-1, 1), size[0]))
    )
    left, top = x.astype(int), y.astype(int)
    laid = np.zeros((4, size[0] * size[1]))
    for right in (0, 1):
        for below in (0, 1):
            near = np.abs(1 - right - (x - left)) * np.abs(1 - below - (y - top))
            place = ((top + below) * size[1] + left + right).ravel()
            for total, value in zip(laid, values, strict=True):
                total += np.bincount(place, (value * near).ravel(), size[0] * size[1])
    picture = np.ascontiguousarray(laid.reshape(4, *size).transpose(1, 2, 0), np.float32)
    # Where nothing came to lie, the way back is that of the wider surroundings, and is not to be trusted.
    near = cv2.GaussianBlur(picture, (0, 0), SOFTNESS) + np.float32(1e-4) * cv2.GaussianBlur(picture, (0, 0), 16)
    near = near[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    total = near[..., 3:] + np.float32(1e-12)
    found = near[..., :3] / total
    sure = found[..., 2] * np.minimum(1, 2 * total[..., 0])
    sure = cv2.morphologyEx(sure, cv2.MORPH_CLOSE, np.ones((SPECKLE, SPECKLE), np.uint8))
    found[..., 2] = cv2.GaussianBlur(sure, (0, 0), BLUR)
    return found
