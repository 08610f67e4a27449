"""The ST map: the way back into the key frame."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from standing import Footage, check_cancel, check_declared, check_keys, check_order, fresh_evaluator
from test_guide import HEIGHT, WIDTH, known, pan, square, still

from fewstroke.engine.errors import ParameterError
from fewstroke.engine.image import Image
from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.stmap import STMap, STMapParams, _grown

NODES = {
    "plain": lambda params: STMap(params, footage=pan()),
    "layers": lambda params: STMap(params, *square()),
    "vectors": lambda params: STMap(params, footage=pan(), vectors=known(-3, -1)),
}


def stmap(node: STMap, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column and row in the key frame, pixels, and confidence: (H, W) each."""
    pixels = fresh_evaluator()(node, frame).pixels
    height, width = pixels.shape[:2]
    return pixels[..., 0] * width - 0.5, (1 - pixels[..., 1]) * height - 0.5, pixels[..., 2]


def test_the_key_frame_leads_to_itself() -> None:
    x, y, sure = stmap(STMap(STMapParams((5,)), footage=pan()), 5)
    np.testing.assert_allclose(x, np.broadcast_to(np.arange(WIDTH), x.shape), atol=1e-4)
    np.testing.assert_allclose(y, np.broadcast_to(np.arange(HEIGHT)[:, None], y.shape), atol=1e-4)
    assert sure.min() > 0.9


@pytest.mark.parametrize("name", ["plain", "vectors"])
def test_a_pan_leads_back_and_what_comes_in_is_not_sure(name: str) -> None:
    """Seven frames on, content has moved by (-21, -7): the right 21 columns and the lower 7 rows are new."""
    x, y, sure = stmap(NODES[name](STMapParams((5,))), 12)
    old = np.s_[8:-12, 8:-30]
    np.testing.assert_allclose((x - np.arange(WIDTH))[old], 21, atol=0.1)
    np.testing.assert_allclose((y - np.arange(HEIGHT)[:, None])[old], 7, atol=0.1)
    assert np.median(sure[old]) > 0.8
    assert sure[:, -14:].max() < 0.1 and sure[-2:].max() < 0.1


@pytest.mark.parametrize("key", [1, 12])
def test_a_shot_that_fades_leads_back_as_well(key: int) -> None:
    """In eleven frames its light falls to a twentieth, or rises from there."""
    faded = {f: Image(i.pixels * np.float32(0.05 ** ((f - 1) / 11))) for f, i in pan(step=(1, 0)).pictures.items()}
    other = 13 - key
    x, y, sure = stmap(STMap(STMapParams((key,)), footage=Footage(faded)), other)
    old = np.s_[8:-8, 20:-20]
    np.testing.assert_allclose((x - np.arange(WIDTH))[old], other - key, atol=0.2)
    np.testing.assert_allclose((y - np.arange(HEIGHT)[:, None])[old], 0, atol=0.2)
    assert np.median(sure[old]) > 0.8


