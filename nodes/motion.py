"""Where things go from one frame to another: estimated (`Flow`) or as the renderer knows it (`Vectors`).

Both give the same artefact, a flow field: float32 (H, W, 2), pixels, x right and y down. What lies at pixel x in frame
t lies at x + flow[x] in frame t + offset. Estimated fields are coarser than the frame; `warp.enlarged` makes them fit.
`consistent` says where such a field can be believed, `Cut` and `is_cut` where there is nothing to follow.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np
import OpenImageIO as oiio

from ..engine.errors import ImageError, ParameterError, ShapeError
from ..engine.frames import FrameRange
from ..engine.image import Image
from .node import Cancel, Fetch, Node, never
from .parallel import in_parallel
from .read import Read, ReadParams, refuse_nonfinite
from .warp import compose, enlarged, inside, warp


@dataclass(frozen=True)
class _Quality:
    """Settings of cv2.DISOpticalFlow; those not named here are the preset's.

    halvings  how often the picture is halved before its flow is estimated, if it is 1280 pixels wide at most; once more
              for twice the width, so that a 4K plate costs about what a 1080p plate costs
    """

    preset: int
    patch: int
    stride: int
    smoothness: float
    halvings: int


# OpenCV's "medium" has patches of 8 every 3 pixels and a smoothness of 20. Measured against the true motion of three
# rendered shots, these err as little without noise, 15 % less at noise of 25/255, and cost three quarters of the time.
# Patches every 8 pixels and 5 steps of gradient descent in place of 25 would err less on those shots, in two thirds of
# the time, but lose what moves by many pixels.
_QUALITIES = {
    "fast": _Quality(cv2.DISOPTICAL_FLOW_PRESET_FAST, patch=8, stride=4, smoothness=20, halvings=2),
    "medium": _Quality(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, patch=12, stride=6, smoothness=40, halvings=1),
}


@dataclass(frozen=True)
class FlowParams:
    """offset   flow goes from frame t to frame t + offset; negative is back in time, 0 is refused
    quality  "medium", or "fast": in half the time, edges less exact
    """

    offset: int = 1
    quality: str = "medium"


class Flow(Node):
    """Optical flow by dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016).

    Result: a flow field as coarse as it is estimated, which takes a fraction of the space. Direct between the two
    frames, so it depends on no frame between them.
    """

    VERSION = 3
    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)
    params: FlowParams

    def __init__(self, params: FlowParams, footage: Node):
        if params.offset == 0:
            raise ParameterError("the flow's offset is 0: use 1 for the next frame or -1 for the previous one")
        if params.quality not in _QUALITIES:
            raise ParameterError(f"the flow's quality '{params.quality}' is unknown: use {' or '.join(_QUALITIES)}")
        super().__init__(params, footage=footage)

    def towards(self, offset: int) -> "Flow":
        """The same node for another offset."""
        return Flow(replace(self.params, offset=offset), self.inputs["footage"])

    def frames(self) -> FrameRange:
        """The frames whose partner exists."""
        return FrameRange.of(filter(self.has, self.inputs["footage"].frames()))

    def has(self, frame: int) -> bool:
        footage = self.inputs["footage"]
        return footage.has(frame) and footage.has(frame + self.params.offset)

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return {"footage": (frame, frame + self.params.offset)}

    def key_extra(self, frame: int) -> str:
        # Versions of OpenCV differ in the last digits: up to 0.04 px between 4.14 and 5.0.
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        first, second = fetch("footage", frame), fetch("footage", frame + self.params.offset)
        cancel()
        return _coarse_flow(first, second, self.params.quality, cancel)


@dataclass(frozen=True)
class CutParams:
    """There are none."""


class Cut(Node):
    """Whether a cut lies between a frame and the next one there is: bool (), by `is_cut`."""

    ARTEFACT = True
    INPUTS: ClassVar[tuple[str, ...]] = ("footage",)

    def __init__(self, footage: Node):
        super().__init__(CutParams(), footage=footage)

    def frames(self) -> FrameRange:
        """All frames but the last."""
        return FrameRange.of(list(self.inputs["footage"].frames())[:-1])

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        there = self.inputs["footage"].frames()
        following = next(f for f in range(frame + 1, there.last + 1) if f in there)
        return {"footage": (frame, following)}

    def key_extra(self, frame: int) -> str:
        return cv2.__version__

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        pictures = []
        for needed in self.frames_needed(frame)["footage"]:
            cancel()
            pictures.append(fetch("footage", needed))
        cancel()
        return np.array(is_cut(*pictures))


@dataclass(frozen=True)
class VectorsParams:
    """path    the EXR sequence with the motion-vector pass, such as `render.####.exr`
    layer   part of the pass's channel names that tells it from others, such as "ViewLayer"; empty: the first pass
    offset  motion goes from frame t to frame t + offset; beyond 1 and -1 it is put together from the frames between
    """

    path: str
    layer: str = ""
    offset: int = 1


class Vectors(Node):
    """Motion as the renderer knows it, read from EXR files. Result: a flow field, as of `Flow`.

    Two kinds of pass are known, by the names of their channels. Both are in pixels of the picture, y up.
    Blender   `<layer>.Vector.X` to `.W`. X and Y lead to where the pixel's content was in the frame before; Z and W
              point the other way from what one would think, from the frame after to this one (Cycles computes previous
              minus current and current minus next, in `primitive_motion_vector`, kernel/geom; EEVEE follows it).
    Nuke      `forward.u`, `forward.v` lead to the next frame, `backward.u`, `backward.v` to the one before; with a
              layer's name before them or none.
    """

    ARTEFACT = True
    params: VectorsParams

    def __init__(self, params: VectorsParams):
        if params.offset == 0:
            raise ParameterError("the vectors' offset is 0: use 1 for the next frame or -1 for the previous one")
        super().__init__(params)
        self._files = Read(ReadParams(params.path, matte=True))

    def towards(self, offset: int) -> "Vectors":
        """The same node for another offset."""
        return Vectors(replace(self.params, offset=offset))

    def _steps(self, frame: int) -> range:
        """The frames whose passes lead from `frame` to `frame + offset`."""
        offset = self.params.offset
        return range(frame, frame + offset, 1 if offset > 0 else -1)

    def frames(self) -> FrameRange:
        """The frames whose partner and all passes between exist."""
        return FrameRange.of(filter(self.has, self._files.frames()))

    def has(self, frame: int) -> bool:
        return all(map(self._files.has, (*self._steps(frame), frame + self.params.offset)))

    def key_params(self) -> dict[str, Any]:
        return {"layer": self.params.layer, "offset": self.params.offset}

    def key_extra(self, frame: int) -> Any:
        return [self._files.key_extra(step) for step in self._steps(frame)]

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        """Raises FrameMissingError, and ImageError for a file that is damaged or has no such pass."""
        flow = None
        for step in self._steps(frame):
            cancel()
            read = self._read(step)
            flow = read if flow is None else compose(flow, read)
        assert flow is not None
        return flow

    def _read(self, frame: int) -> np.ndarray:
        path = self._files.path_of(frame)
        where = f"frame {frame} ({path.name})"
        parts = [oiio.ImageBuf(str(path), part, 0) for part in range(max(1, oiio.ImageBuf(str(path)).nsubimages))]
        found = [(part, *channels) for part in parts if (channels := self._channels(part.spec()))]
        if not found and not parts[0].has_error:
            layer = f" in {self.params.layer}" if self.params.layer else ""
            raise ImageError(
                f"{where} has no motion vectors{layer}; render it with a Vector pass (Vector.X to .W), "
                "or with forward.u, forward.v, backward.u and backward.v",
                path=path,
                frame=frame,
            )
        # The region of the display window: where the data window does not reach, nothing moves.
        pixels = found[0][0].get_pixels(oiio.FLOAT, found[0][0].roi_full) if found else None
        if pixels is None or found[0][0].has_error:
            raise ImageError(
                f"{where} is cut off, damaged or no picture; render or copy it again", path=path, frame=frame
            )
        _, u, v, sign = found[0]
        flow = np.ascontiguousarray(pixels[:, :, [u, v]]) * np.array([sign, -sign], np.float32)  # y down
        refuse_nonfinite(flow, where, path, frame)
        return flow

    def _channels(self, spec: oiio.ImageSpec) -> tuple[int, int, int] | None:
        """The indices of the two channels of the pass, and their sign: x to the right is sign * u, y up sign * v."""
        forward = self.params.offset > 0
        kinds = (
            (("vector.z", "vector.w", -1) if forward else ("vector.x", "vector.y", 1)),
            (("forward.u", "forward.v", 1) if forward else ("backward.u", "backward.v", 1)),
        )
        part = spec.get_string_attribute("oiio:subimagename") or spec.get_string_attribute("name")
        # Where every layer is a part of the file, the channels may be called X, Y, Z, W alone.
        names = [name if "." in name else f"{part}.{name}" for name in spec.channelnames]
        names = [f".{name.casefold()}" for name in names]
        for u, v, sign in kinds:
            for index, name in enumerate(names):
                other = name[: -len(u)] + v
                if name.endswith(f".{u}") and self.params.layer.casefold() in name and other in names:
                    return index, names.index(other), sign
        return None


def estimate_flow(first: Image, second: Image, quality: str = "medium", cancel: Cancel = never) -> np.ndarray:
    """The flow field from `first` to `second`, two pictures of one size. The same bits whatever the threads."""
    return enlarged(_coarse_flow(first, second, quality, cancel), first.pixels.shape)


def _coarse_flow(first: Image, second: Image, quality: str, cancel: Cancel) -> np.ndarray:
    if first.pixels.shape[:2] != second.pixels.shape[:2]:
        raise ShapeError(
            f"motion needs frames of one size, but one is {first.width}x{first.height} "
            f"and another {second.width}x{second.height} pixels: give them in one size",
            expected=first.pixels.shape[:2],
            actual=second.pixels.shape[:2],
        )
    settings = _QUALITIES[quality]
    wanted = settings.halvings + max(0, math.ceil(math.log2(max(first.height, first.width) / 1280)))
    halvings = max(0, min(wanted, int(math.log2(min(first.height, first.width) / _SMALLEST))))

    def estimate(pictures: tuple[Image, Image]) -> np.ndarray:
        first_codes, second_codes = _codes(*pictures, halvings=halvings)
        return _dis(first_codes, second_codes, settings)

    # On a thread of its own, because it takes up to a second and cannot be asked to stop.
    flow = in_parallel(estimate, [(first, second)], cancel)[0]
    return flow * np.array([first.width / flow.shape[1], first.height / flow.shape[0]], np.float32)


_SMALLEST = 32
"""Below this many pixels a side OpenCV's DIS may crash."""


