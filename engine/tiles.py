"""Rectangles: how a frame is cut into tiles, which of it a mask needs, and how much around it the network must see."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

BLOCK = 16
"""Masks are looked at in squares of this side, pixels: fine enough for halos of some forty pixels."""

OVERHEAD = 8192
"""What running the network on one more rectangle costs, in pixels: about 2 ms on two cores, measured on `fast`."""


@dataclass(frozen=True)
class Rect:
    """Half-open, in pixels: rows top..bottom, columns left..right."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """To index an array (H, W, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: "Rect") -> "Rect":
        """The same place, counted from the corner of `outer`."""
        return Rect(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)


def split(area: Rect, tile: int) -> list[Rect]:
    """`area` in as few, as equal pieces as fit into `tile` x `tile` pixels; rows first."""
    ys = _cuts(area.top, area.bottom, tile)
    xs = _cuts(area.left, area.right, tile)
    return [Rect(top, left, bottom, right) for top, bottom in pairwise(ys) for left, right in pairwise(xs)]


def _cuts(start: int, stop: int, tile: int) -> list[int]:
    count = max(1, -(-(stop - start) // tile))
    return [start + (stop - start) * i // count for i in range(count + 1)]


def grow(rect: Rect, halo: int, multiple: int, height: int, width: int) -> Rect:
    """What the network must see for `rect` to come out as in the whole frame (height x width).

    `halo` more on every side, then outwards to the next multiple, so that strided layers fall on the same pixels as in
    the whole frame; nothing beyond the frame, whose edge the network must meet just as it does there.
    """
    return Rect(
        max(0, (rect.top - halo) // multiple * multiple),
        max(0, (rect.left - halo) // multiple * multiple),
        min(height, -(-(rect.bottom + halo) // multiple) * multiple),
        min(width, -(-(rect.right + halo) // multiple) * multiple),
    )


def cover(mask: np.ndarray, halo: int) -> list[Rect]:
    """Rectangles that hold every pixel of `mask` (H, W) above 0, chosen so that with their halos they cost little.

    From the bounding box down: a box is cut in two where the bounding boxes of the halves cost less than the whole.
    """
    height, width = mask.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padded = np.zeros((rows * BLOCK, columns * BLOCK), bool)
    padded[:height, :width] = mask > 0
    bands = padded.reshape(rows, BLOCK, columns * BLOCK).any(1)  # one axis after the other, which is faster than both
    blocks = np.logical_or.reduce(bands.reshape(rows, columns, BLOCK), axis=2)

    def cost(rows: Any, columns: Any) -> Any:
        return (rows * BLOCK + 2 * halo) * (columns * BLOCK + 2 * halo) + OVERHEAD

    def bound(box: Rect) -> Rect | None:
        inside = blocks[box.slices]
        ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if len(ys) == 0:
            return None
        return Rect(box.top + int(ys[0]), box.left + int(xs[0]), box.top + int(ys[-1]) + 1, box.left + int(xs[-1]) + 1)

    def above(inside: np.ndarray) -> np.ndarray:
        """What the bounding boxes of all that lies above a cut cost, for every cut between two rows."""
        seen = np.logical_or.accumulate(inside)[:-1]
        columns = inside.shape[1] - seen.argmax(1) - seen[:, ::-1].argmax(1)
        rows = np.maximum.accumulate(np.where(inside.any(1), np.arange(1, len(inside) + 1), 0))[:-1]
        return cost(rows, columns)

    def divide(box: Rect) -> list[Rect]:
        inside = blocks[box.slices]
        across, down = above(inside) + above(inside[::-1])[::-1], above(inside.T) + above(inside.T[::-1])[::-1]
        costs = np.concatenate([across, down])
        if len(costs) == 0 or costs.min() >= cost(box.height, box.width):
            return [box]
        cut = int(costs.argmin())
        if cut < len(across):
            y = box.top + cut + 1
            halves = Rect(box.top, box.left, y, box.right), Rect(y, box.left, box.bottom, box.right)
        else:
            x = box.left + cut - len(across) + 1
            halves = Rect(box.top, box.left, box.bottom, x), Rect(box.top, x, box.bottom, box.right)
        return [piece for half in halves if (tight := bound(half)) for piece in divide(tight)]

    whole = bound(Rect(0, 0, rows, columns))
    return (
        []
        if whole is None
        else [
            Rect(r.top * BLOCK, r.left * BLOCK, min(height, r.bottom * BLOCK), min(width, r.right * BLOCK))
            for r in divide(whole)
        ]
    )
