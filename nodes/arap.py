"""As-rigid-as-possible image registration: where every place of one picture lies in another one.

After Sykora, Dingliana and Collins, "As-Rigid-As-Possible Image Registration for Hand-Drawn Cartoon Animations",
NPAR 2009, which the paper names for its guide layer (3.3). A lattice lies over the source picture; two steps alternate:

1. Push: matching says where each place of the source seems to lie in the target, and how sure that is.
2. Regularise: the lattice follows where matching is sure and stays locally rigid where it is not.

What differs from the 2009 paper, and why:
- Matching is dense inverse search optical flow (Kroeger et al., ECCV 2016) from the source to the target as the lattice
  warps it so far, both ways. It is sub-pixel and dense; Sykora's blocks are whole pixels. Starting from the lattice,
  each round only has to find what the last one missed. Where nothing is known, features tell the rigid part first.
- Rigidity is the energy of Sorkine and Alexa, "As-Rigid-As-Possible Surface Modeling" (SGP 2007), solved exactly,
  instead of averaged square by square: empty regions follow their surroundings in one step, however large they are.
- The lattice is soft where the picture has an edge, and tears where sure matches disagree, so that a thing that moves
  drags along as little as possible of what is behind it.

Pure: arrays in, arrays out, the same bits whatever the number of threads.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .node import Cancel, never
from .warp import compose, inside, warp

SPACING = 4
"""Pixels between lattice points. Fine enough for a hand or a head in pictures of about 300 rows, for which all the
lengths in this module are made; reduce larger ones first."""

# The constants below were chosen on three rendered shots with known motion (tests/bench/drift.py measures it).

# Matching is trusted less, falling off as exp(-(error / scale)^2), as ...
ROUND_TRIP = 0.7  # ... source -> target -> source ends this many pixels from where it began,
DIFFERENCE = 12.0  # ... the matched places differ by this many of 255 codes,
TEXTURE = 3.0  # ... and, as t^2 / (t^2 + TEXTURE^2), where the smaller eigenvalue t of the structure tensor is noise.

MEMORY = 0.1
"""What the initial displacement counts against a match of this registration, as both are equally sure."""

STIFFNESS = 1.0
"""Weight of rigidity against a fully trusted match."""

EDGE = 0.04
"""Colour difference, in encoded RGB, across which two lattice points hardly hold together any more ..."""

TEAR = 2.0
"""... and so many pixels out of their rigid arrangement, where they let go."""

OUTLIER = 3.0
"""Pixels between a match and where its surroundings take it, from which on it is disbelieved: at the outline of a thing
that moves, matching carries a rim of the background along."""

LOOSE = 1e-5
"""What is left of a bond across an edge or a tear: next to nothing, yet no part of the lattice is ever undetermined."""

ROUNDS = 2
LOCAL_GLOBAL_STEPS = 4


def register(
    source: np.ndarray,
    target: np.ndarray,
    *,
    initial: np.ndarray | None = None,
    trust: np.ndarray | None = None,
    source_matte: np.ndarray | None = None,
    target_matte: np.ndarray | None = None,
    cancel: Cancel = never,
) -> tuple[np.ndarray, np.ndarray]:
    """The displacement of every pixel of `source`, and how sure it is.

    source, target  float32 (H, W, 3), pictures in an encoding near to what the eye sees (`color.encode`), same size
    initial         float32 (H, W, 2), a displacement to start from, pixels; without it, features give a rigid one
    trust           float32 (H, W), 0..1, how sure `initial` is; needed with `initial`
    source_matte, target_matte
                    float32 (H, W), 0..1: only places within them are matched; the rest follows its surroundings
    Returns (displacement, confidence): float32 (H, W, 2), pixels, x right and y down (what lies at x in `source` lies
    at x + displacement[x] in `target`), and float32 (H, W), 0..1, how surely it is seen there.
    """
    codes, target_codes = _codes(source, target)
    lattice = _Lattice.over(source)
    texture = _texture(codes)
    weight = texture**2 / (texture**2 + np.float32(TEXTURE) ** 2)
    if source_matte is not None:
        weight = weight * source_matte
    cancel()
    if initial is None or trust is None:
        known = _rigid_guess(codes, target_codes, source_matte, target_matte)
        memory = np.zeros_like(weight)
    else:
        known = initial
        memory = trust * weight * np.float32(MEMORY)
    displacement = known
    for _ in range(ROUNDS):
        matched, confidence = _match(codes, target_codes, displacement, cancel)
        if target_matte is not None:
            confidence = confidence * warp(target_matte, matched)
        certainty = confidence * weight
        share = (certainty / np.maximum(certainty + memory, 1e-9))[..., None]
        displacement = lattice.fit(known + share * (matched - known), certainty + memory, displacement, cancel)
    sure = _agreement(codes, target_codes, displacement)
    if source_matte is not None and target_matte is not None:
        sure = sure * source_matte * warp(target_matte, displacement)
    return displacement, sure


def agreement(source: np.ndarray, target: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """How far the two pictures agree under a displacement: float32 (H, W), 0..1; 0 where it leads out of it."""
    return _agreement(*_codes(source, target), displacement)


def _agreement(source: np.ndarray, target: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    difference = cv2.GaussianBlur(cv2.absdiff(source, _warp_codes(target, displacement)).astype(np.float32), (0, 0), 2)
    return (np.exp(-np.square(difference / DIFFERENCE)) * inside(displacement)).astype(np.float32)


def _codes(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 8-bit greys that DIS takes: two uint8 (H, W), on one scale that spans the source's range."""
    greys = [picture @ np.array([0.2126, 0.7152, 0.0722], np.float32) for picture in (source, target)]
    low, high = np.percentile(greys[0], (0.5, 99.5))
    # Hardly any contrast is not stretched: that would be noise.
    scale = 255 / max(high - low, 0.1)
    codes = [np.rint(np.clip((grey - low) * scale, 0, 255)).astype(np.uint8) for grey in greys]
    return codes[0], codes[1]