def _dis(first: np.ndarray, second: np.ndarray, quality: _Quality) -> np.ndarray:
    """DIS on uint8 (H, W), at this very size; smaller frames are extended by repeating their border."""
    height, width = first.shape
    missing = (0, max(0, _SMALLEST - height), 0, max(0, _SMALLEST - width))
    first, second = (cv2.copyMakeBorder(codes, *missing, cv2.BORDER_REPLICATE) for codes in (first, second))
    dis = cv2.DISOpticalFlow.create(quality.preset)
    dis.setPatchSize(quality.patch)
    dis.setPatchStride(quality.stride)
    dis.setVariationalRefinementAlpha(quality.smoothness)
    dis.setFinestScale(0)
    flow = np.zeros((*first.shape, 2), np.float32)
    return np.ascontiguousarray(dis.calc(first, second, flow)[:height, :width])


# Rec. 709 luma of linear RGB (ITU-R BT.709-6, item 3.2). Which primaries the footage has makes no difference to motion.
_LUMA = np.array([[0.2126, 0.7152, 0.0722]], np.float32)


def _luma(image: Image) -> np.ndarray:
    if image.pixels.shape[2] == 1:
        return np.maximum(image.pixels[:, :, 0], 0)
    luma = cv2.transform(np.ascontiguousarray(image.rgb), _LUMA)
    return np.maximum(luma, 0, out=luma)


