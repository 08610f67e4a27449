"""Carried along flow: where it leads, what it reads, and when the ST map takes it."""

import numpy as np
import pytest
from standing import Footage, check_cancel, check_declared, check_order, fresh_evaluator
from test_guide import HEIGHT, WIDTH, pan, texture

from fewstroke.nodes.carried import LEG, LEGS, Carried, CarriedParams
from fewstroke.nodes.places import _layer, _Seen

KEY = 12
FRAMES = range(1, KEY + 2 * LEG + 4)


def node(footage: Footage | None = None) -> Carried:
    return Carried(CarriedParams(KEY), pan(FRAMES, (2, 1)) if footage is None else footage)


@pytest.mark.parametrize("frame", [KEY + 1, KEY + LEG, KEY + 2 * LEG + 3, KEY - 5, KEY - LEG - 2])
def test_a_pan_is_followed_over_any_number_of_legs(frame: int) -> None:
    way = fresh_evaluator()(node(), frame)
    assert way.shape == (HEIGHT, WIDTH, 2) and way.dtype == np.float32
    steps = frame - KEY
    inner = np.s_[abs(steps) + 12 : -abs(steps) - 12, 2 * abs(steps) + 12 : -2 * abs(steps) - 12]
    error = np.abs(way - np.array([2, 1]) * steps)[inner]
    assert error.size and np.median(error) < 0.2 and error.max() < 1


def test_any_order_gives_the_same_bits() -> None:
    check_order(node(), (KEY + 1, KEY + LEG, KEY + LEG + 2, KEY - LEG))


def test_reads_only_what_it_declares() -> None:
    for frame in (KEY + LEG + 1, KEY - LEG - 1):
        check_declared(node(), frame)


def test_cancels() -> None:
    check_cancel(node(), KEY + 3)


def test_it_ends_at_a_gap_and_where_it_is_too_far() -> None:
    pictures = pan(range(1, 2), (0, 0)).pictures
    there = [frame for frame in range(1, KEY + LEG * LEGS + 9) if frame != 7]
    frames = node(Footage(dict.fromkeys(there, pictures[1]))).frames()
    assert sorted(frames) == [8, 9, 10, 11, *range(KEY + 1, KEY + LEG * LEGS + 1)]


def test_frames_not_on_the_way_do_not_matter() -> None:
    pictures = dict(pan(FRAMES, (2, 1)).pictures)
    key = node(Footage(pictures)).key(KEY + LEG + 2)
    pictures[KEY + LEG + 3] = pictures[1]
    assert node(Footage(pictures)).key(KEY + LEG + 2) == key
    pictures[KEY + 3] = pictures[1]
    assert node(Footage(pictures)).key(KEY + LEG + 2) != key


def test_the_st_map_takes_it_only_where_the_pictures_speak_for_it() -> None:
    """The left half of the frame has moved by 10 pixels, which the registration has lost; the right one has not."""
    there = texture(5)[:HEIGHT, :WIDTH].copy()
    here = there.copy()
    half = np.s_[:, : WIDTH // 2]
    here[half] = np.roll(there, 10, axis=1)[half]
    still = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    moved = still.copy()
    moved[..., 0] = -10
    own = np.dstack([still, np.ones((HEIGHT, WIDTH), np.float32)])
    layer = _layer(still, own, moved, [], _Seen(here, None), _Seen(there, None), 0)
    left, right = np.s_[20:-20, 30 : WIDTH // 2 - 12], np.s_[20:-20, WIDTH // 2 + 12 : -20]
    np.testing.assert_array_equal(layer.way[left][..., :2], moved[left])
    np.testing.assert_array_equal(layer.way[right][..., :2], still[right])
    assert np.median(layer.way[left][..., 2]) > 0.9 and np.median(layer.way[right][..., 2]) > 0.9
    alone = _layer(still, own, None, [], _Seen(here, None), _Seen(there, None), 0)
    assert np.median(alone.way[left][..., 2]) < 0.3


def test_flow_that_is_drawn_out_over_what_was_uncovered_is_not_believed() -> None:
    """On a plain wall it leads from everywhere to what looks the same; of a brush stroke it would make a stain."""
    wall = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    uncovered = np.s_[20:-20, 40:100]
    drawn = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    drawn[:, 40:100, 0] = (40 - np.arange(40, 100)) * 0.9  # 60 pixels from 6
    own = np.dstack([np.zeros_like(drawn), np.ones((HEIGHT, WIDTH), np.float32)])
    own[uncovered][..., 2] = 0
    layer = _layer(own[..., :2], own, drawn, [], _Seen(wall, None), _Seen(wall, None), 0)
    assert np.median(layer.way[uncovered][..., 2]) < 0.3
    whole = _layer(own[..., :2], own, 0 * drawn, [], _Seen(wall, None), _Seen(wall, None), 0)
    assert np.median(whole.way[uncovered][..., 2]) > 0.9
