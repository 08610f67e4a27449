from dataclasses import replace

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
from fewstroke.engine.errors import ParameterError, ShapeError
from fewstroke.engine.image import Alpha, Image
from fewstroke.nodes.steady import Steady, SteadyParams

HEIGHT, WIDTH = 72, 96
FULL = SteadyParams(steadiness=1)


def texture(seed: int, detail: float = 3) -> np.ndarray:
    """Smooth random colour, encoded, 0.1 to 0.9, larger than a frame."""
    noise = np.random.default_rng(seed).standard_normal((160, 160, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), detail)
    return np.clip(0.5 + 0.15 * smooth / smooth.std(), 0.1, 0.9).astype(np.float32)


def pan(canvas: np.ndarray, flicker: float = 0, seed: int = 0, frames: range = range(1, 6)) -> dict[int, Image]:
    """A camera that moves by (2, -1) px a frame over a flat picture; every frame has blotches of its own."""
    rng = np.random.default_rng(seed)
    pictures = {}
    for t in frames:
        x, y = 20 + 2 * t, 40 - t
        blotches = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH, 3)).astype(np.float32), (0, 0), 2)
        view = canvas[y : y + HEIGHT, x : x + WIDTH] + flicker * blotches / blotches.std()
        pictures[t] = Image(decode(view.astype(np.float32)))
    return pictures


FOOTAGE = pan(texture(0))
PAINTED = pan(texture(1, detail=1.5), flicker=0.04)
TRUTH = pan(texture(1, detail=1.5))


def steadied(
    frame: int,
    params: SteadyParams = FULL,
    painted: dict[int, Image] = PAINTED,
    footage: dict[int, Image] = FOOTAGE,
    matte: dict[int, Image] | None = None,
) -> Image:
    node = Steady(params, Footage(painted), Footage(footage), matte=None if matte is None else Footage(matte))
    return fresh_evaluator()(node, frame)


def error(picture: Image, truth: Image) -> float:
    return float(np.sqrt(np.square(encode(picture.pixels) - encode(truth.pixels)).mean()))


def test_flicker_is_averaged_out_along_the_motion() -> None:
    before = error(PAINTED[3], TRUTH[3])
    errors = [error(steadied(3, SteadyParams(s)), TRUTH[3]) for s in (0, 0.5, 1)]
    assert errors[0] == before
    # Five equal samples leave 1/sqrt(5) = 0.45 of what is random; at the border of the frame there are fewer.
    assert errors[2] < 0.55 * before and errors[2] < errors[1] < errors[0]


def test_a_painting_that_is_steady_stays_sharp() -> None:
    assert error(steadied(3, painted=TRUTH), TRUTH[3]) < 0.01


def test_strokes_on_a_wall_that_does_not_move_stay_as_they_are() -> None:
    """The motion that is found there errs with the noise; along it they lost 0.003."""
    rng = np.random.default_rng(4)
    wall = 0.4 + 0.3 * (texture(2)[:HEIGHT, :WIDTH] - 0.5)
    noise = rng.normal(0, 0.01, (5, HEIGHT, WIDTH, 3))
    footage = {frame: Image(decode((wall + noise[frame]).astype(np.float32))) for frame in range(5)}
    painted = dict.fromkeys(footage, TRUTH[3])
    assert error(steadied(2, painted=painted, footage=footage), TRUTH[3]) < 1e-6


def test_a_constant_passes_bit_for_bit() -> None:
    for value in (0.0, 0.18, -0.3, 3e6):
        picture = Image(np.full((40, 50, 3), value, np.float32))
        shot = dict.fromkeys(range(1, 6), picture)
        assert np.array_equal(steadied(3, painted=shot, footage=shot).pixels, picture.pixels)


def test_nothing_comes_over_a_cut_or_from_where_the_footage_differs() -> None:
    after = pan(texture(7), frames=range(4, 6))
    footage, painted = {**FOOTAGE, **after}, dict(PAINTED)
    cut = steadied(3, painted=painted, footage=footage)
    alone = {t: p for t, p in painted.items() if t <= 3}
    assert np.array_equal(cut.pixels, steadied(3, painted=alone, footage={t: FOOTAGE[t] for t in alone}).pixels)


