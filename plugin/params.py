"""Parameters as artists meet them: label, range, default and one sentence, once for all hosts.

Standard library only, since hosts build their panels from it. A test holds it against the nodes' own parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Param:
    """One number.

    label     as on a slider
    default   int or float; its type is the parameter's
    low, high  the range, both included
    sentence  what it does, unit included, without a full stop
    """

    label: str
    default: int | float
    low: int | float
    high: int | float
    sentence: str


PREFILTER: Mapping[str, Param] = {
    "strength": Param(
        "Strength", 1.0, 0.0, 1.0, "How much of the filtered picture is taken; 0 leaves the footage alone"
    ),
    "radius": Param(
        "Radius", 2, 0, 10, "Frames before and after that are averaged; 2 for common noise, 5 for heavy noise"
    ),
    "noise": Param(
        "Noise", 0.0, 0.0, 100.0, "Standard deviation of the noise, in steps of 8 bits; 0 measures it in every frame"
    ),
    "spatial": Param("Spatial", 3, 0, 10, "Radius in pixels of the filter within the frame; 0 for none"),
}

GUIDE: Mapping[str, Param] = {
    "keyframe": Param(
        "Keyframe", 1, -1_000_000, 1_000_000, "The painted frame of the footage over which the points are strewn"
    ),
    "spacing": Param("Spacing", 12.0, 1.0, 200.0, "Least distance of the points, in pixels of a frame 288 pixels high"),
    "sigma": Param("Sigma", 5.0, 0.1, 100.0, "Size of the Gaussians, in pixels of a frame 288 pixels high"),
    "seed": Param("Seed", 0, 0, 2**31 - 1, "Of the points' places and colours"),
    "interval": Param("Interval", 4, 1, 100, "Frames between the anchors of the registration"),
}
