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
  It is rigid but for growth, as what comes nearer grows. Each point begins with the rotation and growth that the
  matches round it plainly show, or else with those of the whole picture, and keeps that growth.
- The lattice is soft where the picture has an edge, and tears where sure matches disagree, so that a thing that moves
  drags along as little as possible of what is behind it.

Pure: arrays in, arrays out, the same bits whatever the number of threads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .node import Cancel, never
from .warp import compose, inside, positions, warp

SPACING = 4
"""Pixels between lattice points. Fine enough for a hand or a head in pictures of about 300 rows, for which all the
lengths in this module are made; reduce larger ones first."""

# The constants below were chosen on three rendered shots with known motion (tests/bench/drift.py measures it).

# Matching is trusted less, falling off as exp(-(error / scale)^2), as ...
ROUND_TRIP = 0.7  # ... source -> target -> source ends this many pixels from where it began,
DIFFERENCE = 12.0  # ... the matched places differ by this many of 255 codes,
TEXTURE = 3.0  # ... and, as t^2 / (t^2 + TEXTURE^2), where the smaller eigenvalue t of the structure tensor is noise.

TELLING = 8
"""Side of the squares by which the colours are chosen in which pictures are compared."""

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

LIGHT = (64.0, 32.0, 16.0, 16.0)
"""Codes of 255 off from which on a place is disbelieved that tells how the light has changed, from coarse to fine."""
CORRELATED = 0.5
"""The correlation from which on two pictures are of one thing, in whatever light."""
LEAST_CONTRAST = 10.0
"""Standard deviation, in codes of 255, of pictures that tell little of how their contrast has changed."""

TURN = 0.05
"""By how much things turn (radians) or grow (natural logarithm) otherwise than the whole picture before half of it is
believed: it is noise that makes the background tremble."""
TURN_AROUND = 3.0
"""Standard deviation of the surroundings, in lattice points, whose matches show how a point turns ..."""
TURN_DOUBT = 0.025
"""... and what counts there, in sure pairs of points, for turning with the picture."""
PARTED = 8.0
"""Pixels out of the arrangement of the whole picture, from which on two points tell little of how things turn."""

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
    rounds: int = ROUNDS,
    cancel: Cancel = never,
) -> tuple[np.ndarray, np.ndarray]:
    """The displacement of every pixel of `source`, and how sure it is.

    source, target  float32 (H, W, 3), pictures in an encoding near to what the eye sees (`color.encode`), same size
    initial         float32 (H, W, 2), a displacement to start from, pixels; without it, features give a rigid one
    trust           float32 (H, W), 0..1, how sure `initial` is; needed with `initial`
    source_matte, target_matte
                    float32 (H, W), 0..1: only places within them are matched; the rest follows its surroundings
    rounds          how often it is matched and regularised, 1 or more
    Returns (displacement, confidence): float32 (H, W, 2), pixels, x right and y down (what lies at x in `source` lies
    at x + displacement[x] in `target`), and float32 (H, W), 0..1, how surely it is seen there.
    """
    greys, target_greys = _greys(source, target)
    codes = _codes(greys)
    lattice = _Lattice.over(source)
    texture = _texture(codes)
    weight = texture**2 / (texture**2 + np.float32(TEXTURE) ** 2)
    if source_matte is not None:
        weight = weight * source_matte
    cancel()
    if initial is None or trust is None:
        known = _rigid_guess(codes, _codes(target_greys), source_matte, target_matte)
        memory = np.zeros_like(weight)
    else:
        known = initial
        memory = trust * weight * np.float32(MEMORY)
    displacement = known
    for _ in range(rounds):
        target_codes = _codes(_relit(greys, target_greys, displacement, source_matte))
        matched, confidence = _match(codes, target_codes, displacement, cancel)
        if target_matte is not None:
            confidence = confidence * warp(target_matte, matched)
        certainty = confidence * weight
        share = certainty / np.maximum(certainty + memory, np.float32(1e-9))
        observed = known + cv2.merge([share, share]) * (matched - known)
        displacement = lattice.fit(observed, certainty + memory, cancel, turning=initial is not None)
    sure = _agreement(codes, _codes(_relit(greys, target_greys, displacement, source_matte)), displacement)
    if source_matte is not None and target_matte is not None:
        sure = sure * source_matte * warp(target_matte, displacement)
    return displacement, sure


