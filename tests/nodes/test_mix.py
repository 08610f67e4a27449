"""Mix, and its place in the graph of a shot: after Steady."""

import numpy as np
import pytest
from standing import Footage, check_declared, check_identity, check_keys, check_order, fresh_evaluator

from fewstroke.engine.errors import ParameterError, ShapeError
from fewstroke.engine.image import Alpha, Image
from fewstroke.nodes import Mix, MixParams


def pictures(rng: np.random.Generator, channels: int = 3) -> dict[int, Image]:
    alpha = Alpha.PREMULTIPLIED if channels == 4 else Alpha.NONE
    return {frame: Image(rng.random((20, 30, channels), np.float32), alpha) for frame in range(1, 5)}


def test_the_standing_promises(rng: np.random.Generator) -> None:
    image, footage = Footage(pictures(rng)), Footage(pictures(rng))

    def make(params: MixParams) -> Mix:
        return Mix(params, image=image, footage=footage)

    check_order(make(MixParams(0.5)), [1, 2, 3, 4])
    check_declared(make(MixParams(0.5)), 2)
    check_keys(make, MixParams(0.5), 2, strength=0.25)
    check_identity(make(MixParams(0.0)), 2)
    check_identity(make(MixParams(1.0)), 2)
    assert make(MixParams(0.0)).key(2) == footage.key(2) and make(MixParams(1.0)).key(2) == image.key(2)


@pytest.mark.parametrize("channels", [3, 4])
def test_it_mixes_and_leaves_alone_what_is_equal(rng: np.random.Generator, channels: int) -> None:
    footage, painted = pictures(rng, channels), pictures(rng, channels)
    painted[1].pixels[:, :10] = footage[1].pixels[:, :10]
    got = fresh_evaluator()(Mix(MixParams(0.3), image=Footage(painted), footage=Footage(footage)), 1)
    wanted = 0.3 * painted[1].pixels.astype(np.float64) + 0.7 * footage[1].pixels
    np.testing.assert_allclose(got.pixels, wanted, rtol=1e-6)
    assert np.array_equal(got.pixels[:, :10], footage[1].pixels[:, :10])
    assert got.alpha is footage[1].alpha


def test_what_cannot_be_mixed_is_refused(rng: np.random.Generator) -> None:
    footage = Footage(pictures(rng))
    with pytest.raises(ParameterError, match="between 0 and 1"):
        Mix(MixParams(1.5), image=footage, footage=footage)
    small = Footage({1: Image(np.ones((10, 10, 3), np.float32))})
    with pytest.raises(ShapeError, match=r"frame 1: the painted picture is 10x10 .* and the footage 30x20"):
        fresh_evaluator()(Mix(MixParams(0.5), image=small, footage=footage), 1)
