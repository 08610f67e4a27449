"""What a search minimises: right paint, right strokes; not blur."""

import cv2
import numpy as np
import pytest

from fewstroke.engine.measure import difference

ALL = np.ones((96, 128), np.float32)


@pytest.fixture
def painting(rng: np.random.Generator) -> np.ndarray:
    """Strokes: noise of some pixels' size, with soft shapes below."""
    fine = cv2.GaussianBlur(rng.random((96, 128, 3), np.float32), (0, 0), 1.5)
    coarse = cv2.GaussianBlur(rng.random((96, 128, 3), np.float32), (0, 0), 12)
    return (0.5 + 2 * (fine - 0.5) + 4 * (coarse - 0.5)).astype(np.float32)


def test_the_truth_has_no_difference(painting: np.ndarray) -> None:
    same = difference(painting, painting, ALL)
    assert same.loss == same.l1 == same.texture == 0 and same.psnr == 120


def test_blur_pleases_l1_but_not_the_loss(painting: np.ndarray) -> None:
    moved, blurred = np.roll(painting, 6, axis=1), cv2.GaussianBlur(painting, (0, 0), 6)
    strokes, mush = difference(moved, painting, ALL), difference(blurred, painting, ALL)
    assert mush.l1 < strokes.l1 and mush.psnr > strokes.psnr
    assert mush.texture > strokes.texture and mush.loss > strokes.loss


def test_noise_is_no_stroke(painting: np.ndarray, rng: np.random.Generator) -> None:
    noisy = painting + 0.1 * rng.standard_normal(painting.shape).astype(np.float32)
    assert difference(noisy, painting, ALL).texture > 0.1


def test_figures_are_what_they_say(painting: np.ndarray) -> None:
    lighter = difference(painting + np.float32(0.1), painting, ALL)
    assert lighter.l1 == pytest.approx(0.1, rel=1e-4) and lighter.psnr == pytest.approx(20, abs=0.01)


def test_only_what_counts_is_compared(painting: np.ndarray) -> None:
    mask, wrong = ALL.copy(), painting.copy()
    mask[:, 64:] = 0
    wrong[:, 90:] = 1 - wrong[:, 90:]  # farther from the mask than a patch of the coarsest octave reaches
    assert difference(wrong, painting, mask).loss < 1e-3 < 0.1 < difference(wrong, painting, ALL).loss


@pytest.mark.parametrize("size", [(3, 5), (7, 7), (15, 40)])
def test_small_pictures_have_figures(size: tuple[int, int], rng: np.random.Generator) -> None:
    one, two = rng.random((2, *size, 3), np.float32)
    assert np.isfinite(difference(one, two, np.ones(size, np.float32)).loss)
