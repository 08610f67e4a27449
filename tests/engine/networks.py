"""Real networks that nobody trained, for tests to export and run, and what they are shown."""

from typing import Any

import numpy as np
import torch

from fewstroke.engine.config import NetworkConfig
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.model import ModelInfo
from fewstroke.engine.network import Generator, build_generator


def facts(generator: Generator, channels: int = 3, **others: Any) -> ModelInfo:
    """A `ModelInfo` for a generator that nobody trained."""
    values: dict[str, Any] = {
        "name": "test",
        "channels": ("R", "G", "B", "guide R", "guide G", "guide B", "s", "t", "confidence")[:channels],
        "working_space": "Linear Rec.709 (sRGB)",
        "footage_space": "Linear Rec.709 (sRGB)",
        "halo": generator.halo,
        "size_multiple": generator.SIZE_MULTIPLE,
        "keyframes": (),
        "network": {},
        "training": {},
        "steps": 0,
        "losses": {},
    }
    return ModelInfo(**{**values, **others})


def identity(height: int, width: int) -> np.ndarray:
    """The ST map of a key frame to itself: float32 (height, width, 3)."""
    s, t = np.meshgrid((np.arange(width) + 0.5) / width, 1 - (np.arange(height) + 0.5) / height)
    return np.stack([s, t, np.ones_like(s)], -1).astype(np.float32)


def random_generator(preset: Any = "fast", channels: int = 3, blocks: int = 0, filters: int = 0) -> Generator:
    """Seeded weights, and batch statistics of noise, so that folding them has something to fold."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        generator = build_generator(NetworkConfig(preset, channels, blocks, filters))
        if generator.exemplar is not None:
            source, painting = torch.rand(20, 30, channels).numpy(), torch.rand(20, 30, 3).numpy()
            generator.exemplar.show([Keyframe(1, source, painting, np.ones((20, 30), np.float32))])
        with torch.no_grad():
            for _ in range(2):
                generator(torch.rand(4, channels, 32, 32))
    return generator.eval()
