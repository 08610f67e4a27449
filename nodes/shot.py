"""A shot: footage, its painted keyframes, and the graph that feeds the network - the same in training and rendering."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..engine import color
from ..engine.config import Preset
from ..engine.errors import ImageError, ModelError, ShapeError
from ..engine.image import Image, unpremultiply
from ..engine.keyframe import Keyframe
from ..engine.model import ModelInfo
from ..engine.sessions import Device
from ..engine.stylizer import TILE, spread
from .guide import Guide, GuideParams
from .light import STOPS, Light, LightParams, response_of, typical
from .mix import Mix, MixParams
from .motion import Vectors, VectorsParams
from .node import Cancel, Node, never
from .prefilter import Prefilter, PrefilterParams
from .read import Read, ReadParams
from .render import Evaluator
from .steady import Steady, SteadyParams
from .stmap import STMap, STMapParams
from .stylize import Stylize, StylizeParams


@dataclass(frozen=True)
class Painting:
    """One keyframe as the artist made it: a frame number, the painted picture, and which pixels of it count.

    mask   path of a mask, white where the painting counts; None: the painting's alpha, or all of it
    space  colour space of the picture; empty: what `load_keyframes` is told, else what the file says
    """

    frame: int
    path: str
    mask: str | None = None
    space: str = ""


@dataclass(frozen=True)
class Shot:
    """What is painted, and what of it the network is shown.

    footage        `plate.####.exr`, a movie or one picture
    footage_space  its colour space; empty: what the files say
    matte          region of interest per frame, as `footage`; None: the whole frame
    vectors        EXR sequence with the renderer's motion-vector pass (see `Vectors`), which then takes the place of
                   estimated motion; None: motion is estimated
    prefilter      how the network's view of the footage is cleaned of noise; None: not at all
    guide          the guide layer the network is shown beside it; None: none
    exemplars      the painted key frames that it may copy from, so that it is shown where to find them; empty: none;
                   None: that of the guide. Only with a guide.
    lights, response
                   in how much light each of them is, and how far the paintings follow it, see `LightParams`
    """

    footage: str
    footage_space: str = ""
    matte: str | None = None
    vectors: str | None = None
    prefilter: PrefilterParams | None = None
    guide: GuideParams | None = None
    exemplars: tuple[int, ...] | None = None
    lights: tuple[float, ...] = ()
    response: float = 1.0

    @cached_property
    def footage_node(self) -> Read:
        return Read(ReadParams(self.footage, space=self.footage_space))

    @cached_property
    def matte_node(self) -> Read | None:
        return None if self.matte is None else Read(ReadParams(self.matte, matte=True))

    @cached_property
    def vectors_node(self) -> Vectors | None:
        return None if self.vectors is None else Vectors(VectorsParams(self.vectors))

    @cached_property
    def source_node(self) -> Node:
        """What the network looks at: the footage, prefiltered."""
        if self.prefilter is None:
            return self.footage_node
        return Prefilter(self.prefilter, footage=self.footage_node, vectors=self.vectors_node)

    @cached_property
    def guide_node(self) -> Guide | None:
        """Subject and background get points of their own where there is a matte and no vectors."""
        if self.guide is None:
            return None
        return Guide(self.guide, footage=self.footage_node, matte=self.matte_node, vectors=self.vectors_node)

    @cached_property
    def stmap_node(self) -> STMap | None:
        """Where to find the exemplars."""
        if self.guide is None or self.exemplars == ():
            return None
        params = STMapParams(self.exemplars or (self.guide.keyframe,), self.guide.interval)
        return STMap(params, footage=self.footage_node, matte=self.matte_node, vectors=self.vectors_node)

    @cached_property
    def light_node(self) -> Light | None:
        """The light of the exemplars."""
        stmap = self.stmap_node
        if stmap is None:
            return None
        params = LightParams(stmap.keyframes, self.lights, self.response)
        return Light(params, footage=self.footage_node, stmap=stmap, matte=self.matte_node)

    @property
    def channels(self) -> tuple[str, ...]:
        """What the network is shown, channel by channel."""
        guide = ("guide R", "guide G", "guide B") if self.guide_node is not None else ()
        stmap = ("s", "t", "confidence") if self.stmap_node is not None else ()
        return ("R", "G", "B", *guide, *stmap)

    @property
    def _guide_follows(self) -> str | None:
        """The sequence beside the footage that the guide layer's points are carried by, if any."""
        return "vectors" if self.vectors is not None else "matte" if self.matte is not None else None

    def facts(self) -> dict[str, Any]:
        """What a model must record so that `as_trained` shows the network the same again; fields of `ModelInfo`."""
        return {
            "channels": self.channels,
            "working_space": self.footage_node.working(),
            "footage_space": self.footage_node.space(),
            "prefilter": None if self.prefilter is None else asdict(self.prefilter),
            "guide": None if self.guide is None else {**asdict(self.guide), "follows": self._guide_follows},
            "exemplars": () if self.stmap_node is None else self.stmap_node.keyframes,
            "lights": self.lights,
            "response": self.response,
        }


