"""Lost pieces: what moved too far to be followed, found again among what else was lost.

An arm that swings past a wall is too quick for registration and for flow, and who has passed behind a column is lost
to both. Where such a thing is now nothing leads back, and where the painted frame shows it nothing leads to. So what is
lost here is looked for in what is lost there, and only there: everything that was found is out of the question, however
alike it looks.

Pieces are rigid: turned, shifted, and a little larger or smaller. Turn and shift of each lost part are found as by a
Hough transform (Ballard, "Generalizing the Hough Transform to Detect Arbitrary Shapes", Pattern Recognition 1981): at a
fraction of the size each place of it and each one there that is like it vote for the shift between them, for each of
some turns. What wins is made exact and takes what it suits; the rest is a part again.

Every frame finds its pieces by itself, and where two of them suit alike, strokes jump from one to the other. So only
what moves is looked for: what was uncovered or has come in at the border stays where it is, and look-alikes
(lookalikes.py), which stay with it, or the network paint it.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from .guide import REFERENCE_HEIGHT, dominant_motion
from .likeness import BLUR, DARKEST, SHADE
from .lookalikes import plane
from .node import Cancel
from .warp import compose, inside, within

CELL = 4
"""Pixels of the working size from one place that votes to the next."""
NARROW = 9
"""What is narrower, in pixels of the working size, is no piece, but lost along the outline of something found."""
LEAST = 28
"""Cells of the smallest part and piece: an arm of a small figure. Smaller ones flickered more than they showed."""
MOST = 8
"""Parts of a frame that are looked for at the most, the largest first: they bound the time."""
MOVES = 1.0
"""What moves goes otherwise than the camera takes it by more than this to one of the frames beside, pixels of a frame
of REFERENCE_HEIGHT."""
REVEALED = 0.25
"""A part of which more has come in at the frame's border is new: the key frame shows nothing of it."""
MARGIN = 8
"""How near the border of the key frame counts as beyond it, pixels of the working size."""

TURNS = 24
"""Turns that are tried, evenly over the circle."""
VOTERS = 300, 3000
"""The most cells that vote, here and there, evenly drawn where there are more: they bound time and memory."""
GUESSES = 4
"""Turns, those with most votes, that are made more exact to find the best."""
JUDGES = 600
"""Pixels by which a guess is made exact, evenly drawn."""
LIKELY = 0.03
"""Votes fall off as exp(-(difference / LIKELY)^2) with the difference of cells' colours, encoded, ..."""
FEWEST = 0.02
"""... and below this they are not counted, ..."""
ALIKE = 0.05
"""... and the likeness of pixels falls off so, both but for the light, which falls otherwise on what is turned."""
FARTHER = 0.2
"""By so much of its votes a half turn, or a shift by the frame's height, falls behind: of two that suit alike the
lesser movement is taken, in this frame and the next."""
LEFT = 0.5
"""The weight of what the camera has left behind, beyond the frame: that is why it is lost."""
BESIDE = 0.3
"""What a pixel beside a part costs where it is led to something lost, against one of the part that is led right:
outlines should meet."""
AROUND = 4
"""How far what is beside reaches, pixels of the working size."""
LARGER = 0.08
"""The first step by which the size is tried, as the natural logarithm of a factor. That of the turn is half of what
lies between two turns that are tried, that of the place a cell."""
LARGEST = 0.12
"""How much larger or smaller than by the camera's approach a piece may be, likewise."""
GAINS = 1e-3
"""A step must gain this part of what is suited."""

WORTH = 0.3
"""How much of its part a guess must suit, 0..1, ..."""
SHREDS = 0.35
"""... and a piece must take of it; less is an accident."""
SUITS = 0.4
"""How alike a place must be, on the mean over BLUR, to be of the piece."""
RIM = 3
"""How far beyond what is lost a piece reaches, pixels of the working size, where it suits: outlines are painted there.
"""
FRAYED = 5
"""Fringes of a piece narrower than this are dropped, pixels of the working size."""