def _typical(luma: np.ndarray) -> float:
    """A mean that one bright lamp does not decide, and that scales with the exposure."""
    return float(cv2.mean(cv2.sqrt(luma))[0]) ** 2


def _codes(*pictures: Image, halvings: int = 0) -> list[np.ndarray]:
    """Pictures to compare as the 8-bit greys that DIS takes: uint8 (H, W), or halved so many times.

    The curve is log(1 + luma / pivot): near-linear below the pivot, where noise rules, and logarithmic above it, where
    highlights would otherwise take all the codes. The pivot is three tenths of each picture's own typical luma, so
    neither the exposure of the plate nor a change of exposure between the pictures moves the flow.
    """
    curves = []
    for picture in pictures:
        luma = _luma(picture)
        luma *= np.float32(1 / max(0.3 * _typical(luma), 1e-30))
        luma += 1
        curve = cv2.log(luma)
        for _ in range(halvings):
            size = max(1, curve.shape[1] // 2), max(1, curve.shape[0] // 2)
            curve = cv2.resize(curve, size, interpolation=cv2.INTER_AREA)
        curves.append(curve)
    # Some of the pixels are enough to find the range in. A picture with hardly any contrast is not stretched to the
    # full range: that would be its noise.
    step = max(1, 4 >> halvings)
    low, high = np.percentile([curve[::step, ::step] for curve in curves], (0.5, 99.5))
    scale = 255 / max(high - low, 0.1)
    return [np.rint(np.clip((curve - low) * scale, 0, 255)).astype(np.uint8) for curve in curves]


def consistent(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Where a flow field leads to the same content: bool (H, W). False where that is hidden or out of frame.

    forward   the flow field from a to b
    backward  the one from b to a
    There and back must end near the start: Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated
    Large Displacement Optical Flow", ECCV 2010, equation 5 and its constants.
    """
    back = warp(backward, forward)
    gap = np.square(forward + back).sum(axis=2)
    size = np.square(forward).sum(axis=2) + np.square(back).sum(axis=2)
    return inside(forward) & (gap <= 0.01 * size + 0.5)


_CUT_WIDTH = 96
_CUT_QUALITY = _Quality(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, patch=8, stride=3, smoothness=20, halvings=0)
_CUT_EXPLAINED = 0.4
_CUT_CODES = 20
_CUT_STOPS = 2.0


def is_cut(first: Image, second: Image) -> bool:
    """Whether a cut lies between two frames, a few frames apart at most: a function of these two alone.

    Small copies are registered to each other; within a shot most of the picture is found again, across a cut next to
    nothing is. (Measured on six rendered and one filmed shot: never less than 72 % found three frames apart, 63 % nine
    frames apart, and with noise of 25/255 76 %; across cuts at most 12 %.) A jump of two stops counts as a cut too:
    nothing can be averaged over it.
    """
    small = [_shrunk(picture) for picture in (first, second)]
    typical = [_typical(_luma(picture)) for picture in small]
    if max(typical) > min(typical) * 2**_CUT_STOPS:
        return True
    a, b = _codes(*small)
    forward, backward = (_dis(*pair, _CUT_QUALITY) for pair in ((a, b), (b, a)))
    difference = cv2.blur(np.abs(a - warp(b.astype(np.float32), forward)), (3, 3))
    found = consistent(forward, backward) & (difference < _CUT_CODES)
    return float(found.mean()) < _CUT_EXPLAINED


def _shrunk(picture: Image) -> Image:
    scale = min(1.0, _CUT_WIDTH / max(picture.width, picture.height))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return Image(cv2.resize(np.ascontiguousarray(picture.rgb), size, interpolation=cv2.INTER_AREA))
