"""Light: how much brighter the key frames are than a frame that shows the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import facts, random_generator
from standing import Footage, check_cancel, check_declared, check_keys, check_order, fresh_evaluator
from test_guide import pan, square, still, texture

from fewstroke.engine import color
from fewstroke.engine.errors import ParameterError
from fewstroke.engine.export import export_model
from fewstroke.engine.image import Image
from fewstroke.engine.stylizer import spread
from fewstroke.nodes.guide import Guide, GuideParams
from fewstroke.nodes.light import EVEN, SHADOW, Light, LightParams, response_of
from fewstroke.nodes.node import Node
from fewstroke.nodes.shot import Painting, Shot, load_keyframes, with_exemplars
from fewstroke.nodes.stmap import STMap, STMapParams
from fewstroke.nodes.stylize import Stylize, StylizeParams


def lit(footage: Footage, light: Callable[[int], float]) -> Footage:
    """The footage in a light that changes from frame to frame."""
    return Footage({f: Image(image.pixels * np.float32(light(f))) for f, image in footage.pictures.items()})


def light(footage: Node, keyframes: tuple[int, ...] = (1,), matte: Node | None = None) -> Light:
    return Light(LightParams(keyframes), footage, STMap(STMapParams(keyframes), footage, matte), matte)


def factor(node: Light, frame: int) -> float:
    """By how much the painting follows: the same all over, and of one colour here."""
    shown, painted = fresh_evaluator()(node, frame)
    assert shown.shape == painted.shape and np.ptp(painted) < 0.02 * painted.mean()
    assert (shown >= painted / (1.01 * SHADOW)).all() and (shown <= painted * 1.01 * SHADOW).all()
    return float(painted.mean())


def test_the_standing_promises() -> None:
    faded, mattes = lit(square()[0], lambda f: 0.8**f), square()[1]

    def make(params: LightParams) -> Light:
        return Light(params, faded, STMap(STMapParams((3, 10)), faded, mattes), mattes)

    node = make(LightParams((3, 10)))
    check_order(node, [3, 5, 7, 10])
    check_declared(node, 8)
    check_cancel(node, 8)
    check_keys(make, LightParams((3, 10)), 8, keyframes=(3, 11), lights=(1.0, 0.5), response=0.5)


def test_without_a_key_frame_there_is_nothing_to_compare_with() -> None:
    footage = pan()
    stmap = STMap(STMapParams((1,)), footage)
    for keyframes, lights, message in (((), (), "give at least one"), ((1, 2), (1.0,), "give one light")):
        with pytest.raises(ParameterError, match=message):
            Light(LightParams(keyframes, lights), footage, stmap)


@pytest.mark.parametrize("ratio", [0.92, 1.0, 1.08])
def test_where_light_is_even_nothing_is_done(ratio: float) -> None:
    assert factor(light(lit(pan(), lambda f: ratio ** (f > 1))), 6) == 1.0


@pytest.mark.parametrize("ratio", [0.004, 0.06, 0.3, 0.8, 1.5, 2.5])
def test_a_pan_in_other_light_is_measured(ratio: float) -> None:
    node = light(lit(pan(step=(1, 0)), lambda f: ratio ** ((f - 1) / 7)))
    assert factor(node, 8) * ratio == pytest.approx(1 / EVEN if ratio < 1 else EVEN, rel=0.02)
    shown, _ = fresh_evaluator()(node, 8)
    assert np.median(shown) * ratio == pytest.approx(1, rel=0.05), "the network sees it nearly in the key frame's light"


def test_coloured_light_is_measured_as_well() -> None:
    dusk = np.array([0.9, 0.5, 0.2], np.float32)
    footage = Footage({f: Image(i.pixels * dusk ** ((f - 1) / 7)) for f, i in pan(step=(1, 0)).pictures.items()})
    found = fresh_evaluator()(light(footage), 8)[1]
    np.testing.assert_allclose(found[0, 0], [1, 1 / (0.5 * EVEN), 1 / (0.2 * EVEN)], rtol=0.02)


@pytest.mark.parametrize(("paint", "response"), [((0.4, 0.1), 1), ((0.4, 0.2), 0.5), ((0.4, 0.4), 0), ((0.1, 0.4), 0)])
def test_the_painter_says_whether_a_painting_follows_the_light(paint: tuple[float, float], response: float) -> None:
    assert response_of((1.0, 0.25), paint) == pytest.approx(response)


def test_a_painting_that_does_not_follow_stays_as_bright() -> None:
    footage = lit(pan(step=(1, 0)), lambda f: 0.1 ** ((f - 1) / 11))
    stmap = STMap(STMapParams((1, 12)), footage)
    shown, painted = fresh_evaluator()(Light(LightParams((1, 12), response=0.0), footage, stmap), 5)
    assert shown.min() > 1.5 and (painted == 1).all()


def test_a_response_beyond_its_range_is_refused() -> None:
    with pytest.raises(ParameterError, match="use 0 to 1"):
        Light(LightParams((1,), response=1.5), pan(), STMap(STMapParams((1,)), pan()))


def test_key_frames_in_two_lights_are_brought_into_that_of_the_first() -> None:
    footage = lit(pan(), lambda f: 1.0 if f < 7 else 0.1)
    node = Light(LightParams((1, 12), (1.0, 0.1)), footage, STMap(STMapParams((1, 12)), footage))
    assert factor(node, 1) == factor(node, 3) == 1.0
    for frame in (9, 12):
        assert factor(node, frame) == pytest.approx(10 / EVEN, rel=0.02)


def test_a_black_frame_is_as_dark_as_it_is() -> None:
    """As at the end of a fade, or after a cut to black: painted brightly it would flash."""
    node = light(lit(still(), lambda f: 1.0 if f < 5 else 0.0))
    assert factor(node, 4) == 1.0
    assert factor(node, 5) > 1000


def test_beyond_a_cut_nothing_is_known() -> None:
    other = texture(7)[: still().pictures[1].height, : still().pictures[1].width] * np.float32(0.3)
    footage = Footage({**still().pictures, **{f: Image(other) for f in range(7, 13)}})
    assert factor(light(footage), 9) == 1.0


def test_a_screen_behind_an_actor_is_not_his_light() -> None:
    footage, mattes = square()
    behind = {
        f: Image(image.pixels * np.where(mattes.pictures[f].pixels > 0.5, 1, 0.3 if f > 1 else 1).astype(np.float32))
        for f, image in footage.pictures.items()
    }
    assert factor(light(Footage(behind)), 4) > 2
    assert factor(light(Footage(behind), matte=mattes), 4) == 1.0


def shadowed(footage: Footage, frame: int) -> tuple[Footage, np.ndarray]:
    """A shadow with a soft rim over a third of one frame, and how much light it lets through: float32 (h, w, 1)."""
    height, width = footage.pictures[frame].pixels.shape[:2]
    shade = np.ones((height, width, 1), np.float32)
    shade[:, : width // 3] = 0.65
    shade = cv2.GaussianBlur(shade, (0, 0), 4)[..., None]
    return Footage({**footage.pictures, frame: Image(footage.pictures[frame].pixels * shade)}), shade


def test_a_shadow_that_falls_on_something_is_not_shown_to_the_network() -> None:
    footage, shade = shadowed(still(), 6)
    shown, painted = fresh_evaluator()(light(footage), 6)
    assert (painted == 1).all()
    left, width = spread(shown, shade.shape) * shade, shade.shape[1]
    assert abs(left.mean() - 1) < 0.02
    for inner in (left[:, : width // 3 - 24], left[:, width // 3 + 24 :]):
        np.testing.assert_allclose(inner, 1, atol=0.1)


def test_key_frames_and_what_nothing_is_known_of_are_shown_as_they_are() -> None:
    footage, _ = shadowed(still(), 6)
    assert (fresh_evaluator()(light(footage, (1, 6)), 6) == 1).all()
    noise = np.random.default_rng(3).random(still().pictures[1].pixels.shape).astype(np.float32)
    np.testing.assert_allclose(
        fresh_evaluator()(light(Footage({**still().pictures, 6: Image(noise)})), 6), 1, atol=0.02
    )


def test_a_shot_that_fades_is_painted_as_without_and_fades(tmp_path: Path) -> None:
    """Whatever the network. It stays brighter by EVEN."""
    generator = random_generator("fast", 9)
    (tmp_path / "m.onnx").write_bytes(export_model(generator, facts(generator, 9)))

    def painted(footage: Footage) -> np.ndarray:
        stmap = STMap(STMapParams((1,)), footage)
        node = Stylize(
            StylizeParams(str(tmp_path / "m.onnx")),
            footage=footage,
            guide=Guide(GuideParams(1), still()),
            stmap=stmap,
            light=Light(LightParams((1,)), footage, stmap),
        )
        return fresh_evaluator()(node, 8).pixels

    bright = painted(still())
    dark = painted(lit(still(), lambda f: 0.05 ** ((f - 1) / 7)))
    bound = painted(lit(still(), lambda f: 1 / EVEN ** (f > 1)))
    np.testing.assert_allclose(dark / (0.05 * EVEN), bound, atol=0.03)
    np.testing.assert_allclose(bright, bound, atol=0.03)


def test_a_key_frame_that_is_no_exemplar_is_learnt_in_the_exemplars_light(save: Callable[..., Path]) -> None:
    """So the network learns it as it is shown it when the frame is painted."""
    plate, painting = still().pictures[1].pixels, texture(5)[:96, :128]
    for frame, share in ((1, 1.0), (2, 0.25)):
        save(f"plate.{frame:04d}.exr", plate * np.float32(share), "half")
        paint = save(f"paint.{frame:04d}.exr", painting * np.float32(share), "half")
    shot = Shot(str(paint.parent / "plate.####.exr"), guide=GuideParams(keyframe=1))
    paintings = [Painting(frame, str(paint.with_name(f"paint.{frame:04d}.exr"))) for frame in (1, 2)]
    bright, dark = load_keyframes(shot, paintings)
    np.testing.assert_allclose(bright.source[..., :3], color.encode(plate), atol=2e-3)
    even = np.float32(1 / EVEN)
    np.testing.assert_allclose(dark.source[..., :3], color.encode(plate), atol=5e-3)
    np.testing.assert_allclose(dark.target, color.encode(painting * even), atol=5e-3)
    both = with_exemplars(shot, paintings, "fast")
    assert both.exemplars == (1, 2) and both.lights == pytest.approx((1, 0.25), rel=0.01)
    assert both.response == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(load_keyframes(both, paintings)[1].target, dark.target, atol=5e-3)
    bright_twice = [paintings[0], replace(paintings[0], frame=2)]
    assert with_exemplars(shot, bright_twice, "fast").response == pytest.approx(0, abs=0.01)
