"""The ST map: for every pixel of a frame, where it lies in a key frame.

It says the same as the guide layer, from registrations of the same kind, but as a place rather than as a colour: the
network looks the painted key frame up there (engine/exemplar.py). In Nuke, STMap with it as `stmap` lays anything that
was made for the key frame over any other frame.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..engine.errors import ParameterError
from ..engine.image import Image
from .guide import REFERENCE_HEIGHT, Register, RegisterParams, work_flow, work_matte
from .motion import Vectors
from .node import Cancel, Fetch, Node
from .temporal import Temporal
from .warp import compose, inside, warp


@dataclass(frozen=True)
class STMapParams:
    """keyframes  the frames to find again, at least one
    interval   frames between the anchors of the registration
    radius     frames before and after with which a frame agrees on where its places are, 0 or more
    """

    keyframes: tuple[int, ...]
    interval: int = RegisterParams.interval
    radius: int = 2


class STMap(Temporal):
    """An `Image` of three channels: s, t and confidence.

    s, t        0 to 1 over the key frame's width, from the left, and height, from below; a pixel's centre is at half.
                Several key frames lie below each other, in the order of their numbers, and 0 to 1 goes over all.
    confidence  0..1: how sure it is that the key frame shows this place, and shows it there

    Each pixel is looked for in the last key frame before and the first one after, so two registrations are all it
    takes; what both of them show is taken from the nearer.

    Every frame is registered by itself and errs by itself, by a quarter of a pixel or so; strokes that are looked up
    there would tremble. So a frame's way back is the mean of its own and those of its neighbours, which its pixels
    reach along the motion of the footage, as far as they lead to the same place. The renderer's motion does not err,
    and nothing is averaged.

    keyframes   in the order in which they lie, from the top

    Inputs as of `Guide`. The inputs "way0" and so on, by key frame, are made here; the registration behind that of the
    guide's key frame is the same artefact as the guide's.
    """

    VERSION = 2
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: STMapParams

    def __init__(self, params: STMapParams, footage: Node, matte: Node | None = None, vectors: Vectors | None = None):
        if not params.keyframes:
            raise ParameterError("an ST map needs a key frame to lead to; give at least one")
        if params.radius < 0:
            raise ParameterError(f"the ST map's radius is {params.radius}: use 0 frames or more")
        if vectors is not None:
            params = replace(params, radius=0)
        super().__init__(params, footage, vectors, matte=None if vectors else matte)
        self.keyframes = tuple(sorted(set(params.keyframes)))
        ways = {
            f"way{page}": WayBack(Register(RegisterParams(key, params.interval), footage, matte, vectors))
            for page, key in enumerate(self.keyframes)
        }
        self.inputs = {**self.inputs, **ways}

    def offsets(self, frame: int) -> list[int]:
        """As of `Temporal`; a key frame leads to itself, and need not ask."""
        return [] if frame in self.keyframes else super().offsets(frame)

    def _near(self, frame: int) -> list[int]:
        """The places in the order of the last key frame up to this frame and the first one from it on."""
        before = [page for page, key in enumerate(self.keyframes) if key <= frame][-1:]
        after = [page for page, key in enumerate(self.keyframes) if key >= frame][:1]
        return sorted({*before, *after})

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        needed = super().frames_needed(frame)
        ways = {f"way{page}": needed["footage"] for page in self._near(frame)}
        return {**needed, **ways, **({"matte": (frame,)} if "matte" in self.inputs else {})}

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        picture = fetch("footage", frame)
        matte = fetch("matte", frame) if "matte" in self.inputs else None
        neighbours = self.neighbours(frame, fetch, cancel)
        near = self._near(frame)
        ways = []
        for page in near:
            layers = fetch(f"way{page}", frame)  # (L, h, w, 3)
            others = []
            for neighbour in neighbours:
                cancel()
                others.append((work_flow(neighbour.flow), fetch(f"way{page}", frame + neighbour.offset)))
            agreed = [_agree(own, [(flow, ways[i]) for flow, ways in others]) for i, own in enumerate(layers)]
            cancel()
            way = _in_picture(agreed, picture, matte)
            # Not quite to the edge, since another key frame begins beyond it.
            t = way[..., 1].clip(0.5 / picture.height, 1 - 0.5 / picture.height)
            way[..., 1] = (len(self.keyframes) - 1 - page + t) / len(self.keyframes)
            ways.append(way)
        if len(ways) == 1:
            return Image(ways[0])
        distances = [abs(self.keyframes[page] - frame) for page in near]
        side = max(1, picture.height // AGREEING)
        first, second = (
            cv2.blur(np.ascontiguousarray(way[..., 2]), (side, side)) * np.float32(1 - distance / (2 * sum(distances)))
            for way, distance in zip(ways, distances, strict=True)
        )
        return Image(np.where((second > first)[..., None], ways[1], ways[0]))


@dataclass(frozen=True)
class WayBackParams:
    """There are none."""


class WayBack(Node):
    """For every pixel of a frame its way back into the key frame: float32 (L, h, w, 3), layers as of `Register`.

    x (right) and y (down) in pixels of the working size, and the confidence, 0..1.
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("registration",)

    def __init__(self, registration: Register):
        super().__init__(WayBackParams(), registration=registration)

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        layers = []
        for deformation in fetch("registration", frame):
            cancel()
            layers.append(_inverse(deformation))
        return np.stack(layers)


