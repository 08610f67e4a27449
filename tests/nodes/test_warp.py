import cv2
import numpy as np
import pytest

from fewstroke.nodes.warp import compose, inside, warp, warp_picture

rng = np.random.default_rng(0)


def smooth(height: int, width: int, channels: int, dx: float = 0, dy: float = 0) -> np.ndarray:
    """A band-limited picture, moved by (dx, dy): an oracle that needs no interpolation."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - dx, y - dy
    waves = [np.sin(x * 0.7 + y * 0.4 + c) + np.cos(x * 0.3 - y * 0.8 + 2 * c) for c in range(channels)]
    return np.stack(waves, axis=2).astype(np.float32)


def constant_flow(height: int, width: int, dx: float, dy: float) -> np.ndarray:
    return np.tile(np.array([dx, dy], np.float32), (height, width, 1))


@pytest.mark.parametrize("function", [warp, warp_picture])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_zero_flow_is_exact(function, channels: int) -> None:
    pixels = (rng.standard_normal((17, 23, channels)) * 10.0 ** rng.integers(-6, 6, (17, 23, 1))).astype(np.float32)
    before = pixels.copy()
    result = function(pixels, np.zeros((17, 23, 2), np.float32))
    assert result.shape == pixels.shape and result.dtype == np.float32
    assert np.array_equal(result, before) and np.array_equal(pixels, before)


@pytest.mark.parametrize("function", [warp, warp_picture])
def test_whole_pixels_are_exact_and_borders_repeat(function) -> None:
    pixels = rng.random((12, 15, 3), dtype=np.float32)
    result = function(pixels, constant_flow(12, 15, 3, -2))
    padded = np.pad(pixels, ((2, 0), (0, 3), (0, 0)), mode="edge")
    assert np.array_equal(result, padded[:12, 3:])


def test_parts_of_pixels_follow_the_signal() -> None:
    moved, flow = smooth(40, 50, 3, 1.3, -0.6), constant_flow(40, 50, 1.3, -0.6)
    linear, cubic = (
        float(np.sqrt(np.square(function(moved, flow) - smooth(40, 50, 3))[4:-4, 4:-4].mean()))
        for function in (warp, warp_picture)
    )
    assert linear < 0.1 and cubic < 0.5 * linear


def test_a_matte_without_channel_axis() -> None:
    matte = rng.random((9, 11), dtype=np.float32)
    assert warp(matte, constant_flow(9, 11, 0.5, 0)).shape == (9, 11)


def test_highlights_do_not_ring() -> None:
    pixels = np.full((32, 32, 3), 0.18, np.float32)
    pixels[12:20, 12:20] = 30000
    flow = rng.uniform(-1.5, 1.5, (32, 32, 2)).astype(np.float32)
    result = warp_picture(pixels, flow)
    assert result.min() >= np.float32(0.18) and result.max() <= 30000


def test_inside() -> None:
    assert inside(np.zeros((4, 6, 2), np.float32)).all()
    right = inside(constant_flow(4, 6, 2, 0))
    assert right[:, :4].all() and not right[:, 4:].any()
    up = inside(constant_flow(4, 6, 0, -0.5))
    assert up[1:].all() and not up[:1].any()


def test_composed_flows_follow_each_other() -> None:
    assert np.allclose(compose(constant_flow(8, 8, 1, 2), constant_flow(8, 8, -3, 0.5)), [-2, 2.5])
    # A rotation by 2 degrees twice is one by 4.
    y, x = np.mgrid[:40, :40].astype(np.float32) - 19.5

    def rotation(degrees: float) -> np.ndarray:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return np.dstack([c * x - s * y - x, s * x + c * y - y]).astype(np.float32)

    error = np.abs(compose(rotation(2), rotation(2)) - rotation(4))
    assert error[3:-3, 3:-3].max() < 1e-3


def test_threads_change_no_bit() -> None:
    pixels, flow = rng.random((90, 70, 3), dtype=np.float32), rng.standard_normal((90, 70, 2)).astype(np.float32)
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 2, 7):
            cv2.setNumThreads(threads)
            results.append(warp_picture(pixels, flow))
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(result, results[0]) for result in results)
