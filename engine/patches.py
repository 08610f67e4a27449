"""The seeded patch sampler (paper, 3.1): random squares from all keyframes, centred inside their eroded masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from .errors import TrainingError
from .exemplar import chances, mislead
from .keyframe import Keyframe


@dataclass(frozen=True, eq=False)
class Choice:
    """What chance decides about a batch: a few numbers, from which `PatchSampler.cut` makes it.

    corners  int64 (4, B): the upper left pixels of the patches to learn from and the width of their pictures, and both
             again for those that are shown as genuine
    chances  float32 (B, N): how ST maps err, see `exemplar.chances`
    """

    corners: torch.Tensor
    chances: torch.Tensor


@dataclass(frozen=True, eq=False)
class Patches:
    """One batch, torch float32: source (B, C, P, P), target (B, 3, P, P), mask (B, 1, P, P), and `real`, patches of the
    same paintings from elsewhere (B, 3, P, P), which the discriminator is shown as genuine."""

    source: torch.Tensor
    target: torch.Tensor
    mask: torch.Tensor
    real: torch.Tensor


class PatchSampler:
    """Makes batches for ever: `choose` says what will be in one, `cut` makes it. A centre is any pixel of any eroded
    mask; with `rarity` rare colours come more often.

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
        device: torch.device | None = None,
    ):
        """rarity     0: every pixel is as likely as any other; 1: every colour is, however little there is of it
        exemplars  how many key frames an ST map leads to
        device     where the key frames are kept and patches are cut; by default the processor

        Raises TrainingError where no keyframe has a pixel left to learn from."""
        if not keyframes:
            raise TrainingError("there is no keyframe to learn from; give at least one painted frame")
        self._pixels = torch.cat([_pixels(key) for key in keyframes]).to(device)
        self._has_stmap = keyframes[0].source.shape[2] > 6
        self._sizes = np.array([key.mask.shape for key in keyframes])
        self._starts = np.cumsum([0, *(key.mask.size for key in keyframes)])[:-1]
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

    def choose(self) -> Choice:
        """What chance decides about the next batch, on the processor; the same sequence for the same seed."""
        corners = torch.from_numpy(np.stack([*self._corners(), *self._corners()]))
        drawn = chances(self._rng, self._batch) if self._has_stmap else np.empty((self._batch, 0), np.float32)
        return Choice(corners, torch.from_numpy(drawn))

    def cut(self, corners: torch.Tensor, chances: torch.Tensor) -> Patches:
        """The batch of a `Choice`: nothing but operations on tensors of the sampler's device."""
        source, target, mask = self._at(*corners[:2])
        if self._has_stmap:
            height, width = self._sizes[0]
            source, target, mask = mislead(source, target, mask, int(height), int(width), self._pages, chances)
        return Patches(source, target, mask, real=self._at(*corners[2:])[1])

    def state(self) -> dict[str, object]:
        """The random state as JSON values, for a checkpoint."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, object]) -> None:
        """Goes on from `state()`."""
        self._rng.bit_generator.state = state

    def _corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Of a batch's patches: where their upper left pixels lie among all pixels, and how wide their pictures are."""
        # `random` is less than 1, but rounded with the sum it may come to be as much.
        drawn = np.searchsorted(self._shares, self._rng.random(self._batch) * self._shares[-1], side="right")
        index, *centre = self._centres[np.minimum(drawn, len(self._centres) - 1)].T
        height, width = self._sizes[index].T
        top, left = (
            np.clip(middle - self._patch // 2, 0, side - self._patch)
            for middle, side in zip(centre, (height, width), strict=True)
        )
        return self._starts[index] + top * width + left, width

    def _at(self, corners: torch.Tensor, widths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Source, target and mask of these patches."""
        along = torch.arange(self._patch, device=corners.device)
        rows = corners[:, None] + along * widths[:, None]  # (B, P)
        places = rows[:, :, None] + along  # (B, P, P)
        # A quarter of the time of indexing by `places`.
        pixels = self._pixels.index_select(0, places.flatten()).unflatten(0, places.shape)
        return layers(pixels.permute(0, 3, 1, 2))


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


def _pixels(key: Keyframe) -> torch.Tensor:
    """Source, target and mask behind each other, a torch (H W, C + 4), so that a patch is cut at once."""
    planes = np.concatenate([key.source, key.target, key.mask[..., None]], axis=2, dtype=np.float32)
    return torch.from_numpy(planes.reshape(-1, planes.shape[2]))


def layers(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source, target and mask, (B, C, H, W), (B, 3, H, W) and (B, 1, H, W), of such planes, (B, C + 4, H, W)."""
    source, target, mask = planes.split([planes.shape[1] - 4, 3, 1], 1)
    return source, target, mask
