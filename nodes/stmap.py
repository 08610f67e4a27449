"""The ST map: for every pixel of a frame, where it lies in a key frame.

It says the same as the guide layer, from registrations of the same kind, but as a place rather than as a colour: the
network looks the painted key frame up there (engine/exemplar.py). In Nuke, STMap with it as `stmap` lays anything that
was made for the key frame over any other frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.errors import ParameterError
from ..engine.image import Image
from .consensus import Consensus, ConsensusParams
from .guide import RegisterParams, work_matte
from .motion import Vectors
from .node import Cancel, Fetch, Node
from .places import Places, PlacesParams


@dataclass(frozen=True)
class STMapParams:
    """keyframes  the frames to find again, at least one
    interval   frames between the anchors of the registration
    radius     frames before and after with which a frame agrees on where its places are, 0 or more
    """

    keyframes: tuple[int, ...]
    interval: int = RegisterParams.interval
    radius: int = PlacesParams.radius


class STMap(Node):
    """An `Image` of three channels: s, t and confidence.

    s, t        0 to 1 over the key frame's width, from the left, and height, from below; a pixel's centre is at half.
                Several key frames lie below each other, in the order of their numbers, and 0 to 1 goes over all.
    confidence  0..1: how sure it is that the key frame shows this place, and shows it there

    Each pixel is looked for in the last key frame before and the first one after, so two registrations are all it
    takes; what both of them show is taken from the nearer.

    keyframes   in the order in which they lie, from the top

    Inputs as of `Guide`. The inputs "places0" and so on, by key frame, are made here (places.py,
    consensus.py).
    """

    VERSION = 10
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: STMapParams

    def __init__(self, params: STMapParams, footage: Node, matte: Node | None = None, vectors: Vectors | None = None):
        if not params.keyframes:
            raise ParameterError("an ST map needs a key frame to lead to; give at least one")
        super().__init__(params, footage=footage, vectors=vectors, matte=None if vectors else matte)
        self.keyframes = tuple(sorted(set(params.keyframes)))
        for page, key in enumerate(self.keyframes):
            places = Places(PlacesParams(key, params.interval, params.radius), footage, matte, vectors)
            agreed = Consensus(ConsensusParams(params.radius), footage, places, vectors)
            self.inputs = {**self.inputs, f"places{page}": agreed}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        names = [name for name in ("footage", "matte") if name in self.inputs]
        return dict.fromkeys([*names, *(f"places{page}" for page in pages_near(self.keyframes, frame))], (frame,))

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        picture, near = fetch("footage", frame), pages_near(self.keyframes, frame)
        matte = fetch("matte", frame) if "matte" in self.inputs else None
        ways = []
        for page in near:
            s, t, sure = _in_picture(fetch(f"places{page}", frame), picture, matte, cancel)
            ways.append(cv2.merge([s, on_page(t, page, len(self.keyframes), picture.height), sure]))
        if len(ways) == 1:
            return Image(ways[0])
        distances = [abs(self.keyframes[page] - frame) for page in near]
        side = max(1, picture.height // AGREEING)
        first, second = (
            cv2.blur(np.ascontiguousarray(way[..., 2]), (side, side)) * np.float32(1 - distance / (2 * sum(distances)))
            for way, distance in zip(ways, distances, strict=True)
        )
        return Image(np.where((second > first)[..., None], ways[1], ways[0]))


def pages_near(keyframes: Sequence[int], frame: int) -> list[int]:
    """The places, in their order, of the last key frame up to this frame and of the first one from it on."""
    before = [page for page, key in enumerate(keyframes) if key <= frame][-1:]
    after = [page for page, key in enumerate(keyframes) if key >= frame][:1]
    return sorted({*before, *after})


def on_page(t: np.ndarray, page: int, pages: int, height: int) -> np.ndarray:
    """From 0 to 1 over one key frame to 0 to 1 over all of them, which lie below each other, the first at the top."""
    # Not quite to the edge, since another key frame begins beyond it.
    return (pages - 1 - page + t.clip(0.5 / height, 1 - 0.5 / height)) / pages


AGREEING = 16
"""Part of the frame's height over which pixels agree on the key frame that they come from, so that it is not one here
and another there within one brush stroke."""

ONE_PLACE = 0.5
"""Pixels of the working size from the mean of four ways to the farthest up to which they are of one thing."""


def _in_picture(
    places: np.ndarray, picture: Image, matte: Image | None, cancel: Cancel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """s, t and confidence in one key frame, float32 (H, W) each, from the `Places` there."""
    size = picture.width, picture.height
    grown = []
    for layer in places:
        cancel()
        grown.append(_grown(layer, size))
    cancel()
    way = grown[0]
    if matte is not None:
        subject = work_matte(matte, way.shape[:2]) > 0.5
        way = way.copy()
        cv2.copyTo(grown[1], subject.astype(np.uint8), way)
    x, y, sure = cv2.split(way)
    height, width = places.shape[1:3]
    x *= np.float32(1 / width)
    x += (np.arange(picture.width, dtype=np.float32) + 0.5) / picture.width
    y *= np.float32(-1 / height)  # t goes up
    y += 1 - (np.arange(picture.height, dtype=np.float32)[:, None] + 0.5) / picture.height
    return x, y, sure


def _grown(way: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A way (h, w, 3), x, y and confidence, at another width and height: smooth, but across outlines one or the other.

    Halfway between two things lies a third. So where the four ways round a place lead apart, their mean gives way to
    that one of them which is nearest to it: the outline is as smooth as the mean is.
    """
    height, width = way.shape[:2]
    if size == (width, height):
        return way
    grown = cv2.resize(way, size, interpolation=cv2.INTER_LINEAR)
    top, left = (
        np.floor((np.arange(many) + 0.5) * (few / many) - 0.5).astype(np.int64)
        for few, many in zip(way.shape, size[::-1], strict=False)
    )
    torn = _torn(way)[top.clip(0)][:, left.clip(0)]
    rows, columns = np.divmod(np.flatnonzero(torn), size[0])
    beside = [np.clip(left + right, 0, width - 1)[columns] for right in (0, 1)]
    below = [(np.clip(top + down, 0, height - 1) * width)[rows] for down in (0, 1)]
    ways = way.reshape(-1, 3)[:, :2].copy().view(np.complex64).ravel()
    corners = np.stack([ways[row + column] for row in below for column in beside])
    away = corners - grown[rows, columns, :2].view(np.complex64).ravel()
    squares = np.square(away.real) + np.square(away.imag)
    apart = squares.max(axis=0) > ONE_PLACE**2
    chosen = np.take_along_axis(corners, squares.argmin(axis=0)[None], axis=0)[0][apart]
    grown[rows[apart], columns[apart], :2] = chosen.view(np.float32).reshape(-1, 2)
    return grown


def _torn(way: np.ndarray) -> np.ndarray:
    """Where a way, the next one to the right, that below and the one beside that lead apart: bool (h, w)."""
    ranges = []
    for part in cv2.split(way)[:2]:
        lowest = highest = cv2.copyMakeBorder(part, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
        for one, next_ in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
            lowest = np.minimum(lowest[one], lowest[next_])
            highest = np.maximum(highest[one], highest[next_])
        ranges.append(highest - lowest)
    return np.maximum(*ranges) > ONE_PLACE
