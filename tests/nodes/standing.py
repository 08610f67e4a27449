"""What must hold of every node, as plain functions over any node. Tests of a node call them with their own examples."""

import atexit
import dataclasses
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstroke.engine.digest import digest
from fewstroke.engine.errors import CancelledError
from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.node import Cancel, Fetch, Node
from fewstroke.nodes.render import Evaluator, render_frames


class Footage(Node):
    """Pictures from memory, as a source for other nodes."""

    @dataclasses.dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, pictures: Mapping[int, Image]):
        super().__init__(self.Params())
        self.pictures = pictures
        self.reads: list[int] = []

    def frames(self) -> FrameRange:
        return FrameRange.of(self.pictures)

    def key_extra(self, frame: int) -> str:
        picture = self.pictures[frame]
        return digest(picture.pixels, picture.alpha.value)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        self.reads.append(frame)
        return self.pictures[frame]


class Fetched:
    """A node's `Fetch` by hand, of whatever frames; without a node there is nothing to fetch."""

    def __init__(self, node: Node | None = None, evaluate: Evaluator | None = None):
        self._inputs = {} if node is None else node.inputs
        self._evaluate = evaluate or fresh_evaluator()

    def __call__(self, name: str, frame: int) -> Any:
        return self._evaluate(self._inputs[name], frame)

    def key(self, name: str, frame: int) -> str:
        return self._inputs[name].key(frame)


_locks = tempfile.TemporaryDirectory()
atexit.register(_locks.cleanup)


def fresh_evaluator() -> Evaluator:
    """One that remembers nothing of other tests, neither in memory nor on disk."""
    return Evaluator(disk=DiskCache(Path(_locks.name), capacity_bytes=0))


def array_of(result: Any) -> np.ndarray:
    """The pixels of an `Image`, or the artefact itself."""
    return result.pixels if isinstance(result, Image) else result


def check_keys(make: Callable[[Any], Node], params: Any, frame: int, **others: Any) -> None:
    """Every parameter nudged changes the key; the same parameters give the same key.

    make    builds the node from its params
    params  such that the node has work to do at `frame`
    others  parameter name -> another legal value, where the default nudge (numbers up by one, booleans turned) is none
    """
    key = make(params).key(frame)
    assert make(dataclasses.replace(params)).key(frame) == key
    seen = {key}
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        nudged = others.get(field.name, not value if isinstance(value, bool) else value)
        if nudged is value:
            assert isinstance(value, (int, float)), f"give check_keys another legal {field.name}"
            nudged = value + 1
        other = make(dataclasses.replace(params, **{field.name: nudged})).key(frame)
        assert other not in seen, f"{field.name} does not change the key"
        seen.add(other)


def check_order(node: Node, frames: Sequence[int]) -> None:
    """In order, shuffled, one alone and on four threads: the same bits. Undeclared reads fail in the evaluator."""
    evaluate = fresh_evaluator()
    ordered = {frame: array_of(evaluate(node, frame)) for frame in frames}
    shuffled = list(frames)
    random.Random(0).shuffle(shuffled)
    evaluate = fresh_evaluator()
    for frame in shuffled:
        assert np.array_equal(array_of(evaluate(node, frame)), ordered[frame])
    alone = shuffled[0]
    assert np.array_equal(array_of(fresh_evaluator()(node, alone)), ordered[alone])
    for event in render_frames(node, shuffled, jobs=4, evaluator=fresh_evaluator()):
        assert np.array_equal(array_of(event.result), ordered[event.frame])


def check_declared(node: Node, frame: int) -> None:
    """What a node says it needs exists, and the evaluator's fetch lets it read nothing else."""
    for name, frames in node.frames_needed(frame).items():
        assert set(frames) <= set(node.inputs[name].frames())
    fresh_evaluator()(node, frame)


def check_cancel(node: Node, frame: int) -> None:
    """Wherever the node asks, a cancelled caller gets CancelledError at once, and the node asks at all."""
    inputs = fresh_evaluator()
    for name, frames in node.frames_needed(frame).items():
        for needed in frames:
            inputs(node.inputs[name], needed)

    def evaluate(limit: float) -> int:
        asked = 0

        def cancel() -> None:
            nonlocal asked
            asked += 1
            if asked > limit:
                raise CancelledError

        node.evaluate(frame, Fetched(node, inputs), cancel)
        return asked

    assert evaluate(float("inf")) > 0
    # Fewer questions may be asked in another run (a node that waits asks by the clock), so only the first few are sure.
    for limit in range(2):
        with pytest.raises(CancelledError):
            evaluate(limit)


def check_identity(node: Node, frame: int) -> None:
    """The input's own key and array: nothing is copied or computed."""
    passed = node.identity(frame)
    assert passed is not None
    source = node.inputs[passed[0]]
    assert node.key(frame) == source.key(passed[1])
    evaluate = fresh_evaluator()
    assert evaluate(node, frame) is evaluate(source, passed[1])
