"""Frames beside each other agree on where a place is: what jumps goes with the others, what all know stays."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
from standing import Footage, check_cancel, check_declared, check_keys, check_order, fresh_evaluator
from test_guide import HEIGHT, WIDTH, known, pan, square, still

from fewstroke.engine.image import Image
from fewstroke.nodes.consensus import Consensus, ConsensusParams
from fewstroke.nodes.node import Cancel, Fetch, Node
from fewstroke.nodes.places import Places, PlacesParams

KEY, FRAME = 5, 8
STEP = (3, 1)
MIDDLE = np.s_[20:-20, 20:-20]


class Found(Node):
    """Places from memory, float32 (1, HEIGHT, WIDTH, 3) by frame; of others those of a pan."""

    @dataclass(frozen=True)
    class Params:
        keyframe: int = KEY

    INPUTS = ("footage",)

    def __init__(self, footage: Node, places: dict[int, np.ndarray]):
        super().__init__(self.Params(), footage=footage)
        self._places = places

    def key_extra(self, frame: int) -> list[float]:
        return self._places.get(frame, panned(frame)).ravel().tolist()

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        return self._places.get(frame, panned(frame))


def panned(frame: int) -> np.ndarray:
    """The places of a frame of `pan()`, all sure."""
    away = frame - KEY
    return np.full((1, HEIGHT, WIDTH, 3), (STEP[0] * away, STEP[1] * away, 1), np.float32)


def agreed(places: dict[int, np.ndarray], frame: int = FRAME, footage: Footage | None = None) -> np.ndarray:
    """Of a pan whose vectors are known: float32 (HEIGHT, WIDTH, 3)."""
    footage = footage or pan()
    found = cast(Places, Found(footage, places))
    return fresh_evaluator()(Consensus(ConsensusParams(), footage, found, known(-STEP[0], -STEP[1])), frame)[0]


def test_what_all_frames_know_stays() -> None:
    np.testing.assert_allclose(agreed({}), panned(FRAME)[0], atol=1e-4)


@pytest.mark.parametrize("frame", [FRAME, 1, 12])
def test_a_piece_that_jumps_in_one_frame_goes_with_the_others(frame: int) -> None:
    """Even at the ends of the shot, where the others are all on one side."""
    torn = panned(frame)
    torn[0, 40:60, 50:80, :2] += (17, -9)
    np.testing.assert_allclose(agreed({frame: torn}, frame)[MIDDLE], panned(frame)[0][MIDDLE], atol=1e-2)


def test_what_the_others_doubt_does_not_count() -> None:
    torn = {}
    for frame in range(1, 13):
        torn[frame] = panned(frame)
        if frame != FRAME:
            torn[frame][..., :2] += (17, -9)
            torn[frame][..., 2] = 0.05
    np.testing.assert_allclose(agreed(torn)[..., :2], panned(FRAME)[0][..., :2], atol=0.05)


def test_frames_that_show_something_else_have_no_vote() -> None:
    """As where a thing is too quick for the flow, which then leads to the wall behind it."""
    pictures = {frame: Image(image.pixels.copy()) for frame, image in pan().pictures.items()}
    torn = panned(FRAME)
    quick = np.s_[30:66, 40:90]
    torn[0][quick][..., :2] += (17, -9)
    pictures[FRAME].pixels[quick] = (0.9, 0.1, 0.05)  # only here: elsewhere there is the wall
    result = agreed({FRAME: torn}, footage=Footage(pictures))
    inner = np.s_[40:56, 50:80]
    np.testing.assert_allclose(result[inner], torn[0][inner], atol=0.05)


def test_what_one_frame_alone_believes_is_doubted() -> None:
    """Of 1 + 2 + 2 * 0.7 votes it has one."""
    lone = {frame: panned(frame) * np.array([1, 1, frame == FRAME], np.float32) for frame in range(1, 13)}
    sure = agreed(lone)[..., 2]
    np.testing.assert_allclose(sure[MIDDLE], 1 / 4.4 / 0.5, atol=1e-3)
    # Along the border the frames to come do not show the place, and are not asked.
    assert (sure[:, :2] > sure[MIDDLE].max() + 0.1).all()


def test_small_errors_are_averaged(rng: np.random.Generator) -> None:
    noisy = {frame: panned(frame) for frame in range(1, 13)}
    for places in noisy.values():
        places[..., :2] += rng.normal(0, 0.4, places[..., :2].shape)
    after = agreed(noisy)[..., :2] - panned(FRAME)[0][..., :2]
    before = noisy[FRAME][0][..., :2] - panned(FRAME)[0][..., :2]
    assert np.square(after)[MIDDLE].mean() < 0.4 * np.square(before)[MIDDLE].mean()


def test_what_stands_still_is_left_alone_whatever_the_flow_says() -> None:
    """Vectors that err by half a pixel a frame, of a camera that stands."""
    footage, zero = still(), panned(KEY)
    found = cast(Places, Found(footage, dict.fromkeys(range(1, 13), zero)))
    result = fresh_evaluator()(Consensus(ConsensusParams(), footage, found, known(0.5, 0.5)), FRAME)
    np.testing.assert_array_equal(result[0][MIDDLE][..., :2], zero[0][MIDDLE][..., :2])


def test_beside_an_outline_a_place_is_of_one_thing_or_of_the_other() -> None:
    """A disc that stays in the picture, 30 pixels from where the key frame has it, before the pan."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = {frame: panned(frame) for frame in range(1, 13)}
    for frame, places in disc.items():
        places[0, np.hypot(x - 70 + (frame % 2), y - 45) < 20, :2] = (30, 0)
    result = agreed(disc)[..., :2]
    either = [np.abs(result - one).max(axis=-1) < 0.5 for one in ((30, 0), panned(FRAME)[0, 0, 0, :2])]
    assert (either[0] | either[1]).all() and either[0].any()