def _texture(codes: np.ndarray) -> np.ndarray:
    """The smaller eigenvalue of the structure tensor, in codes^2 per pixel^2: low on plain areas and straight edges."""
    grey = codes.astype(np.float32)
    x, y = cv2.Scharr(grey, cv2.CV_32F, 1, 0, scale=1 / 32), cv2.Scharr(grey, cv2.CV_32F, 0, 1, scale=1 / 32)
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), 1.5) for product in (x * x, y * y, x * y))
    return np.maximum((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy), 0)


def _rigid_guess(
    source: np.ndarray, target: np.ndarray, source_matte: np.ndarray | None, target_matte: np.ndarray | None
) -> np.ndarray:
    """One rotation, scale and shift for the whole picture, from features; zero where it explains no more than zero."""
    masks = [None if matte is None else (matte > 0.5).astype(np.uint8) for matte in (source_matte, target_matte)]
    height, width = source.shape
    still = np.zeros((height, width, 2), np.float32)
    sift = cv2.SIFT.create(nfeatures=1000, enable_precise_upscale=True)
    (points, features), (target_points, target_features) = (
        sift.detectAndCompute(codes, mask)  # pyright: ignore[reportCallIssue, reportArgumentType]
        for codes, mask in zip((source, target), masks, strict=True)
    )
    if len(points) < 8 or len(target_points) < 8:
        return still
    pairs = cv2.BFMatcher().knnMatch(features, target_features, k=2)
    good = [first for first, second in pairs if first.distance < 0.75 * second.distance]
    if len(good) < 8:
        return still
    there, here = (
        np.array([keypoints[index].pt for keypoints, index in found], np.float64)
        for found in (
            [(target_points, match.trainIdx) for match in good],
            [(points, match.queryIdx) for match in good],
        )
    )
    motion, _ = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=3)
    if motion is None:
        return still
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    moved = np.stack([x, y, np.ones_like(x)], -1) @ motion.T
    guess = (moved - np.stack([x, y], -1)).astype(np.float32)

    def mismatch(displacement: np.ndarray) -> float:
        seen = inside(displacement)
        if masks[0] is not None:
            seen &= masks[0] > 0
        difference = np.abs(warp(target, displacement).astype(np.float32) - source)
        return float(np.minimum(difference, 4 * DIFFERENCE)[seen].mean()) if seen.any() else np.inf

    return guess if mismatch(guess) < mismatch(still) else still


def _match(
    source: np.ndarray, target: np.ndarray, displacement: np.ndarray, cancel: Cancel
) -> tuple[np.ndarray, np.ndarray]:
    """Push: where DIS finds each pixel, starting from `displacement`, and how far that can be weight."""
    warped = _warp_codes(target, displacement)
    cancel()
    forward = _dis(source, warped)
    cancel()
    backward = _dis(warped, source)
    cancel()
    found = compose(forward, displacement)
    round_trip = np.square(compose(forward, backward)).sum(axis=2)
    return found, np.exp(-round_trip / ROUND_TRIP**2) * _agreement(source, target, found)


