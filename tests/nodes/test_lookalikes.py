"""Look-alikes: more of the same, where the key frame does not show the place itself."""

import cv2
import numpy as np
import pytest
from standing import Footage, check_cancel, check_declared, check_keys, check_order, fresh_evaluator
from test_guide import HEIGHT, WIDTH, square, texture

from fewstroke.engine.image import Image
from fewstroke.nodes.guide import Register, RegisterParams, WorkPicture
from fewstroke.nodes.lookalikes import ANCHORS, COARSE, LEADS, LookAlikes, LookAlikesParams, agreement, anchors
from fewstroke.nodes.stmap import STMap, STMapParams
from fewstroke.nodes.wayback import WayBack, WayBackParams

KEY = 5
THING = np.s_[30:66, 30:66]


def leaves(behind: np.ndarray | None = None, noise: float = 0.0) -> Footage:
    """A wall with a fine grain, before which something stands until the key frame; what it hid then is more of the
    wall, or `behind`, a picture."""
    rng = np.random.default_rng(3)
    wall = 0.2 + 0.04 * cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1)
    wall = np.dstack([wall, 0.9 * wall, 0.8 * wall]).astype(np.float32)
    pictures = {}
    for t in range(1, 3 * ANCHORS):
        picture = wall.copy() if behind is None or t <= KEY else np.where(_mask(), behind, wall)
        if t <= KEY:
            picture[THING] = texture(3)[:36, :36] * np.array([2, 0.3, 0.3], np.float32)
        picture = picture + noise * rng.standard_normal(picture.shape)
        pictures[t] = Image(picture.astype(np.float32))
    return Footage(pictures)


def _mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH, 1), bool)
    mask[THING] = True
    return mask


def node(footage: Footage, matte: Footage | None = None) -> LookAlikes:
    way = WayBack(WayBackParams(KEY), Register(RegisterParams(KEY), footage, matte), WorkPicture(footage))
    return LookAlikes(LookAlikesParams(KEY), WorkPicture(footage), way, matte)


def places(footage: Footage, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column and row in the key frame, pixels, and confidence, where the thing was."""
    pixels = fresh_evaluator()(STMap(STMapParams((KEY,)), footage), frame).pixels
    inner = np.s_[THING[0].start + 6 : THING[0].stop - 6, THING[1].start + 6 : THING[1].stop - 6]
    return pixels[inner][..., 0] * WIDTH - 0.5, (1 - pixels[inner][..., 1]) * HEIGHT - 0.5, pixels[inner][..., 2]


def test_uncovered_wall_is_led_to_wall() -> None:
    x, y, sure = places(leaves(), KEY + 3)
    believed = sure > 0.3
    assert believed.mean() > 0.8
    on_thing = (x > 30) & (x < 65) & (y > 30) & (y < 65)
    assert on_thing[believed].mean() < 0.05
    assert x[believed].min() >= 0 and x[believed].max() <= WIDTH - 1


def test_most_of_a_hole_is_one_piece() -> None:
    labels = fresh_evaluator()(node(leaves()), KEY + 3)[0]
    top, left = (labels.shape[0] - HEIGHT // COARSE) // 2, (labels.shape[1] - WIDTH // COARSE) // 2
    hole = labels[top:, left:][THING[0].start // COARSE : THING[0].stop // COARSE, THING[1].start // COARSE :][:, :9]
    assert hole.all()
    assert np.bincount(hole.ravel()).max() > 0.7 * hole.size


def test_what_the_key_frame_has_nothing_like_is_left_to_the_network() -> None:
    red = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    red[..., 0] = 0.8
    _, _, sure = places(leaves(red), KEY + 3)
    assert sure.max() < 0.2


def test_between_anchors_a_place_is_led_to_one_and_the_same() -> None:
    """Noise differs from frame to frame; strokes must not jump with it."""
    footage = leaves(noise=0.004)
    frames = [places(footage, frame) for frame in range(KEY + 1, KEY + ANCHORS)]
    sure = np.all([confidence > 0.3 for _, _, confidence in frames], axis=0)
    assert sure.mean() > 0.6
    for axis in (0, 1):
        assert np.ptp([frame[axis] for frame in frames], axis=0)[sure].max() < 0.5


def test_subject_and_background_have_their_look_alikes_within_themselves() -> None:
    footage, matte = square()
    labels = fresh_evaluator()(node(footage, matte), 9)
    assert labels.shape[0] == 2
    rows, columns = HEIGHT // 4, WIDTH // 4
    plane = labels[0, rows // 2 : rows // 2 + rows, columns // 2 : columns // 2 + columns]
    where = np.argwhere(plane)
    led = where + np.rint(LEADS[plane[tuple(where.T)]][:, ::-1] * rows).astype(int)
    key_matte = cv2.resize(matte.pictures[KEY].pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    led = np.clip(led, 0, (rows - 1, columns - 1))
    assert len(led) and np.median(key_matte[tuple(led.T)]) == 0


def test_no_look_alikes_beyond_a_cut() -> None:
    pictures = dict(leaves().pictures)
    for frame in range(KEY + 4, 3 * ANCHORS):
        pictures[frame] = Image(texture(8)[:HEIGHT, :WIDTH] * 3)
    assert not fresh_evaluator()(node(Footage(pictures)), KEY + ANCHORS).any()


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(10, [18]), (11, [18]), (17, [18]), (18, [26, 18]), (25, [26, 18]), (26, [29, 26]), (29, [29, 26])],
)
def test_anchors_lie_at_fixed_frames_and_at_the_end(frame: int, expected: list[int]) -> None:
    assert anchors(range(10, 30), frame) == expected


def test_agreement_takes_light_for_light_and_colour_for_another_thing() -> None:
    picture = np.full((40, 40, 3), (0.5, 0.4, 0.3), np.float32)
    measure = lambda other: float(agreement(picture, other, light=3, blur=2)[20, 20])  # noqa: E731
    assert measure(picture) == pytest.approx(1)
    assert measure(picture * np.float32(1.3)) > 0.95
    assert measure(picture * np.float32(1.8)) < 0.1
    assert measure(np.ascontiguousarray(picture[..., ::-1])) < 0.1


@pytest.mark.parametrize("layers", [False, True])
def test_stands(layers: bool) -> None:
    footage, matte = square() if layers else (leaves(), None)
    made = node(footage, matte)
    check_order(made, (9, 6, 12))
    check_declared(made, 9)
    check_cancel(made, 9)


def test_the_key_frame_changes_the_key() -> None:
    footage = leaves()
    way = WayBack(WayBackParams(KEY), Register(RegisterParams(KEY), footage), WorkPicture(footage))
    check_keys(lambda params: LookAlikes(params, WorkPicture(footage), way, None), LookAlikesParams(KEY), 9)
