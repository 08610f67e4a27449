"""Uncompressed EXR files, quicker than OpenEXR writes them.

OpenEXR hands each line of pixels to its threads by itself, which at 1080p takes eight times as long as writing them in
a few pieces. What is uncompressed needs no threads: the header is OpenImageIO's, the lines are laid out here.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

LARGEST_HALF = float(np.finfo(np.float16).max)

BAND = 64
"""Lines that are laid out at once, in memory that stays near the processor."""


def to_half(pixels: np.ndarray) -> np.ndarray:
    """float32 (H, W, C) to float16, clipped to what that holds; rounded as NumPy does it, in a fifth of the time."""
    clipped = np.clip(pixels, -LARGEST_HALF, LARGEST_HALF).reshape(len(pixels), -1)
    halves = cv2.multiply(clipped, 1.0, dtype=cv2.CV_16F)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return halves.reshape(pixels.shape)


def write_uncompressed(path: Path, spec: oiio.ImageSpec, pixels: np.ndarray) -> None:
    """Writes an EXR file of one part. Raises OSError where it cannot be written wholly.

    spec    with compression "none" and the type of the file, half or float
    pixels  float32 (H, W, C), in the order of the spec's channels
    """
    output = oiio.ImageOutput.create(str(path))
    if output is None or not output.open(str(path), spec) or not output.close():
        raise OSError(oiio.geterror() if output is None else output.geterror())
    # "OpenEXR File Layout": after the header a table of where each line begins, then the lines: its number, how many
    # bytes follow, and these, channel after channel in the order of their names; all of it little-endian.
    height, width, channels = pixels.shape
    begin = os.path.getsize(path)  # of a file to which no line was written
    is_half = spec.format == oiio.HALF
    line = np.dtype([("number", "<i4"), ("bytes", "<i4"), ("pixels", "<f2" if is_half else "<f4", (channels, width))])
    order = sorted(range(channels), key=lambda channel: spec.channelnames[channel])
    offsets = begin + np.arange(height, dtype="<u8") * line.itemsize
    lines = np.empty(min(height, BAND), line)
    lines["bytes"] = line["pixels"].itemsize
    with open(path, "r+b") as file:
        file.seek(begin - offsets.nbytes)
        file.write(offsets.tobytes())
        for top in range(0, height, BAND):
            band, stored = lines[: height - top], pixels[top : top + BAND]
            band["number"] = np.arange(top, top + len(band))
            band["pixels"] = (to_half(stored) if is_half else stored)[:, :, order].transpose(0, 2, 1)
            file.write(band.data)
