"""Look-alikes: where else the painted frame shows what it does not show in its place.

Where something turns into view, or comes in at the border, the painting has nothing to copy, and a network of a few
thousand weights paints it flat. But mostly it is more of what the painting does show nearby: more wall, more hair, more
floor. Texture synthesis fills holes so, from like places of the same picture (Efros and Leung, "Texture Synthesis by
Non-parametric Sampling", ICCV 1999); here the footage says what is like what.

A place is led elsewhere by one of a few fixed leads, a hole by as few of them as will do, as in shift maps (Pritch et
al., "Shift-Map Image Editing", ICCV 2009): what is copied together has no seam within. Were they chosen in every frame
anew, strokes would jump from frame to frame. So they are chosen at anchor frames only, for the whole plane of the key
frame as the dominant motion of the shot carries it along, and every frame between two anchors takes their choice, as
far as it suits what it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .guide import dominant_motion, work_matte
from .node import Cancel, Fetch, Node
from .warp import positions, warp, within

LEADS = np.array(
    [(0, 0)]
    + [
        (ring * right, ring * down)
        for ring in (0.1, 0.2, 0.4, 0.8)
        for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
    ],
    np.float32,
)
"""Right and down, in heights of the frame; the first that suits is taken, the nearest to begin with, which is most
often of the same thing. 0 is none."""

ANCHORS = 8
"""Frames from one choice to the next, counted from the key frame."""

COARSE = 4
"""Pixels of the working size from one place that is led to the next."""

MARGIN = 0.5
"""How far the plane reaches beyond the key frame on every side, in its widths and heights."""

SUITS = 0.6
"""How far a look-alike must agree to be taken before farther ones are looked at."""

PIECE = 12
"""Cells that a lead must suit to be chosen for a part of a hole, about two brush strokes."""

DOUBT = 0.5
"""Places that are less sure are looked for elsewhere."""
GRAIN = 1.0
"""Standard deviation over which sensor noise is smoothed before pictures are compared, pixels of the working size."""
LIGHT = 3.0
"""Standard deviation over which light is taken to be even, pixels of the working size."""
BLUR = 2.0
"""Standard deviation of what softens the confidence, and the difference that it is made of, pixels of the working size:
to what training shows the network."""

WINDOW = 6.0
"""Standard deviation over which a look-alike must agree, pixels of the working size: about a brush stroke."""

DIFFERENCE = 0.06
"""Agreement falls off as exp(-(difference / DIFFERENCE)^2) with the differences of single pixels, encoded, ..."""
TONE = 0.03
"""... and of what is broader, where a colour is another thing sooner."""
SHADE = 1.4
"""What is broad may be brighter by this factor, encoded, about twice in scene-linear light: the light has changed. With
the registration's own idea of agreement, which knows no light, a head that had begun to turn was hardly copied: of
`bust` after 300 steps psnr rises from 21.6 to 22.2 (inside the subject from 17.8 to 18.9)."""
LIKE_SHADE, LIKE_TONE = 1.2, 0.02
"""The same for look-alikes, which have no motion to speak for them."""
DARKEST = 0.01
"""Below this, encoded, nothing is said of factors."""


def agreement(
    first: np.ndarray, second: np.ndarray, *, light: float, blur: float, shade: float = SHADE, tone: float = TONE
) -> np.ndarray:
    """How far two pictures (h, w, 3), encoded, agree but for their light: float32 (h, w), 0..1.

    light  standard deviation over which light is taken to be even, pixels
    blur   that over which finer differences are averaged
    """
    broad, other = (cv2.GaussianBlur(picture, (0, 0), light) for picture in (first, second))
    gain = cv2.transform(broad, _MEAN) / np.maximum(cv2.transform(other, _MEAN), np.float32(DARKEST))
    gain = cv2.merge([np.clip(gain, 1 / shade, shade)] * 3)
    colors = cv2.transform(cv2.absdiff(broad, gain * other), _MEAN)
    fine = cv2.transform(cv2.absdiff(first - broad, gain * (second - other)), _MEAN)
    fine = cv2.GaussianBlur(fine, (0, 0), blur)
    return np.exp(-np.square(colors / np.float32(tone)) - np.square(fine / np.float32(DIFFERENCE)))


_MEAN = np.full((1, 3), 1 / 3, np.float32)


def anchors(path: Sequence[int], frame: int) -> list[int]:
    """The anchor frames whose leads a frame takes: the one after it on the path away from the key frame, and the one
    before. The later one comes first, since it has more to show of what the key frame hides.

    path  the footage's frames from the key frame to its end on the side of `frame`
    """
    step = path.index(frame)
    before = step // ANCHORS * ANCHORS
    after = min(before + ANCHORS, len(path) - 1)
    return [path[index] for index in (after, before) if index > 0 and (index == after or before < after)]


@dataclass(frozen=True)
class LookAlikesParams:
    """keyframe  the painted frame"""

    keyframe: int


class LookAlikes(Node):
    """Which of LEADS takes a place of the key frame's plane to what this frame shows there: uint8 (L, rows, columns).

    A cell is COARSE pixels of the working size; the plane begins MARGIN before the key frame. 0 is none.

    picture  frames at the working size
    way      the ways back into the key frame (L layers, as of `Register`)
    matte    the subject's coverage, where there are two layers: each has its look-alikes within itself
    """

    VERSION = 3
    ARTEFACT = True
    INPUTS = ("picture", "way")
    OPTIONAL_INPUTS = ("matte",)
    params: LookAlikesParams

    def __init__(self, params: LookAlikesParams, picture: Node, way: Node, matte: Node | None):
        super().__init__(params, picture=picture, way=way, matte=matte)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        both = tuple(sorted({frame, self.params.keyframe}))
        return {name: (frame,) if name == "way" else both for name in self.inputs}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        here, there = fetch("picture", frame), fetch("picture", self.params.keyframe)
        result = []
        for layer, way in enumerate(fetch("way", frame)):
            covers = [np.ones(here.shape[:2], np.float32)] * 2
            if "matte" in self.inputs:
                subject = [work_matte(fetch("matte", f), here.shape[:2]) for f in (frame, self.params.keyframe)]
                covers = subject if layer else [1 - matte for matte in subject]
            result.append(_choose(here, there, way, covers, cancel))
        return np.stack(result)


def _choose(
    here: np.ndarray, there: np.ndarray, way: np.ndarray, covers: Sequence[np.ndarray], cancel: Cancel
) -> np.ndarray:
    """The choice for one layer. `covers`, (h, w) each, 0..1, is where it is, in this frame and in the key frame."""
    height, width = here.shape[:2]
    columns, rows = max(1, width // COARSE), max(1, height // COARSE)
    plane = round(rows * (1 + 2 * MARGIN)), round(columns * (1 + 2 * MARGIN))
    labels = np.zeros(plane, np.uint8)
    if not way.any():  # lost, as over a cut
        return labels
    small, other = (
        np.dstack([cv2.resize(layer, (columns, rows), interpolation=cv2.INTER_AREA) for layer in (picture, cover)])
        for picture, cover in zip((here, there), covers, strict=True)
    )
    x, y = np.meshgrid(np.arange(plane[1], dtype=np.float32), np.arange(plane[0], dtype=np.float32))
    x -= (plane[1] - columns) // 2
    y -= (plane[0] - rows) // 2
    # Cells of the plane, in the frame: the dominant motion leads from there to here.
    matrix, shift = dominant_motion(way)
    scale = np.array([columns / width, rows / height])
    places = (np.stack([x, y], -1) + 0.5) / scale - 0.5
    frame = ((places - shift) @ np.linalg.inv(matrix).T + 0.5) * scale - 0.5
    x_here, y_here = (np.ascontiguousarray(frame[..., axis], np.float32) for axis in (0, 1))
    seen = _sample(small, x_here, y_here)
    wide = WINDOW / COARSE
    around = cv2.GaussianBlur(seen[..., 3], (0, 0), wide) + np.float32(1e-3)
    fits = np.zeros((len(LEADS), *plane), np.float32)
    for label, (right, down) in enumerate(LEADS[1:] * np.float32(rows), 1):
        cancel()
        like = _sample(other, x + right, y + down)
        alike = agreement(
            *(np.ascontiguousarray(p[..., :3]) for p in (seen, like)),
            light=1,
            blur=0.5,
            shade=LIKE_SHADE,
            tone=LIKE_TONE,
        )
        fits[label] = cv2.GaussianBlur(alike * seen[..., 3] * like[..., 3], (0, 0), wide) / around
    labels = np.where(fits.max(axis=0) >= SUITS, (fits >= SUITS).argmax(axis=0), fits.argmax(axis=0)).astype(np.uint8)
    here, there = (cv2.GaussianBlur(picture, (0, 0), GRAIN) for picture in (here, there))
    known = way[..., 2] * agreement(here, warp(there, way[..., :2]), light=LIGHT, blur=BLUR)
    known = cv2.resize(known, (columns, rows), interpolation=cv2.INTER_AREA)
    known = cv2.remap(known, x_here, y_here, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    _cover(labels, fits, (known < DOUBT) & (seen[..., 3] > 0.5), cancel)
    labels[seen[..., 3] < 0.5] = 0
    return cv2.medianBlur(labels, 5)


def _cover(labels: np.ndarray, fits: np.ndarray, lacking: np.ndarray, cancel: Cancel) -> None:
    """Chooses anew, in place, where places are lacking: for each hole as few leads as will do, since pieces meet in
    seams. The lead that suits most of a hole best takes what it suits, then the next one that of the rest.

    labels   uint8 (rows, columns), the choice
    fits     float32 (len(LEADS), rows, columns), how far each lead suits
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


def led(labels: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The choice of a layer's plane (rows, columns), for a frame: uint8 (h, w).

    base  float32 (h, w, 2), how far each pixel is from its place on the plane, pixels of the working size
    """
    height, width = base.shape[:2]
    columns, rows = max(1, width // COARSE), max(1, height // COARSE)
    x, y = positions(base)
    x = (x + np.float32(0.5)) * np.float32(columns / width) - np.float32(0.5 - (labels.shape[1] - columns) // 2)
    y = (y + np.float32(0.5)) * np.float32(rows / height) - np.float32(0.5 - (labels.shape[0] - rows) // 2)
    found = cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return cv2.medianBlur(found, 2 * COARSE + 1)


def plane(way: np.ndarray) -> np.ndarray:
    """How far each pixel of a frame is from its place on the key frame's plane: float32 (h, w, 2), pixels.

    way  (h, w, 3), the way back into the key frame
    """
    matrix, shift = dominant_motion(way)
    height, width = way.shape[:2]
    x, y = np.arange(width), np.arange(height)[:, None]
    motion = [(row[0] * x + row[1] * y + move) for row, move in zip(matrix - np.eye(2), shift, strict=True)]
    return np.stack(motion, -1).astype(np.float32)
