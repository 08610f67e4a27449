"""Look-alikes: more of the same, where the key frame does not show the place itself."""

import cv2
import numpy as np
import pytest
from standing import Footage, check_cancel, check_declared, check_keys, check_order, fresh_evaluator
from test_guide import HEIGHT, WIDTH, square, texture

from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.nodes.guide import Register, RegisterParams, WorkPicture
from fewstroke.nodes.likeness import Colors, agreement
from fewstroke.nodes.lookalikes import ANCHORS, RINGS, LookAlikes, LookAlikesParams, _choose, _fit, anchors
from fewstroke.nodes.node import never
from fewstroke.nodes.render import Evaluator
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
    colors = Colors(WorkPicture(footage))
    way = WayBack(WayBackParams(KEY), Register(RegisterParams(KEY), footage, matte), colors)
    return LookAlikes(LookAlikesParams(KEY), colors, way, matte)


def places(
    footage: Footage, frame: int, stmap: STMap | None = None, evaluate: Evaluator | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column and row in the key frame, pixels, and confidence, where the thing was."""
    pixels = (evaluate or fresh_evaluator())(stmap or STMap(STMapParams((KEY,)), footage), frame).pixels
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
    right, down, chosen = np.moveaxis(fresh_evaluator()(node(leaves()), KEY + 3)[0][THING], -1, 0)
    assert chosen.mean() > 0.8
    middle = np.abs(right - np.median(right)) + np.abs(down - np.median(down)) < 1
    assert middle.mean() > 0.7


def fence() -> Footage:
    """Grained pales before a sky, and before them something that is gone after the key frame. The ground is nearer, and
    moves faster: what most of the picture follows is not how the fence moves."""
    rng = np.random.default_rng(4)
    column = np.arange(-40, WIDTH + 40)
    pales = np.where(column % 13 < 8, 0.7, 0.2) + 0.03 * rng.standard_normal((HEIGHT, len(column)))
    pales = cv2.GaussianBlur(pales.astype(np.float32), (0, 0), 1)
    ground = cv2.GaussianBlur(rng.random((HEIGHT // 2, WIDTH + 80, 3)).astype(np.float32), (0, 0), 1.5)
    pictures = {}
    for t in range(1, 2 * ANCHORS):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        picture[:] = pales[:, 40 + t : 40 + t + WIDTH, None]
        picture[HEIGHT // 2 :] = ground[:, 40 + 2 * t : 40 + 2 * t + WIDTH]
        if t <= KEY:
            picture[10 : HEIGHT // 2, 50:90] = (0.8, 0.1, 0.1)
        pictures[t] = Image(picture)
    return Footage(pictures)


@pytest.mark.parametrize("frame", [KEY + 3, KEY + ANCHORS])
def test_a_fence_goes_on_at_a_whole_number_of_pales(frame: int) -> None:
    """Where the thing stood, and on either side of an anchor."""
    pixels = fresh_evaluator()(STMap(STMapParams((KEY,)), fence()), frame).pixels
    hole = np.s_[18 : HEIGHT // 2 - 10, 54 - (frame - KEY) : 86 - (frame - KEY)]
    x, sure = pixels[hole][..., 0] * WIDTH - 0.5, pixels[hole][..., 2]
    assert (sure > 0.3).mean() > 0.7
    column = np.arange(WIDTH)[hole[1]]
    led = (x - column - (frame - KEY))[sure > 0.3]
    assert (np.abs(led - 13 * np.rint(led / 13)) < 1).mean() > 0.9
    assert ((x < 51) | (x > 88))[sure > 0.3].mean() > 0.95, "on the thing"


def test_what_the_key_frame_has_nothing_like_is_left_to_the_network() -> None:
    red = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    red[..., 0] = 0.8
    _, _, sure = places(leaves(red), KEY + 3)
    assert sure.max() < 0.2


def test_a_scrap_of_wall_is_not_led_to_a_picture_that_is_like_it() -> None:
    """A little redder than the rest of the wall, it is like nothing but what is seen in a blue frame, a lead away."""
    height, width = 144, 256
    there = np.full((height, width, 3), (0.5, 0.47, 0.44), np.float32)
    here, red = there.copy(), (0.57, 0.47, 0.44)
    right = round(float(RINGS[:, 0][RINGS[:, 1] == 0][4] * height))
    there[36:108, 110 - right : 182 - right] = (0.1, 0.2, 0.7)
    there[56:88, 130 - right : 162 - right] = red
    here[60:84, 134:158] = red
    way = np.zeros((height, width, 3), np.float32)
    way[..., 2] = 1
    way[44:100, 118:174, 2] = 0
    scrap = _choose(here, there, way, [np.ones((height, width), np.float32)] * 2, never)[64:80, 138:154]
    assert (np.abs(scrap[..., 0] + right) > 16).mean() > 0.9


def test_a_place_is_led_to_one_and_the_same_between_anchors_and_beyond() -> None:
    """Noise differs from frame to frame; strokes must not jump with it."""
    footage, evaluate = leaves(noise=0.004), fresh_evaluator()
    stmap = STMap(STMapParams((KEY,)), footage)
    frames = [places(footage, frame, stmap, evaluate) for frame in range(KEY + 1, KEY + 2 * ANCHORS)]
    sure = np.all([confidence > 0.3 for _, _, confidence in frames], axis=0)
    assert sure.mean() > 0.6
    for axis in (0, 1):
        assert np.ptp([frame[axis] for frame in frames], axis=0)[sure].max() < 0.5


def test_subject_and_background_have_their_look_alikes_within_themselves() -> None:
    footage, matte = square()
    choice = fresh_evaluator()(node(footage, matte), 9)
    assert choice.shape == (2, HEIGHT, WIDTH, 3)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    here, key = (matte.pictures[frame].pixels[..., 0] for frame in (9, KEY))
    for (right, down, chosen), inside in zip(np.moveaxis(choice, -1, 1), (0, 1), strict=True):
        led = cv2.remap(key, x + right, y + down, cv2.INTER_NEAREST)
        taken = (chosen > 0) & (cv2.GaussianBlur(here, (0, 0), 2) == inside)
        assert taken.mean() > 0.03 and (led[taken] == inside).mean() > 0.97


def test_no_look_alikes_beyond_a_cut() -> None:
    pictures = dict(leaves().pictures)
    for frame in range(KEY + 4, 3 * ANCHORS):
        pictures[frame] = Image(texture(8)[:HEIGHT, :WIDTH] * 3)
    assert not fresh_evaluator()(node(Footage(pictures)), KEY + ANCHORS).any()


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(10, []), (11, [18]), (17, [18]), (18, [18, 26]), (25, [26, 18]), (26, [26, 29]), (29, [29, 26]), (9, [7])],
)
def test_anchors_lie_at_fixed_frames_and_at_the_end(frame: int, expected: list[int]) -> None:
    assert anchors(FrameRange.of(range(7, 30)), 10, frame) == expected


@pytest.mark.parametrize(("frame", "expected"), [(19, [20, 18]), (20, [20, 18]), (22, [26]), (27, [26, 29])])
def test_nothing_leads_over_a_gap(frame: int, expected: list[int]) -> None:
    assert anchors(FrameRange.of(frame for frame in range(10, 30) if frame != 21), 10, frame) == expected


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
    colors = Colors(WorkPicture(footage))
    way = WayBack(WayBackParams(KEY), Register(RegisterParams(KEY), footage), colors)
    check_keys(lambda params: LookAlikes(params, colors, way), LookAlikesParams(KEY), 9)


def test_what_a_lead_leads_to_is_bent_until_lines_go_on() -> None:
    """As where the camera turns: a line is up to 3 pixels beside where the lead has it, and the grain is another."""
    rng = np.random.default_rng(8)

    def wall(line: np.ndarray) -> np.ndarray:
        grain = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1)
        row = np.arange(HEIGHT, dtype=np.float32)[:, None]
        picture = 0.5 + 0.02 * grain - 0.3 * np.exp(-np.square((row - line) / 3))
        return cv2.merge([picture.astype(np.float32)] * 3)

    line = np.linspace(HEIGHT / 2, HEIGHT / 2 + 3, WIDTH, dtype=np.float32)
    here, there = wall(line), wall(np.full(WIDTH, HEIGHT / 2, np.float32))
    way = np.dstack([np.zeros((HEIGHT, WIDTH, 2), np.float32), np.ones((HEIGHT, WIDTH), np.float32)])
    straight, sure = way.copy(), np.ones((HEIGHT, WIDTH), np.float32)
    labels = np.ones((HEIGHT, WIDTH), np.uint8)
    _fit(way, labels, sure, here, there, never)
    column = np.arange(10, WIDTH - 10)
    down = way[np.rint(line[column]).astype(int), column, 1]
    np.testing.assert_allclose(down, HEIGHT / 2 - line[column], atol=0.5)
    assert np.abs(way[: HEIGHT // 2 - 25, :, :2]).mean() < 0.4, "far from the line nothing tells"
    for parts, suited in ((labels, 0 * sure), (0 * labels, sure)):
        bent = straight.copy()
        _fit(bent, parts, suited, here, there, never)
        assert np.array_equal(bent, straight), "of another thing, or not to be touched"
