"""The seeded patch sampler (paper, 3.1): random squares from all keyframes, centred inside their eroded masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

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
    mask; with `rarity` rare colours come more often, with `hardness` what is still painted wrong (`prefer`).

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
        hardness: float = 0.0,
        exemplars: int = 1,
        device: torch.device | None = None,
    ):
        """rarity     0: every pixel is as likely as any other; 1: every colour is, however little there is of it
        hardness   the part of the patches that is drawn by how wrong they are painted, 0 to 1, once that is known
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
        self._evenly = self._of_centres(_frequency(keyframes)) ** -rarity
        self._shares = np.cumsum(self._evenly)
        self._hardness = hardness
        size = _reduced(keyframes, LOOKED_AT // len(keyframes))
        self._seen = [
            _pixels(key, size).unflatten(0, size[::-1]).permute(2, 0, 1)[None].to(device) for key in keyframes
        ]
        self.preferred: np.ndarray | None = None

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

    def errors(self, paint: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        """How wrong `paint`, (1, C, h, w) to (1, 3, h, w), paints the key frames without any help of ST maps: float16
        (K, h, w). Large ones are looked at from afar, see LOOKED_AT."""
        found = []
        for planes in self._seen:
            source, target, mask = layers(planes)
            if self._has_stmap:
                source = torch.cat([source[:, :8], torch.zeros_like(source[:, 8:])], 1)
            height, width = source.shape[2:]
            source = F.pad(source, (0, -width % 4, 0, -height % 4), mode="replicate")
            difference = (paint(source)[..., :height, :width] - target) * mask
            difference = cv2.GaussianBlur(difference[0].permute(1, 2, 0).cpu().numpy(), (0, 0), GRAIN)
            found.append(np.abs(difference).mean(axis=2))
        return np.stack(found).astype(np.float16)

    def prefer(self, wrong: np.ndarray) -> None:
        """From now on draws mostly what is wrong, as of `errors`, where the plate shows why it should be otherwise.

        An iris is a thousandth of a picture, and dark like hair for all that the network knows, until it has seen it
        often. A stroke on an even wall is as wrong, but nothing in the plate tells of it, and no patience helps.
        What else was tried is in tests/bench/README.md, "Harder patches".
        """
        self.preferred = wrong
        hard = self._of_centres(wrong * np.stack([_contrast(planes) for planes in self._seen]))
        evenly = self._evenly / self._evenly.sum()
        if (mean := (evenly * hard).sum()) > 0:
            self._shares = np.cumsum(evenly * (1 - self._hardness + self._hardness * hard / mean))

    def _of_centres(self, maps: np.ndarray) -> np.ndarray:
        """What maps of the key frames, (K, h, w), say of the centres: (N,)."""
        index, y, x = self._centres.T
        rows, columns = self._sizes[index].T
        return maps[index, y * maps.shape[1] // rows, x * maps.shape[2] // columns]

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


def _reduced(keyframes: Sequence[Keyframe], pixels: int) -> tuple[int, int]:
    """Width and height that key frames are reduced to, all alike, where they have more pixels than this."""
    height, width = keyframes[0].mask.shape
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _frequency(keyframes: Sequence[Keyframe]) -> np.ndarray:
    """How frequent the colours are, of plate and painting together: float64 (K, h, w), in parts of all.

    A hand, a shoe, a tail are a hundredth of a picture and so of all patches; what cannot be followed there is what the
    network has to know.
    """
    size = _reduced(keyframes, AREA)
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
    return np.bincount(which.ravel(), cover.ravel())[which] / cover.sum() + COMMON


GRAIN = 1.0
"""Standard deviation over which a painting may be off without being wrong, pixels."""
SURROUNDINGS = 3.0
"""Standard deviation of the surroundings from which a plate's pixels differ, where it shows something, pixels."""


LOOKED_AT = 1 << 19
"""Pixels of all key frames together that are looked at to see what is wrong: larger ones are reduced."""


def _contrast(planes: torch.Tensor) -> np.ndarray:
    """How much the plate of a key frame, (1, C + 4, h, w), differs from place to place: float32 (h, w), a standard
    deviation."""
    plate = np.ascontiguousarray(planes[0, :3].permute(1, 2, 0).cpu().numpy())
    mean, squares = (cv2.GaussianBlur(values, (0, 0), SURROUNDINGS) for values in (plate, plate * plate))
    return np.sqrt(np.maximum(squares - mean * mean, 0)).mean(axis=2)


def _pixels(key: Keyframe, size: tuple[int, int] | None = None) -> torch.Tensor:
    """Source, target and mask behind each other, a torch (H W, C + 4), so that a patch is cut at once.

    size  width and height to reduce them to
    """
    planes = np.concatenate([key.source, key.target, key.mask[..., None]], axis=2, dtype=np.float32)
    if size is not None and size != planes.shape[1::-1]:
        # One by one, since OpenCV takes four channels at most.
        shrunk = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in np.moveaxis(planes, 2, 0).copy()]
        planes = np.stack(shrunk, axis=2)
    return torch.from_numpy(planes.reshape(-1, planes.shape[2]))


def layers(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source, target and mask, (B, C, H, W), (B, 3, H, W) and (B, 1, H, W), of such planes, (B, C + 4, H, W)."""
    source, target, mask = planes.split([planes.shape[1] - 4, 3, 1], 1)
    return source, target, mask
