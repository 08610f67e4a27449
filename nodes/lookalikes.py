"""Look-alikes: where else the painted frame shows what it does not show in its place.

Where something turns into view, or comes in at the border, the painting has nothing to copy, and a network of a few
thousand weights paints it flat. But mostly it is more of what the painting does show nearby: more wall, more hair, more
floor. Texture synthesis fills holes so, from like places of the same picture (Efros and Leung, "Texture Synthesis by
Non-parametric Sampling", ICCV 1999); here the footage says what is like what.

A place is led elsewhere by one of a few leads, a hole by as few of them as will do, as in shift maps (Pritch et al.,
"Shift-Map Image Editing", ICCV 2009): what is copied together has no seam within. Some lead in all directions, which
does for a wall. Others lead to where blocks of the holes are found again: a fence goes on as a fence only at a whole
number of its pales (as in He and Sun, "Statistics of Patch Offsets for Image Completion", ECCV 2012).

Were they chosen in every frame anew, strokes would jump from frame to frame. So they are chosen at anchor frames only,
and every frame between two anchors takes their choice, along the motion of the footage, as far as it suits what it
shows.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..engine.frames import FrameRange
from .guide import dominant_motion, work_flow, work_matte
from .likeness import Colors, agreement, in_light_of
from .motion import Flow, FlowParams, Vectors
from .node import Cancel, Fetch, Node
from .warp import compose, positions, slopes, warp, within

RINGS = np.array(
    [
        (ring * right, ring * down)
        for ring in (0.1, 0.2, 0.4, 0.8)
        for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
    ],
    np.float32,
)
"""Leads that are always looked at, right and down, in heights of the frame."""
FOUND = 24
"""Leads that are found for the holes of a frame, at most."""

ANCHORS = 8
"""Frames from one choice to the next, counted from the key frame."""

COARSE = 4
"""Pixels of the working size from one place that is led to the next."""

SUITS = 0.6
"""How far a look-alike must agree to be taken before farther ones are looked at."""

BLOCK = 12
"""Cells of a block that is found again, across and down: a pale and what is beside it. They overlap by half."""
TEXTURE = 0.02
"""Standard deviation, encoded, from which a block has something to be found by."""
ALIKE = 0.15
"""How far it may differ from what it is found in, as part of its variance."""

STRAYING = 0.1
"""Difference, encoded, from which a pixel is taken for one of something else, when a lead is made exact."""

EVEN = 6.0
"""Standard deviation over which light is even, pixels of the working size, where a lead is bent."""
WIDE = 25
"""Side of the windows in which it is bent, pixels of the working size."""
STIFF = 0.1
"""A bend of a pixel costs as much as this part of the mean squared difference that is there: grain that is like no
other grain bends nothing, ..."""
FLAT = 2e-5
"""... and this, encoded, squared, where there is nothing to go by."""
STEPS = 4
"""Steps in which it is bent."""
LEAST = 81
"""Parts of fewer pixels of the working size are left straight."""

PIECE = 12
"""Cells that a lead must suit to be chosen for a part of a hole, about two brush strokes."""

DOUBT = 0.5
"""Places that are less sure are looked for elsewhere."""

WINDOW = 6.0
"""Standard deviation over which a look-alike must agree, pixels of the working size: about a brush stroke."""

CONTEXT = 32.0
"""Standard deviation of the wider surroundings, pixels of the working size, ..."""
FAMILIAR = 0.8
"""... of which so much must be like those of the look-alike, or it counts less: a scrap of wall is like the sky in a
picture that hangs there, and the painter has other colours for that."""

LIKE_SHADE, LIKE_TONE = 1.2, 0.02
"""As in likeness.py, for look-alikes, which have no motion to speak for them."""


def anchors(there: FrameRange, key: int, frame: int) -> list[int]:
    """The anchor frames whose choice a frame takes: the one after it on the path away from the key frame, and the one
    before. The nearer one comes first, then the later one, which has more to show of what the key frame hides.

    there  the frames whose motion is known; beyond a gap between them there is no path
    """
    if frame == key:
        return []
    away = 1 if frame > key else -1
    before = key + away * (abs(frame - key) // ANCHORS * ANCHORS)
    after = frame
    while after + away in there and after != before + away * ANCHORS:
        after += away
    reached = [after] if before in (key, after) or not _is_path(there, frame, before) else [after, before]
    return sorted(reached, key=lambda anchor: abs(anchor - frame))


def _is_path(there: FrameRange, first: int, last: int) -> bool:
    return all(frame in there for frame in range(min(first, last), max(first, last) + 1))


def stepping(footage: Node, vectors: Vectors | None) -> dict[str, Node]:
    """The inputs along which a choice is brought to another frame: the motion to the next frame and to the last."""
    motion = vectors or Flow(FlowParams(), footage)
    return {f"step{away:+d}": motion.towards(away) for away in (-1, 1)}


def steps(frame: int, anchor: int) -> dict[str, tuple[int, ...]]:
    """What leads from a frame to an anchor: the inputs of `stepping`, and the frames at which they are needed."""
    away = 1 if anchor > frame else -1
    return {f"step{away:+d}": tuple(range(frame, anchor, away))} if anchor != frame else {}


def choice_of(anchor: int, frame: int, fetch: Fetch) -> np.ndarray:
    """What an anchor has chosen, (L, h, w, 3), as of `LookAlikes`, brought to a frame along `steps`."""
    choice, flow = fetch("alike", anchor), None
    shape = fetch("footage", frame).pixels.shape
    for motion, frames in steps(frame, anchor).items():
        for at in frames:
            step = work_flow(fetch(motion, at), shape)
            flow = step if flow is None else compose(flow, step)
    if flow is None:
        return choice
    x, y = positions(flow)
    result = []
    for layer in choice:
        found = cv2.remap(layer, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)  # halfway lies a third place
        found[..., :2] += flow
        result.append(found)
    return np.stack(result)


@dataclass(frozen=True)
class LookAlikesParams:
    """keyframe  the painted frame"""

    keyframe: int


class LookAlikes(Node):
    """Where in the key frame what a frame shows may be taken from: float32 (L, h, w, 3), at the working size.

    How far it is from each pixel to there, x (right) and y (down) in pixels, and 1, or 0 where there is no such place.
    Also where a way leads back: it may not be believed in other frames, as when a shadow passes.

    colors   frames at the working size
    way      the ways back into the key frame (L layers, as of `Register`)
    matte    the subject's coverage, where there are two layers: each has its look-alikes within itself
    """

    VERSION = 10
    ARTEFACT = True
    INPUTS = ("colors", "way")
    OPTIONAL_INPUTS = ("matte",)
    params: LookAlikesParams

    def __init__(self, params: LookAlikesParams, colors: Colors, way: Node, matte: Node | None = None):
        super().__init__(params, colors=colors, way=way, matte=matte)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        both = tuple(sorted({frame, self.params.keyframe}))
        return {name: (frame,) if name == "way" else both for name in self.inputs}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        here, there = fetch("colors", frame), fetch("colors", self.params.keyframe)
        result = []
        for layer, way in enumerate(fetch("way", frame)):
            covers = [np.ones(here.shape[:2], np.float32)] * 2
            if "matte" in self.inputs:
                subject = [work_matte(fetch("matte", f), here.shape[:2]) for f in (frame, self.params.keyframe)]
                covers = subject if layer else [1 - matte for matte in subject]
            result.append(_choose(in_light_of(here, there, way), there, way, covers, cancel))
        return np.stack(result)


def _choose(
    here: np.ndarray,
    there: np.ndarray,
    way: np.ndarray,
    covers: Sequence[np.ndarray],
    cancel: Cancel,
) -> np.ndarray:
    """The choice for one layer. `covers`, (h, w) each, 0..1, is where it is, in this frame and in the key frame."""
    height, width = here.shape[:2]
    if not way.any():  # lost, as over a cut
        return np.zeros_like(way)
    known = way[..., 2] * agreement(here, warp(there, way[..., :2]))
    columns, rows = max(1, width // COARSE), max(1, height // COARSE)
    scale = np.array([columns / width, rows / height], np.float32)
    seen, other = (
        np.dstack([cv2.resize(layer, (columns, rows), interpolation=cv2.INTER_AREA) for layer in (picture, cover)])
        for picture, cover in zip((here, there), covers, strict=True)
    )
    lacking = cv2.resize(known, (columns, rows), interpolation=cv2.INTER_AREA) < DOUBT
    lacking &= seen[..., 3] > 0.5

    # How far it is to where a place may be taken from: (h, w, 2) or (2,), pixels.
    base = plane(way)
    ways = [base + ring * np.float32(height) for ring in RINGS]
    for lead, block in _found_again(seen, other, lacking, cancel):
        cancel()
        ways.append(_exactly(here, there, lead / scale, block))

    x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    near, wide = WINDOW / COARSE, CONTEXT / COARSE
    cover, cover_wide = (cv2.GaussianBlur(seen[..., 3], (0, 0), reach) + np.float32(1e-3) for reach in (near, wide))
    fits = np.zeros((1 + len(ways), rows, columns), np.float32)
    for label, one in enumerate(ways, 1):
        cancel()
        cells = np.broadcast_to(one, base.shape) * scale
        right, down = cv2.split(cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_AREA))
        like = _sample(other, x + right, y + down)
        alike = agreement(
            *(np.ascontiguousarray(p[..., :3]) for p in (seen, like)),
            light=1,
            blur=0.5,
            shade=LIKE_SHADE,
            tone=LIKE_TONE,
        )
        alike *= seen[..., 3] * like[..., 3]
        familiar = cv2.GaussianBlur(alike, (0, 0), wide) / (np.float32(FAMILIAR) * cover_wide)
        fits[label] = cv2.GaussianBlur(alike, (0, 0), near) / cover * np.minimum(familiar, 1)
    labels = np.where(fits.max(axis=0) >= SUITS, (fits >= SUITS).argmax(axis=0), fits.argmax(axis=0)).astype(np.uint8)
    _cover(labels, fits, lacking, cancel)
    labels[seen[..., 3] < 0.5] = 0
    suited = np.take_along_axis(fits, labels[None].astype(np.intp), axis=0)[0]
    labels = cv2.resize(cv2.medianBlur(labels, 5), (width, height), interpolation=cv2.INTER_NEAREST)
    labels = cv2.medianBlur(labels, 2 * COARSE + 1)
    result = np.dstack([base, (labels > 0).astype(np.float32)])
    for label in np.unique(labels[labels > 0]):
        result[labels == label, :2] = np.broadcast_to(ways[label - 1], base.shape)[labels == label]
    labels[cv2.resize(lacking.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) == 0] = 0
    suited = cv2.resize(suited, (width, height), interpolation=cv2.INTER_NEAREST)
    _fit(result, labels, suited, here, there, cancel)
    return result


def _found_again(
    seen: np.ndarray, other: np.ndarray, lacking: np.ndarray, cancel: Cancel
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Leads to where blocks of the holes are found again in the key frame, and such a block of each: column and row.

    Of each block the nearest place that is like it, since a neighbour most often is of the same thing, and the likest.
    All in cells.

    seen     the frame (rows, columns, 4) and
    other    the key frame: picture and cover
    lacking  bool (rows, columns): the holes
    """
    votes: defaultdict[tuple[int, int], int] = defaultdict(int)
    blocks: dict[tuple[int, int], tuple[int, int]] = {}
    picture = np.ascontiguousarray(other[..., :3])
    for top in range(0, len(seen) - BLOCK + 1, BLOCK // 2):
        cancel()
        for left in range(0, seen.shape[1] - BLOCK + 1, BLOCK // 2):
            block = np.s_[top : top + BLOCK, left : left + BLOCK]
            hole = lacking[block]
            shown = seen[block][hole][:, :3]
            if len(shown) < BLOCK**2 // 4 or shown.std(axis=0).mean() < TEXTURE:
                continue
            mask = cv2.merge([hole.astype(np.float32)] * 3)
            apart = cv2.matchTemplate(picture, np.ascontiguousarray(seen[block][..., :3]), cv2.TM_SQDIFF, mask=mask)
            y, x = np.nonzero(apart < ALIKE * len(shown) * shown.var(axis=0).sum())
            if not len(y):
                continue
            right, down = x - left, y - top
            for which in sorted({int(np.argmin(right**2 + down**2)), int(np.argmin(apart[y, x]))}):
                lead = int(right[which]), int(down[which])
                votes[lead] += len(shown)
                blocks.setdefault(lead, (left, top))
    best = sorted(votes, key=lambda lead: (-votes[lead], lead))[:FOUND]
    return [(np.array(lead), np.array(blocks[lead])) for lead in best]


def _exactly(here: np.ndarray, there: np.ndarray, lead: np.ndarray, block: np.ndarray) -> np.ndarray:
    """A lead from one picture to the other, in pixels, made exact to a part of one, by Gauss-Newton steps (Lucas and
    Kanade, "An Iterative Image Registration Technique", IJCAI 1981).

    lead   right and down, wrong by no more than COARSE
    block  where the pictures are compared, see `_found_again`
    """
    across, down = (np.arange(COARSE * start, COARSE * (start + BLOCK), dtype=np.float32) for start in block)
    x, y = np.meshgrid(across, down)
    seen = cv2.remap(here, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    exact = np.array(lead, np.float64)
    for _ in range(4):
        right, down = exact.astype(np.float32)
        found = cv2.remap(there, x + right, y + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        steep = slopes(found)
        apart = found - seen
        held = 1 / (1 + np.square(apart).sum(axis=-1, keepdims=True) / STRAYING**2)
        curvature = np.array([[(held * one * other).sum() for other in steep] for one in steep])
        curvature += (0.01 * np.trace(curvature) + 1e-9) * np.eye(2)  # along a line there is nothing to find
        exact -= np.linalg.solve(curvature, [(held * one * apart).sum() for one in steep])
        exact = np.clip(exact, lead - COARSE, lead + COARSE)
    return exact.astype(np.float32)


def _fit(
    way: np.ndarray, labels: np.ndarray, suited: np.ndarray, here: np.ndarray, there: np.ndarray, cancel: Cancel
) -> None:
    """Bends the ways of parts, in place, so that lines of what is copied go on: where the camera turns, or things are
    at other depths, what is a whole lead away moves otherwise. In windows, as Lucas and Kanade do.

    way          float32 (h, w, 3), as of `LookAlikes`
    labels       uint8 (h, w): the lead of each pixel; 0 where it is left alone
    suited       float32 (h, w), how far it suits: what suits less than SUITS would be bent to what it is not
    here, there  float32 (h, w, 3), the frame and the key frame, encoded
    """
    fine, other = (picture - cv2.GaussianBlur(picture, (0, 0), EVEN) for picture in (here, there))
    found = [other, *slopes(other)]
    for label in np.unique(labels[labels > 0]):
        _, names, facts, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        for name in 1 + np.flatnonzero(facts[1:, cv2.CC_STAT_AREA] >= LEAST):
            cancel()
            left, top, width, height = facts[name, :4]
            box = np.s_[top : top + height, left : left + width]
            part = names[box] == name
            if suited[box][part].mean() < SUITS:
                continue
            bent = _bent(way[box], part.astype(np.float32), (left, top), fine[box], found)
            way[box][part, :2] = bent[part]


def _bent(
    way: np.ndarray, part: np.ndarray, corner: tuple[int, int], seen: np.ndarray, found: Sequence[np.ndarray]
) -> np.ndarray:
    """The way of one part, float32 (h, w, 2): of the box round it, as all of these but the last.

    way, part  how it leads so far, (h, w, 3), and where it is, (h, w), 0 or 1
    corner     of the box in the frame, x and y
    seen       what the frame shows, (h, w, 3), even light taken out
    found      the key frame, likewise, and its slopes to the right and down
    """
    bend, (x, y) = np.zeros((*part.shape, 2), np.float32), positions(np.ascontiguousarray(way[..., :2]))
    x, y = x + np.float32(corner[0]), y + np.float32(corner[1])
    around = cv2.blur(part, (WIDE, WIDE)) + np.float32(1e-6)
    for _ in range(STEPS):
        picture, right, down = (
            cv2.remap(layer, x + bend[..., 0], y + bend[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for layer in found
        )
        apart = picture - seen
        held = part / (1 + np.square(apart).sum(axis=-1) / np.float32(STRAYING**2))
        pairs = ((right, right), (right, down), (down, down), (right, apart), (down, apart), (apart, apart))
        sums = cv2.merge([held * (one * two).sum(axis=-1) for one, two in pairs])
        xx, xy, yy, xd, yd, off = cv2.split(cv2.blur(sums, (WIDE, WIDE)) / around[..., None])
        stiff = np.float32(STIFF) * off + np.float32(FLAT)
        xx, yy, xd, yd = xx + stiff, yy + stiff, xd + stiff * bend[..., 0], yd + stiff * bend[..., 1]
        least = xx * yy - xy * xy
        bend -= cv2.merge([yy * xd - xy * yd, xx * yd - xy * xd]) / least[..., None]
        bend = bend.clip(-COARSE, COARSE)
    return way[..., :2] + bend


def _cover(labels: np.ndarray, fits: np.ndarray, lacking: np.ndarray, cancel: Cancel) -> None:
    """Chooses anew, in place, where places are lacking: for each hole as few leads as will do, since pieces meet in
    seams. The lead that suits most of a hole best takes what it suits, then the next one that of the rest.

    labels   uint8 (rows, columns), the choice
    fits     float32 (leads, rows, columns), how far each lead suits
    lacking  bool (rows, columns)
    """
    opened = cv2.morphologyEx(lacking.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    count, holes = cv2.connectedComponents(cv2.dilate(opened, np.ones((3, 3), np.uint8)))
    better = np.maximum(fits - np.float32(SUITS), 0)
    for hole in range(1, count):
        rest = holes == hole
        while rest.any():
            cancel()
            label = int(better[:, rest].sum(axis=1).argmax())
            suited = rest & (fits[label] >= SUITS)
            if np.count_nonzero(suited) < PIECE:
                break
            labels[suited] = label
            rest &= ~suited


def _sample(layers: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Picture and cover, (h, w, 4), at these places; beyond them the cover is 0."""
    found = cv2.remap(layers, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    found[..., 3] *= within(x, y, layers.shape)
    return found


def plane(way: np.ndarray) -> np.ndarray:
    """How far each pixel of a frame is from its place on the key frame's plane: float32 (h, w, 2), pixels.

    way  (h, w, 3), the way back into the key frame
    """
    matrix, shift = dominant_motion(way)
    height, width = way.shape[:2]
    x, y = np.arange(width), np.arange(height)[:, None]
    motion = [(row[0] * x + row[1] * y + move) for row, move in zip(matrix - np.eye(2), shift, strict=True)]
    return np.stack(motion, -1).astype(np.float32)
