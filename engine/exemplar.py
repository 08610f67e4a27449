"""The exemplar: the painted key frames themselves, which the network may copy from where the shot still shows the same.

A network of a few thousand weights learns the strokes of an even wall by heart only slowly, and what it has learnt it
paints a little blurred. Patch-based synthesis (Fiser et al., "Example-Based Synthesis of Stylized Facial Animations",
SIGGRAPH 2017, and others) has them at once, as it copies the painter's own pixels, but it has to search for them frame
after frame. Here the ST map (nodes/stmap.py) says where to look, and the network decides pixel by pixel whether to
believe it: it sees the plate of the key frame from there beside the plate before it.

In training the key frame is its own exemplar, and there copying is always right. So that the network learns when it is
not, and to paint by itself then, most of its patches are led astray (`mislead`), as registration leads astray.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .keyframe import Keyframe

CHANNELS = 7
"""What `Exemplar` gives: painting, plate, confidence."""


PIXELS = 1 << 24
"""Key frames with more pixels than this in all (eight of 1080p, two of 4K) are reduced to it: it bounds the model file
to 235 MB."""


class Exemplar(nn.Module):
    """The key frames, below each other, as they lie where an ST map leads.

    ST map (B, 3, H, W): s from 0, left, to 1, right; t from 0, below, to 1, above; confidence, 0..1
    Result (B, 7, H, W): the painting's RGB and the plate's RGB in the working encoding, and the confidence, which is
    zero where the painting does not count.

    The pictures belong to the model, not to what is learnt: they are no part of a checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pictures = nn.Buffer(torch.zeros(1, CHANNELS, 1, 1), persistent=False)

    def show(self, keyframes: Sequence[Keyframe]) -> None:
        """Takes key frames as exemplars, in this order, in half floats, as the model file keeps them."""
        height, width = keyframes[0].mask.shape
        scale = min(1.0, (PIXELS / (len(keyframes) * height * width)) ** 0.5)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pages = [
            np.concatenate(
                [
                    # One by one, since OpenCV takes four channels at most.
                    cv2.resize(np.ascontiguousarray(layer), size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], -1)
                    for layer in (key.target, key.source[..., :3], key.mask)
                ],
                axis=2,
            )
            for key in keyframes
        ]
        layers = np.ascontiguousarray(np.concatenate(pages).transpose(2, 0, 1))
        self.pictures = torch.from_numpy(layers).to(self.pictures).half().float()[None]

    def forward(self, stmap: Tensor) -> Tensor:
        grid = torch.stack([stmap[:, 0] * 2 - 1, 1 - stmap[:, 1] * 2], -1)
        pictures = self.pictures.expand(len(stmap), -1, -1, -1)
        found = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return torch.cat([found[:, :6], found[:, 6:] * stmap[:, 2:]], 1)


# What patches are led astray by, found on three rendered shots. Lengths are in heights of the frame, since that is how
# registration errs: it works on frames of one size.
NUDGE = 3 / 288
"""The largest of the small displacements, bent as a registered lattice bends. Most are far smaller."""
FAR = 20 / 288
FAR_PART = 0.35
"""Some patches are shown a place that has nothing to do with them: as sure as the others, so only the plate tells."""
HIDDEN_PART = 0.3
"""Some are told that all of them is hidden, and get the guide of another place, as uncovered places have one that was
never learnt: the network must manage with the plate alone."""
DOUBT_PART = 0.6
"""Some have places that are."""
LIGHT = 0.15
LIGHT_PART = 0.5
"""Some of the plates have another, uneven light, by so much at one standard deviation: what moves away from a lamp
keeps its paint. The network then believes the exemplar there, and what it paints of its own is better for it, too
(alone, after 300 steps: `bust` psnr 19.7 to 20.5 and sliced Wasserstein distance 157 to 113, `still_life` 18.5 to 18.75
and 161 to 139)."""


STRANGER_PART = 0.5
"""Before some, something of another place has come, as an arm comes before a wall: it is not found again, and has the
guide and the ST map of what it hides, so only its plate tells what to paint. Without them, what moves too fast to be
followed is painted like what is behind it."""
STRANGER_WIDTH = 0.5
"""How wide it is, in standard deviations of the field one of whose contours it follows: a third of the patch on the
mean, as often a band as a spot."""


_SHARE = 1, 0
_DRAWN = (
    _SHARE, (2, 1), (2, 4), _SHARE, (2, 1), _SHARE, _SHARE, (1, 3), _SHARE, (1, 2), (1, 1), (1, 3), (1, 1), _SHARE,
)  # fmt: skip
"""What `mislead` draws for every patch, in its order: numbers from 0 to 1, and fields of noise of so many channels and
knots across."""


def chances(rng: np.random.Generator, count: int) -> np.ndarray:
    """The random numbers that `mislead` wants for so many patches: float32 (count, N)."""
    drawn = [
        rng.standard_normal((count, channels * knots**2)) if knots else rng.random((count, channels))
        for channels, knots in _DRAWN
    ]
    return np.concatenate(drawn, axis=1, dtype=np.float32)


def mislead(
    source: Tensor, target: Tensor, mask: Tensor, height: int, width: int, pages: int, chances: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Training patches whose ST map errs, and whose light is not the exemplar's; their targets and masks.

    source         (B, 9, P, P): RGB, guide, ST map
    target, mask   (B, 3, P, P) and (B, 1, P, P)
    height, width  of the frames they were cut from, pixels
    pages          how many of these are exemplars
    chances        (B, N), see there

    Nothing but operations on tensors, so that a graphics card can repeat it by itself.
    """
    count, _, side, _ = source.shape

    drawn = iter(chances.split([channels * max(knots, 1) ** 2 for channels, knots in _DRAWN], dim=1))

    def noise(channels: int, knots: int) -> Tensor:
        values = next(drawn).reshape(count, channels, knots, knots)
        return F.interpolate(values, size=(side, side), mode="bicubic", align_corners=True) if knots > 1 else values

    def share() -> Tensor:
        return next(drawn).reshape(count, 1, 1, 1)

    def some(part: float) -> Tensor:
        return (share() < part).to(source)

    amount = share().square() * NUDGE
    lead = amount * (noise(2, 1) + noise(2, 4)) + some(FAR_PART) * FAR * noise(2, 1)  # in heights
    doubt, hidden = some(DOUBT_PART), some(HIDDEN_PART)
    guide = torch.lerp(source[:, 3:6], source.roll(1, 0)[:, 3:6], hidden)
    belief = (1 - hidden) * (1 - doubt + doubt * torch.sigmoid(6 * noise(1, 3)))
    light = (1 + some(LIGHT_PART) * LIGHT * noise(1, 2)).clamp(min=0.3)
    lead = torch.cat([lead[:, :1] * (height / width), lead[:, 1:] * (1 / pages)], 1)
    place, sure = source[:, 6:8] + lead, source[:, 8:] * belief

    inside = STRANGER_WIDTH * (noise(1, 1).abs() + 0.3) - (noise(1, 3) - noise(1, 1)).abs()
    come = some(STRANGER_PART)
    stranger = (inside * 8 + 0.5).clamp(0, 1) * come  # its edge is a pixel wide ...
    sure = sure * (1 - (inside * 3 + 1).clamp(0, 1) * come)  # ... and the doubts reach a little beyond it
    plate, target, mask = (torch.lerp(planes, planes.roll(1, 0), stranger) for planes in (source[:, :3], target, mask))
    return torch.cat([plate * light, guide, place, sure], 1), target, mask