def moving(way: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """What goes otherwise than the camera takes it: bool (h, w).

    way     (h, w, 3), this frame's way back into the key frame
    others  flow fields (h, w, 2) to frames beside, and their ways back
    """
    here, least = plane(way), MOVES * len(way) / REFERENCE_HEIGHT
    moves = np.zeros(way.shape[:2], bool)
    for flow, other in others:
        right, down = cv2.split(compose(flow, plane(other)) - here)
        moves |= cv2.magnitude(right, down) > least
    return moves


def lost_pieces(
    lost: np.ndarray,
    missing: np.ndarray,
    way: np.ndarray,
    others: Sequence[tuple[np.ndarray, np.ndarray]],
    here: np.ndarray,
    there: np.ndarray,
    cancel: Cancel,
) -> np.ndarray:
    """The way back of what is lost, by pieces: float32 (h, w, 3), x and y in pixels, and how alike it is there, 0..1,
    which is 0 where there is no piece.

    lost, missing  uint8 (h, w), 0 or 1: what leads to nothing in this frame, and what nothing leads to in the other
    way            (h, w, 3), the way back into the other frame, of which the camera's motion is taken
    others         flow fields (h, w, 2) to the frames beside, and their ways back
    here, there    both frames, float32 (h, w, 3), encoded
    """
    found = np.zeros((*lost.shape, 3), np.float32)
    parts = _parts(lost)
    if not parts:
        return found
    moves = moving(way, others)
    parts = [part for part in parts if moves[part > 0].mean() > 0.5]
    matrix, shift = dominant_motion(way)
    inverse = np.linalg.inv(matrix)
    x, y = np.meshgrid(np.arange(lost.shape[1]), np.arange(lost.shape[0]))
    new = ~within(*_moved(x, y, matrix, shift), lost.shape) | ~inside(np.ascontiguousarray(way[..., :2]))
    new = cv2.dilate(new.astype(np.uint8), _square(2 * MARGIN + 1)) > 0
    parts = [part for part in parts if new[part > 0].mean() <= REVEALED]
    stays = within(*_moved(x, y, inverse, -inverse @ shift), lost.shape)
    weights = np.where(stays, np.float32(1), np.float32(LEFT)) * missing
    size = float(0.5 * np.log(abs(np.linalg.det(matrix))))
    for _ in range(MOST):
        if not parts:
            break
        cancel()
        part = parts.pop(0)
        motion = _search(part, weights, here, there, size)
        if motion is not None and _take(part, *motion, found, weights, here, there):
            parts = _parts(part) + parts
    return found


def _parts(lost: np.ndarray) -> list[np.ndarray]:
    """What is connected of it and large enough, the largest first: uint8 (h, w) each."""
    _, names, facts, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(lost, cv2.MORPH_OPEN, _square(NARROW)))
    areas = facts[:, cv2.CC_STAT_AREA]
    order = 1 + np.argsort(-areas[1:], kind="stable")
    return [(names == name).astype(np.uint8) for name in order if areas[name] >= LEAST * CELL**2]


