"""Carried: the way back to the key frame along optical flow, from frame to frame.

The registration (arap.py) is as stiff as it can be, which is right for most of a picture over many frames, but where a
thing turns far, it tears. Flow bends with it: each step errs a little, and the errors add up, but for a while they stay
small. So a place has two ways back, and the pictures say which is likelier (places.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ..engine.frames import FrameRange
from .guide import work_flow
from .motion import Flow, FlowParams
from .node import Cancel, Fetch, Node
from .warp import compose

LEG = 8
"""Frames whose steps are one result on disk."""
LEGS = 6
"""Farther than so many legs from the key frame nothing is carried: errors add up, and a frame that is made alone needs
all steps on its way."""


@dataclass(frozen=True)
class CarriedParams:
    """keyframe  where it leads"""

    keyframe: int


class _Steps(Node):
    """What a leg and what follows it have in common."""

    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    params: CarriedParams

    def __init__(self, params: CarriedParams, footage: Node):
        super().__init__(params, footage=footage)
        flow = Flow(FlowParams(), footage)
        self.inputs = {**self.inputs, "motion-1": flow.towards(-1), "motion+1": flow.towards(1)}

    def _needs(self, frame: int, before: str, count: int) -> dict[str, tuple[int, ...]]:
        """The last so many steps up to a frame, and what lies before them, if anything."""
        away = 1 if frame > self.params.keyframe else -1
        steps = tuple(frame - away * step for step in reversed(range(count)))
        needed = {"footage": (frame,), "motion-1" if away > 0 else "motion+1": steps}
        start = frame - away * count
        return needed if start == self.params.keyframe else {**needed, before: (start,)}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        """float32 (h, w, 2): how far each pixel is from its place in the key frame, pixels of the working size."""
        _, (motion, steps), *before = self.frames_needed(frame).items()
        shape = fetch("footage", frame).pixels.shape
        way: np.ndarray | None = None
        for name, (start,) in before:  # one, or none next to the key frame
            way = fetch(name, start)
        for step in steps:
            cancel()
            flow = work_flow(fetch(motion, step), shape)
            way = flow if way is None else compose(flow, way)
        assert way is not None
        return way


class _Leg(_Steps):
    """The way back from the end of a leg, of which the next one and all frames up to there are made."""

    ARTEFACT: ClassVar[bool] = True

    def __init__(self, params: CarriedParams, footage: Node, before: "_Leg | None"):
        super().__init__(params, footage)
        if before is not None:
            self.inputs = {**self.inputs, "before": before}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return self._needs(frame, "before", LEG)


class Carried(_Steps):
    """Of a frame that is not the key frame. Inputs as of `Flow`; those called "leg0" and so on are made here."""

    def __init__(self, params: CarriedParams, footage: Node):
        super().__init__(params, footage)
        legs: list[_Leg] = []
        for _ in range(LEGS):
            legs.append(_Leg(params, footage, legs[-1] if legs else None))
        self.inputs = {**self.inputs, **{f"leg{number}": leg for number, leg in enumerate(legs)}}

    def frames(self) -> FrameRange:
        """The frames near enough, without a gap between them and the key frame."""
        there, key = self.inputs["footage"].frames(), self.params.keyframe
        return FrameRange.of(frame for away in (1, -1) for frame in _reached(there, key, away))

    def identity(self, frame: int) -> tuple[str, int] | None:
        legs, rest = divmod(abs(frame - self.params.keyframe), LEG)
        return None if rest else (f"leg{legs - 1}", frame)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        legs, rest = divmod(abs(frame - self.params.keyframe), LEG)
        return self._needs(frame, f"leg{legs - 1}", rest)


def _reached(there: FrameRange, key: int, away: int) -> Sequence[int]:
    reached = []
    for step in range(1, LEG * LEGS + 1):
        if key + away * step not in there:
            break
        reached.append(key + away * step)
    return reached
