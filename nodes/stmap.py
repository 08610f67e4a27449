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
from .camera import settled
from .carried import Carried, CarriedParams
from .guide import REFERENCE_HEIGHT, Register, RegisterParams, WorkPicture, work_flow, work_matte
from .lookalikes import (
    BLUR,
    DOUBT,
    GRAIN,
    LEADS,
    LIGHT,
    LookAlikes,
    LookAlikesParams,
    agreement,
    anchors,
    led,
    plane,
)  # fmt: skip
from .motion import Vectors
from .node import Cancel, Fetch, Node
from .outlines import settled_outlines
from .pieces import lost_pieces
from .temporal import LEAST_EXPONENT, Temporal
from .warp import positions, warp, within


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

    Where something of the key frame has come to lie by the motion, the two pictures must agree for the confidence to be
    high, but for their light: a shadow that falls on a wall takes no brush stroke from it.

    Where a thing has turned so far that its registration tears, flow from frame to frame may still lead back
    (nodes/carried.py); it is asked everywhere, and taken where the pictures agree far better along it.

    Where nothing leads back, a look-alike may: what turns into view is mostly more of what the key frame shows nearby
    (nodes/lookalikes.py). It is believed less than the place itself, of which another key frame may know. And what has
    moved too far to be followed is looked for, turned and shifted, among what nothing leads to (nodes/pieces.py).

    Every frame is registered by itself and errs by itself, by a quarter of a pixel or so; strokes that are looked up
    there would tremble. So a frame's way back is the mean of its own and those of its neighbours, which its pixels
    reach along the motion of the footage, as far as they lead to the same place. And what only the camera moves, or
    nothing does, goes where that takes it (nodes/camera.py). The renderer's motion does not err, and is left as it is.

    keyframes   in the order in which they lie, from the top

    Inputs as of `Guide`. The inputs "picture" and, by key frame, "way0", "alike0" and so on are made here; the
    registration behind that of the guide's key frame is the same artefact as the guide's.
    """

    VERSION = 8
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
        picture, made = WorkPicture(footage), dict[str, Node]()
        for page, key in enumerate(self.keyframes):
            registration = Register(RegisterParams(key, params.interval), footage, matte, vectors)
            way = WayBack(WayBackParams(key), registration, picture)
            made[f"way{page}"] = way
            made[f"alike{page}"] = LookAlikes(LookAlikesParams(key), picture, way, self.inputs.get("matte"))
            if vectors is None:
                made[f"carried{page}"] = Carried(CarriedParams(key), footage)
        self.inputs = {**self.inputs, **made, "picture": picture}

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
        near = self._near(frame)
        around = tuple(sorted((frame, *(frame + offset for offset in self.offsets(frame)))))
        ways = {f"way{page}": around for page in near}
        ways |= {f"alike{page}": tuple(self._anchors(page, frame)) for page in near}
        ways |= {f"carried{page}": (frame,) for page in near if self._is_carried(page, frame)}
        compared = tuple(sorted({frame, *(self.keyframes[page] for page in near)}))
        looked_at = {name: compared for name in ("picture", "matte") if name in self.inputs}
        return {**needed, **ways, **looked_at}

    def _is_carried(self, page: int, frame: int) -> bool:
        name = f"carried{page}"
        return name in self.inputs and frame in self.inputs[name].frames()

    def _anchors(self, page: int, frame: int) -> list[int]:
        """The frames whose look-alikes in a key frame count for this frame."""
        key = self.keyframes[page]
        side = (f for f in self.frames() if (f > key if frame > key else f < key))
        return anchors(sorted({key, frame, *side}, reverse=frame < key), frame)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        picture = fetch("footage", frame)
        here = self._seen(frame, fetch)
        neighbours = [
            (work_flow(fetch(f"motion{offset:+d}", frame), picture.pixels.shape), offset)
            for offset in self.neighbours(frame, fetch, cancel)
        ]
        near = self._near(frame)
        ways = []
        for page in near:
            cancel()
            others = [(flow, fetch(f"way{page}", frame + offset)) for flow, offset in neighbours]
            there = self._seen(self.keyframes[page], fetch)
            choices = [fetch(f"alike{page}", anchor) for anchor in self._anchors(page, frame)]
            carried = fetch(f"carried{page}", frame) if self._is_carried(page, frame) else None
            layers = []
            for index, own in enumerate(fetch(f"way{page}", frame)):
                cancel()
                beside = [(flow, other[index]) for flow, other in others]
                way = _agree(own, beside)
                if index == 0 and "vectors" not in self.inputs:  # the other layer is what moves by itself
                    way = settled(way, own[..., 2], here.colors, there.colors)
                layer = _layer(way, own, carried, [choice[index] for choice in choices], here, there, index)
                layers.append(_with_pieces(layer, own, beside, here, there, index, cancel))
            way = _in_picture(layers, picture, here.subject)
            way[..., 1] = on_page(way[..., 1], page, len(self.keyframes), picture.height)
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

    def _seen(self, frame: int, fetch: Fetch) -> "_Seen":
        colors = cv2.GaussianBlur(fetch("picture", frame), (0, 0), GRAIN)
        return _Seen(colors, fetch("matte", frame) if "matte" in self.inputs else None)


def on_page(t: np.ndarray, page: int, pages: int, height: int) -> np.ndarray:
    """From 0 to 1 over one key frame to 0 to 1 over all of them, which lie below each other, the first at the top."""
    # Not quite to the edge, since another key frame begins beyond it.
    return (pages - 1 - page + t.clip(0.5 / height, 1 - 0.5 / height)) / pages


@dataclass(frozen=True)
class _Seen:
    """What is compared of two frames: colours, encoded, float32 (h, w, 3) at the working size, and the matte."""

    colors: np.ndarray
    subject: Image | None


@dataclass(frozen=True)
class WayBackParams:
    """keyframe  where it leads"""

    keyframe: int


class WayBack(Node):
    """For every pixel of a frame its way back into the key frame: float32 (L, h, w, 3), layers as of `Register`.

    x (right) and y (down) in pixels of the working size, and how far anything of the key frame has come to lie there,
    0..1. "picture" shows both frames at that size, which decide on the outlines (nodes/outlines.py).
    """

    VERSION = 3
    INPUTS: ClassVar[tuple[str, ...]] = ("registration", "picture")
    params: WayBackParams

    def __init__(self, params: WayBackParams, registration: Register, picture: WorkPicture):
        super().__init__(params, registration=registration, picture=picture)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return {"registration": (frame,), "picture": tuple(sorted({frame, self.params.keyframe}))}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        here, there = (
            cv2.GaussianBlur(fetch("picture", shown), (0, 0), GRAIN) for shown in (frame, self.params.keyframe)
        )
        layers = []
        for deformation in fetch("registration", frame):
            cancel()
            layers.append(settled_outlines(_inverse(deformation), here, there, cancel))
        return np.stack(layers)


AGREEING = 16
"""Part of the frame's height over which pixels agree on the key frame that they come from, so that it is not one here
and another there within one brush stroke."""

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

SOFTNESS = 1.0
"""Standard deviation, pixels of the working size, over which neighbouring pixels agree on where they came from."""

SURROUNDINGS = 16.0
"""Standard deviation of the surroundings, pixels of the working size, that lead back where nothing came to lie."""

TOLERANCE = 2.0
"""Ways that lead this far apart, pixels of a frame of REFERENCE_HEIGHT, lead to different places. It also keeps out
what the flow leads to where something is hidden in one of the frames; the flow back, asked as well, changed nothing."""

ONE_PLACE = 0.5
"""Pixels of the working size from the mean of four ways to the farthest up to which they are of one thing."""

HIDDEN = 0.01
"""The least weight of a pixel that was not found again: it counts where no other came to lie."""

_MARGIN = 4


def _agree(own: np.ndarray, others: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """A layer's way back, averaged with those of other frames (h, w, 3) and the flow fields that lead there: float32
    (h, w, 2)."""
    closeness = np.float32(-1 / (TOLERANCE * len(own) / REFERENCE_HEIGHT) ** 2)
    way, sure = np.ascontiguousarray(own[..., :2]), own[..., 2]
    weights = np.maximum(sure, np.float32(HIDDEN))
    total = np.zeros_like(way)
    for flow, other in others:
        x, y = positions(flow)
        there = cv2.remap(other, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        right, down, laid = cv2.split(there)
        apart = cv2.merge([right, down])
        apart += flow
        apart -= way
        share = cv2.transform(cv2.multiply(apart, apart), np.ones((1, 2), np.float32))
        share *= closeness
        share = cv2.exp(np.maximum(share, LEAST_EXPONENT))
        share *= laid
        share *= within(x, y, own.shape)
        apart *= cv2.merge([share, share])
        total += apart
        weights += share
    return way + total / cv2.merge([weights, weights])


def _confidence(
    way: np.ndarray, laid: np.ndarray, here: _Seen, there: _Seen, layer: int, *, tolerant: bool = True
) -> np.ndarray:
    """How sure it is that a layer's way back (h, w, 2) leads to what is seen here: float32 (h, w), 0..1.

    laid       where something of the key frame has come to lie
    layer      0 for the background, 1 for the subject, where there is a matte
    tolerant   whether doubts as narrow as SPECKLE are dropped, or else all of them widened
    """
    sure = laid * agreement(here.colors, warp(there.colors, way), light=LIGHT, blur=BLUR)
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
    """Where a layer's pixels come from, at the working size.

    way    float32 (h, w, 3): x and y of the way back, in pixels, and confidence
    base   float32 (h, w, 3): those of the place on the key frame's plane, and the confidence of the look-alikes
    leads  uint8 (h, w): which of LEADS to take from there, instead of the way; 0 for none
    """

    way: np.ndarray
    base: np.ndarray
    leads: np.ndarray


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
    leads, base = np.zeros(sure.shape, np.uint8), plane(own)
    found = np.zeros_like(sure)
    lacking = cv2.morphologyEx((sure < DOUBT).astype(np.uint8), cv2.MORPH_OPEN, np.ones((HOLE, HOLE), np.uint8))
    for choice in choices:
        if not lacking.any():
            break
        label = led(choice, base)
        there_to = base + LEADS[label] * np.float32(len(base))
        x, y = positions(there_to)
        somewhere = (label > 0) & within(x, y, sure.shape)
        # What is led to the edge of another thing would show as a splinter of it.
        like = _confidence(there_to, somewhere, here, there, layer, tolerant=False) * np.float32(LIKENESS)
        taken = ((lacking > 0) & (like > LIKENESS * DOUBT) & (like > sure)).astype(np.uint8)
        taken = cv2.morphologyEx(taken, cv2.MORPH_OPEN, np.ones((SHARD, SHARD), np.uint8))
        cv2.copyTo(label, taken, leads)
        cv2.copyTo(like, taken, found)
        lacking -= taken
    if carried is not None and own.any():  # not beyond a cut
        x, y = positions(carried)
        other = _confidence(carried, within(x, y, sure.shape), here, there, layer)
        likelier = cv2.GaussianBlur(other - np.maximum(sure, found), (0, 0), STROKE) > LIKELIER
        likelier = cv2.morphologyEx(likelier.astype(np.uint8), cv2.MORPH_OPEN, np.ones((SHARD, SHARD), np.uint8)) > 0
        way, sure = np.where(likelier[..., None], carried, way), np.where(likelier, other, sure)
        leads[likelier] = 0
    return _Layer(np.dstack([way, sure]), np.dstack([base, found]), leads)


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
    sure = np.maximum(layer.way[..., 2], layer.base[..., 2])
    lost, missing = (sure < DOUBT).astype(np.uint8), _missing(layer.way)
    if here.subject is not None and there.subject is not None:
        for gone, subject in ((lost, here.subject), (missing, there.subject)):
            gone[(work_matte(subject, sure.shape) > 0.5) != (index == 1)] = 0
    if not own.any():  # beyond a cut
        return layer
    pieces = lost_pieces(lost, missing, own, others, here.colors, there.colors, cancel)
    likelier = pieces[..., 2] > sure
    if not likelier.any():
        return layer
    way = np.where(likelier[..., None], pieces, layer.way)
    return replace(layer, way=way, leads=np.where(likelier, np.uint8(0), layer.leads))


def _missing(way: np.ndarray) -> np.ndarray:
    """Where in the key frame nothing leads to, by a way (h, w, 3) that is sure of itself: uint8 (h, w), 0 or 1."""
    sure = way[..., 2] > DOUBT
    x, y = (np.rint(places[sure]).astype(int) for places in positions(np.ascontiguousarray(way[..., :2])))
    inside = within(x, y, way.shape)
    found = np.zeros(way.shape[:2], np.uint8)
    found[y[inside], x[inside]] = 1
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return cv2.morphologyEx(1 - found, cv2.MORPH_OPEN, np.ones((SPECKLE, SPECKLE), np.uint8))


def _in_picture(layers: list[_Layer], picture: Image, matte: Image | None) -> np.ndarray:
    """s, t and confidence in one key frame, float32 (H, W, 3), from where each layer's pixels come from."""
    size = picture.width, picture.height
    grown = []
    for layer in layers:
        height, width = layer.leads.shape
        unit = np.array([width, -height, 1], np.float32)  # of the picture, t up
        there = cv2.multiply(_grown(layer.way, size), np.array([1 / width, -1 / height, 1, 0]))
        if layer.leads.any():
            # Chosen, not mixed: halfway between two places lies a third.
            leads = cv2.resize(layer.leads, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
            elsewhere = cv2.resize(layer.base / unit, size, interpolation=cv2.INTER_LINEAR)
            elsewhere[..., :2] += LEADS[leads] * np.float32(height) / unit[:2]
            cv2.copyTo(elsewhere, leads, there)
        grown.append(there)
    there = grown[0]
    if matte is not None:
        subject = work_matte(matte, there.shape[:2]) > 0.5
        cv2.copyTo(grown[1], subject.astype(np.uint8), there)
    there[..., 0] += (np.arange(picture.width, dtype=np.float32) + 0.5) / picture.width
    there[..., 1] += 1 - (np.arange(picture.height, dtype=np.float32)[:, None] + 0.5) / picture.height
    return there


def _grown(way: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A way (h, w, 3), x, y and confidence, at another width and height: smooth, but across outlines one or the other.

    Halfway between two things lies a third. So where the four ways round a place lead apart, their mean gives way to
    that one of them which is nearest to it: the outline is as smooth as the mean is.
    """
    grown = cv2.resize(way, size, interpolation=cv2.INTER_LINEAR)
    height, width = way.shape[:2]
    around = np.ones((3, 3), np.uint8)
    right, down = (cv2.dilate(part, around) - cv2.erode(part, around) for part in cv2.split(way)[:2])
    parts = (np.maximum(right, down) > ONE_PLACE).astype(np.uint8)
    rows, columns = np.nonzero(cv2.resize(parts, size, interpolation=cv2.INTER_NEAREST))
    top = np.floor((rows + 0.5) * (height / size[1]) - 0.5).astype(np.int32)
    left = np.floor((columns + 0.5) * (width / size[0]) - 0.5).astype(np.int32)
    beside = [np.clip(left + right, 0, width - 1) for right in (0, 1)]
    below = [np.clip(top + down, 0, height - 1) * width for down in (0, 1)]
    ways = way[..., 0].ravel() + 1j * way[..., 1].ravel()
    corners = np.stack([np.take(ways, row + column) for row in below for column in beside])
    away = corners - (grown[rows, columns, 0] + 1j * grown[rows, columns, 1])
    squares = np.square(np.real(away)) + np.square(np.imag(away))
    apart = squares.max(axis=0) > ONE_PLACE**2
    chosen = corners[squares.argmin(axis=0), np.arange(len(rows))][apart]
    grown[rows[apart], columns[apart], :2] = np.stack([np.real(chosen), np.imag(chosen)], -1)
    return grown


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