def _take(
    part: np.ndarray,
    matrix: np.ndarray,
    shift: np.ndarray,
    found: np.ndarray,
    weights: np.ndarray,
    here: np.ndarray,
    there: np.ndarray,
) -> bool:
    """Takes the piece that suits under a motion from `part` and `weights` into `found`, in place, if it is worth it.

    matrix, shift  (2, 2) and (2,): what lies at x here lies at matrix x + shift there
    """
    rim = cv2.dilate(part, _square(2 * RIM + 1))
    left, top, width, height = cv2.boundingRect(rim)
    box = np.s_[top : top + height, left : left + width]
    x, y = np.meshgrid(np.arange(left, left + width), np.arange(top, top + height))
    to_x, to_y = (to.astype(np.float32) for to in _moved(x, y, matrix, shift))
    near = cv2.dilate((weights > 0).astype(np.float32), _square(2 * RIM + 1))
    picture, allowed = (cv2.remap(p, to_x, to_y, cv2.INTER_LINEAR) for p in (there, near))
    alike = allowed * _alike(cv2.split(here[box]), cv2.split(picture), ALIKE)
    suits = (cv2.GaussianBlur(alike, (0, 0), BLUR) > SUITS) & (rim[box] > 0) & (found[box][..., 2] == 0)
    piece = cv2.morphologyEx(suits.astype(np.uint8), cv2.MORPH_OPEN, _square(FRAYED))
    if np.count_nonzero(piece & part[box]) < max(LEAST * CELL**2, SHREDS * np.count_nonzero(part)):
        return False
    sure = cv2.GaussianBlur(alike * piece, (0, 0), BLUR / 2)
    cv2.copyTo(np.dstack([to_x - x, to_y - y, sure]).astype(np.float32), piece, found[box])
    part[box] &= 1 - piece
    x, y = np.rint(to_x[piece > 0]).astype(int), np.rint(to_y[piece > 0]).astype(int)
    seen = within(x, y, weights.shape)
    gone = np.zeros(weights.shape, np.uint8)
    gone[y[seen], x[seen]] = 1
    weights[cv2.morphologyEx(gone, cv2.MORPH_CLOSE, _square(3)) > 0] = 0
    return True


