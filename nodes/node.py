"""The node contract, in the footsteps of OFX's getFramesNeeded and isIdentity and of Gaffer's hash and compute.

Requirements this design meets:
- A node is a pure function of (parameters, frame number, inputs). No state survives a call, so neither order nor
  threads nor processes nor machines can change a pixel.
- A node says beforehand which frames of which input it may read, and under which key its result stands. The key is made
  of everything the result depends on; equal keys mean equal pixels, on any machine.
- Identity is passed on: a node that changes nothing at a frame names the input that it passes through, and nothing is
  copied, computed or stored.
- Nodes are immutable values that hold their inputs, so a graph is simply its last node, and a cycle cannot be built.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from ..engine.digest import digest
from ..engine.frames import FrameRange


class Cancel(Protocol):
    """Asked between pieces of work; raises CancelledError when the caller no longer wants the result."""

    def __call__(self) -> None: ...


def never() -> None:
    """A `Cancel` that never does."""


class Fetch(Protocol):
    """`fetch(input name, frame)` gives an input's result at a declared frame."""

    def __call__(self, name: str, frame: int) -> Any: ...

    def key(self, name: str, frame: int) -> str:
        """That result's key, as it was when the frame was begun."""
        ...


Known = dict[tuple[int, int], str]
"""Keys by a node's `id` and the frame."""


class Node(ABC):
    """One step of a graph.

    inputs   input name -> the node it is linked to; optional inputs that are not linked are absent
    params   a frozen dataclass of JSON values; every one of them changes the key
    VERSION  raised whenever the node's code changes its pixels
    EFFECT   whether evaluating does something beyond its result (writes a file), so that no cache may stand in for it
    ARTEFACT whether the result is an array worth keeping on disk (a flow field, a registration), not an `Image`
    """

    VERSION: ClassVar[int] = 1
    EFFECT: ClassVar[bool] = False
    ARTEFACT: ClassVar[bool] = False
    INPUTS: ClassVar[tuple[str, ...]] = ()
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Any, **inputs: "Node | None") -> None:
        self.params = params
        self.inputs: Mapping[str, Node] = {name: node for name, node in inputs.items() if node is not None}
        unknown = set(self.inputs) - set(self.INPUTS) - set(self.OPTIONAL_INPUTS)
        missing = set(self.INPUTS) - set(self.inputs)
        if unknown or missing:
            raise TypeError(f"{type(self).__name__}: inputs {sorted(unknown)} unknown, {sorted(missing)} missing")

    def frames(self) -> FrameRange:
        """The frames this node can give: by default those of its first input."""
        return self.inputs[self.INPUTS[0]].frames()

    def has(self, frame: int) -> bool:
        """Whether this is one of `frames`. A key asks so hundreds of times: it must not go through the whole shot."""
        return frame in self.frames()

    def frames_needed(self, frame: int) -> Mapping[str, tuple[int, ...]]:
        """Which frames of each input `evaluate(frame)` may fetch: by default the same frame of each."""
        return dict.fromkeys(self.inputs, (frame,))

    def identity(self, frame: int) -> tuple[str, int] | None:
        """The (input, frame) that is passed through unchanged at this frame, or None where there is work to do."""
        return None

    def key(self, frame: int, known: Known | None = None) -> str:
        """The name of the result at this frame: a digest of everything that the pixels depend on.

        known  keys made a moment ago, and where this one and those below it are added: many paths through a graph lead
               to the same node. Only for a moment, since files change
        """
        known = {} if known is None else known
        place = id(self), frame
        if place not in known:
            passed = self.identity(frame)
            known[place] = (
                self._make_key(frame, known) if passed is None else self.inputs[passed[0]].key(passed[1], known)
            )
        return known[place]

    def _make_key(self, frame: int, known: Known) -> str:
        """`key`, where nothing is passed through."""
        needed = {
            name: [self.inputs[name].key(f, known) for f in frames]
            for name, frames in self.frames_needed(frame).items()
        }
        # One JSON value, not five: hundreds of keys are made for a frame, and most of their time is JSON's.
        return digest([type(self).__name__, self.VERSION, self.key_params(), needed, self.key_extra(frame)])

    def key_params(self) -> Mapping[str, Any]:
        """The parameters as they enter the key; a node whose parameter is a path replaces it by its content here."""
        return vars(self.params)

    def key_extra(self, frame: int) -> Any:
        """What else the result depends on, as JSON: a frame number used as a seed, a library's version."""
        return None

    @abstractmethod
    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Any:
        """The result at this frame: an `Image`, or an artefact (an array such as a flow field).

        Must call `cancel()` at least every quarter of a second, and fetch nothing that `frames_needed` did not name.
        """
