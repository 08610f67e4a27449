"""Fixtures of the engine's tests."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from networks import facts, random_generator

from fewstroke.engine.export import export_model
from fewstroke.engine.keyframe import Keyframe

# Small patches: a second thread would wait more than work, above all where other tests run beside.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models() -> Callable[..., bytes]:
    """`models(preset, channels)`: the bytes of an exported random generator, made once."""
    made: dict[tuple[str, int], bytes] = {}

    def get(preset: str = "fast", channels: int = 3) -> bytes:
        if (preset, channels) not in made:
            generator = random_generator(preset, channels)
            made[preset, channels] = export_model(generator, facts(generator, channels))
        return made[preset, channels]

    return get


@pytest.fixture
def keyframe() -> Keyframe:
    """48x64 of smooth colour, painted in other colours with stripes: enough to learn from in a few steps."""
    ys, xs = np.mgrid[:48, :64].astype(np.float32)
    source = np.stack([xs / 64, ys / 48, 0.5 + 0.3 * np.sin(xs / 5)], axis=2)
    target = np.stack([1 - source[..., 0], source[..., 2], 0.5 + 0.4 * np.sign(np.sin(ys))], axis=2)
    return Keyframe(1, source.astype(np.float32), target.astype(np.float32), np.ones((48, 64), np.float32))
