"""Models to test with: real networks, exported, trained for no or few steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fewstroke.engine.config import NetworkConfig
from fewstroke.engine.export import export_model
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.model import ModelInfo
from fewstroke.engine.network import Generator, build_generator


def facts(generator: Generator, channels: int = 3, **others: Any) -> ModelInfo:
    """A `ModelInfo` for a generator that nobody trained."""
    values: dict[str, Any] = {
        "name": "test",
        "channels": ("R", "G", "B", "guide R", "guide G", "guide B")[:channels],
        "working_space": "Linear Rec.709 (sRGB)",
        "footage_space": "Linear Rec.709 (sRGB)",
        "halo": generator.HALO,
        "size_multiple": generator.SIZE_MULTIPLE,
        "keyframes": (),
        "network": {},
        "training": {},
        "steps": 0,
        "losses": {},
    }
    return ModelInfo(**{**values, **others})


def random_generator(preset: Any = "fast", channels: int = 3) -> Generator:
    """Seeded weights, and batch statistics of noise, so that folding them has something to fold."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        generator = build_generator(NetworkConfig(preset, channels))
        with torch.no_grad():
            for _ in range(2):
                generator(torch.rand(4, channels, 32, 32))
    return generator.eval()


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
