"""Keys of nodes, of which as much is asked as there are nodes and frames; and the order in which frames are begun."""

import threading
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from standing import Footage, fresh_evaluator

from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.nodes.node import Node
from fewstroke.nodes.prefilter import Prefilter, PrefilterParams
from fewstroke.nodes.render import render_frames
from fewstroke.nodes.stmap import STMap, STMapParams


class Asked(Footage):
    """Footage that counts how often it is asked what it depends on."""

    count = 0

    def key_extra(self, frame):
        self.count += 1
        return super().key_extra(frame)


@dataclass(frozen=True)
class NoParams:
    """There are none."""


class Sum(Node):
    """Two inputs, each at the frame and the one before."""

    INPUTS: ClassVar[tuple[str, ...]] = ("first", "second")

    def __init__(self, first: Node, second: Node):
        super().__init__(NoParams(), first=first, second=second)

    def frames_needed(self, frame):
        return dict.fromkeys(self.INPUTS, (frame - 1, frame))

    def evaluate(self, frame, fetch, cancel):
        pixels = [fetch(name, at).pixels for name in self.INPUTS for at in (frame - 1, frame)]
        return Image(np.sum(pixels, axis=0))


def layered(leaf: Node, depth: int) -> Node:
    """4^depth paths lead from the result down to the leaf."""
    for _ in range(depth):
        leaf = Sum(leaf, leaf)
    return leaf


def test_a_key_asks_each_node_once_a_frame() -> None:
    leaf = Asked({t: Image(np.full((4, 4, 3), t, np.float32)) for t in range(40)})
    layered(leaf, 12).key(30)
    assert leaf.count == 13  # frames 18 to 30


def test_an_evaluation_asks_each_node_once_a_frame() -> None:
    leaf = Asked({t: Image(np.full((4, 4, 3), 1, np.float32)) for t in range(40)})
    result = fresh_evaluator()(layered(leaf, 6), 30)
    assert leaf.count == 7
    assert (result.pixels == 4**6).all()


def test_what_changes_meanwhile_is_noticed() -> None:
    pictures = {t: Image(np.full((4, 4, 3), t, np.float32)) for t in range(40)}
    leaf = Footage(pictures)
    evaluate, node = fresh_evaluator(), layered(leaf, 3)
    before, key = evaluate(node, 30).pixels, node.key(30)
    pictures[28] = Image(np.zeros((4, 4, 3), np.float32))
    assert node.key(30) != key
    assert (evaluate(node, 30).pixels < before).all()


class Together(Footage):
    """Footage of which so many frames are always made at the same time; it keeps which they were."""

    def __init__(self, pictures: dict[int, Image], jobs: int):
        super().__init__(pictures)
        self.seen: list[set[int]] = [set()]
        self._waiting = threading.Barrier(jobs, action=lambda: self.seen.append(set()))

    def evaluate(self, frame, fetch, cancel):
        self.seen[-1].add(frame)
        self._waiting.wait(timeout=30)
        return super().evaluate(frame, fetch, cancel)


class Shot(Footage):
    """Footage of so many frames, all alike, that knows which they are."""

    def __init__(self, count: int):
        super().__init__({})
        self._frames = FrameRange.of(range(count))

    def frames(self):
        return self._frames

    def key_extra(self, frame):
        return ""


def test_a_key_takes_no_longer_in_a_longer_shot(monkeypatch: pytest.MonkeyPatch) -> None:
    of, listed = FrameRange.of, []
    monkeypatch.setattr(FrameRange, "of", lambda frames: of(listed.append(frame) or frame for frame in frames))
    counts = []
    for length in (1000, 2000):
        shot = Shot(length)
        graph = [Prefilter(PrefilterParams(), shot), STMap(STMapParams((400,)), shot)]
        listed.clear()
        for node in graph:
            node.key(500)
        counts.append(len(listed))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("count", "jobs", "apart"), [(32, 2, 8), (48, 3, 8), (10, 2, 5), (4, 4, 1), (5, 1, 1)])
def test_frames_side_by_side_lie_apart(count: int, jobs: int, apart: int) -> None:
    footage = Together({frame: Image(np.full((4, 4, 3), frame, np.float32)) for frame in range(count)}, jobs)
    done = sorted(event.frame for event in render_frames(footage, range(count), jobs=jobs, evaluator=fresh_evaluator()))
    assert done == list(range(count))
    for together in footage.seen[:-1]:
        assert sorted(together) == list(range(min(together), max(together) + 1, apart))
        assert len(together) == jobs
