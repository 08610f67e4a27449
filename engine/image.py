"""The one image contract.

Every picture between nodes is an `Image`: float32, (H, W, C), C = 1 (matte), 3 (RGB) or 4 (RGBA), row 0 on top,
scene-linear. How alpha is associated is part of the type, never guessed from the pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from .errors import ShapeError

Metadata = Mapping[str, str | int | float | tuple[float, ...]]


class Alpha(Enum):
    """How the fourth channel relates to the other three."""

    NONE = "none"
    """There is no alpha: one or three channels."""
    STRAIGHT = "straight"
    """RGB is not multiplied by alpha, as in PNG."""
    PREMULTIPLIED = "premultiplied"
    """RGB is multiplied by alpha, as in EXR; light without coverage (RGB > 0, alpha = 0) is legal."""


@dataclass(frozen=True, eq=False)
class Image:
    """A picture or a matte. Treat the pixels as read-only: they are shared by caches and threads.

    pixels    float32 (H, W, C), C in {1, 3, 4}; any finite value, negative and above 1 included
    alpha     association of the fourth channel; must be NONE exactly when C < 4
    metadata  what the source file said about itself (timecode, camera, ...), kept for whoever writes the result
    """

    pixels: np.ndarray
    alpha: Alpha = Alpha.NONE
    metadata: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[2] not in (1, 3, 4) or 0 in shape or self.pixels.dtype != np.float32:
            raise ShapeError(
                f"an image must be float32 (H, W, 1, 3 or 4), not {self.pixels.dtype} {shape}",
                expected=(-1, -1, 3),
                actual=shape,
            )
        if (shape[2] == 4) == (self.alpha is Alpha.NONE):
            raise ShapeError(
                f"an image of {shape[2]} channels cannot have alpha '{self.alpha.value}'",
                expected=(-1, -1, 3 if self.alpha is Alpha.NONE else 4),
                actual=shape,
            )

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def rgb(self) -> np.ndarray:
        """The first three channels as they are stored, a view (H, W, 3); a matte is repeated to three."""
        if self.pixels.shape[2] == 1:
            return np.repeat(self.pixels, 3, axis=2)
        return self.pixels[:, :, :3]

    @property
    def coverage(self) -> np.ndarray | None:
        """Alpha as (H, W, 1), or None where there is none."""
        return self.pixels[:, :, 3:] if self.alpha is not Alpha.NONE else None

    def with_pixels(self, pixels: np.ndarray) -> "Image":
        """The same picture, alpha association and metadata with other pixels of the same channel count."""
        return replace(self, pixels=pixels)


def unpremultiply(image: Image) -> np.ndarray:
    """RGB with the multiplication by alpha undone: float32 (H, W, 3).

    Where alpha is 0 the colour is left as it is (light without coverage), so that nothing is divided by zero.
    """
    if image.alpha is not Alpha.PREMULTIPLIED:
        return image.rgb
    alpha = image.pixels[:, :, 3:]
    return np.divide(image.rgb, alpha, out=image.rgb.copy(), where=alpha > 0)


def with_rgb(image: Image, rgb: np.ndarray) -> Image:
    """`image` with its straight colour replaced: the inverse of `unpremultiply`, alpha untouched.

    rgb  float32 (H, W, 3), straight
    """
    if image.alpha is Alpha.NONE:
        return replace(image, pixels=np.ascontiguousarray(rgb, np.float32))
    alpha = image.pixels[:, :, 3:]
    color = np.where(alpha > 0, rgb * alpha, rgb) if image.alpha is Alpha.PREMULTIPLIED else rgb
    return replace(image, pixels=np.concatenate([color, alpha], axis=2, dtype=np.float32))
