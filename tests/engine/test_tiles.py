"""Rectangles: every pixel once, no pixel missed, little too much."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewstroke.engine.tiles import Rect, cover, grow, split

sizes = st.integers(1, 300)


def area(rects: list[Rect]) -> int:
    return sum(r.height * r.width for r in rects)


@given(sizes, sizes, st.integers(16, 128))
def test_split_covers_each_pixel_once(height: int, width: int, tile: int) -> None:
    counts = np.zeros((height, width), int)
    for rect in split(Rect(0, 0, height, width), tile):
        assert rect.height <= tile and rect.width <= tile
        counts[rect.slices] += 1
    assert (counts == 1).all()


@given(st.integers(0, 2**32 - 1), sizes, sizes, st.floats(0, 0.02))
def test_cover_holds_every_pixel_of_the_mask_once(seed: int, height: int, width: int, density: float) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < density).astype(np.float32)
    counts = np.zeros((height, width), int)
    for rect in cover(mask, halo=40):
        counts[rect.slices] += 1
    assert (counts <= 1).all()
    assert (counts[mask > 0] == 1).all()


def test_an_empty_mask_needs_nothing() -> None:
    assert cover(np.zeros((100, 100), np.float32), halo=40) == []


def test_two_far_spots_are_covered_apart_and_two_near_ones_together() -> None:
    mask = np.zeros((540, 960), np.float32)
    mask[100:140, 100:140] = mask[400:440, 800:840] = 1
    assert len(cover(mask, halo=40)) == 2
    mask[:] = 0
    mask[100:140, 100:140] = mask[100:140, 150:190] = 1
    assert len(cover(mask, halo=40)) == 1


@pytest.mark.parametrize("shape", ["disc", "figure", "ring"])
def test_a_tenth_of_the_frame_costs_at_most_a_quarter(shape: str) -> None:
    height, width, halo = 540, 960, 40
    ys, xs = np.mgrid[:height, :width]
    radius = np.hypot(ys - 270, xs - 480)
    mask = {
        "disc": radius < 128,
        "figure": (abs(xs - 300) < 54) & (abs(ys - 280) < 240),
        "ring": (radius > 180) & (radius < 222),
    }[shape]
    assert 0.09 < mask.mean() < 0.11
    seen = sum(area([grow(r, halo, 4, height, width)]) for r in cover(mask.astype(np.float32), halo))
    # A thin ring is nearly all halo: whatever is cut out of it, the network must see half of the frame.
    assert seen / (height * width) <= (0.25 if shape != "ring" else 0.6)


@given(st.integers(0, 250), st.integers(0, 250), st.integers(1, 50), st.integers(1, 50))
def test_grow_keeps_the_grid_and_the_frame(top: int, left: int, height: int, width: int) -> None:
    rect = Rect(top, left, top + height, left + width)
    seen = grow(rect, 40, 4, 301, 303)
    assert seen.top % 4 == 0 and seen.left % 4 == 0
    assert seen.top <= max(0, rect.top - 40) and seen.bottom >= min(301, rect.bottom + 40)
    assert seen.bottom % 4 == 0 or seen.bottom == 301
    inner = rect.within(seen)
    assert (inner.height, inner.width) == (height, width)
