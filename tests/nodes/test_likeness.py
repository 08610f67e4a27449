"""How alike two frames look."""

import cv2
import numpy as np
import pytest

from fewstroke.engine.color import decode, encode
from fewstroke.nodes.likeness import in_light_of

SHAPE = (40, 60)
KEY = cv2.GaussianBlur(np.random.default_rng(0).random((*SHAPE, 3)).astype(np.float32), (0, 0), 2) + np.float32(0.2)


def way(sure: float = 1.0) -> np.ndarray:
    """A still one, so sure everywhere."""
    return np.dstack([np.zeros((*SHAPE, 2), np.float32), np.full(SHAPE, sure, np.float32)])


def lit(factor: float) -> np.ndarray:
    """The key frame in so much light, scene-linear."""
    return encode(decode(KEY) * np.float32(factor))


@pytest.mark.parametrize("factor", [0.02, 0.3, 0.4, 2.5, 10.0])
def test_a_frame_is_brought_to_the_key_frames_light(factor: float) -> None:
    here = lit(factor)
    here[:8] = 0.9  # something else, which does not count
    np.testing.assert_allclose(in_light_of(here, KEY, way())[8:], KEY[8:], rtol=1e-4)


def test_light_may_change_its_colour() -> None:
    here = encode(decode(KEY) * np.array([0.9, 0.4, 0.1], np.float32))
    np.testing.assert_allclose(in_light_of(here, KEY, way()), KEY, rtol=1e-4)


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.35])
def test_nearly_the_same_light_is_left_alone(factor: float) -> None:
    here = lit(factor)
    assert in_light_of(here, KEY, way()) is here


def test_of_what_is_not_found_nothing_is_said() -> None:
    here = lit(0.1)
    assert in_light_of(here, KEY, way(0.0)) is here
    hardly = way(0.0)
    hardly[0, :, 2] = 1
    assert in_light_of(here, KEY, hardly) is here


def test_other_things_that_are_darker_are_in_no_other_light() -> None:
    """Half of them lie beside what is as it was: lit, that would be lost."""
    here = KEY.copy()
    here[:, :32] = KEY[::-1, :32] * np.float32(0.4)
    assert in_light_of(here, KEY, way()) is here
