"""Paint that lies beside an edge is not taken where the edge is gone, but from beyond its rim; all else stays."""

import cv2
import numpy as np
import pytest
from standing import Footage, fresh_evaluator
from test_camera import HEIGHT, WIDTH, X, Y, soft

from fewstroke.engine.color import decode
from fewstroke.engine.image import Image
from fewstroke.nodes.rims import REACH, Slopes, mirrored, outlived
from fewstroke.nodes.stmap import STMap, STMapParams

OUTLINE = 3
"""How far beside the disc its painted outline reaches, pixels."""
NO_WAY = np.zeros((HEIGHT, WIDTH, 2), np.float32)


def from_disc(x: float) -> np.ndarray:
    """Distance of each pixel from a disc in this column, pixels; negative inside: (HEIGHT, WIDTH)."""
    return np.hypot(X - x, Y - 90) - 40


def scene(rng: np.random.Generator, *columns: float) -> list[np.ndarray]:
    """Frames of a wall that stays, and of a disc that is in these columns, (HEIGHT, WIDTH, 3), encoded."""
    wall, paint = 0.5 + soft(rng, 3, 0.015, 3), np.array([0.3, 0.2, 0.1], np.float32) + soft(rng, 3, 0.02, 3)
    covers = [np.clip(0.5 - from_disc(x), 0, 1)[..., None] for x in columns]
    # As frames are compared: without the sensor's noise.
    return [cv2.GaussianBlur(wall * (1 - cover) + paint * cover, (0, 0), 1) for cover in covers]


def test_the_rim_of_what_has_left_is_found_and_nothing_else(rng: np.random.Generator) -> None:
    there, here = scene(rng, 100, 200)
    old = outlived(NO_WAY, Slopes.of(here), Slopes.of(there))
    before, now = from_disc(100), from_disc(200)
    assert old[(before > 0) & (before < REACH - 0.5) & (now > 15)].mean() > 0.98
    assert not old[before > REACH + 4].any()
    assert not old[np.abs(now) < REACH + 1].any()  # of what stands there now it is not said


def test_what_has_moved_a_little_has_left_a_rim_on_one_side(rng: np.random.Generator) -> None:
    there, here = scene(rng, 100, 108)
    old = outlived(NO_WAY, Slopes.of(here), Slopes.of(there))
    before = from_disc(100)
    assert old[(before > 0) & (before < 2) & (X < 70)].mean() > 0.95
    assert not old[(X > 125) & (from_disc(108) > 0)].any()


@pytest.mark.parametrize("change", ["nothing", "light", "blur", "noise", "a pixel"])
def test_what_is_still_there_keeps_its_rim(rng: np.random.Generator, change: str) -> None:
    there, here = scene(rng, 100, 101 if change == "a pixel" else 100)
    if change == "light":
        here = here * np.float32(0.6)
    if change == "blur":
        here = cv2.GaussianBlur(here, (9, 1), 2)
    if change == "noise":
        here = here + cv2.GaussianBlur(rng.normal(0, 0.02, here.shape).astype(np.float32), (0, 0), 1)
    assert not outlived(NO_WAY, Slopes.of(here), Slopes.of(there)).any()


def test_a_picture_without_edges_has_no_rims(rng: np.random.Generator) -> None:
    plain = 0.5 + soft(rng, 3, 0.01, 3)
    slopes = Slopes.of(plain)
    old = outlived(NO_WAY, slopes, slopes)
    assert not old.any()
    np.testing.assert_array_equal(mirrored(NO_WAY, old, plain, plain), NO_WAY)


def test_paint_comes_from_beyond_the_rim_on_the_side_that_looks_alike(rng: np.random.Generator) -> None:
    there, here = scene(rng, 100, 250)
    slopes, before = Slopes.of(there), from_disc(100)
    old = (before > -1) & (before < REACH)
    way = mirrored(NO_WAY, old, here, there)
    np.testing.assert_array_equal(way[~old], 0)
    beyond = np.hypot(X + way[..., 0] - 100, Y + way[..., 1] - 90) - 40
    assert (beyond[old] > REACH).mean() > 0.99  # on the wall, though it is the edge itself that is uncovered in part
    assert beyond[old].max() < 3 * REACH + 8
    assert outlived(way, Slopes.of(here), slopes)[old].mean() < 0.01
    # A mirror: next to it nothing is moved far, so strokes go on.
    nearest = old & (before > REACH - 1)
    assert np.linalg.norm(way[nearest], axis=-1).mean() < np.linalg.norm(way[old & (before < 1)], axis=-1).mean()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_wall_loses_the_outline_of_who_has_left(seed: int) -> None:
    """The whole ST map: of a painted outline hardly any is copied to where the disc is no longer. (Half of it was, and
    nine tenths, before there was rims.py.)"""
    rng = np.random.default_rng(seed)
    columns = {frame: 94 + 6 * frame for frame in range(1, 13)}
    pictures = scene(rng, *columns.values())
    footage = Footage({frame: Image(decode(picture)) for frame, picture in zip(columns, pictures, strict=True)})
    pixels = fresh_evaluator()(STMap(STMapParams((1,)), footage=footage), 12).pixels
    x, y, sure = pixels[..., 0] * WIDTH - 0.5, (1 - pixels[..., 1]) * HEIGHT - 0.5, pixels[..., 2]
    before, now = from_disc(columns[1]), from_disc(columns[12])
    ink = ((before > 0) & (before < OUTLINE)).astype(np.float32)
    copied = cv2.remap(ink, x, y, cv2.INTER_LINEAR) * sure
    left = now > 15
    assert sure[left].mean() > 0.8  # or the test shows nothing
    assert copied[left & (before < 8)].sum() < 0.05 * ink.sum()
