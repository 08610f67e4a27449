"""Mix: how much of the painting is seen in the footage.

It comes last. Steady averages whole paintings: were they mixed first, it would smooth the footage in them, too, and a
strength that changes from frame to frame would be averaged with its neighbours'. Hosts that mix by themselves, as
Blender's compositor does, get the same picture.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..engine.errors import ParameterError, ShapeError
from ..engine.image import Image
from .node import Cancel, Fetch, Node


@dataclass(frozen=True)
class MixParams:
    """strength  0 is the footage, 1 the painting, between them the two are mixed"""

    strength: float = 1.0


class Mix(Node):
    """A painted shot mixed into its footage, scene-linear; where the two are equal, they stay so bit for bit.

    image    the painted shot, with the size and the alpha of the footage
    footage  what it was painted from
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("image", "footage")
    params: MixParams

    def __init__(self, params: MixParams, *, image: Node, footage: Node):
        """Raises ParameterError where the strength cannot be."""
        if not 0.0 <= params.strength <= 1.0:
            raise ParameterError(f"the strength must lie between 0 and 1, not {params.strength}")
        super().__init__(params, image=image, footage=footage)

    def identity(self, frame: int) -> tuple[str, int] | None:
        return {0.0: ("footage", frame), 1.0: ("image", frame)}.get(self.params.strength)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        image, footage = fetch("image", frame), fetch("footage", frame)
        if image.pixels.shape != footage.pixels.shape or image.alpha is not footage.alpha:
            raise ShapeError(
                f"frame {frame}: the painted picture is {_form(image)} and the footage {_form(footage)}; give them in "
                "one size, with one kind of alpha",
                expected=footage.pixels.shape,
                actual=image.pixels.shape,
            )
        change = (image.pixels - footage.pixels) * np.float32(self.params.strength)
        return footage.with_pixels(footage.pixels + change)


def _form(image: Image) -> str:
    return f"{image.width}x{image.height} pixels with alpha '{image.alpha.value}'"