def test_a_moving_thing_leaves_no_ghost() -> None:
    """A textured square moves over a textured wall; both are painted with patterns of their own, which stay sharp."""
    wall, thing = texture(2, 1.5), texture(3, 1.5)
    footage, painted = {}, {}
    for t in range(1, 6):
        plate = texture(5)[:HEIGHT, :WIDTH] * 0.5
        picture = wall[:HEIGHT, :WIDTH].copy()
        x = 4 + 9 * t
        plate[20:52, x : x + 32] = texture(4)[:32, :32]
        picture[20:52, x : x + 32] = thing[:32, :32]
        footage[t], painted[t] = Image(decode(plate)), Image(decode(picture))
    difference = np.abs(encode(steadied(3, painted=painted, footage=footage).pixels) - encode(painted[3].pixels))
    assert difference.mean() < 0.01
    assert difference[24:48, 35:59].mean() < 0.01, "the thing itself"
    assert cv2.blur(difference.mean(axis=2), (5, 5)).max() < 0.08


def test_outside_the_matte_nothing_is_touched_and_nothing_comes_from_there() -> None:
    matte = np.zeros((HEIGHT, WIDTH, 1), np.float32)
    matte[:, WIDTH // 2 :] = 1
    mattes = dict.fromkeys(PAINTED, Image(matte))
    spoilt = {t: Image(np.where(matte > 0, p.pixels, np.float32(50))) for t, p in PAINTED.items()}
    result = steadied(3, painted=spoilt, matte=mattes).pixels
    assert np.array_equal(result[:, : WIDTH // 2], spoilt[3].pixels[:, : WIDTH // 2])
    assert result[:, WIDTH // 2 :].max() < 1
    assert error(Image(result[:, -30:]), Image(TRUTH[3].pixels[:, -30:])) < 0.7 * error(
        Image(PAINTED[3].pixels[:, -30:]), Image(TRUTH[3].pixels[:, -30:])
    )


def test_alpha_passes_through() -> None:
    alpha = np.broadcast_to(np.linspace(0, 1, WIDTH, dtype=np.float32)[:, None], (HEIGHT, WIDTH, 1))
    painted = {
        t: Image(np.concatenate([p.pixels * alpha, alpha], axis=2), Alpha.PREMULTIPLIED) for t, p in PAINTED.items()
    }
    result = steadied(3, painted=painted)
    assert result.alpha is Alpha.PREMULTIPLIED and np.array_equal(result.pixels[..., 3:], alpha)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (130, 33)])
def test_any_size_works(shape: tuple[int, int]) -> None:
    pictures = {t: Image(np.random.default_rng(t).random((*shape, 3), dtype=np.float32)) for t in range(3)}
    assert steadied(1, painted=pictures, footage=pictures).pixels.shape == (*shape, 3)


def test_standing() -> None:
    painted, footage = Footage(PAINTED), Footage(FOOTAGE)
    matte = Footage(dict.fromkeys(PAINTED, Image(np.ones((HEIGHT, WIDTH, 1), np.float32))))

    def make(params: SteadyParams) -> Steady:
        return Steady(params, painted, footage, matte)

    check_keys(make, SteadyParams(0.5), 3, steadiness=0.7)
    check_order(make(FULL), range(1, 6))
    check_declared(make(FULL), 1)
    check_declared(make(FULL), 3)
    check_cancel(make(FULL), 3)
    check_identity(make(SteadyParams(0)), 3)


def test_bad_input_is_told() -> None:
    for bad in (SteadyParams(1.5), SteadyParams(-0.1), SteadyParams(1, radius=-1)):
        with pytest.raises(ParameterError, match="use 0"):
            Steady(bad, Footage(PAINTED), Footage(FOOTAGE))
    small = {t: Image(p.pixels[:50].copy()) for t, p in PAINTED.items()}
    with pytest.raises(ShapeError, match=r"frame 3.*96x50.*96x72"):
        steadied(3, painted=small)
    with pytest.raises(ShapeError, match=r"frame 3: the matte is 96x50"):
        steadied(3, matte={t: Image(p.pixels[..., :1].copy()) for t, p in small.items()})
    assert np.array_equal(steadied(3, replace(FULL, radius=0)).pixels, PAINTED[3].pixels)
