"""The guide layer: a mixture of Gaussians that sticks to the surfaces of the shot (the paper's 3.3).

Random points of random colour are strewn over the key frame and carried to every other frame by image registration
(arap.py), so that the network can tell alike-looking places apart and paints the same place alike in every frame.

How any frame stays independent of what else was rendered: `Span` nodes form a binary tree over fixed anchor frames,
`interval` frames apart, counted from the key frame both ways. A span of level 0 registers an anchor to the next one;
one of level n joins two of level n - 1 and registers its two ends directly, which takes out what the two erred.
`Register` joins the few spans (at most log2 of their number) between the key frame and a frame, and registers these
two directly again. So errors add up over a handful of steps, not hundreds; the chain is the same whoever asks first;
spans are artefacts that all frames share; those of a far frame can be computed on as many machines as there are.

Nothing is followed over a cut. Beyond it each frame is compared with the key frame alone: where the shot has come back
to it the points are found again, elsewhere they lie still.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, ClassVar

import cv2
import numpy as np

from ..engine.color import encode
from ..engine.digest import digest
from ..engine.errors import ParameterError, ShapeError
from ..engine.image import Image, unpremultiply
from .arap import ROUNDS, agreement, register
from .motion import Vectors, is_cut
from .node import Cancel, Fetch, Known, Node
from .parallel import in_parallel
from .warp import compose, inside, warp

WORK_AREA = 512 * 288
"""Pixels that registration works on; larger frames are reduced to it, as the sizes in arap.py are made for it."""

REFERENCE_HEIGHT = 288
"""Sizes of the guide are in pixels of a frame this high and grow with the frame, so that a proxy has the same guide."""

SEEN = 0.2
"""Two pictures have nothing in common where less than this part is found again. Across cuts between four shots at most
0.04 was found; where a pan replaced half of the picture, 0.9 of the rest."""

LEVELS = 20
"""Spans reach over 2^19 intervals: more than any shot."""


@dataclass(frozen=True)
class RegisterParams:
    """keyframe  the frame that others are registered to
    interval  frames between anchors
    """

    keyframe: int
    interval: int = 4


@dataclass(frozen=True)
class WorkPictureParams:
    """There are none."""


class WorkPicture(Node):
    """A frame as it is registered: float32 (h, w, 3), see `work_picture`. A node, so that it is made only once."""

    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)

    def __init__(self, footage: Node):
        super().__init__(WorkPictureParams(), footage=footage)

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        picture = fetch("footage", frame)
        cancel()
        return work_picture(picture)


class _Registration(Node):
    """What `Span` and `Register` share.

    Result: a deformation, float32 (L, h, w, 3) at the working size: for each layer, how far each pixel of the first
    frame has moved (x right, y down, in pixels of the working size) and how surely it is seen there, 0..1. There is one
    layer; with a matte there are two, the background and the subject.

    footage  the pictures
    matte    the subject's coverage
    vectors  the renderer's motion, used in place of matching; then the matte is not needed, and not used

    Inputs called "picture", "step+1" and so on are made here, as results of their own; they are no links of a graph.
    """

    VERSION = 10
    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: RegisterParams

    def __init__(self, params: RegisterParams, footage: Node, matte: Node | None, vectors: Vectors | None):
        if params.interval < 1:
            raise ParameterError(f"the guide's interval is {params.interval}: use 1 frame or more between anchors")
        super().__init__(params, footage=footage, matte=None if vectors else matte, vectors=vectors)
        steps = {f"step{offset:+d}": vectors.towards(offset) for offset in (-1, 1)} if vectors else {}
        self.inputs = {**self.inputs, **steps, "picture": WorkPicture(footage)}

    def _path(self, frame: int) -> list[int]:
        """The footage's frames from the key frame to this one, both included."""
        key = self.params.keyframe
        low, high = min(key, frame), max(key, frame)
        path = sorted({key, frame, *(f for f in self.inputs["footage"].frames() if low < f < high)})
        return path if frame >= key else path[::-1]

    def _reads_of_walk(self, path: Sequence[int]) -> dict[str, tuple[int, ...]]:
        reads = {**self._reads_of_match(path[0], path[-1]), "footage": (path[0], path[-1])}
        if "vectors" in self.inputs:
            reads[_step(path)] = tuple(path[:-1])
        return reads

    def _walk(self, path: Sequence[int], fetch: Fetch, cancel: Cancel, rounds: int) -> np.ndarray:
        """The deformation along a short stretch of the path, from its first frame to its last; lost over a cut.

        rounds  as of `register`
        """
        first, last = fetch("footage", path[0]), fetch("footage", path[-1])
        _require_one_shape(path[0], path[-1], first.pixels.shape[:2], last.pixels.shape[:2])
        vectors = (fetch(_step(path), frame) for frame in path[:-1]) if "vectors" in self.inputs else None
        known = None if vectors is None else _follow(vectors, cancel)
        deformation = self._match(path[0], path[-1], known, fetch, cancel, rounds)
        # Cuts are told from fast pans by whether anything of one picture was found in the other.
        return _lost(deformation) if _seen(deformation) < SEEN and is_cut(first, last) else deformation

    def _still(self, picture: Image) -> np.ndarray:
        """The deformation from a frame to itself."""
        layers = 2 if "matte" in self.inputs else 1
        still = np.zeros((layers, *work_size(picture.height, picture.width), 3), np.float32)
        still[..., 2] = 1
        return still

    def _reads_of_match(self, start: int, end: int) -> dict[str, tuple[int, ...]]:
        return {name: (start, end) for name in ("picture", "matte") if name in self.inputs}

    def _match(
        self, start: int, end: int, known: np.ndarray | None, fetch: Fetch, cancel: Cancel, rounds: int = ROUNDS
    ) -> np.ndarray:
        """The deformation between two frames by their pictures, starting from what is known of it, if anything."""
        if known is not None and not known.any():
            found = self._match(start, end, None, fetch, cancel)
            return found if _seen(found) >= SEEN else _lost(found)
        pictures = []
        for frame in (start, end):
            pictures.append(fetch("picture", frame))
            cancel()
        source, target = pictures
        _require_one_shape(start, end, source.shape[:2], target.shape[:2] if known is None else known.shape[1:3])
        if "vectors" in self.inputs and known is not None:
            flow = np.ascontiguousarray(known[0, ..., :2])
            return np.dstack([flow, agreement(source, target, flow)])[None]
        mattes: list[Any] = [(None, None)]
        if "matte" in self.inputs:
            subject = [work_matte(fetch("matte", frame), source.shape[:2]) for frame in (start, end)]
            mattes = [[1 - matte for matte in subject], subject]

        def register_layer(index: int) -> tuple[np.ndarray, np.ndarray]:
            source_matte, target_matte = mattes[index]
            return register(
                source,
                target,
                initial=None if known is None else np.ascontiguousarray(known[index, ..., :2]),
                trust=None if known is None else known[index, ..., 2],
                source_matte=source_matte,
                target_matte=target_matte,
                rounds=rounds,
                cancel=cancel,
            )

        # On threads of their own, because steps of it take longer than anybody who cancels should wait.
        layers = in_parallel(register_layer, range(len(mattes)), cancel)
        return np.stack([np.dstack(layer) for layer in layers])


