"""Places: where the pixels of a frame lie in one key frame, at the working size.

All that the ST map says is found here (stmap.py); it only brings it to the picture's size. No model has a part in it,
so it is kept on disk, where it takes a few megabytes a frame at any size of the footage.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from ..engine.errors import ParameterError
from ..engine.image import Image
from .camera import settled
from .carried import Carried, CarriedParams
from .guide import Register, RegisterParams, WorkPicture, work_flow, work_matte
from .likeness import BLUR, Colors, agreement, in_light_of
from .lookalikes import (
    DOUBT,
    LookAlikes,
    LookAlikesParams,
    anchors,
    choice_of,
    stepping,
    steps,
)  # fmt: skip
from .motion import Vectors
from .node import Cancel, Fetch, Node
from .outlines import without_seams, without_splinters
from .pieces import lost_pieces
from .rims import Slopes, mirrored, outlived
from .temporal import Temporal
from .warp import positions, slopes, warp, within
from .wayback import WayBack, WayBackParams


@dataclass(frozen=True)
class PlacesParams:
    """keyframe  where they are
    interval  frames between the anchors of the registration
    radius    frames before and after by which it is told what moves by itself, 0 or more
    """

    keyframe: int
    interval: int = RegisterParams.interval
    radius: int = 2


class Places(Temporal):
    """For each pixel its place, float32 (L, h, w, 3), layers as of `Register`, at the working size: how far away it is,
    x (right) and y (down) in pixels, and how sure it is that the key frame shows this place, and shows it there, 0..1.

    Where something of the key frame has come to lie by the motion, the two pictures must agree for the confidence to be
    high, but for their light: a shadow that falls on a wall takes no brush stroke from it.

    Where a thing has turned so far that its registration tears, flow from frame to frame may still lead back
    (nodes/carried.py); it is asked everywhere, and taken where the pictures agree far better along it.

    Where nothing leads back, a look-alike may: what turns into view is mostly more of what the key frame shows nearby
    (nodes/lookalikes.py). It is believed less than the place itself, of which another key frame may know. And what has
    moved too far to be followed is looked for, turned and shifted, among what nothing leads to (nodes/pieces.py).

    The key frame's paint beside an edge is not taken where the edge is gone (nodes/rims.py). Splinters between ways
    that were found differently are not believed, and seams less (nodes/outlines.py).

    What only the camera moves, or nothing does, goes where that takes it (nodes/camera.py). The renderer's motion does
    not err, and is left as it is.

    Each frame finds all this by itself; frames agree on it afterwards (nodes/consensus.py).

    Inputs as of `Guide`. The inputs "colors", "way", "alike", "step+1", "step-1" and "carried" are made here; the
    registration behind that of the guide's key frame is the same artefact as the guide's.
    """

    VERSION = 8
    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: PlacesParams

    def __init__(self, params: PlacesParams, footage: Node, matte: Node | None = None, vectors: Vectors | None = None):
        if params.radius < 0:
            raise ParameterError(f"the ST map's radius is {params.radius}: use 0 frames or more")
        if vectors is not None:
            params = replace(params, radius=0)
        super().__init__(params, footage=footage, vectors=vectors, matte=None if vectors else matte)
        key, colors, subject = params.keyframe, Colors(WorkPicture(footage)), self.inputs.get("matte")
        registration = Register(RegisterParams(key, params.interval), footage, matte, vectors)
        way = WayBack(WayBackParams(key), registration, colors)
        alike = LookAlikes(LookAlikesParams(key), colors, way, subject)
        carried = {"carried": Carried(CarriedParams(key), footage)} if vectors is None else {}
        made = {"colors": colors, "way": way, "alike": alike, **carried}
        self.inputs = {**self.inputs, **made, **stepping(footage, vectors)}

    def offsets(self, frame: int) -> list[int]:
        """As of `Temporal`; the key frame leads to itself, and need not ask."""
        return [] if frame == self.params.keyframe else super().offsets(frame)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        compared = tuple(sorted({frame, self.params.keyframe}))
        needed = super().frames_needed(frame)
        needed |= {name: compared for name in ("colors", "matte") if name in self.inputs}
        needed["way"] = tuple(sorted((frame, *(frame + offset for offset in self.offsets(frame)))))
        needed["alike"] = tuple(self._anchors(frame))
        for anchor in needed["alike"]:
            needed |= steps(frame, anchor)
        if self._is_carried(frame):
            needed["carried"] = (frame,)
        return needed

    def _is_carried(self, frame: int) -> bool:
        return "carried" in self.inputs and self.inputs["carried"].has(frame)

    def _anchors(self, frame: int) -> list[int]:
        """The frames whose look-alikes count for this frame."""
        there = self.inputs.get("vectors", self.inputs["footage"]).frames()
        return anchors(there, self.params.keyframe, frame)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        shape = fetch("footage", frame).pixels.shape
        seen, there = self._seen(frame, fetch), self._seen(self.params.keyframe, fetch)
        others = [
            (work_flow(fetch(f"motion{offset:+d}", frame), shape), fetch("way", frame + offset))
            for offset in self.neighbours(frame, fetch, cancel)
        ]
        choices = []
        for anchor in self._anchors(frame):
            cancel()
            choices.append(choice_of(anchor, frame, fetch))
        carried = fetch("carried", frame) if self._is_carried(frame) else None
        layers = []
        for index, own in enumerate(fetch("way", frame)):
            cancel()
            here = replace(seen, colors=in_light_of(seen.colors, there.colors, own))
            beside = [(flow, other[index]) for flow, other in others]
            way = np.ascontiguousarray(own[..., :2])
            if index == 0 and "vectors" not in self.inputs:  # the other layer is what moves by itself
                way = settled(way, own[..., 2], here.colors, there.colors)
            layer = _layer(way, own, carried, [choice[index] for choice in choices], here, there, index)
            whole = _with_pieces(layer, own, beside, here, there, index, cancel).likelier()
            whole = _without_old_rims(whole, here, there, index)
            whole = without_splinters(whole, here.colors, there.colors)
            layers.append(without_seams(whole, here.colors))
        return np.stack(layers)

    def _seen(self, frame: int, fetch: Fetch) -> "_Seen":
        return _Seen(fetch("colors", frame), fetch("matte", frame) if "matte" in self.inputs else None)


@dataclass(frozen=True)
class _Seen:
    """What is compared of two frames: colours, encoded, float32 (h, w, 3) at the working size, and the matte."""

    colors: np.ndarray
    subject: Image | None


LIKELIER = 0.2
"""By how much surer, on the mean over STROKE, a way along flow must be than the registration's to be taken."""
STROKE = 4.0
"""Standard deviation, pixels of the working size."""
LIKENESS = 0.8
"""The most that a look-alike is believed: another key frame may show the place itself."""
HOLE = 15
"""Look-alikes are for holes at least as wide, pixels of the working size. Narrower doubts, as in fur and grass that
moves, the network paints better than pieces do (lynx: psnr 29.4 with 5, 29.8 with 15; rendered shots were the same)."""
SHARD = 9
"""Look-alikes narrower than this many pixels of the working size are left to the network: strokes are longer."""

