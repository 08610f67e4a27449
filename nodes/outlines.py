"""At the outline of what moves, a place belongs to one thing or to the other.

A registration is smooth, or tears where it must; at the outline of a thing it is a little off, and carries a rim of the
background along. And a way back that is the mean of what came to lie nearby leads, across an outline, to some third
place: the strokes from there stand along it as a row of dots. So where ways differ, each place tries those of the
places round it, as PatchMatch passes on what it found (Barnes et al., "PatchMatch: A Randomized Correspondence
Algorithm for Structural Image Editing", SIGGRAPH 2009, 3.2), and takes one that brings a likelier colour.

And what is left as a splinter, when all ways of finding a place have been tried, is not believed, nor all of a seam.

Lengths are pixels of the working size; the constants were chosen on three rendered shots with known motion, those of
splinters and seams on six and their pictures (tests/bench/README.md).
"""

import cv2
import numpy as np

from ..engine.color import brightness
from .likeness import BLUR
from .node import Cancel
from .warp import within

REACHES = (2, 4, 8)
"""How far away a place looks for a way, one distance after the other. With 16 there is more flicker."""

DIRECTIONS = ((-1, 0), (0, -1), (0, 1), (1, 0))
"""Down and right. Eight take twice the time for at most 0.1 dB."""

DIFFERENT = 2.0
"""Nothing is tried where the ways within reach differ by less."""

BETTER = 0.005
"""By how much a way must bring the colour nearer, encoded: a little more than a code of 255."""

LAID = 0.3
"""How far something must have come to lie where a way is taken from."""

HOLE = 9
"""Holes as wide as this, where nothing came to lie, are left alone: what is like them there is chance, and another
thing in every frame."""

SPLINTER = 7
"""Splinters are narrower than this."""

STRANGE = 0.05
"""From this difference on, encoded, what a place leads to may be of another thing."""

APART = 8.0
"""From so far on, ways side by side lead to different things. Where those beside a splinter do not, an edge is a little
off, which the network sees for itself."""

EVEN = 0.04
"""Within 5x5 pixels of a seam what is seen differs by less than this, encoded."""

MEDIANS = 3
"""So many medians of 5x5 smooth what was chosen, and keep its edges."""


def settled_outlines(way: np.ndarray, here: np.ndarray, there: np.ndarray, cancel: Cancel) -> np.ndarray:
    """A way back that follows one thing or the other: float32 (h, w, 3).

    way          float32 (h, w, 3), as of `stmap.WayBack`: x, y, and how far anything came to lie there, 0..1
    here, there  float32 (h, w, 3), the frame and the key frame, encoded, without sensor noise
    """
    way = way.copy()
    height, width = way.shape[:2]
    missing = (way[..., 2] < 0.5).astype(np.uint8)
    filled = cv2.morphologyEx(missing, cv2.MORPH_OPEN, np.ones((HOLE, HOLE), np.uint8)) == 0
    for reach in REACHES:
        cancel()
        right, down = (_range(part, 2 * reach + 1) for part in cv2.split(way)[:2])
        rows, columns = np.nonzero((np.maximum(right, down) > DIFFERENT) & filled)
        colors, best = here[rows, columns], way[rows, columns]
        most = _difference(colors, there, rows, columns, best) - np.float32(BETTER)
        hopeful = most > 0
        rows, columns = rows[hopeful], columns[hopeful]
        colors, best, most = colors[hopeful], best[hopeful], most[hopeful]
        for below, beside in DIRECTIONS:
            tried = way[np.clip(rows + reach * below, 0, height - 1), np.clip(columns + reach * beside, 0, width - 1)]
            difference = _difference(colors, there, rows, columns, tried)
            better = (difference < most) & (tried[:, 2] > LAID)
            best[better], most[better] = tried[better], difference[better] - np.float32(BETTER)
        way[rows, columns] = best
    cancel()
    right, down, laid = cv2.split(way)
    for _ in range(MEDIANS):
        right, down = cv2.medianBlur(right, 5), cv2.medianBlur(down, 5)
    return cv2.merge([right, down, laid])


def without_splinters(way: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """A way back that is not sure of splinters: float32 (h, w, 3).

    Where ways that were found differently meet, what is left between them may lead anywhere, and a crumb of a car would
    lie on the wall. Doubts as narrow as that are dropped elsewhere (places.py), but these are no edges that are a
    little off: what is there and what they lead to differ, and so do the ways beside.

    way          float32 (h, w, 3): x, y, and how sure it is, 0..1
    here, there  as of `settled_outlines`
    """
    shape, square = way.shape[:2], np.ones((SPLINTER, SPLINTER), np.uint8)
    rows, columns = (axis.ravel() for axis in np.indices(shape))
    difference = _difference(here.reshape(-1, 3), there, rows, columns, way.reshape(-1, 3)).reshape(shape)
    strange = (difference > STRANGE).astype(np.uint8)
    strange -= cv2.morphologyEx(strange, cv2.MORPH_OPEN, square)
    right, down, sure = cv2.split(way)
    strange[np.maximum(*(_range(part, SPLINTER) for part in (right, down))) < APART] = 0
    splinters = cv2.dilate(strange, np.ones((3, 3), np.uint8)).astype(np.float32)
    return cv2.merge([right, down, sure * (1 - cv2.GaussianBlur(splinters, (0, 0), BLUR))])


def without_seams(way: np.ndarray, here: np.ndarray) -> np.ndarray:
    """A way back that is less sure of seams: float32 (h, w, 3).

    Where places beside each other lead far apart, brush strokes end, too. That shows where what is seen is even, as a
    wall that was put together of two pieces; so there the network has a part in it.

    way, here  as of `without_splinters`
    """
    right, down, sure = cv2.split(way)
    torn = np.maximum(*(_range(part, 3) for part in (right, down))) > APART
    seams = (torn & (brightness(_range(here, 5)) < EVEN)).astype(np.float32)
    return cv2.merge([right, down, sure * (1 - cv2.GaussianBlur(seams, (0, 0), BLUR))])


def _range(picture: np.ndarray, width: int) -> np.ndarray:
    """By how much values differ within squares of so many pixels."""
    square = np.ones((width, width), np.uint8)
    return cv2.dilate(picture, square) - cv2.erode(picture, square)


def _difference(
    colors: np.ndarray, there: np.ndarray, rows: np.ndarray, columns: np.ndarray, ways: np.ndarray
) -> np.ndarray:
    """Of places' colours (N, 3) from what their ways (N, 3) lead to: float32 (N,); infinite out of the picture."""
    if not len(rows):
        return np.empty(0, np.float32)
    x, y = columns + ways[:, 0], rows + ways[:, 1]
    # Folded into lines, and the last one filled up, since OpenCV's pictures have fewer than 2^15 rows and columns.
    lines = -(-len(rows) // _LINE)
    across, down = (np.resize(axis.astype(np.float32), (lines, _LINE)) for axis in (x, y))
    found = cv2.remap(there, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    found = found.reshape(-1, 3)[: len(rows)]
    difference = brightness(cv2.absdiff(found, colors)[:, None]).ravel()
    difference[~within(x, y, there.shape)] = np.inf
    return difference


_LINE = 256
