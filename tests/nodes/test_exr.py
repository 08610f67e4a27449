"""EXR files that are laid out here, against those that OpenEXR writes."""

import struct
import zlib
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from fewstroke.nodes.exr import LARGEST_HALF, LINES, to_half, write_exr


def both(folder: Path, pixels: np.ndarray, kind: str, compression: str) -> tuple[Path, Path]:
    """A file of ours and one of OpenEXR's, of the same pixels."""
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, kind)
    for name, value in (("compression", compression), ("DateTime", ""), ("artist", "me"), ("framesPerSecond", 24.0)):
        spec[name] = value
    ours, theirs = folder / "ours.exr", folder / "theirs.exr"
    write_exr(ours, spec, pixels)
    output = oiio.ImageOutput.create(str(theirs))
    assert output is not None and output.open(str(theirs), spec)
    assert output.write_image(pixels.astype(np.float16) if kind == "half" else pixels) and output.close()
    return ours, theirs


@pytest.mark.parametrize("kind", ["half", "float"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 1), (31, 7), (64, 5), (65, 33)])
def test_an_uncompressed_file_is_the_one_that_openexr_writes(
    tmp_path: Path, rng: np.random.Generator, kind: str, channels: int, height: int, width: int
) -> None:
    pixels = rng.normal(0, 1000, (height, width, channels)).astype(np.float32)
    ours, theirs = both(tmp_path, pixels, kind, "none")
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("kind", ["half", "float"])
@pytest.mark.parametrize("compression", ["zip", "zips"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 1), (31, 7), (64, 40), (83, 33)])
def test_a_zipped_file_holds_what_that_of_openexr_holds(
    tmp_path: Path, rng: np.random.Generator, kind: str, compression: str, channels: int, height: int, width: int
) -> None:
    pixels = rng.normal(0, 1000, (height, width, channels)).astype(np.float32)  # noise, which cannot be deflated
    pixels[height // 2 :] = 0.25  # what can
    ours, theirs = both(tmp_path, pixels, kind, compression)
    (head, first), (their_head, second) = (chunks(path, height, compression) for path in (ours, theirs))
    assert head == their_head and first.keys() == second.keys()
    line = width * channels * (2 if kind == "half" else 4)
    for number, stored in first.items():
        raw = line * min(LINES[compression], height - number)
        assert len(stored) <= raw
        assert inflated(stored, raw) == inflated(second[number], raw)
    read = oiio.ImageBuf(str(ours)).get_pixels(oiio.FLOAT)
    assert read is not None and np.array_equal(
        np.reshape(read, pixels.shape), pixels.astype(np.float16) if kind == "half" else pixels
    )


def chunks(path: Path, height: int, compression: str) -> tuple[bytes, dict[int, bytes]]:
    """A file's header, and what its chunks hold, by their first lines, along its table of offsets."""
    content, count = path.read_bytes(), -(-height // LINES[compression])
    # The first chunk begins where the table ends, whose first entry says where that is.
    at = next(at for at in range(8, len(content)) if struct.unpack_from("<Q", content, at)[0] == at + 8 * count)
    found: dict[int, bytes] = {}
    for offset in struct.unpack_from(f"<{count}Q", content, at):
        number, size = struct.unpack_from("<ii", content, offset)
        found[number] = content[offset + 8 : offset + 8 + size]
    assert at + sum(8 + 8 + len(chunk) for chunk in found.values()) == len(content)
    return content[:at], found


def inflated(stored: bytes, raw: int) -> bytes:
    """The bytes of a chunk's lines: every other byte comes first, each as the difference from the last, plus 128."""
    if len(stored) == raw:
        return stored
    differences = np.frombuffer(zlib.decompress(stored), np.uint8).astype(np.int64)
    differences[1:] -= 128
    halves = np.cumsum(differences).astype(np.uint8)
    lines = np.empty_like(halves)
    lines[::2], lines[1::2] = np.split(halves, [(raw + 1) // 2])
    return lines.tobytes()


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
        write_exr(tmp_path / "missing" / "out.exr", spec, np.ones((4, 4, 3), np.float32))
