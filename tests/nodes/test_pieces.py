"""Lost pieces: found again under a motion that is known beforehand, and only where they are."""

import cv2
import numpy as np
import pytest
from standing import Footage, check_cancel, check_order, fresh_evaluator

from fewstroke.engine.image import Image
from fewstroke.nodes.pieces import CELL, LEAST, lost_pieces, moving
from fewstroke.nodes.stmap import STMap, STMapParams

HEIGHT, WIDTH = 144, 256
LENGTH, BREADTH = 64, 18
"""Of the arm: a forearm, a hand of another colour, and a cuff."""


def arm(seed: int = 1) -> np.ndarray:
    """Its picture lying down, (BREADTH, LENGTH, 3), encoded."""
    picture = np.full((BREADTH, LENGTH, 3), (0.8, 0.6, 0.5), np.float32)
    picture[:, :14], picture[:, -16:] = (0.25, 0.3, 0.6), (0.9, 0.75, 0.6)
    grain = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(picture.shape).astype(np.float32), (0, 0), 2)
    return picture + 0.1 * grain


def wall() -> np.ndarray:
    grain = np.random.default_rng(0).standard_normal((HEIGHT, WIDTH, 3)).astype(np.float32)
    return np.array((0.45, 0.5, 0.45), np.float32) + 0.15 * cv2.GaussianBlur(grain, (0, 0), 2.5)


