"""Steady: takes out of a painted shot what flickers still, after the network.

Prefilter and guide layer act before the network and leave it to paint every frame by itself, so some of its brush still
changes from frame to frame. Here a painted frame is averaged with the painted frames round it, brought to where things
are in it along the motion of the footage, wherever the footage shows the same there. Any frame can still be made alone,
on any machine; it then costs the painting of its neighbours, too.
"""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.color import decode
from ..engine.errors import ParameterError, ShapeError
from ..engine.image import Image, unpremultiply, with_rgb
from .motion import Vectors, consistent
from .node import Cancel, Fetch, Node
from .parallel import in_parallel
from .temporal import BAND, Encoded, Neighbour, Temporal, measure_noise, weight
from .warp import enlarged, warp, warp_picture


@dataclass(frozen=True)
class SteadyParams:
    """steadiness  0 leaves the painting alone, 1 averages it as far as the motion can be trusted
    radius      frames before and after that are averaged, 0 or more
    """

    steadiness: float = 0.0
    radius: int = 2


class Steady(Temporal):
    """A painted shot with less flicker. Scene-linear in and out; alpha passes through untouched.

    image    the painted shot
    footage  what it was painted from
    matte    where it was painted: outside, the image passes through and is averaged in nowhere
    vectors  the renderer's motion, used in place of estimated flow
    """

    VERSION = 4
    INPUTS: ClassVar[tuple[str, ...]] = ("image", "footage")
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: SteadyParams

    def __init__(
        self,
        params: SteadyParams,
        image: Node,
        footage: Node,
        matte: Node | None = None,
        vectors: Vectors | None = None,
    ):
        if not 0 <= params.steadiness <= 1:
            raise ParameterError(f"the steadiness is {params.steadiness:g}: use 0 (off) to 1 (full)")
        if params.radius < 0:
            raise ParameterError(f"the steadiness' radius is {params.radius}: use 0 frames or more")
        super().__init__(params, footage, vectors, image=image, matte=matte)
        self.inputs = {**self.inputs, "encoded": Encoded(footage), "painted": Encoded(image)}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        needed = {**super().frames_needed(frame), "image": (frame,)}
        frames = tuple(sorted((frame, *(frame + offset for offset in self.offsets(frame)))))
        for name in ("encoded", "painted", "matte"):
            if name in self.inputs:
                needed[name] = frames
        # The flow back, too, which tells what is hidden from one of the two frames.
        for offset in self.offsets(frame):
            back = f"motion{-offset:+d}"
            needed[back] = (*needed.get(back, ()), frame + offset)
        return needed

    def identity(self, frame: int) -> tuple[str, int] | None:
        return ("image", frame) if self.params.steadiness == 0 else None

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        image: Image = fetch("image", frame)
        footage: Image = fetch("footage", frame)
        matte: Image | None = fetch("matte", frame) if "matte" in self.inputs else None
        for what, picture in (("painted picture", image), ("matte", matte)):
            if picture is not None and picture.pixels.shape[:2] != footage.pixels.shape[:2]:
                raise ShapeError(
                    f"frame {frame}: the {what} is {picture.width}x{picture.height} pixels and the footage "
                    f"{footage.width}x{footage.height}; give them in one size",
                    expected=footage.pixels.shape[:2],
                    actual=picture.pixels.shape[:2],
                )
        center, painted = fetch("encoded", frame), fetch("painted", frame)
        views = [self._view(offset, frame, fetch) for offset in self.neighbours(frame, fetch, cancel)]
        seen = in_parallel(_View.seen, views, cancel)
        brought = in_parallel(lambda view: view.brought(painted), views, cancel)
        neighbours = [view.footage for view in views]
        (noise,) = in_parallel(lambda near: measure_noise(center, near), [neighbours], cancel)
        share = np.full(center.shape[:2], self.params.steadiness, np.float32)
        if matte is not None:
            share *= _coverage(matte)
        straight = unpremultiply(image)
        rgb = np.empty_like(center)

        def average_band(top: int) -> None:
            rows = slice(max(0, top - 1), top + BAND + 1)  # the weights look at 3x3 pixels
            total = np.zeros_like(center[rows])
            weights = np.ones(total.shape[:2], np.float32)
            for neighbour, there, visible in zip(neighbours, brought, seen, strict=True):
                aligned = neighbour.rows(rows)
                counts = weight(aligned.pixels - center[rows], aligned, noise[rows]) * visible[rows]
                change = there[rows] - painted[rows]
                change *= cv2.merge([counts] * 3)
                total += change
                weights += counts
            total *= cv2.merge([share[rows] / weights] * 3)
            change = total[top - rows.start :][:BAND]
            band = slice(top, top + len(change))
            # What does not change passes through to the last bit.
            rgb[band] = np.where(change == 0, straight[band], decode(painted[band] + change))

        in_parallel(average_band, range(0, len(center), BAND), cancel)
        return with_rgb(image, rgb)

    def _view(self, offset: int, frame: int, fetch: Fetch) -> "_View":
        there = frame + offset
        pixels = fetch("encoded", there)
        flow, back = (
            enlarged(fetch(f"motion{way:+d}", start), pixels.shape)
            for way, start in ((offset, frame), (-offset, there))
        )
        return _View(
            Neighbour(offset, pixels, flow),
            fetch("painted", there),
            back,
            fetch("matte", there) if "matte" in self.inputs else None,
        )


@dataclass(frozen=True)
class _View:
    """A neighbouring frame: its footage and its painting, encoded, the flow field back from there, and its matte."""

    footage: Neighbour
    painted: np.ndarray
    back: np.ndarray
    matte: Image | None

    def seen(self) -> np.ndarray:
        """Where it shows something painted that the center frame shows, too: float32 (H, W), 0..1."""
        seen = consistent(self.footage.flow, self.back).astype(np.float32)
        if self.matte is not None:
            seen *= warp(_coverage(self.matte), self.footage.flow)
        return seen

    def brought(self, center: np.ndarray) -> np.ndarray:
        """The painting brought to where things are in the center frame: float32 (H, W, 3), encoded.

        Strokes that stay where they are, as on a wall, are left there if that is nearer to the center frame's painting:
        on even places the motion errs by a few tenths of a pixel, and would make them tremble.
        """
        along = warp_picture(self.painted, self.footage.flow)
        unmoved = _apart(self.painted, center) <= _apart(along, center)
        cv2.copyTo(self.painted, unmoved.astype(np.uint8), along)
        return along


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far pictures differ round each pixel: float32 (H, W)."""
    return cv2.blur(cv2.transform(cv2.absdiff(first, second), np.ones((1, 3), np.float32)), (STROKE, STROKE))


STROKE = 9
"""Pixels over which paintings are compared, about the width of a brush stroke."""


def _coverage(matte: Image) -> np.ndarray:
    """float32 (H, W), 0..1."""
    return np.clip(matte.pixels[:, :, 0], 0, 1)