def test_the_key_frame_looked_up_is_the_frame() -> None:
    """What an STMap node does with it, at full size and at a proxy's."""
    footage = pan()
    for scale in (1, 2):
        pictures = {
            frame: Image(cv2.resize(image.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
            for frame, image in footage.pictures.items()
        }
        x, y, sure = stmap(STMap(STMapParams((5,)), footage=Footage(pictures)), 8)
        found = cv2.remap(pictures[5].pixels, x, y, cv2.INTER_CUBIC)
        difference = np.abs(found - pictures[8].pixels).mean(axis=2)[sure > 0.9]
        assert difference.size > 0.6 * sure.size
        assert difference.mean() < 0.01


def test_still_footage_stays() -> None:
    x, y, sure = stmap(STMap(STMapParams((5,)), footage=still()), 12)
    assert np.abs(x - np.arange(WIDTH)).max() < 0.05 and np.abs(y - np.arange(HEIGHT)[:, None]).max() < 0.05
    assert sure.mean() > 0.95


def test_subject_and_background_each_lead_back_along_their_own_motion() -> None:
    """The square moves 4 a frame to the right; where it was in the key frame the background was hidden."""
    footage, matte = square()
    x, _, sure = stmap(STMap(STMapParams((5,)), footage, matte), 8)
    left = 20 + 4 * 8
    moved = (x - np.arange(WIDTH))[36:64, left + 6 : left + 34]
    assert np.median(moved) == pytest.approx(-12, abs=0.2)
    assert np.abs((x - np.arange(WIDTH))[:20]).max() < 0.3
    uncovered = sure[36:64, left - 11 : left - 2]
    assert np.median(uncovered) < 0.5 < np.median(sure[36:64, left + 6 : left + 34])


def test_of_two_key_frames_the_nearer_is_found_and_they_lie_below_each_other() -> None:
    node = STMap(STMapParams((9, 3)), footage=pan())
    assert {name for name in node.frames_needed(2) if name.startswith("places")} == {"places0"}
    assert {name for name in node.frames_needed(5) if name.startswith("places")} == {"places0", "places1"}
    for frame, key, page in ((3, 3, 0), (4, 3, 0), (8, 9, 1), (9, 9, 1), (12, 9, 1)):
        pixels = fresh_evaluator()(node, frame).pixels
        t = pixels[..., 1] * 2 - (1 - page)  # the first key frame lies on top
        middle = np.s_[30:-30, 40:-40]
        assert t[middle].min() > 0 and t[middle].max() < 1
        x, y = pixels[..., 0] * WIDTH - 0.5, (1 - t) * HEIGHT - 0.5
        np.testing.assert_allclose((x - np.arange(WIDTH))[middle], 3 * (frame - key), atol=0.1)
        np.testing.assert_allclose((y - np.arange(HEIGHT)[:, None])[middle], frame - key, atol=0.1)


def test_what_the_nearer_key_frame_does_not_show_comes_from_the_other() -> None:
    """The pan uncovers its right border from frame to frame; frame 4 has it from frame 9, though 3 is nearer."""
    pixels = fresh_evaluator()(STMap(STMapParams((1, 9)), footage=pan(step=(8, 0))), 3).pixels
    assert (pixels[20:-20, 30:-40, 1] > 0.5).all(), "from the key frame on top"
    assert (pixels[20:-20, -10:, 1] < 0.5).all() and np.median(pixels[20:-20, -10:, 2]) > 0.7


def test_frames_agree_with_their_neighbours_on_where_a_place_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise makes each registration err in its own way; what is left of the error is less with neighbours than without,
    and changes less from frame to frame."""
    # Of a pan the camera's motion leaves little to average (test_camera.py).
    monkeypatch.setattr("fewstroke.nodes.places.settled", lambda way, *_: way)
    middle = np.s_[20:-25, 20:-35]
    error: dict[int, list[np.ndarray]] = {0: [], 2: []}
    for seed in (5, 6, 7, 8):  # of one shot, or of a single frame, chance may have left little to average
        rng = np.random.default_rng(seed)
        pictures = {
            frame: Image((image.pixels + rng.normal(0, 0.06, image.pixels.shape)).astype(np.float32))
            for frame, image in pan().pictures.items()
        }
        for radius, errors in error.items():
            evaluate, node = fresh_evaluator(), STMap(STMapParams((5,), radius=radius), footage=Footage(pictures))
            errors.append(
                np.stack(
                    [
                        evaluate(node, frame).pixels[..., 0][middle] * WIDTH
                        - 0.5
                        - np.arange(WIDTH)[middle[1]]
                        - 3 * (frame - 5)
                        for frame in range(6, 12)
                    ]
                )
            )
    lone, agreed = (np.array(error[radius]) for radius in (0, 2))
    assert np.square(agreed).mean() < 0.8 * np.square(lone).mean()
    assert np.square(np.diff(agreed, axis=1)).mean() < 0.5 * np.square(np.diff(lone, axis=1)).mean()


def test_a_shadow_leaves_the_confidence_alone_and_another_thing_does_not() -> None:
    pictures = dict(still().pictures)
    shaded = pictures[9].pixels.copy()
    shaded[:, : WIDTH // 3] *= 0.75
    other = np.s_[40:70, -60:-20]
    shaded[other] = shaded[other][::-1, ::-1] * 0.2
    pictures[9] = Image(shaded)
    _, _, sure = stmap(STMap(STMapParams((5,), radius=0), footage=Footage(pictures)), 9)
    assert np.median(sure[10:-10, 10 : WIDTH // 3 - 20]) > 0.8
    assert np.median(sure[46:64, -54:-26]) < 0.3


def test_no_key_frame_is_no_st_map() -> None:
    with pytest.raises(ParameterError, match="at least one"):
        STMap(STMapParams(()), footage=pan())
    with pytest.raises(ParameterError, match="0 frames or more"):
        STMap(STMapParams((5,), radius=-1), footage=pan())


def test_what_was_found_is_kept_on_disk(tmp_path: Path) -> None:
    """So a frame that is painted by another model reads that frame alone."""
    frames, read = (5, 8, 11), []
    for _ in range(2):
        footage, evaluate = pan(), Evaluator(disk=DiskCache(tmp_path))
        node = STMap(STMapParams((5,)), footage)
        pixels = [evaluate(node, frame).pixels for frame in frames]
        read.append((set(footage.reads), pixels))
    assert len(read[0][0]) > len(frames) and read[1][0] == set(frames)
    np.testing.assert_array_equal(*(pixels for _, pixels in read))


def test_nothing_is_sure_beyond_a_cut() -> None:
    pictures = {**pan().pictures, 9: Image(still().pictures[1].pixels[::-1].copy())}
    _, _, sure = stmap(STMap(STMapParams((5,)), footage=Footage(pictures)), 9)
    assert sure.max() < 0.2


@pytest.mark.parametrize("name", NODES)
def test_any_order_gives_the_same_bits(name: str) -> None:
    check_order(NODES[name](STMapParams((5,), 2)), (1, 5, 6, 11))


def test_every_parameter_changes_the_key() -> None:
    check_keys(NODES["plain"], STMapParams((5,), 2), frame=11, keyframes=(5, 1))


@pytest.mark.parametrize("name", NODES)
def test_reads_only_what_it_declares(name: str) -> None:
    for frame in (5, 6, 12, 1):
        check_declared(NODES[name](STMapParams((5,), 4)), frame)


def test_cancels() -> None:
    check_cancel(NODES["layers"](STMapParams((5,), 4)), 9)


def test_a_way_grows_smoothly_but_across_an_outline() -> None:
    y, x = np.mgrid[:40, :60].astype(np.float32)
    smooth = np.dstack([0.05 * x + 3, 0.1 * y - 2, np.ones_like(x)])
    size = (211, 150)
    np.testing.assert_array_equal(_grown(smooth, size), cv2.resize(smooth, size))
    disc = np.hypot(x - 30, y - 20) < 12
    way = np.dstack([np.where(disc, 9, -4), np.where(disc, 0, 6), disc]).astype(np.float32)
    grown = _grown(way, size)
    ours, theirs = (np.abs(grown[..., :2] - one).max(axis=-1) < 1e-5 for one in ((9, 0), (-4, 6)))
    assert (ours | theirs).all()
    # Where the disc's coverage, grown alike, is more than a half: a disc, not a staircase.
    half = cv2.resize(disc.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) - 0.5
    assert (ours == (half > 0))[np.abs(half) > 1e-3].all()
    np.testing.assert_array_equal(_grown(way, (60, 40)), way)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 2)])
def test_a_way_of_any_size_grows(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    way = 9 * rng.standard_normal((*shape, 3)).astype(np.float32)
    assert np.isfinite(_grown(way, (77, 45))).all()