def placed(turn: float, x: float, y: float, size: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The wall with the arm before it, turned about its middle, which lies at x, y; where it is; and the matrix (3, 3)
    that takes a pixel of `arm` there."""
    cosine, sine = size * np.cos(turn), size * np.sin(turn)
    middle = np.array([LENGTH / 2 - 0.5, BREADTH / 2 - 0.5])
    matrix = np.array([[cosine, -sine, x], [sine, cosine, y], [0, 0, 1]])
    matrix[:2, 2] -= matrix[:2, :2] @ middle
    picture = cv2.warpAffine(arm(), matrix[:2], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(np.ones((BREADTH, LENGTH), np.float32), matrix[:2], (WIDTH, HEIGHT))
    return wall() * (1 - mask[..., None]) + picture * mask[..., None], (mask > 0.5).astype(np.uint8), matrix


def found(
    here: tuple[np.ndarray, np.ndarray, np.ndarray],
    there: tuple[np.ndarray, np.ndarray, np.ndarray],
    moves: float = 3.0,
    way: np.ndarray | None = None,
) -> np.ndarray:
    """Where the arm is, and what it hides of the other frame, is lost; nothing else is. By so many pixels it moves to
    the next frame, of which the camera takes the same picture."""
    lost, hidden = (np.asarray(cv2.dilate(mask, np.ones((5, 5), np.uint8))) for mask in (here[1], there[1]))
    if way is None:
        way = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        way[..., 2] = 1 - lost
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[lost > 0, 0] = moves
    return lost_pieces(lost, np.maximum(lost, hidden), way, [(flow, way)], here[0], there[0], lambda: None)


def error(pieces: np.ndarray, here: np.ndarray, there: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How far, in pixels, each place of the arm is led from where it is, where a piece leads it."""
    y, x = np.nonzero((mask > 0) & (pieces[..., 2] > 0))
    right = there @ np.linalg.inv(here) @ np.stack([x, y, np.ones_like(x)])
    led = np.stack([x, y]) + pieces[y, x, :2].T
    return np.linalg.norm(led - right[:2], axis=0)


@pytest.mark.parametrize("turn", (0, 40, -75, 130, 180))
def test_a_turned_arm_is_found_whole(turn: float) -> None:
    here, there = placed(np.radians(turn + 20), 70, 80), placed(np.radians(20), 180, 60)
    pieces = found(here, there)
    arm_here = here[1] > 0
    assert (pieces[..., 2] > 0.5)[arm_here].mean() > 0.85
    away = error(pieces, here[2], there[2], here[1])
    assert np.median(away) < 0.7 and np.percentile(away, 90) < 1.5
    assert not pieces[cv2.dilate(here[1], np.ones((15, 15), np.uint8)) == 0].any(), "the wall was not lost"


def test_its_rim_comes_with_it() -> None:
    """There the outline is painted."""
    here, there = placed(1.2, 70, 80), placed(0.1, 180, 60)
    rim = (cv2.dilate(here[1], np.ones((5, 5), np.uint8)) - here[1]) > 0
    assert (found(here, there)[..., 2] > 0)[rim].mean() > 0.7


def test_a_nearer_camera_makes_it_larger() -> None:
    """The way of what is found says by how much."""
    here, there = placed(0.9, 90, 70, 1.25), placed(0, 180, 60)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    way = np.dstack([(128 - x) * 0.2, (72 - y) * 0.2, 1 - here[1]]).astype(np.float32)
    pieces = found(here, there, way=way)
    assert np.median(error(pieces, here[2], there[2], here[1])) < 1
    assert (pieces[..., 2] > 0.5)[here[1] > 0].mean() > 0.8


def test_another_light_is_no_other_thing() -> None:
    here, there = placed(0.9, 70, 80), placed(0, 180, 60)
    here = (np.where(here[1][..., None] > 0, here[0] * np.float32(0.8), here[0]), *here[1:])
    assert np.median(error(found(here, there), here[2], there[2], here[1])) < 1


def test_what_the_other_frame_does_not_show_is_not_found() -> None:
    here, there = placed(0.9, 70, 80), placed(0, 180, 60)
    green = np.where(there[1][..., None] > 0, np.array([0.1, 0.8, 0.2], np.float32), there[0])
    assert not found(here, (green, *there[1:])).any()


def test_what_is_found_elsewhere_is_out_of_the_question() -> None:
    """The same arm is there, but it is not missing."""
    here, there = placed(0.9, 70, 80), placed(0, 180, 60)
    assert found(here, there).any()
    assert not found(here, (there[0], np.zeros_like(there[1]), there[2])).any()


def test_what_does_not_move_by_itself_or_has_just_come_in_is_left_alone() -> None:
    here, there = placed(0.9, 70, 80), placed(0, 180, 60)
    assert not found(here, there, moves=0).any()
    way = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    way[..., 0], way[..., 2] = -150, 1  # the camera has panned: what is at 70 lies at -80
    assert not found(here, there, way=way).any()


def test_scraps_are_no_pieces() -> None:
    here, there = placed(0.9, 70, 80), placed(0, 180, 60)
    scrap = np.zeros_like(here[1])
    side = int((LEAST * CELL**2) ** 0.5) - 6  # `found` adds four
    scrap[70 : 70 + side, 60 : 60 + side] = 1
    assert not found((here[0], scrap, here[2]), there).any()


def test_what_moves_goes_otherwise_than_the_camera() -> None:
    way = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    way[..., 2] = 1
    pan = np.full((HEIGHT, WIDTH, 2), (-5, 2), np.float32)
    later = way.copy()
    later[..., :2] = (5, -2)  # back to where it was
    flow = pan.copy()
    flow[40:80, 50:90] += (3, 0)
    moves = moving(way, [(flow, later)])
    assert moves[42:78, 52:88].all()
    moves[38:82, 48:92] = False
    assert not moves.any()


def swings() -> Footage:
    """Forty degrees a frame about its middle, and twenty pixels, before a wall that stands still."""
    return Footage({t: Image(placed(np.radians(40 * t), 30 + 20 * t, 70)[0].astype(np.float32)) for t in range(1, 11)})


def test_the_st_map_leads_to_an_arm_that_cannot_be_followed() -> None:
    """Frame 8 is 280 degrees and 140 pixels on."""
    pixels = fresh_evaluator()(STMap(STMapParams((1,)), swings()), 8).pixels
    _, mask, here = placed(np.radians(320), 190, 70)
    _, _, there = placed(np.radians(40), 50, 70)
    y, x = np.nonzero(cv2.erode(mask, np.ones((5, 5), np.uint8)))
    led = np.stack([pixels[y, x, 0] * WIDTH - 0.5, (1 - pixels[y, x, 1]) * HEIGHT - 0.5])
    right = there @ np.linalg.inv(here) @ np.stack([x, y, np.ones_like(x)])
    good = (np.linalg.norm(led - right[:2], axis=0) < 2) & (pixels[y, x, 2] > 0.5)
    assert good.mean() > 0.7


def test_any_order_gives_the_same_bits_and_it_can_be_cancelled() -> None:
    node = STMap(STMapParams((1,)), swings())
    check_order(node, (7, 8))
    check_cancel(node, 8)
