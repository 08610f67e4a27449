"""The graph: nodes that read, filter, guide, stylize and write frames, in any order. Knows files, knows no host.

What is named here is public; what begins with an underscore, and the rest of the modules, may change.
"""

from .graph import load_graph, load_write, save_graph
from .guide import Guide, GuideParams
from .mapping import PathMapping
from .mix import Mix, MixParams
from .motion import Vectors, VectorsParams
from .node import Node
from .prefilter import Prefilter, PrefilterParams
from .read import Read, ReadParams
from .render import Evaluator, FrameDone, finish_frames, prepare_frames, render_frames
from .shot import Painting, Shot, as_trained, load_keyframes, stylized, with_exemplars
from .steady import Steady, SteadyParams
from .stylize import Stylize, StylizeParams
from .write import Found, Write, WriteParams

__all__ = [
    "Evaluator",
    "Found",
    "FrameDone",
    "Guide",
    "GuideParams",
    "Mix",
    "MixParams",
    "Node",
    "Painting",
    "PathMapping",
    "Prefilter",
    "PrefilterParams",
    "Read",
    "ReadParams",
    "Shot",
    "Steady",
    "SteadyParams",
    "Stylize",
    "StylizeParams",
    "Vectors",
    "VectorsParams",
    "Write",
    "WriteParams",
    "as_trained",
    "finish_frames",
    "load_graph",
    "load_keyframes",
    "load_write",
    "prepare_frames",
    "render_frames",
    "save_graph",
    "stylized",
    "with_exemplars",
]
