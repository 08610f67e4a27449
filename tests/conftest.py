"""Fixtures for all tests: seeded random numbers, and small pictures on disk."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest
from hypothesis import settings

Save = Callable[..., Path]

settings.register_profile("fewstroke", deadline=None)  # a busy machine is no failure
settings.load_profile("fewstroke")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, nor what another test left."""
    monkeypatch.setenv("FEWSTROKE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def program() -> Callable[[Path], ModuleType]:
    """`program(path)`: a Python file that belongs to no package, imported."""

    def program(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return program


@pytest.fixture
def load() -> Callable[[Path], np.ndarray]:
    """`load(path)`: the file's own values, float32 (H, W, C), with OpenImageIO alone."""

    def load(path: Path) -> np.ndarray:
        pixels = oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT)
        assert pixels is not None, path
        return pixels

    return load


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """`save(name, pixels, type, channels, window, **attributes)` writes a picture with OpenImageIO alone.

    pixels    (H, W, C) in the file's own values, floats (integer files: 0..1)
    type      "half", "float", "uint8" or "uint16"
    channels  channel names
    window    display window (x, y, width, height) with the data window's corner at (0, 0)
    """

    def save(
        name: str,
        pixels: np.ndarray,
        type: str = "half",
        channels: Sequence[str] = (),
        window: tuple[int, int, int, int] | None = None,
        **attributes: Any,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width, count = pixels.shape
        spec = oiio.ImageSpec(width, height, count, type)
        spec["DateTime"] = ""
        if channels:
            spec.channelnames = tuple(channels)
            spec.alpha_channel = channels.index("A") if "A" in channels else -1
        if window:
            spec.full_x, spec.full_y, spec.full_width, spec.full_height = window
        for key, value in attributes.items():
            spec[key.replace("__", ":")] = value
        if type.startswith("uint"):
            dtype = np.dtype(type)
            pixels = np.rint(pixels * np.iinfo(dtype).max).astype(dtype)
        output = oiio.ImageOutput.create(str(path))
        assert output is not None and output.open(str(path), spec), oiio.geterror()
        assert output.write_image(np.ascontiguousarray(pixels)) and output.close(), output.geterror()
        return path

    return save
