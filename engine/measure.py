"""How far a painted frame is from what the painter would have painted there: what a search for settings minimises.

Mean absolute difference alone would choose blur: where a network does not know in which way a stroke lies, the mean of
all ways costs least. So half of the loss asks for the strokes themselves, wherever they lie: the sliced Wasserstein
distance of small patches (Rabin et al. 2011; over a Laplacian pyramid, as Karras et al. 2018 use it). The paper (3.2)
takes its training loss for this, in which an adversary and VGG-19 see to the same; but an adversary that was trained
with one candidate is no judge of another, and VGG-19's weights are not everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

LEVELS = 3
"""Octaves of detail whose patches are compared: strokes of some 2 to 28 pixels."""
SIDE = 7
PATCHES = 2048
DIRECTIONS = 128
"""Random projections in which distributions of patches are compared."""


@dataclass(frozen=True)
class Difference:
    """Of a painted frame and the truth. Pixels in the working encoding, where 0 to 1 is black to white.

    l1       mean absolute difference
    texture  distance of the distributions of patches, in standard deviations of the truth's; blur and noise raise it
    psnr     peak signal-to-noise ratio for a peak of 1, dB; higher is better
    """

    l1: float
    texture: float
    psnr: float

    @property
    def loss(self) -> float:
        """What is minimised: the right paint at the right place, and the right strokes. Both are about 0.1 for a good
        result, so neither outweighs the other."""
        return self.l1 + self.texture


def difference(painted: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> Difference:
    """Compares what counts. The same arrays give the same figures.

    painted, truth  float32 (H, W, 3) in the working encoding
    mask            float32 (H, W), above 0.5 where it counts; some pixel must
    """
    counts = mask > 0.5
    error = (painted - truth)[counts]
    square = float(np.square(error, dtype=np.float64).mean())
    return Difference(
        l1=float(np.abs(error).mean(dtype=np.float64)),
        texture=_texture(painted, truth, counts),
        psnr=float(-10 * np.log10(max(square, 1e-12))),
    )


def _texture(painted: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> float:
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((SIDE * SIDE * 3, DIRECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    distances = []
    for level, (ours, theirs) in enumerate(zip(_bands(painted), _bands(truth), strict=True)):
        height, width = ours.shape[:2]
        # Patches are taken from the same places of both, so that their choice is no difference.
        ys, xs = np.nonzero(counts[:: 2**level, :: 2**level][: height - SIDE + 1, : width - SIDE + 1])
        if len(ys) == 0:
            continue  # what counts is smaller than a patch
        picks = rng.integers(len(ys), size=PATCHES)
        spread = theirs.std(axis=(0, 1)) + 1e-3  # of each channel; the least keeps a flat picture from dividing by 0
        ranks = [np.sort(_patches(band / spread, ys[picks], xs[picks]) @ directions, axis=0) for band in (ours, theirs)]
        distances.append(float(np.abs(ranks[0] - ranks[1]).mean()))
    return float(np.mean(distances)) if distances else 0.0


def _bands(picture: np.ndarray) -> Iterator[np.ndarray]:
    """The finest octaves of a Laplacian pyramid, and what is left below them, as far as a patch fits in."""
    for _ in range(LEVELS - 1):
        if min(picture.shape[:2]) < 2 * SIDE:
            break
        low = cv2.pyrDown(picture)
        yield picture - cv2.pyrUp(low, dstsize=picture.shape[1::-1])
        picture = low
    yield picture


def _patches(band: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """(N, SIDE * SIDE * 3), with their upper left corners there."""
    windows = np.lib.stride_tricks.sliding_window_view(band, (SIDE, SIDE), axis=(0, 1))  # (h, w, 3, SIDE, SIDE)
    return windows[ys, xs].reshape(len(ys), -1)