def agreement(source: np.ndarray, target: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """How far the two pictures agree under a displacement: float32 (H, W), 0..1; 0 where it leads out of it."""
    greys, target_greys = _greys(source, target)
    return _agreement(_codes(greys), _codes(_relit(greys, target_greys, displacement, None)), displacement)


def _agreement(source: np.ndarray, target: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    difference = cv2.GaussianBlur(cv2.absdiff(source, _warp_codes(target, displacement)).astype(np.float32), (0, 0), 2)
    agreed = _falling(np.square(difference), DIFFERENCE)
    agreed *= inside(displacement)
    return agreed


LEAST_EXPONENT = np.float32(-30)
"""Less than e^-30 nothing is trusted: it would make no difference, and numbers next to 0 are ten times as slow."""


def _falling(squares: np.ndarray, scale: float) -> np.ndarray:
    """exp(-squares / scale^2), float32; the squares are lost."""
    squares *= np.float32(-1 / scale**2)
    return cv2.exp(np.maximum(squares, LEAST_EXPONENT))


def _greys(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is compared: two greys, float32 (H, W), on one scale on which 0 to 255 spans the source's range."""
    mixture = _telling(source)[None]
    greys = [cv2.transform(picture, mixture) for picture in (source, target)]
    low, high = np.percentile(greys[0], (0.5, 99.5))
    # Hardly any contrast is not stretched: that would be noise.
    scale = np.float32(255 / max(high - low, 0.1))
    return (greys[0] - np.float32(low)) * scale, (greys[1] - np.float32(low)) * scale


def _codes(greys: np.ndarray) -> np.ndarray:
    """The 8-bit greys that DIS takes."""
    return np.rint(np.clip(greys, 0, 255)).astype(np.uint8)


def _relit(greys: np.ndarray, target: np.ndarray, displacement: np.ndarray, matte: np.ndarray | None) -> np.ndarray:
    """The target's greys in the source's light: with the mean and contrast that what lies there has in the source.

    So a shot that fades, or whose exposure flickers, is matched as well as any other. Means and deviations are of small
    pictures, reweighted: what differs by more than LIGHT is another thing. Pictures that do not correlate are left as
    they are: across a cut twice as much would agree, by chance.
    """
    height, width = greys.shape
    size = max(1, width // SPACING), max(1, height // SPACING)
    seen = inside(displacement).astype(np.float32)
    if matte is not None:
        seen = seen * matte
    here, there, within = (
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (greys, warp(target, displacement), seen)
    )
    kept = within > 0.9
    if not kept.any():
        return target
    y, x = here[kept].astype(np.float64), there[kept].astype(np.float64)
    common = ((y - y.mean()) * (x - x.mean())).mean()
    if common < CORRELATED * max(y.std() * x.std(), LEAST_CONTRAST**2):
        return target
    contrast, offset = 1.0, float(np.median(y - x))
    for miss in LIGHT:
        believed = 1 / np.square(1 + np.square((y - contrast * x - offset) / miss))
        mean_y, mean_x = np.average(y, weights=believed), np.average(x, weights=believed)
        spread_y = np.average(np.square(y - mean_y), weights=believed)
        spread_x = np.average(np.square(x - mean_x), weights=believed)
        # The ratio of deviations, no regression: that takes contrast away where places are still off.
        contrast = float(np.sqrt((spread_y + LEAST_CONTRAST**2) / (spread_x + LEAST_CONTRAST**2)))
        offset = float(mean_y - contrast * mean_x)
    return target * np.float32(contrast) + np.float32(offset)


def _telling(picture: np.ndarray) -> np.ndarray:
    """The mixture of red, green and blue that a picture's things differ most in: float32 (3,), 0 or more, of sum 1.

    That of luma is blind where a green thing stands before a red one as bright. This is the principal component of how
    colours change from place to place, as of Di Zenzo, "A note on the gradient of a multi-image" (CVGIP 1986), on
    squares of TELLING pixels: finer changes are noise. On grey it is the same as luma. On six rendered shots errors
    fell by 3 % on the background, and rose by 2 % on what moves (psnr +0.05 on the mean).
    """
    height, width = picture.shape[:2]
    size = max(1, width // TELLING), max(1, height // TELLING)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = np.minimum(small, max(1.0, float(np.median(small))))  # or one coloured lamp would decide
    slopes = np.stack([cv2.Scharr(small, cv2.CV_64F, *along) for along in ((1, 0), (0, 1))])
    # einsum adds in a fixed order; a matrix product may not, with another number of threads.
    _, axes = np.linalg.eigh(np.einsum("ayxi,ayxj->ij", slopes, slopes))
    main = axes[:, -1] * np.copysign(1, axes[:, -1].sum())
    main = np.maximum(main, 0)  # a difference of colours would lose what is seen in all of them, as most texture is
    return (main / main.sum()).astype(np.float32)


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
    height, width = source.shape
    still = np.zeros((height, width, 2), np.float32)
    # At half the size: what matching finds from here on is finer than any feature, and it takes a quarter of the time.
    small = max(1, width // 2), max(1, height // 2)
    masks = [None if matte is None else (matte > 0.5).astype(np.uint8) for matte in (source_matte, target_matte)]
    sift = cv2.SIFT.create(nfeatures=1000, enable_precise_upscale=True)
    (points, features), (target_points, target_features) = (
        sift.detectAndCompute(  # pyright: ignore[reportCallIssue]
            cv2.resize(codes, small, interpolation=cv2.INTER_AREA),
            None if mask is None else cv2.resize(mask, small, interpolation=cv2.INTER_NEAREST),  # pyright: ignore[reportArgumentType]
        )
        for codes, mask in zip((source, target), masks, strict=True)
    )
    if len(points) < 8 or len(target_points) < 8:
        return still
    pairs = cv2.BFMatcher().knnMatch(features, target_features, k=2)
    good = [first for first, second in pairs if first.distance < 0.75 * second.distance]
    if len(good) < 8:
        return still
    scale = np.array([width / small[0], height / small[1]])
    there, here = (
        (np.array([keypoints[index].pt for keypoints, index in found]) + 0.5) * scale - 0.5
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
    back = compose(forward, backward)
    round_trip = cv2.transform(cv2.multiply(back, back), np.ones((1, 2), np.float32))
    return found, _falling(round_trip, ROUND_TRIP) * _agreement(source, target, found)


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
    return cv2.remap(codes, *positions(displacement), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


_BONDS = (
    (np.s_[:, :-1], np.s_[:, 1:]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:-1, :-1], np.s_[1:, 1:]),
    (np.s_[:-1, 1:], np.s_[1:, :-1]),
)
"""The pairs of points that hold together, as two parts of the lattice each: across, down, and both diagonals."""


@dataclass(frozen=True)
class _Lattice:
    """Points over a picture, each bound to its eight neighbours. Places and rotations are complex, x + iy.

    size     height and width of the picture
    points   complex128 (h, w), pixels
    bonds    for each of _BONDS how firmly its pairs hold together, from LOOSE to 1
    near     for every pixel the row (H,) and the column (W,) of the first of the four points round it
    shares   float32 (4, H, W): how far a pixel follows each of them: right and lower ones come later
    """

    size: tuple[int, int]
    points: np.ndarray
    bonds: list[np.ndarray]
    near: tuple[np.ndarray, np.ndarray]
    shares: np.ndarray

    @classmethod
    def over(cls, picture: np.ndarray) -> "_Lattice":
        """picture  float32 (H, W, 3): colours decide what holds together"""
        picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
        height, width = picture.shape[:2]
        rows, columns = max(2, round(height / SPACING)), max(2, round(width / SPACING))
        x = (np.arange(columns) + 0.5) * (width / columns) - 0.5
        y = (np.arange(rows) + 0.5) * (height / rows) - 0.5
        points = x + 1j * y[:, None]
        colors = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        bonds = []
        for first, second in _BONDS:
            length = np.square(np.abs(points[first][0, 0] - points[second][0, 0])) / SPACING**2
            alike = _alike(colors[:, *_part(first)] - colors[:, *_part(second)]).astype(np.float64)
            bonds.append((alike + LOOSE) / length)

        across = np.clip((np.arange(width) + 0.5) * (columns / width) - 0.5, 0, columns - 1)
        down = np.clip((np.arange(height) + 0.5) * (rows / height) - 0.5, 0, rows - 1)
        left, top = np.minimum(across.astype(int), columns - 2), np.minimum(down.astype(int), rows - 2)
        planes = picture.transpose(2, 0, 1)
        shares = np.empty((4, height, width), np.float32)
        for index, corner in enumerate(_corners(colors, (top, left))):
            right, below = divmod(index, 2)
            beside, over = 1 - np.abs(left + right - across), 1 - np.abs(top + below - down)
            closeness = (over[:, None] * beside + LOOSE).astype(np.float32)
            np.multiply(closeness, _alike(planes - corner) + np.float32(LOOSE), out=shares[index])
        shares /= shares.sum(axis=0)
        return cls((height, width), points, bonds, (top, left), shares)

    def fit(self, observed: np.ndarray, certainty: np.ndarray, cancel: Cancel, *, turning: bool) -> np.ndarray:
        """Regularise: the displacement, float32 (H, W, 2), that follows `observed` as far as `certainty` says.

        Minimises, over the points' places Q and rotations R in turn,
          sum_i c_i |Q_i + R_i (p_i' - p_i) - q_i'|^2 + STIFFNESS sum_ij b_ij |Q_i - Q_j - (R_i + R_j)/2 (p_i - p_j)|^2
        where p_i' is the centre of what was observed round point i, c_i its certainty and q_i' where that is now. R_i
        is a rotation times the growth that is found to begin with.

        turning  whether things may have turned or grown by themselves; where nothing is known yet, a few frames apart,
                 they hardly have, and matches are at their noisiest
        """
        centers, places, weight = self._gather(observed, certainty)
        offsets = centers - self.points
        arms = [self.points[first][0, 0] - self.points[second][0, 0] for first, second in _BONDS]
        bonds = self.bonds
        common = _common(centers, places, weight)
        rotation = self._turns(centers, places, weight, common) if turning else np.full(places.shape, common)
        growth = np.abs(rotation)
        believed = weight
        result = places
        for _ in range(LOCAL_GLOBAL_STEPS):
            cancel()
            turned = [
                (rotation[first] + rotation[second]) * (arm / 2)
                for (first, second), arm in zip(_BONDS, arms, strict=True)
            ]
            right = believed * (places - rotation * offsets)
            for (first, second), bond, arm in zip(_BONDS, bonds, turned, strict=True):
                pull = STIFFNESS * bond * arm
                right[first] += pull
                right[second] -= pull
            result = _solve([STIFFNESS * bond for bond in bonds], believed, right)
            now = [result[first] - result[second] for first, second in _BONDS]
            rotation = growth * _rotations(arms, now, bonds, result.shape)
            strains = [
                _squared(is_now - was) * (SPACING / abs(arm)) ** 2
                for is_now, was, arm in zip(now, turned, arms, strict=True)
            ]
            bonds = [
                bond * (LOOSE + 1 / np.square(1 + strain / TEAR**2))
                for bond, strain in zip(self.bonds, strains, strict=True)
            ]
            miss = _squared(result + rotation * offsets - places)
            believed = weight / np.square(1 + miss / OUTLIER**2)
        return self._spread(result, rotation)

    def _turns(self, before: np.ndarray, after: np.ndarray, weight: np.ndarray, common: complex) -> np.ndarray:
        """How what lies round each point has turned and grown, by its matches, as one complex number (h, w).

        Least squares over the pairs round it, as far as it is sure and differs from how all the picture turns.
        """
        turned, spread = np.zeros(after.shape, np.complex128), np.zeros(after.shape)
        for (first, second), bond in zip(_BONDS, self.bonds, strict=True):
            was, now = before[first] - before[second], after[first] - after[second]
            sure = bond * np.sqrt(weight[first] * weight[second]) / (1 + _squared(now - common * was) / PARTED**2) ** 2
            turn, length = sure * np.conj(was) * now, sure * _squared(was)
            for part in (first, second):
                turned[part] += turn
                spread[part] += length
        planes = cv2.merge([np.real(turned), np.imag(turned), spread])
        real, imaginary, spread = cv2.split(cv2.GaussianBlur(planes, (0, 0), TURN_AROUND))
        doubt = TURN_DOUBT * SPACING**2
        away = np.log((real + 1j * imaginary + doubt * common) / ((spread + doubt) * common))
        away *= 1 / (1 + TURN**2 / np.maximum(_squared(away), 1e-12))
        return common * np.exp(away)

    def _gather(self, observed: np.ndarray, certainty: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per point: weighted mean of the pixels of its square (h, w), of their places (h, w), and the weight."""
        height, width = self.size
        weight = certainty + np.float32(1e-6)  # so that a square with no match at all still has a centre
        x = weight * np.arange(width, dtype=np.float32)
        y = weight * np.arange(height, dtype=np.float32)[:, None]
        right, down = cv2.split(observed)
        layers = cv2.merge([x, y, right * weight, down * weight])
        size = self.points.shape[::-1]
        means = cv2.resize(layers, size, interpolation=cv2.INTER_AREA).astype(np.float64)
        total = cv2.resize(weight, size, interpolation=cv2.INTER_AREA).astype(np.float64)
        means /= total[..., None]
        centers = means[..., 0] + 1j * means[..., 1]
        return centers, centers + means[..., 2] + 1j * means[..., 3], total

    def _spread(self, result: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """From points to pixels: each pixel follows, rigidly, the points of its colour among the four round it."""
        height, width = self.size
        # A point p at Q moves a pixel z by (R - 1) z + (Q - R p).
        turn, shift = rotation - 1, result - rotation * self.points
        motion = np.stack([np.real(turn), np.imag(turn), np.real(shift), np.imag(shift)]).astype(np.float32)
        mixed = np.zeros((4, height, width), np.float32)
        for share, corner in zip(self.shares, _corners(motion, self.near), strict=True):
            corner *= share
            mixed += corner
        x = np.arange(width, dtype=np.float32)
        y = np.arange(height, dtype=np.float32)[:, None]
        turn_x, turn_y, shift_x, shift_y = mixed
        return cv2.merge([shift_x + turn_x * x - turn_y * y, shift_y + turn_x * y + turn_y * x])


def _part(where: Any) -> tuple[Any, ...]:
    return where if isinstance(where, tuple) else (where,)


def _corners(values: np.ndarray, near: tuple[np.ndarray, np.ndarray]) -> Iterator[np.ndarray]:
    """For every pixel the values (C, h, w) at each of the four points round it: (C, H, W), in the order of `shares`."""
    top, left = near
    for right in (0, 1):
        beside = np.take(values, left + right, axis=2)
        for below in (0, 1):
            yield np.take(beside, top + below, axis=1)


def _squared(values: np.ndarray) -> np.ndarray:
    return np.square(np.real(values)) + np.square(np.imag(values))


def _common(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> complex:
    """The rotation and scale that most points follow, as one complex number: least squares, reweighted."""
    believed = weight
    turn = 1 + 0j
    for miss in (4 * OUTLIER, 2 * OUTLIER, OUTLIER, OUTLIER):
        total = believed.sum()
        was, now = (places - (believed * places).sum() / total for places in (before, after))
        spread = (believed * _squared(was)).sum()
        turn = (believed * np.conj(was) * now).sum() / max(spread, 1e-12)
        believed = weight / np.square(1 + _squared(now - turn * was) / miss**2)
    return complex(turn)


def _rotations(
    before: list[Any], after: list[np.ndarray], bonds: list[np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """Each point's best rotation. In the plane it is the angle of one complex sum over its bonds."""
    total = np.zeros(shape, np.complex128)
    for (first, second), arm, now, bond in zip(_BONDS, before, after, bonds, strict=True):
        turn = (bond * np.conj(arm)) * now
        total[first] += turn
        total[second] += turn
    # A point's own eight bonds are noisy; those of the points it is bound to take part.
    wide = total.copy()
    for (first, second), bond in zip(_BONDS, bonds, strict=True):
        wide[first] += bond * total[second]
        wide[second] += bond * total[first]
    return wide / np.maximum(np.abs(wide), 1e-12)


def _solve(bonds: list[np.ndarray], weight: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The places Q, complex (h, w), at which weight Q + sum of bonds (Q - those it is bound to) is `right`.

    By Cholesky's factors within a band that is as wide as the lattice's shorter side: for lattices of this size that
    takes two fifths of the time of sparse factors, with the points in the best order for those.
    """
    from .sparse import solveh_banded  # here: see there

    height, width = weight.shape
    index = np.arange(weight.size).reshape(weight.shape, order="F" if height <= width else "C")
    band = np.zeros((weight.size, min(height, width) + 2))  # of each row what stands from the diagonal on
    diagonal = weight.copy()
    for (first, second), bond in zip(_BONDS, bonds, strict=True):
        diagonal[first] += bond
        diagonal[second] += bond
        one, other = index[first], index[second]
        band[np.minimum(one, other), np.abs(one - other)] = -bond
    band[index, 0] = diagonal
    sides = np.empty((weight.size, 2))
    sides[index] = np.stack([np.real(right), np.imag(right)], -1)
    places = solveh_banded(band.T, sides, overwrite_ab=True, overwrite_b=True, lower=True, check_finite=False)
    return places[index] @ (1, 1j)


def _alike(difference: np.ndarray) -> np.ndarray:
    """How far two places belong together, 0..1, by their difference in colour (3, ...)."""
    squares = np.square(difference).sum(axis=0)
    squares *= np.float32(-1 / (2 * EDGE**2))
    return cv2.exp(np.maximum(squares, LEAST_EXPONENT))
