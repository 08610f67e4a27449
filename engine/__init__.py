"""Pixels and networks: arrays in, arrays out. Knows no files, no graph, no host.

What is named here is public and imports without torch. Training is in `fewstroke.engine.train`, which needs it.
"""

from .color import decode, encode
from .errors import FewstrokeError
from .frames import FrameRange
from .image import Alpha, Image
from .keyframe import Keyframe
from .model import ModelInfo
from .sessions import Device, read_info
from .stylizer import Stylizer

__all__ = [
    "Alpha",
    "Device",
    "FewstrokeError",
    "FrameRange",
    "Image",
    "Keyframe",
    "ModelInfo",
    "Stylizer",
    "decode",
    "encode",
    "read_info",
]