_FOLLOWED = {"matte": "a matte", "vectors": "motion vectors"}


def as_trained(
    info: ModelInfo, footage: str, *, footage_space: str = "", matte: str | None = None, vectors: str | None = None
) -> Shot:
    """The shot as the model saw it in training: same colour space, prefilter and guide.

    Raises ModelError where the guide needs the matte or the vectors that it was trained with.
    """
    guide = dict(info.guide) if info.guide is not None else None
    follows = guide.pop("follows") if guide is not None else None
    if follows is not None and {"matte": matte, "vectors": vectors}[follows] is None:
        raise ModelError(
            f"the model '{info.name}' was trained with {_FOLLOWED[follows]}, which its guide layer needs; "
            f"give the shot's {follows}"
        )
    return Shot(
        footage,
        footage_space or info.footage_space,
        matte,
        vectors,
        None if info.prefilter is None else PrefilterParams(**info.prefilter),
        None if guide is None else GuideParams(**guide),
        exemplars=tuple(info.exemplars),
        lights=tuple(info.lights),
        response=info.response,
    )


def stylized(
    shot: Shot,
    model: str,
    *,
    strength: float = 1.0,
    steadiness: float = 0.0,
    device: Device | str = Device.AUTO,
    threads: int = 0,
    tile: int = TILE,
) -> Mix:
    """The graph that paints a shot with a trained model; see `Stylize`, `Steady` and `Mix`, in this order."""
    painted = Stylize(
        StylizeParams(model),
        footage=shot.footage_node,
        source=None if shot.prefilter is None else shot.source_node,
        guide=shot.guide_node,
        stmap=shot.stmap_node,
        light=shot.light_node,
        matte=shot.matte_node,
        device=device,
        threads=threads,
        tile=tile,
    )
    steady = Steady(
        SteadyParams(steadiness),
        image=painted,
        footage=shot.footage_node,
        matte=shot.matte_node,
        vectors=shot.vectors_node,
    )
    return Mix(MixParams(strength), image=steady, footage=shot.footage_node)


WHOLE = 0.9
"""A painting is an exemplar if it counts in at least this part of the picture: where the network is to copy from one
that is near in time, it cannot copy from a better one elsewhere."""


def with_exemplars(
    shot: Shot, paintings: Sequence[Painting], preset: Preset, *, paint_space: str = "", cancel: Cancel = never
) -> Shot:
    """The shot as a preset's network is to learn it: all keyframes that are painted as a whole are its exemplars, or
    where none is, the guide's. The published network knows no exemplars.

    paint_space  as of `load_keyframes`, which raises the same
    """
    if shot.guide is None or preset != "fast":
        return replace(shot, exemplars=())
    evaluate = Evaluator()
    plates, paints = {}, {}
    for painting in sorted(paintings, key=lambda p: p.frame):
        opened = _open(shot, painting, paint_space, evaluate, cancel)
        counts = opened.mask > 0.5
        if float(counts.sum()) >= WHOLE * float((opened.counting > 0.5).sum()):
            plates[painting.frame] = typical(unpremultiply(evaluate(shot.footage_node, painting.frame, cancel))[counts])
            paints[painting.frame] = typical(unpremultiply(opened.painted)[counts])
    if not plates:
        return replace(shot, exemplars=(shot.guide.keyframe,))
    whole = replace(shot, exemplars=tuple(plates))
    if max(plates.values()) < min(plates.values()) * 2**STOPS:
        return whole
    first = replace(shot, exemplars=(min(plates),))
    assert first.stmap_node is not None
    compare = Light(LightParams((min(plates),), even=1.0), first.footage_node, first.stmap_node, first.matte_node)
    factors = [float(evaluate(compare, frame, cancel)[1].mean()) for frame in plates]
    lights = tuple(factors[0] / factor for factor in factors)
    if max(lights) < min(lights) * 2**STOPS:
        return whole
    return replace(whole, lights=lights, response=response_of(lights, list(paints.values())))


