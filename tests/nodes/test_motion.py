from itertools import pairwise

import cv2
import numpy as np
import pytest
from standing import Footage, check_cancel, check_declared, check_keys, check_order, fresh_evaluator

from fewstroke.engine.errors import CancelledError, ParameterError, ShapeError
from fewstroke.engine.image import Alpha, Image
from fewstroke.nodes.motion import Flow, FlowParams, consistent, estimate_flow, is_cut


def texture(seed: int, size: int = 200) -> np.ndarray:
    """Smooth random colour, scene-linear, 0 to about 2: (size, size, 3)."""
    noise = np.random.default_rng(seed).standard_normal((size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.exp(smooth / smooth.std() * 0.7 - 1).astype(np.float32)


def window(canvas: np.ndarray, x: int, y: int, height: int = 72, width: int = 96) -> Image:
    return Image(np.ascontiguousarray(canvas[y : y + height, x : x + width]))


def pan(frames: int = 6, step: tuple[int, int] = (3, -2)) -> Footage:
    """A camera over a flat picture: content moves by -step from frame to frame."""
    canvas = texture(0)
    return Footage({t: window(canvas, 40 + step[0] * t, 60 + step[1] * t) for t in range(1, frames + 1)})


@pytest.mark.parametrize("quality", ["fast", "medium"])
@pytest.mark.parametrize("offset", [1, -1, 3])
def test_flow_follows_a_translation(quality: str, offset: int) -> None:
    flow = fresh_evaluator()(Flow(FlowParams(offset, quality), pan()), 3)
    assert flow.shape == (72, 96, 2) and flow.dtype == np.float32 and flow.flags.c_contiguous
    error = np.abs(flow - np.array([-3, 2]) * offset)[14:-14, 14:-14]
    assert np.median(error) < 0.1 and error.max() < 0.6


def test_flow_of_a_still_is_zero() -> None:
    picture = window(texture(1), 10, 10)
    assert np.abs(estimate_flow(picture, picture)).max() < 1e-3


@pytest.mark.parametrize("exposure", [1e-4, 0.3, 1e3])
def test_exposure_does_not_move_the_flow(exposure: float) -> None:
    first, second = pan().pictures[1], pan().pictures[2]
    flow = estimate_flow(first, second)
    flicker = estimate_flow(first, Image(second.pixels * np.float32(exposure)))
    both = estimate_flow(Image(first.pixels * np.float32(exposure)), Image(second.pixels * np.float32(exposure)))
    # The codes may round differently here and there; the flow may not care.
    for other in (flicker, both):
        assert np.abs(other - flow)[14:-14, 14:-14].max() < 0.05


def test_a_lamp_does_not_blind_it() -> None:
    frames = {t: picture.pixels.copy() for t, picture in pan().pictures.items()}
    for t in (1, 2):
        x, y = 60 - 3 * t, 30 + 2 * t
        frames[t][y : y + 4, x : x + 4] = 60000
    flow = estimate_flow(Image(frames[1]), Image(frames[2]))
    assert np.median(np.abs(flow - [-3, 2])[14:-14, 14:-14]) < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (9, 9), (40, 13)])
@pytest.mark.parametrize("quality", ["fast", "medium"])
def test_any_size_works(shape: tuple[int, int], quality: str) -> None:
    picture = Image(texture(2, 300)[: shape[0], : shape[1]].copy())
    flow = estimate_flow(picture, picture, quality)
    assert flow.shape == (*shape, 2) and np.isfinite(flow).all()


def test_mattes_black_frames_and_alpha() -> None:
    black = Image(np.zeros((30, 40, 1), np.float32))
    assert not estimate_flow(black, black).any()
    first, second = pan().pictures[1], pan().pictures[2]
    a, b = (Image(np.dstack([p.pixels, p.pixels[:, :, :1]]), Alpha.PREMULTIPLIED) for p in (first, second))
    assert np.array_equal(estimate_flow(a, b), estimate_flow(first, second))


def test_threads_change_no_bit() -> None:
    first, second = (Image(texture(3, 333)[:, x : x + 300].copy()) for x in (10, 14))
    before = cv2.getNumThreads()
    try:
        flows = []
        for threads in (1, 2, 3, 16):
            cv2.setNumThreads(threads)
            flows.append(estimate_flow(first, second))
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(flow, flows[0]) for flow in flows)


@pytest.mark.parametrize("offset", [2, -1])
def test_standing(offset: int) -> None:
    node = Flow(FlowParams(offset), pan())
    check_keys(lambda params: Flow(params, pan()), FlowParams(offset), 3, offset=3, quality="fast")
    check_order(node, tuple(node.frames()))
    check_declared(node, 3)
    check_cancel(node, 3)


def test_frames_are_those_with_a_partner() -> None:
    pictures = {t: window(texture(0), t, t) for t in (1, 2, 3, 7, 8)}
    assert list(Flow(FlowParams(1), Footage(pictures)).frames()) == [1, 2, 7]
    assert list(Flow(FlowParams(-1), Footage(pictures)).frames()) == [2, 3, 8]


def test_another_pair_has_another_key() -> None:
    assert Flow(FlowParams(1), pan()).key(1) != Flow(FlowParams(1), pan(step=(2, 2))).key(1)
    assert Flow(FlowParams(1), pan()).key(1) != Flow(FlowParams(-1), pan()).key(2)


def test_bad_parameters_and_sizes_are_refused() -> None:
    with pytest.raises(ParameterError, match="offset"):
        Flow(FlowParams(0), pan())
    with pytest.raises(ParameterError, match="fast or medium"):
        Flow(FlowParams(1, "best"), pan())
    with pytest.raises(ShapeError, match="96x72"):
        estimate_flow(window(texture(0), 0, 0), window(texture(0), 0, 0, 30, 40))


def test_cancelled_while_estimating() -> None:
    picture = window(texture(0), 0, 0)

    def cancel() -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        estimate_flow(picture, picture, cancel=cancel)


def test_consistent_finds_what_is_hidden() -> None:
    # A square moves 8 px to the right over a still background and hides a strip of it.
    forward, backward = np.zeros((40, 60, 2), np.float32), np.zeros((40, 60, 2), np.float32)
    forward[10:30, 10:30, 0] = 8
    backward[10:30, 18:38, 0] = -8
    seen = consistent(forward, backward)
    assert not seen[10:30, 30:38].any()
    assert seen[10:30, 10:30].all() and seen[:, 38:].all() and seen[:10].all()


def test_nothing_outside_the_frame_is_consistent() -> None:
    forward = np.full((20, 20, 2), 5, np.float32)
    seen = consistent(forward, -forward)
    assert seen[:15, :15].all() and not seen[15:].any() and not seen[:, 15:].any()


def test_cuts() -> None:
    shot, other = list(pan().pictures.values()), window(texture(9), 50, 50)
    noise = np.random.default_rng(0).normal(0, 0.05, shot[0].pixels.shape).astype(np.float32)
    assert not any(is_cut(a, b) for a, b in pairwise(shot))
    assert not is_cut(shot[0], Image(shot[1].pixels * np.float32(1.4)))
    assert not is_cut(shot[0], Image(shot[1].pixels + noise))
    assert all(is_cut(picture, other) and is_cut(other, picture) for picture in shot)


def test_cut_to_and_from_black_and_flashes() -> None:
    black, picture = Image(np.zeros((72, 96, 3), np.float32)), window(texture(0), 20, 20)
    assert not is_cut(black, black)
    assert is_cut(black, picture) and is_cut(picture, black)
    assert is_cut(picture, Image(picture.pixels * np.float32(5)))
