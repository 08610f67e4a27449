"""The seeded patch sampler (paper, 3.1): random squares from all keyframes, centred inside their eroded masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from .errors import TrainingError
from .exemplar import mislead
from .keyframe import Keyframe


@dataclass(frozen=True, eq=False)
class Patches:
    """One batch, torch float32: source (B, C, P, P), target (B, 3, P, P), mask (B, 1, P, P), and `real`, patches of the
    same paintings from elsewhere (B, 3, P, P), which the discriminator is shown as genuine."""

    source: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor
    real: torch.Tensor


class PatchSampler:
    """Draws batches for ever. A centre is any pixel of any eroded mask; with `rarity` rare colours come more often.

    A centre whose patch would reach over the picture's edge is moved inwards. Where a picture is smaller than a patch
    the patch is as large as the picture allows, a multiple of 4. ST maps are led astray (`exemplar.mislead`).
    """

    def __init__(
        self,
        keyframes: Sequence[Keyframe],
        *,
        patch: int,
        batch: int,
        erode: int,
        seed: int,
        rarity: float = 0.0,
        exemplars: int = 1,
    ):
        """rarity     0: every pixel is as likely as any other; 1: every colour is, however little there is of it
        exemplars  how many key frames an ST map leads to

        Raises TrainingError where no keyframe has a pixel left to learn from."""
        if not keyframes:
            raise TrainingError("there is no keyframe to learn from; give at least one painted frame")
        self._planes = [_planes(key) for key in keyframes]
        self._patch = min(patch, *(side // 4 * 4 for key in keyframes for side in key.mask.shape))
        if self._patch < 4:
            raise TrainingError("the keyframes are too small to learn from; at least 4x4 pixels are needed")
        self._batch, self._pages = batch, exemplars
        self._rng = np.random.default_rng(seed)
        kernel = np.ones((erode, erode), np.uint8)
        centres = []
        for index, key in enumerate(keyframes):
            inside = (key.mask > 0.5).astype(np.uint8)
            eroded = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
            # A mask that is thinner than the erosion everywhere still says what to learn.
            ys, xs = np.nonzero(eroded if eroded.any() else inside)
            centres.append(np.stack([np.full_like(ys, index), ys, xs], axis=1))
        self._centres = np.concatenate(centres)
        if len(self._centres) == 0:
            numbers = ", ".join(str(key.frame) for key in keyframes)
            raise TrainingError(
                f"the mask of keyframe {numbers} is empty, so there is nothing to learn; paint it white where the "
                "painting counts, or leave it out"
            )
        self._shares = np.cumsum(_frequency(keyframes, centres) ** -rarity)

    @property
    def pixels(self) -> int:
        """How many centres there are: the amount of painting to learn from."""
        return len(self._centres)

    def draw(self) -> Patches:
        """The next batch; the same sequence of batches for the same seed."""
        picks = self._places()
        elsewhere = self._places()
        source, target, mask = layers(torch.stack([self._cut(place) for place in picks]))
        if source.shape[1] > 6:
            _, height, width = self._planes[0].shape
            source, target, mask = mislead(source, target, mask, height, width, self._pages, self._rng)
        _, real, _ = layers(torch.stack([self._cut(place) for place in elsewhere]))
        return Patches(source, target, mask, real)

    def state(self) -> dict[str, object]:
        """The random state as JSON values, for a checkpoint."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, object]) -> None:
        """Goes on from `state()`."""
        self._rng.bit_generator.state = state

    def _places(self) -> np.ndarray:
        # `random` is less than 1, but rounded with the sum it may come to be as much.
        drawn = np.searchsorted(self._shares, self._rng.random(self._batch) * self._shares[-1], side="right")
        return self._centres[np.minimum(drawn, len(self._centres) - 1)]

    def _cut(self, place: np.ndarray) -> torch.Tensor:
        index, y, x = (int(value) for value in place)
        planes, side = self._planes[index], self._patch
        top = min(max(y - side // 2, 0), planes.shape[1] - side)
        left = min(max(x - side // 2, 0), planes.shape[2] - side)
        return planes[:, top : top + side, left : left + side]


COLORS = 8
"""Steps of each channel, 0 to 1, within which a colour is one colour."""
SMOOTH = 3.0
"""Standard deviation over which pixels are of one colour, pixels: grain and single bristles do not count."""
COMMON = 0.002
"""A colour that fills less than this part of the painting counts as if it did: some three patches of a small frame, and
what is rarer is mostly the mixture of two things at their outline."""
AREA = 1 << 18
"""Larger paintings are reduced to so many pixels before colours are counted."""


def _frequency(keyframes: Sequence[Keyframe], centres: Sequence[np.ndarray]) -> np.ndarray:
    """How frequent the colours at these centres are, of plate and painting together: float64 (N,), in parts of all.

    A hand, a shoe, a tail are a hundredth of a picture and so of all patches; what cannot be followed there is what the
    network has to know.
    """
    height, width = keyframes[0].mask.shape
    scale = min(1.0, (AREA / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    names, covers = [], []
    for key in keyframes:
        layers = [np.ascontiguousarray(layer) for layer in (key.source[..., :3], key.target, key.mask)]
        *colors, cover = (cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in layers)
        smooth = np.concatenate([cv2.GaussianBlur(color, (0, 0), SMOOTH) for color in colors], axis=2)
        steps = (smooth.clip(0, 2) * COLORS).astype(np.int32)
        names.append(steps @ (2 * COLORS + 1) ** np.arange(6, dtype=np.int32))
        covers.append(cover)
    _, which = np.unique(np.stack(names), return_inverse=True)
    which, cover = which.reshape(len(names), *size[::-1]), np.stack(covers)
    frequencies = np.bincount(which.ravel(), cover.ravel())[which] / cover.sum() + COMMON
    found = []
    for key, places in zip(keyframes, centres, strict=True):
        index, y, x = places.T
        rows, columns = key.mask.shape
        found.append(frequencies[index, y * size[1] // rows, x * size[0] // columns])
    return np.concatenate(found)


def _planes(key: Keyframe) -> torch.Tensor:
    """Source, target and mask behind each other, a contiguous torch (C + 4, H, W), so that a patch is cut at once."""
    planes = np.concatenate([key.source, key.target, key.mask[..., None]], axis=2, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1)))


def layers(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source, target and mask, (B, C, H, W), (B, 3, H, W) and (B, 1, H, W), of such planes, (B, C + 4, H, W)."""
    source, target, mask = planes.split([planes.shape[1] - 4, 3, 1], 1)
    return source, target, mask