def load_keyframes(
    shot: Shot, paintings: Sequence[Painting], *, paint_space: str = "", cancel: Cancel = never
) -> list[Keyframe]:
    """Reads footage and paintings of the keyframes and brings them into the working encoding.

    paint_space  colour space of the paintings; empty: what the files say, else sRGB for integer and linear for float

    Raises ImageError, FrameMissingError or ShapeError, naming frame and file, where something does not fit.
    """
    evaluate = Evaluator()
    keyframes = []
    for painting in sorted(paintings, key=lambda p: p.frame):
        frame = painting.frame
        opened = _open(shot, painting, paint_space, evaluate, cancel)
        source, painted = (
            unpremultiply(image) for image in (evaluate(shot.source_node, frame, cancel), opened.painted)
        )
        if shot.light_node is not None:
            seen, paint = (spread(part, source.shape) for part in evaluate(shot.light_node, frame, cancel))
            source, painted = source * seen, painted * paint
        shown = [
            evaluate(node, frame, cancel).pixels for node in (shot.guide_node, shot.stmap_node) if node is not None
        ]
        source = np.concatenate([color.encode(source), *shown], axis=2)
        keyframes.append(Keyframe(frame, source, color.encode(painted), opened.mask))
    return keyframes


@dataclass(frozen=True, eq=False)
class _Opened:
    """A painting that fits its footage, what of it counts, and what of the footage does: float32 (H, W), 0..1, each."""

    painted: Image
    mask: np.ndarray
    counting: np.ndarray


def _open(shot: Shot, painting: Painting, paint_space: str, evaluate: Evaluator, cancel: Cancel) -> _Opened:
    footage, matte = shot.footage_node, shot.matte_node
    frame = painting.frame
    plate: Image = evaluate(footage, frame, cancel)
    space = painting.space or paint_space
    painted = _read(evaluate, painting, ReadParams(painting.path, space=space, working=footage.working()))
    _check_size("painting", painting.path, painted, frame, plate)
    # Where there is no footage there is nothing to learn from: transparent pixels pass through when rendered, too.
    counting = np.ones((plate.height, plate.width), np.float32)
    if plate.coverage is not None:
        counting = counting * (plate.coverage[:, :, 0] > 0)
    if matte is not None:
        region: Image = evaluate(matte, frame, cancel)
        _check_size("matte", str(matte.path_of(frame)), region, frame, plate)
        counting = counting * region.pixels[:, :, 0].clip(0, 1)
    mask = counting
    if painting.mask is not None:
        given = _read(evaluate, painting, ReadParams(painting.mask, matte=True))
        _check_size("mask", painting.mask, given, frame, plate)
        mask = mask * given.pixels[:, :, 0].clip(0, 1)
    elif painted.coverage is not None:
        mask = mask * painted.coverage[:, :, 0].clip(0, 1)
    if not (mask > 0.5).any():
        what = painting.mask or shot.matte or f"the alpha of {painting.path}"
        raise ImageError(
            f"the mask of keyframe {frame} ({what}) is empty, so there is nothing to learn; paint it white where "
            "the painting counts, or leave it out",
            path=painting.path,
            frame=frame,
        )
    return _Opened(painted, mask, counting)


def _read(evaluate: Evaluator, painting: Painting, params: ReadParams) -> Image:
    """A still picture, or the keyframe's own frame of a painted sequence."""
    return evaluate(Read(params), painting.frame)


def _check_size(what: str, path: str, image: Image, frame: int, plate: Image) -> None:
    if (image.height, image.width) != (plate.height, plate.width):
        raise ShapeError(
            f"the {what} of keyframe {frame} ({path}) is {image.width}x{image.height} but the footage is "
            f"{plate.width}x{plate.height}; export it again at the size of the footage",
            expected=(plate.height, plate.width),
            actual=(image.height, image.width),
        )
