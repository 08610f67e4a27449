"""A painted frame, ready to learn from. Without torch, so that whoever reads the files need not import it."""

from dataclasses import dataclass

import numpy as np

from .digest import digest
from .errors import ShapeError


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A painted frame, ready to learn from. All in the working encoding (`color.encode`).

    frame   its number
    source  float32 (H, W, C): footage RGB, then the channels of guide and ST map where there are any
    target  float32 (H, W, 3): the painting
    mask    float32 (H, W) in 0..1: which painted pixels count
    """

    frame: int
    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        size = self.source.shape[:2]
        for what, array in (("painting", self.target), ("mask", self.mask)):
            if array.shape[:2] != size:
                raise ShapeError(
                    f"the {what} of keyframe {self.frame} is {array.shape[1]}x{array.shape[0]} but the footage is "
                    f"{size[1]}x{size[0]}; export it again at the size of the footage",
                    expected=size,
                    actual=array.shape[:2],
                )

    @property
    def digest(self) -> str:
        """Of everything that is learnt from."""
        return digest(self.source, self.target, self.mask)