AGREEING = 16
"""Part of the frame's height over which pixels agree on the key frame that they come from, so that it is not one here
and another there within one brush stroke."""

SPECKLE = 5
"""Doubts narrower than this many pixels of the working size are dropped: they are edges that are a little off, which
the network sees for itself, and it would paint them as lines."""

BLUR = 2.0
"""Standard deviation of what softens the confidence, pixels of the working size, to what training shows the network."""

SOFTNESS = 1.0
"""Standard deviation, pixels of the working size, over which neighbouring pixels agree on where they came from."""

TOLERANCE = 2.0
"""Ways that lead this far apart, pixels of a frame of REFERENCE_HEIGHT, lead to different places. It also keeps out
what the flow leads to where something is hidden in one of the frames; the flow back, asked as well, changed nothing."""

HIDDEN = 0.01
"""The least weight of a pixel that was not found again: it counts where no other came to lie."""

_MARGIN = 4


def _agree(own: np.ndarray, others: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """A layer's way back (h, w, 3), averaged with those of other frames (h, w, 3) and the flow fields that lead there.

    The confidence stays the frame's own.
    """
    tolerance = TOLERANCE * len(own) / REFERENCE_HEIGHT
    way = np.ascontiguousarray(own[..., :2])
    weights = np.maximum(own[..., 2:], np.float32(HIDDEN))
    total = way * weights
    for flow, other in others:
        there = compose(flow, np.ascontiguousarray(other[..., :2]))
        apart = np.square(there - way).sum(axis=2, keepdims=True) / np.float32(tolerance**2)
        sure = warp(np.ascontiguousarray(other[..., 2]), flow) * inside(flow)
        weight = sure[..., None] * np.exp(-apart)
        total += there * weight
        weights += weight
    return np.dstack([total / weights, own[..., 2]])


def _in_picture(layers: list[np.ndarray], picture: Image, matte: Image | None) -> np.ndarray:
    """s, t and confidence in one key frame, float32 (H, W, 3), from the way back of each layer."""
    size = picture.width, picture.height
    grown = []
    for layer in layers:
        height, width = layer.shape[:2]
        parts = layer / np.array([width, -height, 1], np.float32)  # of the picture, t up
        grown.append(cv2.resize(parts, size, interpolation=cv2.INTER_LINEAR))
    there = grown[0]
    if matte is not None:
        # Not mixed: halfway between two places lies a third.
        subject = work_matte(matte, there.shape[:2]) > 0.5
        there = np.where(subject[..., None], grown[1], there)
    there[..., 0] += (np.arange(picture.width, dtype=np.float32) + 0.5) / picture.width
    there[..., 1] += 1 - (np.arange(picture.height, dtype=np.float32)[:, None] + 0.5) / picture.height
    return there


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
