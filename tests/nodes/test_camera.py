"""What only the camera moves goes where the camera takes it; what moves by itself is left alone."""

import cv2
import numpy as np
import pytest
from standing import Footage, fresh_evaluator

from fewstroke.engine.color import decode
from fewstroke.engine.image import Image
from fewstroke.nodes.camera import camera_motion, settled
from fewstroke.nodes.stmap import STMap, STMapParams

HEIGHT, WIDTH = 180, 320
X, Y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
PAN = np.array([[1.02, 0.01, 4.3], [-0.008, 1.015, -2.6], [4e-5, -3e-5, 1]])
"""Back into the key frame: what a wall does as the camera pans."""
OWN = np.s_[60:120, 130:200]
"""Where something moves by itself."""
ALL = np.ones((HEIGHT, WIDTH), np.float32)


def soft(rng: np.random.Generator, sigma: float, deviation: float, channels: int) -> np.ndarray:
    """Smooth random pictures or fields: float32 (HEIGHT, WIDTH, channels)."""
    noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH, channels)).astype(np.float32), (0, 0), sigma)
    return noise * np.float32(deviation / noise.std())


def led(matrix: np.ndarray) -> np.ndarray:
    """The way back that a homography is."""
    right, down, depth = (row[0] * X + row[1] * Y + row[2] for row in matrix)
    return np.dstack([right / depth - X, down / depth - Y]).astype(np.float32)


def seen_from(there: np.ndarray, way: np.ndarray) -> np.ndarray:
    return cv2.remap(there, X + way[..., 0], Y + way[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def wall(rng: np.random.Generator) -> np.ndarray:
    """Hardly any texture: a contrast of a hundredth, and a few things on it."""
    picture = 0.4 + soft(rng, 3, 0.01, 3)
    for _ in range(12):
        left, top = rng.integers(10, WIDTH - 50), rng.integers(10, HEIGHT - 40)
        cv2.rectangle(picture, (int(left), int(top)), (int(left) + 20, int(top) + 12), rng.random(3).tolist(), -1)
    return cv2.GaussianBlur(picture, (0, 0), 1)


def errors(way: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(way - true, axis=-1)


def test_the_camera_is_found_though_a_third_of_the_picture_moves_by_itself(rng: np.random.Generator) -> None:
    true = led(PAN)
    way = true + soft(rng, 8, 0.3, 2)
    way[:, : WIDTH // 3] += (7, -3)
    camera = camera_motion(way, ALL)
    assert camera is not None and errors(camera, true).max() < 0.8
    assert np.median(errors(camera, true)) < 0.2


def test_a_homography_is_found_to_the_last_digits() -> None:
    camera = camera_motion(led(PAN), ALL)
    assert camera is not None
    np.testing.assert_allclose(camera, led(PAN), atol=1e-3)


@pytest.mark.parametrize("matrix", [np.eye(3), PAN], ids=["locked-off", "pan"])
def test_a_wall_goes_where_the_camera_takes_it_and_a_thing_goes_its_own_way(
    matrix: np.ndarray, rng: np.random.Generator
) -> None:
    true = led(matrix)
    there, thing = wall(rng), 0.5 + soft(rng, 1.5, 0.15, 3)
    here = seen_from(there, true)
    moved = true.copy()
    moved[OWN] += (5, 2)
    here[OWN] = seen_from(thing, moved)[OWN]
    there[OWN] = thing[OWN]
    noise = [0.003 * rng.standard_normal(here.shape).astype(np.float32) for _ in range(2)]
    way = moved + soft(rng, 8, 0.4, 2)
    result = settled(way, ALL, here + noise[0], there + noise[1])
    rest = np.ones((HEIGHT, WIDTH), bool)
    rest[50:130, 120:210] = rest[:12] = rest[-12:] = rest[:, :12] = rest[:, -12:] = False
    before, after = errors(way, true)[rest], errors(result, true)[rest]
    assert np.median(after) < 0.2 * np.median(before)
    inner = np.s_[66:114, 136:194]
    np.testing.assert_allclose(result[inner], way[inner], atol=0.05)


def test_half_a_pixel_of_pan_is_no_locked_off_camera(rng: np.random.Generator) -> None:
    there = 0.5 + soft(rng, 1.5, 0.1, 3)
    true = np.full((HEIGHT, WIDTH, 2), (0.5, 0), np.float32)
    result = settled(true + soft(rng, 8, 0.1, 2), ALL, seen_from(there, true), there)
    assert np.median(errors(result, true)) < 0.1


def test_where_most_of_it_moves_by_itself_nothing_is_changed(rng: np.random.Generator) -> None:
    there = wall(rng)
    way = soft(rng, 12, 3, 2)
    assert np.array_equal(settled(way, ALL, seen_from(there, way), there), way)


def test_where_nothing_is_seen_nothing_is_changed(rng: np.random.Generator) -> None:
    way = soft(rng, 12, 3, 2)
    assert np.array_equal(settled(way, 0 * ALL, wall(rng), wall(rng)), way)


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (300, 5), (12, 12), (20, 20), (33, 40)])
def test_any_size_and_any_motion_give_numbers(shape: tuple[int, int], rng: np.random.Generator) -> None:
    here, there = (rng.random((*shape, 3), np.float32) for _ in range(2))
    for scale in (0, 0.3, 5, 100):
        way = np.float32(scale) * rng.standard_normal((*shape, 2)).astype(np.float32)
        for sure in (np.ones(shape, np.float32), (rng.random(shape) > 0.7).astype(np.float32)):
            assert np.isfinite(settled(way, sure, here, there)).all()


def test_the_wall_behind_somebody_who_moves_does_not_tremble(rng: np.random.Generator) -> None:
    """As seen by a locked-off camera with a noisy sensor; the ST map is asked for at three frames far from the key."""
    behind, thing = wall(rng), np.clip(0.5 + soft(rng, 1.5, 0.2, 3), 0, 1)
    pictures = {}
    for frame in range(1, 12):
        picture = behind.copy()
        left = 80 + 4 * frame
        picture[50:130, left : left + 60] = thing[50:130, 100:160]
        picture += 0.01 * rng.standard_normal(picture.shape).astype(np.float32)
        pictures[frame] = Image(decode(np.clip(picture, 0, 1)))
    node = STMap(STMapParams((1,)), footage=Footage(pictures))
    evaluate = fresh_evaluator()
    for frame in (6, 8, 10):
        x = evaluate(node, frame).pixels[..., 0] * WIDTH - 0.5 - X
        assert np.median(np.abs(x[:, 180:])) < 0.02
        assert np.abs(np.median(x[70:110, 95 + 4 * frame : 125 + 4 * frame]) + 4 * (frame - 1)) < 0.3
