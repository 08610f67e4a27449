"""The paint beside an edge belongs to the edge, and goes when that goes.

Painters draw outlines, or leave a seam beside them, so a rim of wall is painted as it is because of who stands before
it. Once he has left, the footage there agrees with the key frame's, plain wall both, and the wall would keep his
outline. So where the key frame shows an edge close by and the frame shows none there, paint is taken from farther
away from the edge: mirrored at the far side of the rim, so that strokes go on without a seam.

Nothing needs to be known of what moved, or whether anything did. Lengths are pixels of the working size; the constants
were chosen by the pictures of two rendered shots, their figures and those of four more (tests/bench/README.md).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..engine.color import brightness
from .warp import positions, slopes

REACH = 4
"""How far from an edge paint belongs to it. With 3 figures are as good, but thin lines stay."""
SLACK = 2
"""An edge may have moved, or be registered, so far off, and is still there."""
STEEP = 0.03
"""From this slope on, encoded per pixel, something is an edge. In rendered shots 99 of 100 pixels of an even wall have
less than 0.01, of a floor of boards less than 0.025; half of the subjects' outlines have more than 0.06 to 0.09."""
LEFT = 0.4
"""An edge is gone where nothing is as steep as this part of it: light changes, and motion blurs."""
CREST = 0.8
"""An edge is where slopes are at least this part of the steepest within two pixels."""
CLEAR = 2.5
"""How far beyond the rim the mirror stands: slopes are as wide, and what lies there must not be in a rim again."""


@dataclass(frozen=True)
class Slopes:
    """Of a picture's brightness, per pixel: to the right, down, and in the steepest direction; float32 (h, w) each."""

    right: np.ndarray
    down: np.ndarray
    steepest: np.ndarray

    @classmethod
    def of(cls, colors: np.ndarray) -> "Slopes":
        """colors  float32 (h, w, 3), encoded"""
        grey = brightness(colors)
        right, down = slopes(grey)
        return cls(right, down, cv2.magnitude(right, down))

    def across(self) -> np.ndarray:
        """The direction in which the picture changes most, of length 1: float32 (h, w, 2), x and y.

        That of the structure tensor (Bigun and Granlund, "Optimal Orientation Detection of Linear Symmetry",
        ICCV 1987).
        """
        right, down = self.right, self.down
        wide, high, mixed = (
            cv2.GaussianBlur(a * b, (0, 0), 1.5) for a, b in ((right, right), (down, down), (right, down))
        )
        angle = cv2.phase(wide - high, 2 * mixed) / 2
        return cv2.merge(cv2.polarToCart(np.ones_like(angle), angle))


def outlived(way: np.ndarray, here: Slopes, there: Slopes) -> np.ndarray:
    """Where a way (h, w, 2) leads beside an edge of the key frame, `there`, that the frame has not: bool (h, w)."""
    x, y = positions(way)
    gone = np.zeros(way.shape[:2], bool)
    for reach in range(1, REACH + 1):  # whoever has moved by less than a rim has an edge nearby, but not as near
        edge = cv2.dilate(there.steepest, _disc(reach))
        edge = cv2.remap(edge, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        gone |= (edge > STEEP) & (cv2.dilate(here.steepest, _disc(reach + SLACK)) < LEFT * edge)
    return gone


def mirrored(way: np.ndarray, old: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """A way that leads out of the rims of edges, as far as a mirror at the far side of the rim does, to that side of
    the edge where colours are nearer: float32 (h, w, 2).

    way          float32 (h, w, 2)
    old          bool (h, w), where it is to be changed
    here, there  float32 (h, w, 3), the frame and the key frame, encoded
    """
    painted = Slopes.of(there)
    steep = painted.steepest
    crest = (steep > STEEP) & (steep >= CREST * cv2.dilate(steep, _disc(2)))
    away, nearest = cv2.distanceTransformWithLabels(
        (~crest).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    ends, nearest = np.nonzero(crest), nearest.astype(np.int32)
    edge, normal = np.zeros((2, nearest.max() + 1, 2), np.float32)
    edge[nearest[ends]] = np.stack(ends[::-1], -1)
    normal[nearest[ends]] = painted.across()[ends]

    # A little farther than they are wanted, since medians smooth them.
    rows, columns = np.nonzero(cv2.dilate(old.astype(np.uint8), np.ones((5, 5), np.uint8)))
    last = np.array(old.shape[::-1]) - 1
    place = _pixels(np.stack([columns, rows], -1) + way[rows, columns], last)
    label, far = nearest[place[:, 1], place[:, 0]], 2 * (REACH + CLEAR) - away[place[:, 1], place[:, 0]]
    lead, least = np.zeros_like(way), np.full(old.shape, np.inf, np.float32)
    for side in (1, -1):
        target = edge[label] + (side * far)[:, None] * normal[label]
        inner = _pixels(target, last)
        apart = np.zeros(old.shape, np.float32)
        apart[rows, columns] = np.abs(there[inner[:, 1], inner[:, 0]] - here[rows, columns]).mean(axis=1)
        apart = cv2.blur(apart, (5, 5))[rows, columns]
        nearer = (apart < least[rows, columns]) & (far > REACH + CLEAR)
        lead[rows[nearer], columns[nearer]] = (target - place)[nearer]
        least[rows, columns] = apart
    lead = cv2.merge([cv2.medianBlur(part, 5) for part in cv2.split(lead)])
    return way + old[..., None] * lead


def _pixels(places: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The pixels nearest to places (N, 2), x and y, of which the last is given: int32 (N, 2)."""
    return np.clip(np.rint(places), 0, last).astype(np.int32)


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
