"""Uncompressed EXR files, against those that OpenEXR writes, byte for byte."""

from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from fewstroke.nodes.exr import LARGEST_HALF, to_half, write_uncompressed


@pytest.mark.parametrize("kind", ["half", "float"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 1), (31, 7), (64, 5), (65, 33)])
def test_the_file_is_the_one_that_openexr_writes(
    tmp_path: Path, rng: np.random.Generator, kind: str, channels: int, height: int, width: int
) -> None:
    pixels = rng.normal(0, 1000, (height, width, channels)).astype(np.float32)
    spec = oiio.ImageSpec(width, height, channels, kind)
    for name, value in (("compression", "none"), ("DateTime", ""), ("artist", "me"), ("framesPerSecond", 24.0)):
        spec[name] = value
    write_uncompressed(tmp_path / "ours.exr", spec, pixels)
    output = oiio.ImageOutput.create(str(tmp_path / "theirs.exr"))
    assert output is not None and output.open(str(tmp_path / "theirs.exr"), spec)
    assert output.write_image(pixels.astype(np.float16) if kind == "half" else pixels) and output.close()
    assert (tmp_path / "ours.exr").read_bytes() == (tmp_path / "theirs.exr").read_bytes()


def test_halves_are_rounded_as_numpy_rounds_them(rng: np.random.Generator) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    exact = np.sort(halves[np.isfinite(halves)].astype(np.float32))  # every half there is, subnormal and zeros included
    between = ((exact[1:].astype(np.float64) + exact[:-1]) / 2).astype(np.float32)
    around = [np.nextafter(between, np.float32(direction)) for direction in (-np.inf, np.inf)]
    anything = rng.integers(0, 1 << 32, 200_000, np.uint32).view(np.float32)
    values = np.concatenate([exact, between, *around, anything[np.isfinite(anything)]]).reshape(-1, 1, 1)
    wanted = np.clip(values, -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
    assert np.array_equal(to_half(values).view(np.uint16), wanted.view(np.uint16))


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(4, 4, 3, "half")
    spec["compression"] = "none"
    with pytest.raises(OSError, match="missing"):
        write_uncompressed(tmp_path / "missing" / "out.exr", spec, np.ones((4, 4, 3), np.float32))
