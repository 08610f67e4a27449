"""Frames beside each other agree on where a place is.

Each frame finds its places by itself, and where several ways of finding them are about as good, chance decides: one
frame follows the flow and the next the registration, or takes another look-alike. Each may be right, and still the
strokes jump from the one to the other; and every registration errs by itself, by a quarter of a pixel or so, so that
they tremble. So a frame asks those round it, brings their places along the motion of the footage, and where most of
them lead elsewhere it goes with them, and takes the mean of those who agree. Votes count by confidence. And what
hardly any other frame agrees with is doubted, so that the network paints it. Only frames that show the same along the
motion are asked: what is too quick to be followed would be outvoted by the wall that the flow finds in its place.

It is done once, after all ways of finding places (places.py). Frames are asked for what they found by themselves, never
for what they agreed on, so it is the same in any order.
"""

from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import ClassVar

import cv2
import numpy as np

from ..engine.image import Image
from .guide import REFERENCE_HEIGHT, WorkPicture, work_flow
from .likeness import Colors, agreement
from .motion import Vectors
from .node import Cancel, Fetch, Node
from .places import Places
from .temporal import LEAST_EXPONENT, Temporal
from .warp import inside, positions, warp
from .wayback import HIDDEN

FARTHER = 0.7
"""How much the vote of a frame counts of that of one a frame nearer."""

SAME = 4.0
"""How far ways lead apart, pixels of a frame of REFERENCE_HEIGHT, where they agree by 1/e. With 1.4, 2 and 2.8
flicker is more by 0.12, 0.08 and 0.03 on `bust` (1/255), by 0.2, 0.14 and 0.07 on `dog`."""

OWN = 1.2
"""How many votes a place's own way has for one of another. With 1.6 there is up to 0.1 more flicker (1/255)."""

QUORUM = 0.5
"""Part of the votes up to which a place is doubted. With 0.75 there is less flicker still, and less of a brush: on
`dog` 0.24 less (1/255), and 6 more of swd."""

UNMOVED = 0.2
"""Pixels of the working size by which ways of two frames differ where nothing moved."""


@dataclass(frozen=True)
class ConsensusParams:
    """radius  frames before and after that are asked, 0 or more; 0: none"""

    radius: int = 2


class Consensus(Temporal):
    """As `Places`, which it asks; a frame without others beside it, and the key frame, keep theirs.

    footage  as of `Places`
    places   the `Places`
    vectors  as of `Places`

    The input "colors" is made here.
    """

    VERSION = 2
    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage", "places")
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("vectors",)
    params: ConsensusParams

    def __init__(self, params: ConsensusParams, footage: Node, places: Places, vectors: Vectors | None = None):
        super().__init__(params, footage, vectors, places=places)
        self.inputs = {**self.inputs, "colors": Colors(WorkPicture(footage))}
        self._keyframe = places.params.keyframe

    def offsets(self, frame: int) -> list[int]:
        """As of `Temporal`; the key frame knows its places."""
        return [] if frame == self._keyframe else super().offsets(frame)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        asked = tuple(sorted({frame, *(frame + offset for offset in self.offsets(frame))}))
        return {**super().frames_needed(frame), "places": asked, "colors": asked}

    def identity(self, frame: int) -> tuple[str, int] | None:
        return None if self.offsets(frame) else ("places", frame)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        footage: Image = fetch("footage", frame)
        own: np.ndarray = fetch("places", frame)
        here = fetch("colors", frame)
        others = []
        for offset in self.neighbours(frame, fetch, cancel):
            cancel()
            flow = work_flow(fetch(f"motion{offset:+d}", frame), footage.pixels.shape)
            same = agreement(here, warp(fetch("colors", frame + offset), flow))
            weight = same * inside(flow) * np.float32(FARTHER ** (abs(offset) - 1))
            others.append((weight, flow, fetch("places", frame + offset)))
        if not others:  # all beyond a cut
            return own
        layers = []
        for index, places in enumerate(own):
            cancel()
            layers.append(_agreed(places, [(weight, flow, other[index]) for weight, flow, other in others]))
        return np.stack(layers)


def _agreed(own: np.ndarray, others: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """A layer's places (h, w, 3), as most have them. Of the others: weights (h, w), flow that leads there, places."""
    ways, sures, weights = [np.ascontiguousarray(own[..., :2])], [own[..., 2]], [np.ones(own.shape[:2], np.float32)]
    still = np.zeros(own.shape[:2], bool)
    for weight, flow, other in others:
        still |= _apart(ways[0], np.ascontiguousarray(other[..., :2])) < UNMOVED**2
        x, y = positions(flow)
        # As they are, since halfway between two things lies a third.
        brought = cv2.remap(other, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        ways.append(brought[..., :2] + flow)
        sures.append(brought[..., 2])
        weights.append(weight)
    voices = [sure * weight for sure, weight in zip(sures, weights, strict=True)]
    ballots = [[voice] * len(ways) for voice in voices]  # [who votes][for whose way]: everybody for his own
    closeness = np.float32(-1 / (SAME * len(own) / REFERENCE_HEIGHT) ** 2)
    for first, second in combinations(range(len(ways)), 2):
        alike = cv2.exp(np.maximum(_apart(ways[first], ways[second]) * closeness, LEAST_EXPONENT))
        ballots[first][second], ballots[second][first] = alike * voices[first], alike * voices[second]

    way, sure = ways[0].copy(), sures[0].copy()
    votes = [ballot[0].copy() for ballot in ballots]
    most = _sum(votes) * np.float32(OWN)
    for candidate in range(1, len(ways)):
        count = _sum([ballot[candidate] for ballot in ballots])
        more = (count > most).astype(np.uint8)
        theirs = [ways[candidate], sures[candidate], count, *(ballot[candidate] for ballot in ballots)]
        for taken, chosen in zip(theirs, [way, sure, most, *votes], strict=True):
            cv2.copyTo(taken, more, chosen)
    total = _sum(votes)
    sure = np.minimum(sure, total / (_sum(weights) * np.float32(QUORUM)))
    # Those who agree lead to one place but for small errors, and their mean errs less. Where nothing moves, though,
    # they do not err, and the flow does.
    share = np.where(still, np.float32(0), 1 / np.maximum(total, np.float32(HIDDEN)))
    way += _sum([(other - way) * cv2.merge([vote * share] * 2) for other, vote in zip(ways, votes, strict=True)])
    return np.dstack([way, sure])


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far ways (h, w, 2) lead apart, squared: float32 (h, w)."""
    apart = cv2.subtract(first, second)
    return cv2.transform(cv2.multiply(apart, apart), np.ones((1, 2), np.float32))


def _sum(pictures: list[np.ndarray]) -> np.ndarray:
    return reduce(np.add, pictures)
