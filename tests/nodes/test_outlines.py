"""At an outline ways follow one thing or the other; what is smooth, hidden or lost stays as it is."""

import cv2
import numpy as np
import pytest
from test_camera import HEIGHT, WIDTH, X, Y, errors, seen_from, soft

from fewstroke.nodes.node import never
from fewstroke.nodes.outlines import settled_outlines, without_seams, without_splinters

DISC = (X - 150) ** 2 + (Y - 90) ** 2 < 40**2
MOVED = (X - 162) ** 2 + (Y - 85) ** 2 < 40**2
BEHIND, OWN = np.array([(-3, 2), (-12, 5)], np.float32)
"""The ways back of a wall and of a disc before it."""
SEEN = np.ones((HEIGHT, WIDTH), np.float32)


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frame, the key frame and the way back from one to the other, (HEIGHT, WIDTH, 3)."""
    wall, paint = 0.3 + soft(rng, 2, 0.05, 3), np.array([0.7, 0.5, 0.2], np.float32) + soft(rng, 2, 0.05, 3)
    there = np.where(DISC[..., None], paint, wall)
    way = np.where(MOVED[..., None], OWN, BEHIND)
    here = np.where(MOVED[..., None], seen_from(paint, way), seen_from(wall, way))
    return here, there, np.dstack([way, SEEN])


def rim() -> np.ndarray:
    """Within six pixels of the outline, on either side, but for what the disc has uncovered."""
    side = np.ones((13, 13), np.uint8)
    moved = MOVED.astype(np.uint8)
    hidden = cv2.dilate(DISC.astype(np.uint8), np.ones((13, 13), np.uint8)) > moved
    return (cv2.dilate(moved, side) > cv2.erode(moved, side)) & ~hidden


@pytest.mark.parametrize("wrong", ["mixed", "carried along", "left behind"])
def test_a_rim_that_is_off_finds_its_side(rng: np.random.Generator, wrong: str) -> None:
    here, there, true = scene(rng)
    if wrong == "mixed":
        way = cv2.GaussianBlur(true, (0, 0), 2)
    else:
        grow = cv2.dilate if wrong == "carried along" else cv2.erode
        disc = grow(MOVED.astype(np.uint8), np.ones((11, 11), np.uint8))[..., None] > 0
        way = np.dstack([np.where(disc, OWN, BEHIND), SEEN])
    off = (errors(way[..., :2], true[..., :2]) > 0.5) & rim()
    assert off.sum() > 200  # or the test shows nothing
    found = settled_outlines(way, here, there, never)
    still = (errors(found[..., :2], true[..., :2]) > 0.5) & rim()
    assert still.sum() < 0.15 * off.sum()


def test_what_is_right_stays_right(rng: np.random.Generator) -> None:
    here, there, true = scene(rng)
    found = settled_outlines(true, here, there, never)
    wrong = (errors(found[..., :2], true[..., :2]) > 0.5) & rim()
    assert wrong.sum() < 0.03 * rim().sum()
    away = cv2.dilate((DISC | MOVED).astype(np.uint8), np.ones((31, 31), np.uint8)) == 0
    np.testing.assert_array_equal(found[away], true[away])


def test_a_smooth_way_is_not_touched_whatever_the_colours_say(rng: np.random.Generator) -> None:
    here, there = rng.random((2, HEIGHT, WIDTH, 3), np.float32)
    still = np.dstack([SEEN * np.float32(3.25), SEEN * np.float32(-1.5), SEEN])
    np.testing.assert_array_equal(settled_outlines(still, here, there, never), still)
    bent = np.dstack([soft(rng, 40, 0.5, 2), SEEN])
    assert errors(settled_outlines(bent, here, there, never)[..., :2], bent[..., :2]).max() < 0.1


def test_holes_keep_their_ways(rng: np.random.Generator) -> None:
    here, there, true = scene(rng)
    hole = np.s_[70:110, 40:80]
    way = true.copy()
    way[hole] = (20, 0, 0)
    inner = np.s_[74:106, 44:76]  # the medians round its corners
    np.testing.assert_array_equal(settled_outlines(way, here, there, never)[inner], way[inner])


def test_nothing_is_taken_from_where_nothing_lies(rng: np.random.Generator) -> None:
    here, there, true = scene(rng)
    way = cv2.GaussianBlur(true, (0, 0), 2)
    way[..., 2] = 0.2
    np.testing.assert_array_equal(
        settled_outlines(way, here, there, never), settled_outlines(way, here, here[::-1], never)
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (40, 3)])
def test_any_size(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    here, there = rng.random((2, *shape, 3), np.float32)
    way = np.dstack([30 * rng.standard_normal((*shape, 2)), np.ones(shape)]).astype(np.float32)
    found = settled_outlines(way, here, there, never)
    assert found.shape == way.shape and np.isfinite(found).all()
    np.testing.assert_array_equal(settled_outlines(np.zeros_like(way), here, there, never), 0)


def seam(rng: np.random.Generator, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A plain wall that was led to in two ways; between them so many columns lead to a disc of another colour. The
    frame, the key frame, the way, and which columns these are."""
    wall = 0.3 + soft(rng, 2, 0.01, 3)
    there = np.where(DISC[..., None], np.float32(0.7), wall).astype(np.float32)
    between = np.broadcast_to((X >= 60) & (60 + width > X), (HEIGHT, WIDTH))
    to_disc = np.dstack([150.0 - X, 90.0 - Y]).astype(np.float32)
    led = np.where((X < 60)[..., None], np.zeros(2), np.array([-40, 0]))
    way = np.dstack([np.where(between[..., None], to_disc, led), SEEN]).astype(np.float32)
    return wall.astype(np.float32), there, way, between


