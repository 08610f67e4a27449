"""A graph as JSON, the same in every host.

    {"fewstroke": 1,
     "nodes": {"plate": {"type": "Read", "params": {"path": "plate.####.exr"}},
               "paint": {"type": "Stylize", "params": {"model": "shot.onnx"}, "inputs": {"footage": "plate"}}},
     "output": "paint"}

Paths are relative to the file, so that a shot's folder can be moved or mounted elsewhere; others are found again by a
`PathMapping`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..engine.errors import FewstrokeError, GraphError
from .guide import Guide, GuideParams
from .light import Light, LightParams
from .mapping import PathMapping
from .mix import Mix, MixParams
from .motion import Vectors, VectorsParams
from .node import Node
from .prefilter import Prefilter, PrefilterParams
from .read import Read, ReadParams
from .steady import Steady, SteadyParams
from .stmap import STMap, STMapParams
from .stylize import Stylize, StylizeParams
from .write import Write, WriteParams

VERSION = 1

NODES: Mapping[str, tuple[Any, Any]] = {
    "Read": (Read, ReadParams),
    "Vectors": (Vectors, VectorsParams),
    "Prefilter": (Prefilter, PrefilterParams),
    "Guide": (Guide, GuideParams),
    "STMap": (STMap, STMapParams),
    "Light": (Light, LightParams),
    "Stylize": (Stylize, StylizeParams),
    "Steady": (Steady, SteadyParams),
    "Mix": (Mix, MixParams),
    "Write": (Write, WriteParams),
}
"""What a file may name: node and parameters."""

PATHS = ("path", "model")
"""Parameters that are paths."""


def save_graph(output: Node, path: Path) -> None:
    """Writes the graph that ends in `output`."""
    names: dict[int, str] = {}
    entries: dict[str, Any] = {}

    def add(node: Node) -> str:
        if id(node) not in names:
            # Inputs that a node makes for itself (flow fields, registrations) are no links; it makes them again.
            linked = [name for name in (*node.INPUTS, *node.OPTIONAL_INPUTS) if name[0] != "_" and name in node.inputs]
            inputs = {name: add(node.inputs[name]) for name in linked}
            kind = type(node).__name__
            count = sum(entry["type"] == kind for entry in entries.values())
            names[id(node)] = f"{kind.lower()}{count + 1}"
            entries[names[id(node)]] = {"type": kind, "params": _relative(asdict(node.params), path), "inputs": inputs}
        return names[id(node)]

    text = json.dumps({"fewstroke": VERSION, "output": add(output), "nodes": entries}, indent=1)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise GraphError(f"the graph {path} cannot be written ({error.strerror}); choose another folder") from None


def load_graph(path: Path, *, mapping: PathMapping | None = None, **running: Any) -> Node:
    """The last node of a graph on disk. Raises GraphError, naming file and node, where it cannot be built.

    mapping  where its paths lie on this machine
    running  how the network runs, which is no part of the graph: `device`, `threads` and `tile` of `Stylize`
    """
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GraphError(f"the graph {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise GraphError(f"{path} is not a graph: it is no JSON ({error})") from None
    if not isinstance(file, dict) or file.get("fewstroke") != VERSION:
        raise GraphError(f"{path} is not a graph of this version; save it again with this version of Fewstroke")
    return _Loader(path, file.get("nodes", {}), mapping or PathMapping(), running).build(file.get("output", ""), ())


def load_write(path: Path, *, mapping: PathMapping | None = None, **running: Any) -> Write:
    """As `load_graph`, of a graph that writes files. Raises GraphError where it does not."""
    node = load_graph(path, mapping=mapping, **running)
    if not isinstance(node, Write):
        raise GraphError(f"{path} ends in a {type(node).__name__}, which writes nothing; save it with a Write")
    return node


class _Loader:
    def __init__(self, path: Path, entries: Mapping[str, Any], mapping: PathMapping, running: Mapping[str, Any]):
        self._path, self._entries, self._mapping, self._running = path, entries, mapping, running
        self._built: dict[str, Node] = {}

    def build(self, name: str, above: tuple[str, ...]) -> Node:
        """The node of a name; `above` are those that wait for it."""
        if name in above:
            raise GraphError(f"{self._path}: {' -> '.join((*above, name))} is a cycle; unlink one of them")
        if name not in self._entries:
            raise GraphError(f"{self._path}: there is no node '{name}'; there are {', '.join(self._entries)}")
        if name not in self._built:
            entry = self._entries[name]
            kind = entry.get("type")
            if kind not in NODES:
                raise GraphError(f"{self._path}: node '{name}' is of type '{kind}'; known are {', '.join(NODES)}")
            node_class, params_class = NODES[kind]
            inputs = {key: self.build(link, (*above, name)) for key, link in entry.get("inputs", {}).items()}
            allowed = {key for key in (*node_class.INPUTS, *node_class.OPTIONAL_INPUTS) if key[0] != "_"}
            self._refuse(name, "input", set(inputs) - allowed, allowed)
            self._refuse(name, "link to", set(node_class.INPUTS) - set(inputs), allowed)
            values = entry.get("params", {})
            known = {field.name for field in fields(params_class)}
            self._refuse(name, "parameter", set(values) - known, known)
            try:
                params = params_class(**_absolute(values, self._path, self._mapping))
                running = self._running if node_class is Stylize else {}
                self._built[name] = node_class(params, **inputs, **running)
            except (TypeError, FewstrokeError) as error:
                raise GraphError(f"{self._path}: node '{name}': {error}") from None
        return self._built[name]

    def _refuse(self, name: str, what: str, wrong: set[str], known: set[str]) -> None:
        if wrong:
            problem = "misses the" if what == "link to" else "has the unknown"
            raise GraphError(
                f"{self._path}: node '{name}' {problem} {what} '{min(wrong)}'; there are {', '.join(sorted(known))}"
            )


def _relative(params: dict[str, Any], graph: Path) -> dict[str, Any]:
    folder = os.path.abspath(graph.parent)
    return {
        key: Path(os.path.relpath(value, folder)).as_posix() if key in PATHS and value else value
        for key, value in params.items()
    }


def _absolute(params: Mapping[str, Any], graph: Path, mapping: PathMapping) -> dict[str, Any]:
    def value_of(key: str, value: Any) -> Any:
        if isinstance(value, list):  # JSON has no tuples
            return tuple(value_of("", item) for item in value)
        if key not in PATHS or not value:
            return value
        # As it stands first, since a path of Windows would count as relative here.
        absolute = os.path.normpath(os.path.abspath(graph.parent / value))
        return mapping.here(value) or mapping.here(absolute) or str(graph.parent / value)

    return {key: value_of(key, value) for key, value in params.items()}
