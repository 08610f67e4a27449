"""Rectangles: how a frame is cut into tiles, which of it a mask needs, and how much around it the network must see."""

from dataclasses import dataclass
from itertools import pairwise

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
    blocks = np.logical_or.reduce(padded.reshape(rows, BLOCK, columns, BLOCK), axis=(1, 3))

    def cost(box: Rect) -> int:
        return (box.height * BLOCK + 2 * halo) * (box.width * BLOCK + 2 * halo) + OVERHEAD

    def bound(box: Rect) -> Rect | None:
        inside = blocks[box.slices]
        ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if len(ys) == 0:
            return None
        return Rect(box.top + int(ys[0]), box.left + int(xs[0]), box.top + int(ys[-1]) + 1, box.left + int(xs[-1]) + 1)

    def divide(box: Rect) -> list[Rect]:
        best, best_cost = None, cost(box)
        halves = [
            (Rect(box.top, box.left, y, box.right), Rect(y, box.left, box.bottom, box.right))
            for y in range(box.top + 1, box.bottom)
        ] + [
            (Rect(box.top, box.left, box.bottom, x), Rect(box.top, x, box.bottom, box.right))
            for x in range(box.left + 1, box.right)
        ]
        for first, second in halves:
            pair = [tight for half in (first, second) if (tight := bound(half)) is not None]
            pair_cost = sum(cost(half) for half in pair)
            if pair_cost < best_cost:
                best, best_cost = pair, pair_cost
        return [box] if best is None else [piece for half in best for piece in divide(half)]

    whole = bound(Rect(0, 0, rows, columns))
    return (
        []
        if whole is None
        else [
            Rect(r.top * BLOCK, r.left * BLOCK, min(height, r.bottom * BLOCK), min(width, r.right * BLOCK))
            for r in divide(whole)
        ]
    )