class Span(_Registration):
    """The deformation over 2^level intervals, from an anchor frame to the anchor frame asked for, away from the key.

    The input "halves" is the spans of half the length; there are none at level 0.
    """

    def __init__(
        self,
        params: RegisterParams,
        footage: Node,
        matte: Node | None = None,
        vectors: Vectors | None = None,
        halves: "Span | None" = None,
    ):
        super().__init__(params, footage, matte, vectors)
        self._length: int = params.interval
        if halves is not None:
            self.inputs = {**self.inputs, "halves": halves}
            self._length = 2 * halves._length

    def _stretch(self, frame: int) -> list[int]:
        return self._path(frame)[-1 - self._length :]

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        path = self._stretch(frame)
        if "halves" not in self.inputs:
            return self._reads_of_walk(path)
        return {"halves": (path[self._length // 2], frame), **self._reads_of_match(path[0], frame)}

    def _make_key(self, frame: int, known: Known) -> str:
        # All that the tree below depends on, flat: a walk through it would ask for each anchor's key at every level.
        path = self._stretch(frame)
        read: dict[str, Sequence[int]] = {
            name: path[:: self.params.interval] for name in ("footage", "matte") if name in self.inputs
        }
        if "vectors" in self.inputs:
            read[_step(path)] = path[:-1]
        leaves = {name: [self.inputs[name].key(f, known) for f in frames] for name, frames in read.items()}
        return digest("Span", self.VERSION, self.params.interval, leaves, cv2.__version__)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        path = self._stretch(frame)
        if "halves" not in self.inputs:
            return self._walk(path, fetch, cancel, ROUNDS)
        known = _join(fetch("halves", path[self._length // 2]), fetch("halves", frame))
        return self._match(path[0], frame, known, fetch, cancel)


class Register(_Registration):
    """The deformation from the key frame to any frame. The inputs "spans0" and so on are `Span`s by level."""

    def __init__(
        self, params: RegisterParams, footage: Node, matte: Node | None = None, vectors: Vectors | None = None
    ):
        super().__init__(params, footage, matte, vectors)
        spans: list[Span] = []
        for _ in range(LEVELS):
            spans.append(Span(params, footage, matte, vectors, spans[-1] if spans else None))
        self.inputs = {**self.inputs, **{f"spans{level}": span for level, span in enumerate(spans)}}

    def _pieces(self, path: list[int]) -> tuple[list[tuple[str, int]], list[int]]:
        """The spans from the key frame to the last anchor (input, last frame), and the path from there on."""
        interval = self.params.interval
        anchors = (len(path) - 1) // interval
        spans: list[tuple[str, int]] = []
        done = 0
        for level in reversed(range(anchors.bit_length())):
            if anchors >> level & 1:
                done += interval << level
                spans.append((f"spans{level}", path[done]))
        return spans, path[done:]

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        path = self._path(frame)
        if len(path) == 1:
            # A matte makes two layers of it, so the key must know of it.
            return {name: (frame,) for name in ("footage", "matte") if name in self.inputs}
        spans, rest = self._pieces(path)
        needed: dict[str, tuple[int, ...]] = {name: (last,) for name, last in spans}
        for reads in (self._reads_of_walk(rest) if len(rest) > 1 else {}, self._reads_of_match(path[0], frame)):
            for name, frames in reads.items():
                needed[name] = tuple(dict.fromkeys(needed.get(name, ()) + frames))
        return needed

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        path = self._path(frame)
        if len(path) == 1:
            return self._still(fetch("footage", frame))
        spans, rest = self._pieces(path)
        pieces = [fetch(name, last) for name, last in spans]
        if len(rest) > 1:
            # In one round, as all of it is registered once more. Spans would err more so, and all that is made of them.
            pieces.append(self._walk(rest, fetch, cancel, rounds=1))
        return self._match(path[0], frame, reduce(_join, pieces), fetch, cancel)


def _step(path: Sequence[int]) -> str:
    """The input with the vectors that lead along a path."""
    return "step+1" if path[0] < path[-1] else "step-1"


def work_size(height: int, width: int) -> tuple[int, int]:
    """The height and width that a frame is registered at."""
    scale = min(1.0, (WORK_AREA / (height * width)) ** 0.5)
    return max(1, round(height * scale)), max(1, round(width * scale))


def work_picture(picture: Image) -> np.ndarray:
    """As `register` takes it: float32 (h, w, 3), encoded, at the working size."""
    height, width = work_size(picture.height, picture.width)
    pixels = np.ascontiguousarray(unpremultiply(picture))
    return encode(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def work_matte(matte: Image, shape: tuple[int, int]) -> np.ndarray:
    """The matte's coverage at the working size: float32 (h, w), 0..1."""
    pixels = np.ascontiguousarray(matte.coverage if matte.coverage is not None else matte.pixels[..., :1])
    return np.clip(cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA), 0, 1)


def work_flow(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A flow field of frames of this height and width at the working size, in pixels of it."""
    height, width = work_size(shape[0], shape[1])
    method = cv2.INTER_AREA if field.shape[0] > height else cv2.INTER_LINEAR
    scale = np.array([width / shape[1], height / shape[0], 0, 0])
    return cv2.multiply(cv2.resize(field, (width, height), interpolation=method), scale)


def _require_one_shape(start: int, end: int, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    if first != second:
        raise ShapeError(
            f"the guide layer needs frames and vectors of one shape, but those of frames {start} and {end} differ; "
            "scale or crop them",
            expected=first,
            actual=second,
        )


def _seen(deformation: np.ndarray) -> float:
    """How much of what should lie within the frame is seen there, 0..1."""
    within = inside(np.ascontiguousarray(deformation[0, ..., :2]))
    return float(deformation[..., 2].sum(axis=0)[within].mean()) if within.any() else 1.0


def _lost(deformation: np.ndarray) -> np.ndarray:
    """One of the same shape for frames that have nothing in common: still, and nowhere seen."""
    return np.zeros_like(deformation)


def _join(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A deformation from a to c, from those from a to b and from b to c; as sure as the less sure of the two."""
    if not (first.any() and second.any()):
        return _lost(first)
    layers = []
    for one, two in zip(first, second, strict=True):
        flow = np.ascontiguousarray(one[..., :2])
        sure = np.minimum(one[..., 2], warp(np.ascontiguousarray(two[..., 2]), flow)) * inside(flow)
        layers.append(np.dstack([compose(flow, np.ascontiguousarray(two[..., :2])), sure]))
    return np.stack(layers)


def _follow(vectors: Iterable[np.ndarray], cancel: Cancel) -> np.ndarray:
    """The deformation that flow fields from each frame to the next add up to."""
    flows = []
    for field in vectors:
        cancel()
        flows.append(work_flow(field, field.shape))
    total = reduce(compose, flows)
    return np.dstack([total, inside(total)]).astype(np.float32)[None]


@dataclass(frozen=True)
class GuideParams:
    """keyframe  the painted frame that the points are strewn over; with several, any one of them
    spacing   least distance between points, in pixels of a frame 288 pixels high
    sigma     standard deviation of the Gaussians, in the same pixels
    seed      of places and colours
    interval  frames between the anchors of the registration
    """

    keyframe: int
    spacing: float = 12.0
    sigma: float = 5.0
    seed: int = 0
    interval: int = 4


class Points(Node):
    """The mixture of Gaussians as it is drawn, float32 (L, h, w, 3), 0..1: a picture for each layer of the deformation,
    no finer than need be (`DRAWN`).

    Inputs as of `Guide`.
    """

    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: GuideParams

    def __init__(self, params: GuideParams, footage: Node, matte: Node | None, vectors: Vectors | None):
        super().__init__(params, footage=footage, matte=matte, vectors=vectors)
        registration = Register(RegisterParams(params.keyframe, params.interval), footage, matte, vectors)
        self.inputs = {**self.inputs, "registration": registration}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return {"registration": (frame,)}

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        deformations = fetch("registration", frame)

        def draw(layer: int) -> np.ndarray:
            height, width = deformations.shape[1:3]
            places, colors, weights = _carried(deformations[layer], self.params, layer)
            scale = min(1, DRAWN * REFERENCE_HEIGHT / (self.params.sigma * height))
            size = max(1, round(scale * height)), max(1, round(scale * width))
            places = (places + 0.5) * (size[1] / width, size[0] / height) - 0.5
            return _mixture(places, colors, weights, size, self.params.sigma, cancel)

        return np.stack(in_parallel(draw, range(len(deformations)), cancel))


class Guide(Node):
    """The mixture of Gaussians, at any frame: an `Image` of three channels, 0..1, without alpha.

    One set of points, strewn over one key frame, serves all key frames: at each painted frame the network learns from
    the points as they lie there, which are the same points, of the same colours, as at every other frame. Where the
    shot shows what the key frame did not (uncovered background, what comes in at the border), points of a second set
    show, which covers the whole plane and moves with the dominant motion of the shot; so nothing pops, and what a frame
    shows depends on that frame's deformation alone.

    footage  the pictures
    matte    the subject's coverage; subject and background then have points and deformations of their own
    vectors  the renderer's motion, used in place of matching; then the matte is not needed, and not used

    The input "points" is made here, as a result of its own; it is no link of a graph.
    """

    VERSION = 3
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    OPTIONAL_INPUTS: ClassVar[tuple[str, ...]] = ("matte", "vectors")
    params: GuideParams

    def __init__(self, params: GuideParams, footage: Node, matte: Node | None = None, vectors: Vectors | None = None):
        if params.spacing < 1 or params.sigma <= 0:
            raise ParameterError(
                f"a guide layer with spacing {params.spacing} and sigma {params.sigma} cannot be drawn: "
                "use a spacing of 1 pixel or more and a sigma above 0"
            )
        matte = None if vectors else matte
        super().__init__(params, footage=footage, matte=matte, vectors=vectors)
        self.inputs = {**self.inputs, "points": Points(params, footage, matte, vectors)}

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return {name: (frame,) for name in ("footage", "matte", "points") if name in self.inputs}

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        picture: Image = fetch("footage", frame)
        layers = []
        for layer in fetch("points", frame):
            cancel()
            layers.append(cv2.resize(layer, (picture.width, picture.height), interpolation=cv2.INTER_CUBIC))
        cancel()
        pixels = layers[0]
        if len(layers) == 2:
            matte = work_matte(fetch("matte", frame), pixels.shape[:2])[..., None]
            pixels = pixels + matte * (layers[1] - pixels)
        return Image(np.clip(pixels, 0, 1))


DRAWN = 2.5
"""The mixture is drawn no larger than so that this many pixels are its Gaussians' standard deviation, since it has
nothing finer: for a deformation with a tear it differed from one drawn at the working size by 0.002 in the mean, 0.03
at the most."""

HIDDEN = 0.05
"""The claim to a place of a point that is not seen there: it gives way to those that are."""

CROWDED = 0.75
"""Points nearer to each other than this many spacings share their place; when strewn, none are."""

GREY = 0.15
"""The weight of middle grey everywhere: where points have drawn apart they keep their soft round shape, as they have it
in the key frame, and do not become flat polygons with sharp edges."""

TILE = 24
"""The random points repeat after this many spacings; their colours do not."""


def _carried(deformation: np.ndarray, params: GuideParams, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the points of a layer lie after a deformation (h, w, 3): places (N, 2), colours (N, 3), weights (N,)."""
    height, width = deformation.shape[:2]
    spacing = params.spacing * height / REFERENCE_HEIGHT
    sources, colors = _strewn(np.zeros(2), np.array([width, height]), spacing, params.seed, 2 * layer)
    column = np.minimum(sources[:, 0].astype(int), width - 1)
    row = np.minimum(sources[:, 1].astype(int), height - 1)
    moved = deformation[row, column].astype(np.float64)
    places = sources - 0.5 + moved[:, :2]
    weights = _room(places / spacing, np.maximum(moved[:, 2], HIDDEN))

    matrix, shift = dominant_motion(deformation)
    margin = 3 * spacing
    corners = np.array([[x, y] for x in (-margin, width + margin) for y in (-margin, height + margin)])
    origin = (corners - shift) @ np.linalg.inv(matrix).T
    spare, spare_colors = _strewn(origin.min(axis=0), origin.max(axis=0), spacing, params.seed, 2 * layer + 1)
    spare_places = spare @ matrix.T + shift
    # Points of a layer lie at most one spacing from any place, so a spare one shows only where the layer has a hole.
    gap = _tree(places).query(spare_places)[0] / spacing - 1
    spare_weights = np.clip(gap / 0.5, 0, 1)
    spare_weights = spare_weights * spare_weights * (3 - 2 * spare_weights)
    return (
        np.concatenate([places, spare_places]),
        np.concatenate([colors, spare_colors]),
        np.concatenate([weights, spare_weights]),
    )


def _room(places: np.ndarray, claims: np.ndarray) -> np.ndarray:
    """The points' weights, 0..1: 1 unless they are crowded, and then by their claims (N,), 0..1.

    So what is hidden does not smear what hides it, and a place that is squeezed together keeps its contrast. `places`
    is in spacings.
    """
    pairs = _tree(places).query_pairs(CROWDED, output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    near = 1 - np.linalg.norm(places[first] - places[second], axis=1) / CROWDED
    others = np.bincount(first, near * claims[second], len(places))
    others += np.bincount(second, near * claims[first], len(places))
    return claims / (claims + others)


def dominant_motion(deformation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The affine motion that most of the picture follows: matrix (2, 2) and shift (2,), x -> matrix x + shift.

    Least squares, reweighted after Geman and McClure ("Statistical methods for tomographic image reconstruction", 1987)
    with a scale that shrinks: whatever moves on its own drops out.
    """
    sample = deformation[4::8, 4::8].reshape(-1, 3).astype(np.float64)
    y, x = np.mgrid[4 : deformation.shape[0] : 8, 4 : deformation.shape[1] : 8]
    places = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], -1)
    sure = sample[:, 2] + 1e-3
    motion = np.zeros((3, 2))
    weights = sure
    for scale in (64, 32, 16, 8, 4, 2, 2, 2):
        # einsum adds in a fixed order; a matrix product may not, with another number of threads.
        weighted = places * weights[:, None]
        normal = np.einsum("ni,nj->ij", weighted, places) + 1e-6 * np.eye(3)
        motion = np.linalg.solve(normal, np.einsum("ni,nk->ik", weighted, sample[:, :2]))
        error = np.square(sample[:, :2] - places @ motion).sum(axis=1)
        weights = sure / np.square(1 + error / scale**2)
    return np.eye(2) + motion[:2].T, motion[2]


def _strewn(low: np.ndarray, high: np.ndarray, spacing: float, seed: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """The random points of the plane between two corners: places (N, 2) and colours (N, 3), 0..1."""
    tile = _tile(seed, stream)
    first, last = (np.floor(corner / (spacing * TILE)).astype(int) for corner in (low, high))
    places, colors = [], []
    for row in range(first[1], last[1] + 1):
        for column in range(first[0], last[0] + 1):
            places.append((tile + np.array([column, row]) * TILE) * spacing)
            # SeedSequence takes no negative numbers.
            key = (seed & 0xFFFFFFFF, stream, column & 0xFFFFFFFF, row & 0xFFFFFFFF)
            colors.append(np.random.default_rng(key).random((len(tile), 3)))
    points, paint = np.concatenate(places), np.concatenate(colors)
    within = ((points >= low) & (points < high)).all(axis=1)
    return points[within], paint[within]


def _tree(points: np.ndarray, boxsize: float | None = None) -> Any:
    """scipy's KDTree."""
    from .sparse import KDTree  # here: see there

    return KDTree(points, boxsize=boxsize)


@lru_cache(maxsize=32)
def _tile(seed: int, stream: int) -> np.ndarray:
    """A periodic Poisson-disk sample of a square of TILE spacings: float64 (N, 2), in spacings.

    Dart throwing (Cook, "Stochastic Sampling in Computer Graphics", 1986), a handful at a time, until next to no gap is
    left: no two points are nearer than one spacing, and no place is much farther than that from all of them.
    """
    random = np.random.default_rng((seed & 0xFFFFFFFF, stream))
    points = np.empty((0, 2))
    for _ in range(60):
        darts = random.random((TILE * TILE, 2)) * TILE
        if len(points):
            darts = darts[_tree(points, boxsize=TILE).query(darts)[0] >= 1]
        if len(darts):
            # Of two that are too near each other the later one goes.
            pairs = _tree(darts, boxsize=TILE).query_pairs(1, output_type="ndarray")
            points = np.concatenate([points, np.delete(darts, pairs.max(axis=1), axis=0)])
    return points


def _mixture(
    places: np.ndarray,
    colors: np.ndarray,
    weights: np.ndarray,
    shape: tuple[int, int],
    sigma: float,
    cancel: Cancel,
) -> np.ndarray:
    """Each pixel's mean of the points' colours and a little grey, weighted by the Gaussians: float32 (h, w, 3), 0..1.

    The Gaussians are round whatever the deformation did to the surroundings (the paper's reason to take Gaussians).
    They are products of one Gaussian across and one down, so a block of the picture is a sum of products of those few
    that reach it.
    """
    height, width = shape
    sigma = sigma * height / REFERENCE_HEIGHT
    reach = 5 * sigma
    seen = weights > 0
    places = places[seen]
    paint = np.column_stack([colors, np.ones(len(colors))]) * weights[:, None]
    paint = paint[seen].astype(np.float32)[..., None]
    across, down = (_bell(np.arange(size) - places[:, axis, None], sigma) for axis, size in ((0, width), (1, height)))
    total = np.empty((4, height, width), np.float32)
    middle = (_BLOCK - 1) / 2
    for top in range(0, height, _BLOCK):
        cancel()
        rows = slice(top, top + _BLOCK)
        beside = np.flatnonzero(np.abs(places[:, 1] - top - middle) < reach + middle)
        painted = paint[beside] * down[beside, None, rows]
        for left in range(0, width, _BLOCK):
            columns = slice(left, left + _BLOCK)
            near = np.flatnonzero(np.abs(places[beside, 0] - left - middle) < reach + middle)
            # einsum adds in a fixed order; a matrix product may not, with another number of threads.
            total[:, rows, columns] = np.einsum("kcy,kx->cyx", painted[near], across[beside[near], columns])
    weight = total[3] + np.float32(GREY)
    return cv2.merge([(plane + np.float32(GREY / 2)) / weight for plane in total[:3]])


_BLOCK = 32
"""Rows and columns of a block of the mixture: the fewer, the fewer Gaussians reach it."""


def _bell(distance: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian, float32."""
    exponent = np.square(distance).astype(np.float32)
    exponent /= np.float32(-2 * sigma**2)
    # Not nearer to 0 than this, where numbers are slow.
    return cv2.exp(np.maximum(exponent, np.float32(-30)))
