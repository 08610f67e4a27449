"""EXR files, quicker than OpenEXR writes them.

OpenEXR hands each line of what is uncompressed to its threads by itself, which at 1080p takes eight times as long. Of
zip the deflating is what takes time; ISA-L's makes all of it two to three times as fast, and files a twentieth larger.
The header is OpenImageIO's, the lines are laid out here; other compressions are left to OpenEXR.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio
from isal import isal_zlib

LARGEST_HALF = float(np.finfo(np.float16).max)

LINES = {"none": 1, "zips": 1, "zip": 16}
"""Lines of a chunk, by the compressions that are written here ("OpenEXR File Layout", "Chunk layout")."""
BAND = 64
"""Lines that are laid out at once, in memory that stays near the processor."""


def to_half(pixels: np.ndarray) -> np.ndarray:
    """float32 (H, W, C) to float16, clipped to what that holds; rounded as NumPy does it, in a fifth of the time."""
    clipped = np.clip(pixels, -LARGEST_HALF, LARGEST_HALF).reshape(len(pixels), -1)
    halves = cv2.multiply(clipped, 1.0, dtype=cv2.CV_16F)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return halves.reshape(pixels.shape)


def write_exr(path: Path, spec: oiio.ImageSpec, pixels: np.ndarray) -> None:
    """Writes an EXR file of one part. Raises OSError where it cannot be written wholly.

    spec    with a compression of LINES and the type of the file, half or float
    pixels  float32 (H, W, C), in the order of the spec's channels
    """
    output = oiio.ImageOutput.create(str(path))
    if output is None or not output.open(str(path), spec) or not output.close():
        raise OSError(oiio.geterror() if output is None else output.geterror())
    # "OpenEXR File Layout": after the header a table of where each chunk begins, then the chunks: the number of its
    # first line, how many bytes follow, and these; all of it little-endian.
    compression = spec.get_string_attribute("compression")
    lines, at = LINES[compression], os.path.getsize(path)  # of a file to which no line was written
    offsets = np.empty(-(-len(pixels) // lines), "<u8")
    with open(path, "r+b", buffering=1 << 20) as file:
        file.seek(at)
        for number, raw in enumerate(_laid_out(pixels, spec, lines)):
            stored = raw.data if compression == "none" else _zipped(raw)
            offsets[number] = at
            at += file.write(struct.pack("<ii", number * lines, len(stored)))
            at += file.write(stored)
        file.seek(offsets[0] - offsets.nbytes)
        file.write(offsets.data)


def _laid_out(pixels: np.ndarray, spec: oiio.ImageSpec, lines: int) -> Iterator[np.ndarray]:
    """The bytes of so many lines each: line by line, channel after channel in the order of their names. They last until
    the next ones are asked for: memory that is asked for anew is what takes most of the time."""
    height, width, channels = pixels.shape
    is_half = spec.format == oiio.HALF
    order = sorted(range(channels), key=lambda channel: spec.channelnames[channel])
    band = np.empty((min(height, BAND), channels, width), "<f2" if is_half else "<f4")
    for top in range(0, height, BAND):
        values = pixels[top : top + BAND]
        values = (to_half(values) if is_half else values)[:, :, order].transpose(0, 2, 1)
        band[: len(values)] = values
        for start in range(0, len(values), lines):
            yield band[start : min(start + lines, len(values))].view(np.uint8).ravel()


def _zipped(raw: np.ndarray) -> memoryview | bytes:
    """As zip and zips have it: every other byte, then the rest, as differences from one to the next, deflated; as it is
    where that is no smaller."""
    halves = np.concatenate([raw[::2], raw[1::2]])
    differences = halves.copy()
    differences[1:] -= halves[:-1]
    differences[1:] += 128
    zipped = isal_zlib.compress(differences.data, 1)
    return zipped if len(zipped) < len(raw) else raw.data