def _search(
    part: np.ndarray, weights: np.ndarray, here: np.ndarray, there: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The motion that suits most of a part, as of `_take`; None where none suits enough of it.

    size  of a piece there, as the natural logarithm of a factor, where the camera is all that changes it
    """
    turns = _vote(part, weights, here, there)
    if not turns:
        return None
    judge = _Judge(part, weights, here, there)
    guesses = [judge.improve(np.array([turn, size, *place]), size, (1,)) for turn, place in turns]
    best = judge.improve(max(guesses, key=judge.prefers), size, (2, 4, 8, 16))
    if judge.suits(best, evenly=True) < WORTH:
        return None
    return judge.motion(best)


def _vote(part: np.ndarray, weights: np.ndarray, here: np.ndarray, there: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Turns, radians, and where they take the middle of the part, x and y in pixels; those with most votes first."""
    height, width = part.shape
    size = max(1, width // CELL), max(1, height // CELL)
    small, other, own, left = (
        cv2.resize(layer, size, interpolation=cv2.INTER_AREA)
        for layer in (here, there, part.astype(np.float32), weights)
    )
    cells = np.argwhere(own > 0.5), np.argwhere(left > LEFT / 2)
    if min(map(len, cells)) < LEAST // 2:
        return []
    first, second = (cell[:: -(-len(cell) // most)] for cell, most in zip(cells, VOTERS, strict=True))
    likes = _alike(small[tuple(first.T)].T[..., None], other[tuple(second.T)].T[:, None], LIKELY)
    likes *= left[tuple(second.T)]
    likes /= np.sqrt(1 + likes.sum(axis=1, keepdims=True))  # what is like very much says little
    voters, candidates = np.nonzero(likes > FEWEST)
    if not len(voters):
        return []
    votes = likes[voters, candidates]
    scale = np.array([width / size[0], height / size[1]])
    start, end = (((places[:, ::-1] + 0.5) * scale - 0.5).T for places in (first, second))
    middle, found = start.mean(axis=1), []
    for turn in np.linspace(-np.pi, np.pi, TURNS, endpoint=False):
        turned = _moved(start[0] - middle[0], start[1] - middle[1], _turn(turn), middle)
        right, down = (
            np.rint((to[candidates] - now[voters]) / CELL).astype(np.int64) for to, now in zip(end, turned, strict=True)
        )
        low = np.array([right.min(), down.min()])
        columns, rows = right.max() - low[0] + 1, down.max() - low[1] + 1
        counts = np.bincount((down - low[1]) * columns + right - low[0], votes, rows * columns).reshape(rows, columns)
        counts = cv2.GaussianBlur(counts, (0, 0), 0.6)  # what is counted lies on two sides of a bin's edge
        down, right = np.mgrid[low[1] : low[1] + rows, low[0] : low[0] + columns] * CELL
        counts *= _nearness(turn, np.hypot(right, down) / height)
        row, column = np.unravel_index(counts.argmax(), counts.shape)
        found.append((float(counts[row, column]), float(turn), middle + (low + np.array([column, row])) * CELL))
    found.sort(key=lambda each: -each[0])
    return [(turn, place) for _, turn, place in found[:GUESSES]]


class _Judge:
    """Says how well guesses suit a part. A guess is the turn, the natural logarithm of the size, and where the middle
    of the part is taken, x and y in pixels."""

    def __init__(self, part: np.ndarray, weights: np.ndarray, here: np.ndarray, there: np.ndarray):
        self._middle = np.argwhere(part)[:, ::-1].mean(axis=0)
        places = np.argwhere(cv2.dilate(part, _square(2 * AROUND + 1)))
        places = places[:: -(-len(places) // JUDGES)]
        at = tuple(places.T)
        self._x, self._y = (places[:, ::-1] - self._middle).T
        self._own, self._colors = part[at].astype(np.float32), here[at].T
        self._there = np.dstack([there, weights])

    def motion(self, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same as a matrix and a shift."""
        matrix = np.exp(guess[1]) * _turn(guess[0])
        return matrix, guess[2:] - matrix @ self._middle

    def suits(self, guess: np.ndarray, *, evenly: bool = False) -> float:
        """How much of the part it suits, up to 1; below 0 where it rather suits what is beside it. What the camera has
        left behind counts less, unless all is to count evenly."""
        matrix, _ = self.motion(guess)
        x, y = (to.astype(np.float32)[None] for to in _moved(self._x, self._y, matrix, guess[2:]))
        found = cv2.remap(self._there, x, y, cv2.INTER_LINEAR)[0].T
        alike = _alike(self._colors, found[:3], ALIKE)
        counts = np.minimum(found[3] / LEFT, 1) if evenly else found[3]
        return float((counts * (self._own * alike - BESIDE * (1 - self._own))).sum() / self._own.sum())

    def prefers(self, guess: np.ndarray) -> float:
        """The same, less for farther movements."""
        far = np.hypot(*(guess[2:] - self._middle)) / len(self._there)
        return self.suits(guess) * float(_nearness(guess[0], far))

    def improve(self, guess: np.ndarray, size: float, divisors: Sequence[int]) -> np.ndarray:
        """The best guess in reach, by steps in one number after the other, which are divided by each of these."""
        best = self.prefers(guess)
        for divisor in divisors:
            steps = np.diag([np.pi / TURNS, LARGER, CELL, CELL]) / divisor
            gained = True
            while gained:
                gained = False
                for step in (*steps, *-steps):
                    trial = guess + step
                    if abs(trial[1] - size) > LARGEST:
                        continue
                    value = self.prefers(trial)
                    if value > best + GAINS * abs(best):
                        best, guess, gained = value, trial, True
        return guess


def _alike(first: Iterable[np.ndarray], second: Iterable[np.ndarray], scale: float) -> np.ndarray:
    """How far colours are alike, but for their light: float32, 0..1. Three channels each, whose shapes go together."""
    first, second = list(first), list(second)
    gain = sum(first) / np.maximum(sum(second), np.float32(3 * DARKEST))
    gain = np.clip(gain, np.float32(1 / SHADE), np.float32(SHADE))
    apart = sum(np.abs(one - gain * other) for one, other in zip(first, second, strict=True))
    return np.exp(-np.square(apart / np.float32(3 * scale)))


def _nearness(turn: float, far: np.ndarray | float) -> np.ndarray:
    """What is left of the votes for a turn, radians, and a shift, in heights of the frame."""
    return 1 - FARTHER * np.minimum(1, abs((turn + np.pi) % (2 * np.pi) - np.pi) / np.pi + far)


def _moved(x: np.ndarray, y: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """matrix (x, y) + shift. Not as a matrix product, whose last digits may differ with the number of threads."""
    (to_x, to_y), (right, down) = (x * row[0] + y * row[1] for row in matrix), shift
    return to_x + right, to_y + down


def _turn(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _square(side: int) -> np.ndarray:
    return np.ones((side, side), np.uint8)
