"""The image contract."""

import numpy as np
import pytest

from fewstroke.engine.errors import ShapeError
from fewstroke.engine.image import Alpha, Image, unpremultiply, with_rgb


def test_premultiplication_goes_both_ways(rng: np.random.Generator) -> None:
    pixels = rng.random((5, 7, 4), np.float32)
    pixels[0, 0, 3] = 0  # light without coverage
    image = Image(pixels, Alpha.PREMULTIPLIED)
    assert np.allclose(with_rgb(image, unpremultiply(image)).pixels, pixels, atol=1e-6)
    assert np.array_equal(unpremultiply(image)[0, 0], pixels[0, 0, :3])


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (0, 4, 3), (4, 4, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        Image(np.zeros(shape, np.float32))


def test_alpha_must_be_said() -> None:
    with pytest.raises(ShapeError, match="alpha"):
        Image(np.zeros((4, 4, 4), np.float32))
    with pytest.raises(ShapeError, match="alpha"):
        Image(np.zeros((4, 4, 3), np.float32), Alpha.STRAIGHT)