def test_a_splinter_between_two_ways_is_doubted(rng: np.random.Generator) -> None:
    here, there, way, between = seam(rng, 4)
    found = without_splinters(way, here, there)
    np.testing.assert_array_equal(found[..., :2], way[..., :2])
    assert found[between, 2].max() < 0.4
    far = cv2.dilate((between | DISC).astype(np.uint8), np.ones((41, 41), np.uint8)) == 0
    np.testing.assert_array_equal(found[far], way[far])


def test_what_is_broad_is_no_splinter(rng: np.random.Generator) -> None:
    here, there, way, between = seam(rng, 20)
    inner = cv2.erode(between.astype(np.uint8), np.ones((1, 17), np.uint8)) > 0
    np.testing.assert_array_equal(without_splinters(way, here, there)[inner], way[inner])


def test_an_edge_that_is_a_little_off_is_no_splinter(rng: np.random.Generator) -> None:
    here, there, _ = scene(rng)
    way = np.dstack([np.broadcast_to(BEHIND + 1, (HEIGHT, WIDTH, 2)), SEEN]).astype(np.float32)
    np.testing.assert_array_equal(without_splinters(way, here, there), way)


def test_a_seam_on_an_even_wall_is_believed_less(rng: np.random.Generator) -> None:
    here, _, way, _ = seam(rng, 0)
    found = without_seams(way, here)
    np.testing.assert_array_equal(found[..., :2], way[..., :2])
    assert found[:, 59:61, 2].max() < 0.8
    far = (X < 45) | (X > 75)
    np.testing.assert_array_equal(found[np.broadcast_to(far, SEEN.shape)], way[np.broadcast_to(far, SEEN.shape)])


def test_an_outline_that_is_seen_is_no_seam(rng: np.random.Generator) -> None:
    here, _, way = scene(rng)
    np.testing.assert_array_equal(without_seams(way, here), way)


def test_a_way_that_bends_has_no_seams(rng: np.random.Generator) -> None:
    here = (0.3 + soft(rng, 2, 0.01, 3)).astype(np.float32)
    way = np.dstack([np.broadcast_to(2.0 * X, SEEN.shape), np.broadcast_to(-1.5 * Y, SEEN.shape), SEEN])
    way = way.astype(np.float32)
    np.testing.assert_array_equal(without_seams(way, here), way)
