from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from standing import (
    Footage,
    check_cancel,
    check_declared,
    check_identity,
    check_keys,
    check_order,
    fresh_evaluator,
)

from fewstroke.engine.color import decode, encode
from fewstroke.engine.errors import ParameterError
from fewstroke.engine.image import Alpha, Image
from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.motion import Vectors, VectorsParams
from fewstroke.nodes.prefilter import Prefilter, PrefilterParams
from fewstroke.nodes.render import Evaluator

HEIGHT, WIDTH = 72, 96


def texture(seed: int, size: int = 160) -> np.ndarray:
    """Smooth random colour with some hard edges, encoded, 0.1 to 0.9: (size, size, 3)."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.standard_normal((size, size, 3)).astype(np.float32), (0, 0), 4)
    picture = 0.5 + 0.12 * smooth / smooth.std()
    for _ in range(25):
        x, y = rng.integers(0, size, 2)
        picture[y : y + 14, x : x + 14] = rng.uniform(0.1, 0.9, 3)
    return np.clip(picture, 0.1, 0.9).astype(np.float32)


def pan(sigma: float = 0, frames: int = 5, seed: int = 0, first: int = 1, exposure: float = 1) -> dict[int, Image]:
    """A camera that moves by (2, -1) px a frame over a flat picture; noise of sigma/255 in the encoded values."""
    canvas, rng = texture(seed), np.random.default_rng(seed + 100)
    pictures = {}
    for t in range(first, first + frames):
        x, y = 20 + 2 * (t - first), 40 - (t - first)
        encoded = canvas[y : y + HEIGHT, x : x + WIDTH]
        noisy = encoded + rng.normal(0, sigma / 255, encoded.shape) if sigma else encoded
        pictures[t] = Image(decode(noisy.astype(np.float32)) * np.float32(exposure))
    return pictures


def filtered(pictures: dict[int, Image], frame: int, params: PrefilterParams | None = None) -> Image:
    return fresh_evaluator()(Prefilter(params or PrefilterParams(), Footage(pictures)), frame)


def psnr(picture: Image, clean: Image) -> float:
    difference = encode(picture.pixels.astype(np.float64)) - encode(clean.pixels)
    return -10 * float(np.log10(np.square(difference).mean()))


@pytest.mark.parametrize(("sigma", "gain"), [(2, 4), (5, 5), (10, 6), (25, 7)])
def test_noise_on_a_moving_picture_goes(sigma: float, gain: float) -> None:
    noisy, clean = pan(sigma), pan()[3]
    assert psnr(filtered(noisy, 3), clean) > psnr(noisy[3], clean) + gain


def test_given_noise_is_as_good_as_measured_noise() -> None:
    noisy, clean = pan(10), pan()[3]
    given = filtered(noisy, 3, PrefilterParams(noise=10))
    assert psnr(given, clean) == pytest.approx(psnr(filtered(noisy, 3), clean), abs=0.5)


def test_brightness_dependent_noise() -> None:
    rng = np.random.default_rng(5)
    clean = pan()
    noisy = {
        t: Image(np.maximum(p.pixels + rng.normal(0, 1, p.pixels.shape) * np.sqrt(0.003 * p.pixels), 0).astype("f4"))
        for t, p in clean.items()
    }
    assert psnr(filtered(noisy, 3), clean[3]) > psnr(noisy[3], clean[3]) + 5


def test_more_frames_take_out_more_noise() -> None:
    noisy, clean = pan(15, frames=9), pan(frames=9)[5]
    found = [psnr(filtered(noisy, 5, PrefilterParams(radius=radius, spatial=0)), clean) for radius in (0, 1, 2, 4)]
    assert found == sorted(found) and found[-1] > found[0] + 5


def test_space_helps_where_time_has_nothing() -> None:
    noisy, clean = {3: pan(15)[3]}, pan()[3]
    assert psnr(filtered(noisy, 3), clean) > psnr(noisy[3], clean) + 3


def test_strength_mixes() -> None:
    noisy = pan(10)
    full, half = (filtered(noisy, 3, PrefilterParams(strength=s)) for s in (1, 0.5))
    assert np.allclose(half.pixels, (full.pixels + noisy[3].pixels) / 2, atol=1e-6)


@pytest.mark.parametrize("frame", [1, 2, 3, 5])
def test_a_clean_moving_picture_stays(frame: int) -> None:
    clean = pan()
    assert psnr(filtered(clean, frame), clean[frame]) > 45


@pytest.mark.parametrize("value", [0.0, 0.18, -0.3, 7.0, 60000.0, 3e6])
def test_a_constant_stays_constant(value: float) -> None:
    picture = Image(np.full((40, 50, 3), value, np.float32))
    result = filtered(dict.fromkeys(range(5), picture), 2)
    assert np.allclose(result.pixels, value, rtol=1e-5, atol=0)


def test_a_still_without_noise_stays() -> None:
    picture = pan()[1]
    assert psnr(filtered(dict.fromkeys(range(5), picture), 2), picture) > 55


@pytest.mark.parametrize("exposure", [1e-3, 30])
def test_any_exposure_keeps_its_range(exposure: float) -> None:
    noisy, clean = pan(10, exposure=exposure), pan(exposure=exposure)[3]
    result = filtered(noisy, 3)
    assert psnr(result, clean) > psnr(noisy[3], clean) + 4
    assert result.pixels.max() > 0.8 * clean.pixels.max()


def test_nothing_bleeds_over_a_cut() -> None:
    before, after = pan(5, frames=3, seed=0), pan(5, frames=3, seed=7, first=4)
    shot = {**before, **after}
    for frame in (2, 3, 4, 5):
        alone = before if frame in before else after
        assert np.array_equal(filtered(shot, frame).pixels, filtered(alone, frame).pixels)


def test_one_strange_frame_changes_nothing_else() -> None:
    shot = pan(5)
    flash = {**shot, 4: Image(shot[4].pixels * np.float32(6))}
    without = {t: p for t, p in shot.items() if t < 4}
    assert np.array_equal(filtered(flash, 3).pixels, filtered(without, 3).pixels)


def test_what_moves_on_its_own_leaves_no_ghost() -> None:
    """A bright ball crosses a still background, 12 px a frame; where it was there must be no trace of it."""
    background = texture(3)[:HEIGHT, :WIDTH] * 0.5
    rng = np.random.default_rng(0)
    clean, noisy = {}, {}
    for t in range(5):
        encoded = background.copy()
        cv2.circle(encoded, (20 + 12 * t, 36), 9, (0.9, 0.8, 0.2), -1, cv2.LINE_AA)
        clean[t] = Image(decode(encoded))
        noisy[t] = Image(decode((encoded + rng.normal(0, 4 / 255, encoded.shape)).astype(np.float32)))
    result = encode(filtered(noisy, 2).pixels)
    error = cv2.blur(np.abs(result - encode(clean[2].pixels)).mean(axis=2), (5, 5))
    assert error.max() < 4 / 255 * 2.5


def test_borders_are_filtered_like_the_rest() -> None:
    picture = texture(1)[:HEIGHT, :WIDTH]
    rng = np.random.default_rng(0)
    noisy = {t: Image(decode((picture + rng.normal(0, 10 / 255, picture.shape)).astype(np.float32))) for t in range(5)}
    error = np.square(encode(filtered(noisy, 2).pixels) - picture).mean(axis=2)
    border = np.concatenate([error[:2].ravel(), error[-2:].ravel(), error[:, :2].ravel(), error[:, -2:].ravel()])
    assert np.sqrt(border.mean()) < 1.5 * np.sqrt(error.mean()) < 1.5 * 7 / 255


def test_missing_frames_are_left_out() -> None:
    shot = pan(5, frames=7)
    gaps = {t: p for t, p in shot.items() if t not in (3, 5)}
    node = Prefilter(PrefilterParams(radius=2), Footage(gaps))
    grain = node.inputs["grain"]
    assert grain.frames_needed(4) == {
        "footage": (4,),
        "encoded": (2, 4, 6),
        "motion-2": (4,),
        "motion+2": (4,),
        "cut": (2, 4),
    }
    check_declared(node, 4)
    check_declared(grain, 4)
    assert grain.frames_needed(1)["encoded"] == (1, 2)


def test_what_is_taken_out_is_kept_for_the_next_time(tmp_path: Path) -> None:
    """At half the strength as well: then no other frame is read, and the pixels are those of a fresh start."""
    footage = Footage(pan(10))
    Evaluator(disk=DiskCache(tmp_path))(Prefilter(PrefilterParams(), footage), 3)
    footage.reads.clear()
    half = Prefilter(PrefilterParams(strength=0.5), footage)
    again = Evaluator(disk=DiskCache(tmp_path))(half, 3)
    assert footage.reads == [3]
    assert np.array_equal(again.pixels, fresh_evaluator()(half, 3).pixels)


@pytest.mark.parametrize("alpha", [Alpha.PREMULTIPLIED, Alpha.STRAIGHT])
def test_alpha_passes_through(alpha: Alpha) -> None:
    matte = np.clip(np.linspace(-0.5, 1.5, WIDTH, dtype=np.float32), 0, 1)
    matte = np.broadcast_to(matte, (HEIGHT, WIDTH))[:, :, None]

    def with_alpha(picture: Image) -> Image:
        rgb = picture.pixels * matte if alpha is Alpha.PREMULTIPLIED else picture.pixels
        return Image(np.concatenate([rgb, matte], axis=2), alpha, {"timecode": "01:00:00:00"})

    noisy, clean = ({t: with_alpha(p) for t, p in pan(sigma).items()} for sigma in (10, 0))
    result = filtered(noisy, 3)
    assert result.alpha is alpha and result.metadata == noisy[3].metadata
    assert np.array_equal(result.pixels[:, :, 3:], matte)
    covered = (slice(None), slice(WIDTH // 2, None), slice(3))
    assert psnr(Image(result.pixels[covered]), Image(clean[3].pixels[covered])) > 33


def test_mattes_stay_mattes() -> None:
    mattes = {t: Image(p.pixels[:, :, :1].copy()) for t, p in pan(10).items()}
    clean = Image(pan()[3].pixels[:, :, :1].copy())
    result = filtered(mattes, 3)
    assert result.pixels.shape == (HEIGHT, WIDTH, 1) and psnr(result, clean) > psnr(mattes[3], clean) + 4


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 3), (130, 33)])
def test_any_size_works(shape: tuple[int, int]) -> None:
    pictures = {t: Image(np.random.default_rng(t).random((*shape, 3), dtype=np.float32)) for t in range(3)}
    assert filtered(pictures, 1).pixels.shape == (*shape, 3)


def test_the_renderers_vectors_are_used(save) -> None:
    noisy, clean = pan(10), pan()
    # Content moves by (-2, +1) px, y down, to the next frame; y is up in the pass.
    values = np.tile(np.array([-2, -1, 2, 1], np.float32), (HEIGHT, WIDTH, 1))
    names = ["forward.u", "forward.v", "backward.u", "backward.v"]
    paths = [save(f"v.{t}.exr", values, "float", names) for t in noisy]
    vectors = Vectors(VectorsParams(str(paths[0].parent / "v.#.exr")))
    params = PrefilterParams(spatial=0)
    node = Prefilter(params, Footage(noisy), vectors)
    result = fresh_evaluator()(node, 3)
    # With the true motion, in whole pixels, five frames averaged leave 1/sqrt(5) of the noise: 7 dB.
    inner = (slice(6, -6), slice(6, -6))
    gain = psnr(Image(result.pixels[inner]), Image(clean[3].pixels[inner]))
    gain -= psnr(Image(noisy[3].pixels[inner]), Image(clean[3].pixels[inner]))
    assert gain > 6
    assert node.key(3) != Prefilter(params, Footage(noisy)).key(3)
    check_order(node, [2, 3, 4])


def test_threads_change_no_bit() -> None:
    noisy, before = pan(10), cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            results.append(filtered(noisy, 3).pixels)
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_standing() -> None:
    footage = Footage(pan(5))
    node = Prefilter(PrefilterParams(), footage)
    check_keys(lambda params: Prefilter(params, footage), PrefilterParams(), 3, strength=0.5)
    check_order(node, tuple(node.frames()))
    for made in (node, node.inputs["grain"]):
        check_declared(made, 1)
        check_cancel(made, 3)
    check_identity(Prefilter(PrefilterParams(strength=0), footage), 3)


def test_the_input_is_not_written_to() -> None:
    noisy = pan(5)
    before = {t: p.pixels.copy() for t, p in noisy.items()}
    filtered(noisy, 3)
    assert all(np.array_equal(p.pixels, before[t]) for t, p in noisy.items())


@pytest.mark.parametrize("bad", [{"strength": 1.5}, {"strength": -0.1}, {"radius": -1}, {"spatial": -2}, {"noise": -1}])
def test_bad_parameters_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="use 0"):
        Prefilter(replace(PrefilterParams(), **bad), Footage(pan()))