SPECKLE = 5
"""Doubts narrower than this many pixels of the working size are dropped: they are edges that are a little off, which
the network sees for itself, and it would paint them as lines."""


def _confidence(
    way: np.ndarray, laid: np.ndarray, here: _Seen, there: _Seen, layer: int, *, tolerant: bool = True
) -> np.ndarray:
    """How sure it is that a layer's way back (h, w, 2) leads to what is seen here: float32 (h, w), 0..1.

    laid       where something of the key frame has come to lie
    layer      0 for the background, 1 for the subject, where there is a matte
    tolerant   whether doubts as narrow as SPECKLE are dropped, or else all of them widened
    """
    sure = laid * agreement(here.colors, warp(there.colors, way))
    if there.subject is not None:
        subject = warp(work_matte(there.subject, sure.shape), way)
        sure = sure * (subject if layer else 1 - subject)
    if tolerant:
        sure = cv2.morphologyEx(sure, cv2.MORPH_CLOSE, np.ones((SPECKLE, SPECKLE), np.uint8))
    else:
        sure = cv2.erode(sure, np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(sure, (0, 0), BLUR)


@dataclass(frozen=True)
class _Layer:
    """Where a layer's pixels come from: float32 (h, w, 3) each, as of `Places`.

    way    by what was followed
    alike  by look-alikes
    """

    way: np.ndarray
    alike: np.ndarray

    def likelier(self) -> np.ndarray:
        """The one or the other."""
        return np.where(self.alike[..., 2:] > self.way[..., 2:], self.alike, self.way)


def _layer(
    way: np.ndarray,
    own: np.ndarray,
    carried: np.ndarray | None,
    choices: list[np.ndarray],
    here: _Seen,
    there: _Seen,
    layer: int,
) -> _Layer:
    """A layer with look-alikes where its way back (h, w, 2) leads to nothing.

    own      (h, w, 3), as of `WayBack`
    carried  (h, w, 2), another way back, taken where it leads to what is far likelier
    choices  as of `LookAlikes`, in the order in which they are believed
    """
    sure = _confidence(way, own[..., 2], here, there, layer)
    alike = np.zeros_like(own)
    lacking = cv2.morphologyEx((sure < DOUBT).astype(np.uint8), cv2.MORPH_OPEN, np.ones((HOLE, HOLE), np.uint8))
    for choice in choices:
        if not lacking.any():
            break
        x, y = positions(np.ascontiguousarray(choice[..., :2]))
        somewhere = choice[..., 2] * within(x, y, sure.shape)
        # What is led to the edge of another thing would show as a splinter of it.
        like = _confidence(choice[..., :2], somewhere, here, there, layer, tolerant=False) * np.float32(LIKENESS)
        taken = ((lacking > 0) & (like > LIKENESS * DOUBT) & (like > sure)).astype(np.uint8)
        taken = cv2.morphologyEx(taken, cv2.MORPH_OPEN, np.ones((SHARD, SHARD), np.uint8))
        cv2.copyTo(np.dstack([choice[..., :2], like]), taken, alike)
        lacking -= taken
    if carried is not None and own.any():  # not beyond a cut
        other = _confidence(carried, _laid(carried), here, there, layer)
        likelier = cv2.GaussianBlur(other - np.maximum(sure, alike[..., 2]), (0, 0), STROKE) > LIKELIER
        likelier = cv2.morphologyEx(likelier.astype(np.uint8), cv2.MORPH_OPEN, np.ones((SHARD, SHARD), np.uint8)) > 0
        way, sure = np.where(likelier[..., None], carried, way), np.where(likelier, other, sure)
        alike[likelier] = 0
    return _Layer(np.dstack([way, sure]), alike)


def _laid(way: np.ndarray) -> np.ndarray:
    """How far anything of the key frame has come to lie where a way (h, w, 2) leads back from: float32 (h, w), 0..1.

    As of `WayBack`, half as dense is enough. Where something was uncovered, flow is drawn out over it from its border.
    """
    x, y = positions(way)
    (x_right, x_down), (y_right, y_down) = slopes(x), slopes(y)
    area = x_right * y_down - x_down * y_right
    return (2 * area).clip(0, 1) * within(x, y, area.shape)


def _with_pieces(
    layer: _Layer,
    own: np.ndarray,
    others: list[tuple[np.ndarray, np.ndarray]],
    here: _Seen,
    there: _Seen,
    index: int,
    cancel: Cancel,
) -> _Layer:
    """A layer with what is left to be found, where it moves, found among what nothing leads to in the key frame.

    own     (h, w, 3), as of `WayBack`
    others  flow fields to frames beside, and their ways back; where there are none nothing is known to move
    """
    sure = np.maximum(layer.way[..., 2], layer.alike[..., 2])
    lost, missing = (sure < DOUBT).astype(np.uint8), _missing(layer.way)
    if here.subject is not None and there.subject is not None:
        for gone, subject in ((lost, here.subject), (missing, there.subject)):
            gone[(work_matte(subject, sure.shape) > 0.5) != (index == 1)] = 0
    if not own.any():  # beyond a cut
        return layer
    pieces = lost_pieces(lost, missing, own, others, here.colors, there.colors, cancel)
    likelier = (pieces[..., 2] > sure)[..., None]
    return _Layer(np.where(likelier, pieces, layer.way), np.where(likelier, np.float32(0), layer.alike))


def _without_old_rims(way: np.ndarray, here: _Seen, there: _Seen, layer: int) -> np.ndarray:
    """A layer's way (h, w, 3) that leads beside no edge of the key frame that is gone, where it could as well lead
    elsewhere (nodes/rims.py)."""
    seen, painted = Slopes.of(here.colors), Slopes.of(there.colors)
    around, to = np.ones((3, 3), np.uint8), np.ascontiguousarray(way[..., :2])
    old = cv2.dilate(outlived(to, seen, painted).astype(np.uint8), around) > 0
    old &= way[..., 2] > DOUBT
    if not old.any():
        return way
    other = mirrored(to, old, here.colors, there.colors)
    sure = _confidence(other, within(*positions(other), old.shape), here, there, layer)
    better = old & (sure > DOUBT) & ~outlived(other, seen, painted)
    better = cv2.morphologyEx(better.astype(np.uint8), cv2.MORPH_OPEN, around) > 0
    return np.where(better[..., None], np.dstack([other, sure]), way)


def _missing(way: np.ndarray) -> np.ndarray:
    """Where in the key frame nothing leads to, by a way (h, w, 3) that is sure of itself: uint8 (h, w), 0 or 1."""
    sure = way[..., 2] > DOUBT
    x, y = (np.rint(places[sure]).astype(int) for places in positions(np.ascontiguousarray(way[..., :2])))
    inside = within(x, y, way.shape)
    found = np.zeros(way.shape[:2], np.uint8)
    found[y[inside], x[inside]] = 1
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return cv2.morphologyEx(1 - found, cv2.MORPH_OPEN, np.ones((SPECKLE, SPECKLE), np.uint8))
