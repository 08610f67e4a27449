"""Uncompressed EXR files, quicker than OpenEXR writes them.

OpenEXR hands each line of pixels to its threads by itself, which at 1080p takes eight times as long as writing them in
one go. What is uncompressed needs no threads: the header is OpenImageIO's, the lines are laid out here.
"""

import os
from pathlib import Path

import numpy as np
import OpenImageIO as oiio


def write_uncompressed(path: Path, spec: oiio.ImageSpec, pixels: np.ndarray) -> None:
    """Writes an EXR file of one part. Raises OSError where it cannot be written wholly.

    spec    with compression "none", all channels of the type of the pixels
    pixels  float16 or float32 (H, W, C), in the order of the spec's channels
    """
    output = oiio.ImageOutput.create(str(path))
    if output is None or not output.open(str(path), spec) or not output.close():
        raise OSError(oiio.geterror() if output is None else output.geterror())
    # "OpenEXR File Layout": after the header a table of where each line begins, then the lines: its number, how many
    # bytes follow, and these, channel after channel in the order of their names; all of it little-endian.
    height, width, channels = pixels.shape
    begin = os.path.getsize(path)  # of a file to which no line was written
    kind = pixels.dtype.newbyteorder("<")
    line = np.dtype([("number", "<i4"), ("bytes", "<i4"), ("pixels", kind, (channels, width))])
    lines = np.empty(height, line)
    lines["number"] = np.arange(height)
    lines["bytes"] = line["pixels"].itemsize
    order = sorted(range(channels), key=lambda channel: spec.channelnames[channel])
    lines["pixels"] = pixels[:, :, order].transpose(0, 2, 1)
    offsets = begin + np.arange(height, dtype="<u8") * line.itemsize
    with open(path, "r+b") as file:
        file.seek(begin - offsets.nbytes)
        file.write(offsets.tobytes())
        file.write(lines.tobytes())