def test_beyond_a_cut_nobody_is_asked() -> None:
    """The frames from 9 on are of another shot; what they would say of this one is outvoted by none."""
    pictures = dict(pan().pictures)
    for frame in range(FRAME + 1, 13):
        pictures[frame] = still().pictures[1]
    junk = {frame: panned(frame) + np.array([40, 0, 0], np.float32) for frame in range(FRAME + 1, 13)}
    torn = panned(FRAME)
    torn[0, 40:60, 50:80, :2] += (40 - STEP[0], -STEP[1])
    result = agreed({**junk, FRAME: torn}, footage=Footage(pictures))
    np.testing.assert_allclose(result[MIDDLE], panned(FRAME)[0][MIDDLE], atol=1e-2)


def test_the_key_frame_and_a_frame_alone_keep_theirs() -> None:
    footage = pan()
    found = cast(Places, Found(footage, {}))
    assert Consensus(ConsensusParams(), footage, found).identity(KEY) == ("places", KEY)
    assert Consensus(ConsensusParams(0), footage, found).identity(FRAME) == ("places", FRAME)
    lone = Footage({FRAME: footage.pictures[FRAME]})
    assert Consensus(ConsensusParams(), lone, cast(Places, Found(lone, {}))).identity(FRAME) == ("places", FRAME)


def _plain(params: ConsensusParams) -> Consensus:
    footage = pan()
    return Consensus(params, footage, Places(PlacesParams(KEY), footage))


def _layers(params: ConsensusParams) -> Consensus:
    footage, matte = square()
    return Consensus(params, footage, Places(PlacesParams(KEY), footage, matte))


def test_any_order_gives_the_same_bits() -> None:
    check_order(_layers(ConsensusParams()), (4, 6, 11))


def test_every_parameter_changes_the_key() -> None:
    check_keys(_plain, ConsensusParams(1), frame=9)


def test_reads_only_what_it_declares() -> None:
    for frame in (4, 12):
        check_declared(_plain(ConsensusParams()), frame)


def test_cancels() -> None:
    check_cancel(_layers(ConsensusParams()), 9)
