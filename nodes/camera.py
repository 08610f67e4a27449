"""What only the camera moves: its motion is the same for all of it, and known far better than any one place of it.

On an even wall matching has little to go by but sensor noise. What it finds there errs by a few tenths of a pixel, by
others in every frame, and strokes that are looked up there tremble. A locked-off camera does not move such a wall at
all, and one that pans or zooms moves it by a homography (Hartley and Zisserman, "Multiple View Geometry in Computer
Vision", 2004, 8.4), as it does a flat wall seen from a camera that travels. So where a frame looks as it would if the
camera alone had moved, that is taken to be so.

Lengths are pixels of the working size, chosen on three rendered shots with known motion.
"""

import cv2
import numpy as np

from ..engine.color import brightness
from .warp import warp

SEEN = 0.5
"""As sure as what counts must be."""

FOLLOWED = 1.0
"""Half of what is seen must lie within so many pixels of where the camera would take it, or something else moves it."""

STILL = 1.2
"""A camera counts as locked off where that explains the frame all but as well, by this factor of the mean square."""

FAR = 2.0
"""What lies up to so far from where the camera would take it goes there, and nothing that is twice as far: a plain
thing that moves looks like one that does not."""

LIGHT = 4.0
"""Standard deviation over which a difference is taken for one of light."""
NEARBY = 4.0
"""Standard deviation of the surroundings that must look alike, too."""
GRAIN = 0.002
"""The least standard deviation that differences are measured by, encoded: half a code of 255."""
OUTLIER = 30.0
"""Squares of differences, in variances of their noise, count no more than so many."""
ALIKE, UNLIKE = 2.0, 4.0
"""Means of such squares, beyond what the motion that was found leaves, up to which a place looks alike, and from which
on it does not."""


def settled(way: np.ndarray, sure: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """A way back that trembles less: float32 (h, w, 2), the camera's own where the pictures say nothing against it.

    way    float32 (h, w, 2), how far each pixel of a frame is from its place in the key frame
    sure   float32 (h, w), 0..1: how far that was seen
    here   float32 (h, w, 3), the frame, encoded, without sensor noise; `there` is the key frame
    """
    camera, seen = camera_motion(way, sure), sure > SEEN
    if camera is None or np.median(_lengths(way - camera)[seen]) > FOLLOWED:
        return way
    here, there = (brightness(picture) for picture in (here, there))
    found, left = _squares(way, here, there), _squares(camera, here, there)
    noise = cv2.GaussianBlur(found, (0, 0), 2 * NEARBY)
    noise = np.minimum(noise, 2 * np.median(noise[seen])) + np.float32(GRAIN**2)
    found, left = (np.minimum(squares / noise, np.float32(OUTLIER)) for squares in (found, left))
    if np.median(_lengths(camera)[seen]) < FOLLOWED:
        still = np.zeros_like(way)
        unmoved = np.minimum(_squares(still, here, there) / noise, np.float32(OUTLIER))
        common = seen & (left < UNLIKE)
        if common.any() and np.minimum(unmoved, UNLIKE)[common].mean() < STILL * left[common].mean():
            camera, left = still, unmoved
    unlike = cv2.GaussianBlur(np.maximum(left - np.minimum(found, ALIKE), 0), (0, 0), NEARBY)
    share = np.clip((UNLIKE - unlike) / (UNLIKE - ALIKE), 0, 1)
    share *= np.clip(2 - _lengths(way - camera) / np.float32(FAR), 0, 1)
    share = cv2.GaussianBlur(cv2.erode(share, np.ones((5, 5), np.uint8)), (0, 0), 2)
    return way + cv2.merge([share, share]) * (camera - way)


def camera_motion(way: np.ndarray, sure: np.ndarray) -> np.ndarray | None:
    """The homography that at least half of a way back follows, as such: float32 (h, w, 2); None where there is none.

    The one of the least median error, made better by least squares reweighted after Geman and McClure, as in
    `guide.dominant_motion`: alone the first is only as good as the four places that it is drawn through, and the second
    settles for a compromise where a third of the picture moves together.
    """
    height, width = sure.shape
    y, x = np.mgrid[4:height:8, 4:width:8]
    known = sure[4::8, 4::8] > SEEN
    if min(np.count_nonzero(known.any(axis=axis)) for axis in (0, 1)) < 3:  # too few, or all in a line
        return None
    here = np.stack([x[known], y[known]], -1).astype(np.float32)[:, None]
    found, _ = cv2.findHomography(here, here + way[4::8, 4::8][known][:, None], cv2.LMEDS)
    if found is None:
        return None
    # In units of the picture, so that the unknowns are of one size.
    center, scale = np.array([width, height]) / 2, width / 2
    unit = np.array([[1 / scale, 0, -center[0] / scale], [0, 1 / scale, -center[1] / scale], [0, 0, 1]])
    matrix = unit @ found @ np.linalg.inv(unit)
    x, y = ((here[:, 0] - center) / scale).T
    there = np.stack([x, y]) + way[4::8, 4::8][known].T / scale
    # The two equations of each place in the eight unknowns, times the denominator.
    one, none = np.ones_like(x), np.zeros_like(x)
    across = [x, y, one, none, none, none, -there[0] * x, -there[0] * y]
    down = [none, none, none, x, y, one, -there[1] * x, -there[1] * y]
    equations = np.stack([across, down])
    for least in (2, 1, 0.5, 0.5):
        error = np.square(np.stack(_moved(matrix, x, y)) - there).sum(axis=0) * scale**2
        weights = 1 / np.square(1 + error / least**2)
        # einsum adds in a fixed order; a matrix product may not, with another number of threads.
        weighted = equations * weights
        normal = np.einsum("ein,ejn->ij", weighted, equations) + 1e-9 * np.eye(8)
        entries = np.linalg.solve(normal, np.einsum("ein,en->i", weighted, there))
        matrix = np.append(entries, 1).reshape(3, 3)
    x, y = (np.arange(width) - center[0]) / scale, ((np.arange(height) - center[1]) / scale)[:, None]
    if (matrix[2, 0] * x + matrix[2, 1] * y + 1).min() <= 0:  # part of the picture would lie behind the camera
        return None
    right_to, down_to = _moved(matrix, x, y)
    return (np.stack([right_to - x, down_to - y], -1) * scale).astype(np.float32)


def _moved(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a homography takes places."""
    right, down, depth = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return right / depth, down / depth


def _squares(way: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Squares of what differs under a way back, but for differences of light: float32 (h, w)."""
    difference = here - warp(there, way)
    difference -= cv2.GaussianBlur(difference, (0, 0), LIGHT)
    return cv2.multiply(difference, difference)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return cv2.magnitude(*cv2.split(vectors))
