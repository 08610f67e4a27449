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
    """Draws batches for ever. Every pixel of every eroded mask is as likely a centre as any other.

    A centre whose patch would reach over the picture's edge is moved inwards. Where a picture is smaller than a patch
    the patch is as large as the picture allows, a multiple of 4. ST maps are led astray (`exemplar.mislead`).
    """

    def __init__(
        self, keyframes: Sequence[Keyframe], *, patch: int, batch: int, erode: int, seed: int, exemplars: int = 1
    ):
        """exemplars  how many key frames an ST map leads to

        Raises TrainingError where no keyframe has a pixel left to learn from."""
        if not keyframes:
            raise TrainingError("there is no keyframe to learn from; give at least one painted frame")
        self._sources = [_planes(key.source) for key in keyframes]
        self._targets = [_planes(key.target) for key in keyframes]
        self._masks = [_planes(key.mask[..., None]) for key in keyframes]
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

    @property
    def pixels(self) -> int:
        """How many centres there are: the amount of painting to learn from."""
        return len(self._centres)

    def draw(self) -> Patches:
        """The next batch; the same sequence of batches for the same seed."""
        picks = self._places()
        elsewhere = self._places()
        source = torch.stack([self._cut(self._sources, place) for place in picks])
        if source.shape[1] > 6:
            _, height, width = self._sources[0].shape
            source = mislead(source, height, width, self._pages, self._rng)
        return Patches(
            source=source,
            target=torch.stack([self._cut(self._targets, place) for place in picks]),
            mask=torch.stack([self._cut(self._masks, place) for place in picks]),
            real=torch.stack([self._cut(self._targets, place) for place in elsewhere]),
        )

    def state(self) -> dict[str, object]:
        """The random state as JSON values, for a checkpoint."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, object]) -> None:
        """Goes on from `state()`."""
        self._rng.bit_generator.state = state

    def _places(self) -> np.ndarray:
        return self._centres[self._rng.integers(len(self._centres), size=self._batch)]

    def _cut(self, planes: list[torch.Tensor], place: np.ndarray) -> torch.Tensor:
        index, y, x = (int(value) for value in place)
        plane, side = planes[index], self._patch
        top = min(max(y - side // 2, 0), plane.shape[1] - side)
        left = min(max(x - side // 2, 0), plane.shape[2] - side)
        return plane[:, top : top + side, left : left + side]


def _planes(array: np.ndarray) -> torch.Tensor:
    """(H, W, C) to a contiguous torch (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1), np.float32))