_SMALLEST = 32
"""Below this many pixels a side OpenCV's DIS crashes."""


def _dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    height, width = first.shape
    missing = (0, max(0, _SMALLEST - height), 0, max(0, _SMALLEST - width))
    first, second = (cv2.copyMakeBorder(codes, *missing, cv2.BORDER_REPLICATE) for codes in (first, second))
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dis.calc(first, second, np.zeros((*first.shape, 2), np.float32))
    return np.ascontiguousarray(flow[:height, :width])


def _warp_codes(codes: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    height, width = codes.shape
    x = displacement[..., 0] + np.arange(width, dtype=np.float32)
    y = displacement[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(codes, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class _Lattice:
    """Points over a picture, each bound to its eight neighbours.

    picture  float32 (H, W, 3), a little blurred: colours decide what holds together
    shape    rows and columns of points
    points   float64 (N, 2), pixels
    colors   float32 (N, 3)
    ends     two int arrays (E,): the points that each bond joins
    bonds    float64 (E,): how firmly, from LOOSE to 1
    """

    picture: np.ndarray
    shape: tuple[int, int]
    points: np.ndarray
    colors: np.ndarray
    ends: tuple[np.ndarray, np.ndarray]
    bonds: np.ndarray

    @classmethod
    def over(cls, picture: np.ndarray) -> "_Lattice":
        picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
        height, width = picture.shape[:2]
        rows, columns = max(2, round(height / SPACING)), max(2, round(width / SPACING))
        x = (np.arange(columns) + 0.5) * (width / columns) - 0.5
        y = (np.arange(rows) + 0.5) * (height / rows) - 0.5
        points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        colors = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA).reshape(-1, 3)
        index = np.arange(rows * columns).reshape(rows, columns)
        pairs = (
            (index[:, :-1], index[:, 1:]),
            (index[:-1], index[1:]),
            (index[:-1, :-1], index[1:, 1:]),
            (index[:-1, 1:], index[1:, :-1]),
        )
        first = np.concatenate([a.ravel() for a, _ in pairs])
        second = np.concatenate([b.ravel() for _, b in pairs])
        length = np.square(points[first] - points[second]).sum(axis=1) / SPACING**2
        alike = _alike(colors[first] - colors[second]).astype(np.float64)
        return cls(picture, (rows, columns), points, colors, (first, second), (alike + LOOSE) / length)

    def fit(self, observed: np.ndarray, certainty: np.ndarray, start: np.ndarray, cancel: Cancel) -> np.ndarray:
        """Regularise: the displacement, float32 (H, W, 2), that follows `observed` as far as `certainty` says.

        start  the displacement so far, for a first guess of the rotation

        Minimises, over the points' places Q and rotations R in turn,
          sum_i c_i |Q_i + R_i (p_i' - p_i) - q_i'|^2 + STIFFNESS sum_ij b_ij |Q_i - Q_j - (R_i + R_j)/2 (p_i - p_j)|^2
        where p_i' is the centre of what was observed round point i, c_i its certainty and q_i' where that is now.
        """
        first, second = self.ends
        count = len(self.points)
        centers, places, weight = self._gather(observed, certainty)
        arms = self.points[first] - self.points[second]
        _, begun, _ = self._gather(start, np.ones_like(certainty))
        bonds = self.bonds
        # One rotation for all: that of single points is as wrong as the outlines of what moves still are.
        rotation = np.broadcast_to(self._rotations(arms, begun[first] - begun[second], bonds).sum(axis=0), (count, 2))
        rotation = rotation / np.maximum(np.linalg.norm(rotation, axis=1, keepdims=True), 1e-12)
        believed = weight
        result = begun
        for _ in range(LOCAL_GLOBAL_STEPS):
            cancel()
            turned = _turn((rotation[first] + rotation[second]) / 2, arms)
            pull = STIFFNESS * bonds[:, None] * turned
            right = believed[:, None] * (places - _turn(rotation, centers - self.points))
            for axis in (0, 1):
                right[:, axis] += np.bincount(first, pull[:, axis], count) - np.bincount(second, pull[:, axis], count)
            result = _solve(self._system(STIFFNESS * bonds, believed), right)
            now = result[first] - result[second]
            rotation = self._rotations(arms, now, bonds)
            strain = np.square(now - turned).sum(axis=1) / np.square(arms).sum(axis=1) * SPACING**2
            bonds = self.bonds * (LOOSE + 1 / np.square(1 + strain / TEAR**2))
            miss = np.square(result + _turn(rotation, centers - self.points) - places).sum(axis=1)
            believed = weight / np.square(1 + miss / OUTLIER**2)
        return self._spread(result, rotation)

    def _gather(self, observed: np.ndarray, certainty: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per point: weighted mean of the pixels of its square (N, 2), of their places (N, 2), and the weight (N,)."""
        height, width = certainty.shape
        x = np.broadcast_to(np.arange(width, dtype=np.float32), certainty.shape)
        y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], certainty.shape)
        weight = certainty + np.float32(1e-6)  # so that a square with no match at all still has a centre
        layers = np.stack([x, y, x + observed[..., 0], y + observed[..., 1]], -1) * weight[..., None]
        rows, columns = self.shape
        means = cv2.resize(layers, (columns, rows), interpolation=cv2.INTER_AREA).reshape(-1, 4).astype(np.float64)
        total = cv2.resize(weight, (columns, rows), interpolation=cv2.INTER_AREA).ravel().astype(np.float64)
        means /= total[:, None]
        return means[:, :2], means[:, 2:], total

    def _system(self, bonds: np.ndarray, weight: np.ndarray) -> Any:
        first, second = self.ends
        count = len(self.points)
        diagonal = weight + np.bincount(first, bonds, count) + np.bincount(second, bonds, count)
        own = np.arange(count)
        values = np.concatenate([-bonds, -bonds, diagonal])
        where = np.concatenate([first, second, own]), np.concatenate([second, first, own])
        from scipy import sparse  # here, since importing it takes longer than a frame without a guide layer

        return sparse.csc_matrix((values, where), (count, count))

    def _rotations(self, before: np.ndarray, after: np.ndarray, bonds: np.ndarray) -> np.ndarray:
        """Each point's best rotation, (N, 2), cosine and sine. In the plane it is the angle of one complex sum."""
        first, second = self.ends
        count = len(self.points)
        dot = bonds * (before * after).sum(axis=1)
        cross = bonds * (before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
        total = np.stack([np.bincount(first, v, count) + np.bincount(second, v, count) for v in (dot, cross)], -1)
        # A point's own eight bonds are noisy; those of the points it is bound to take part.
        wide = total.copy()
        for axis in (0, 1):
            wide[:, axis] += np.bincount(first, bonds * total[second, axis], count)
            wide[:, axis] += np.bincount(second, bonds * total[first, axis], count)
        return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)

    def _spread(self, result: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """From points to pixels: each pixel follows, rigidly, the points of its colour among the four round it."""
        height, width = self.picture.shape[:2]
        rows, columns = self.shape
        x = np.arange(width)
        y = np.arange(height)[:, None]
        across = np.clip((x + 0.5) * (columns / width) - 0.5, 0, columns - 1)
        down = np.clip((y + 0.5) * (rows / height) - 0.5, 0, rows - 1)
        left = np.minimum(across.astype(int), columns - 2)
        top = np.minimum(down.astype(int), rows - 2)
        motion = np.concatenate([result, rotation, self.points], 1).astype(np.float32)
        place, total = np.zeros((height, width, 2), np.float32), np.zeros((height, width, 1), np.float32)
        for right in (0, 1):
            for below in (0, 1):
                index = (top + below) * columns + (left + right)
                near = (1 - np.abs(left + right - across)) * (1 - np.abs(top + below - down))
                alike = _alike(self.picture - self.colors[index]) + np.float32(LOOSE)
                weight = ((near + LOOSE) * alike).astype(np.float32)[..., None]
                moved = motion[index]
                arm = np.stack([x - moved[..., 4], y - moved[..., 5]], -1)
                place += weight * (moved[..., :2] + _turn(moved[..., 2:4], arm))
                total += weight
        place /= total
        return (place - np.stack(np.broadcast_arrays(x, y), -1)).astype(np.float32)


def _solve(system: Any, right: np.ndarray) -> np.ndarray:
    """A symmetric positive definite sparse system; the settings are SuperLU's for these."""
    from scipy.sparse.linalg import splu

    factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factor.solve(right)


def _alike(difference: np.ndarray) -> np.ndarray:
    """How far two places belong together, 0..1, by their difference in colour (..., 3)."""
    return np.exp(np.square(difference).sum(axis=-1) / (-2 * EDGE**2))


def _turn(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors (..., 2) turned by rotations (..., 2), cosine and sine."""
    cosine, sine = rotation[..., :1], rotation[..., 1:]
    return np.concatenate(
        [cosine * vector[..., :1] - sine * vector[..., 1:], sine * vector[..., :1] + cosine * vector[..., 1:]], -1
    )
