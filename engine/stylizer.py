"""The stylizer: pictures in, painted pictures out. Never imports torch; one instance serves any number of threads."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import onnxruntime as ort

from .errors import ParameterError, ShapeError
from .image import Alpha, Image
from .model import ModelInfo
from .sessions import Device, open_session
from .tiles import Rect, cover, grow, split

TILE = 1024
"""Default side of a tile, pixels: up to here a frame runs whole. Bounds the memory of one run to some 500 MB. On a card
of H200's class, 1080p whole was a sixth faster than in four tiles; eight such frames at once took 10 GB."""

POLL_SECONDS = 0.02
"""How often a run that can be cancelled asks whether it was."""


class Stylizer:
    """A model, ready to paint.

        stylizer = Stylizer("shot.onnx")
        painted = stylizer(Image(pixels), mask=matte)

    Frames are independent of each other, and a tile or a masked region gives what the whole frame gives there, to 1e-5
    of the working encoding.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        device: Device | str = Device.AUTO,
        threads: int = 0,
        tile: int = TILE,
    ):
        """model    path of an `.onnx` file, or its bytes
        device   see `sessions.Device`
        threads  that one frame may use; 0 for all cores
        tile     side of the largest piece that is run at once, pixels, without the halo around it

        Raises ModelError where it is no Fewstroke model, ParameterError where the device is not there.
        """
        if tile < 16:
            raise ParameterError(f"a tile must be at least 16 pixels, not {tile}")
        self._session = open_session(model, device=device, threads=threads)
        self._tile = tile

    @property
    def info(self) -> ModelInfo:
        """The model's facts."""
        return self._session.info

    def __call__(
        self,
        image: Image,
        *,
        source: Image | None = None,
        guide: np.ndarray | None = None,
        light: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        cancel: Callable[[], None] | None = None,
    ) -> Image:
        """One frame. See `batch`."""
        return self.batch(
            [image],
            sources=None if source is None else [source],
            guides=None if guide is None else [guide],
            lights=None if light is None else [light],
            masks=None if mask is None else [mask],
            cancel=cancel,
        )[0]

    def batch(
        self,
        images: Sequence[Image],
        *,
        sources: Sequence[Image] | None = None,
        guides: Sequence[np.ndarray] | None = None,
        lights: Sequence[np.ndarray] | None = None,
        masks: Sequence[np.ndarray] | None = None,
        cancel: Callable[[], None] | None = None,
    ) -> list[Image]:
        """Frames of one size, run together. Worth it on a graphics card; on a CPU it is as fast as one by one.

        images    scene-linear in `info.working_space`; a matte is no picture
        sources   what the network looks at, where that is not the frame itself but, say, the prefiltered frame
        guides    float32 (H, W, G) each, where the model has guide channels
        lights    float32 (2, h, w, 3) each, spread over the picture: factors of scene-linear RGB for what the network
                  sees, and such as are taken out of what it paints
        masks     float32 (H, W) each, 0..1: outside, the frame passes through bit for bit, and costs nothing
        cancel    called every few hundredths of a second; what it raises ends the run at once

        Returns the painted pictures, each with the alpha, association and metadata of its frame. Where alpha is 0 the
        frame passes through. Raises ShapeError where sizes or channels do not fit.
        """
        sources = sources or images
        self._check(images, sources, guides, masks)
        height, width = images[0].height, images[0].width
        if masks is None:
            pieces = split(Rect(0, 0, height, width), self._tile)
            weights: list[np.ndarray] | None = None
        else:
            weights = [mask.reshape(height, width) for mask in masks]
            union = weights[0] if len(weights) == 1 else np.maximum.reduce(weights)
            pieces = [piece for area in cover(union, self.info.halo) for piece in split(area, self._tile)]

        # Without mask and alpha no pixel stays as it is.
        results = [
            np.empty_like(image.pixels) if masks is None and image.alpha is Alpha.NONE else image.pixels.copy()
            for image in images
        ]
        shadings = [[spread(part, images[0].pixels.shape) for part in light] for light in lights or ()]
        for piece in pieces:
            seen = grow(piece, self.info.halo, self.info.size_multiple, height, width)
            shown = [_straight(image, seen) for image in sources]
            for i, (factors, _) in enumerate(shadings):
                shown[i] = _lit(shown[i], factors, seen)
            painted = self._run(shown, None if guides is None else [guide[seen.slices] for guide in guides], cancel)
            inner = piece.within(seen).slices
            for i, image in enumerate(images):
                mask = None if weights is None else weights[i][piece.slices]
                paint = _lit(painted[i][inner], 1 / shadings[i][1], piece) if shadings else painted[i][inner]
                _mix(results[i][piece.slices], image.alpha, paint, mask)
        return [replace(image, pixels=pixels) for image, pixels in zip(images, results, strict=True)]

    def _check(
        self,
        images: Sequence[Image],
        sources: Sequence[Image],
        guides: Sequence[np.ndarray] | None,
        masks: Sequence[np.ndarray] | None,
    ) -> None:
        size = (images[0].height, images[0].width)
        extra = len(self.info.channels) - 3
        given = 0 if guides is None else guides[0].shape[2]
        if given != extra:
            raise ShapeError(
                f"the model '{self.info.name}' needs {extra} guide channels but got {given}; "
                f"its channels are {', '.join(self.info.channels)}",
                expected=(*size, extra),
                actual=(*size, given),
            )
        pixels = [image.pixels for image in (*images, *sources)]
        for what, arrays in (("picture", pixels), ("guide", guides), ("mask", masks)):
            for array in arrays or ():
                if array.shape[:2] != size:
                    raise ShapeError(
                        f"the {what} is {array.shape[1]}x{array.shape[0]} but the footage is {size[1]}x{size[0]}; "
                        "give both at one size",
                        expected=size,
                        actual=array.shape[:2],
                    )

    def _run(
        self,
        pictures: Sequence[np.ndarray],
        guides: Sequence[np.ndarray] | None,
        cancel: Callable[[], None] | None,
    ) -> Sequence[np.ndarray]:
        """See `Session.run`."""
        run = self._session.run
        if cancel is None:
            return run(pictures, guides)
        cancel()
        # The run goes on in a thread of its own, so that this one can ask and then tell it to stop between two layers.
        options = ort.RunOptions()
        finished = threading.Event()

        def work() -> Sequence[np.ndarray]:
            try:
                return run(pictures, guides, options)
            finally:
                finished.set()

        with ThreadPoolExecutor(1, thread_name_prefix="fewstroke-run") as pool:
            future = pool.submit(work)
            try:
                while not finished.wait(POLL_SECONDS):
                    cancel()
            except BaseException:
                options.terminate = True
                raise
            return future.result()


def _straight(image: Image, area: Rect) -> np.ndarray:
    """Straight RGB of an area, (h, w, 3); of a grey picture its one channel, three times."""
    pixels = image.pixels[area.slices]
    rgb = pixels[..., :3]
    if image.alpha is Alpha.PREMULTIPLIED:
        alpha = pixels[..., 3:]
        rgb = np.divide(rgb, alpha, out=rgb.copy(), where=alpha > 0)
    return np.broadcast_to(rgb, (*rgb.shape[:2], 3))


def spread(factors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Factors (h, w, 3) over a picture of so many rows and columns; (1, 1, 3) where all are 1, so that pixels stay the
    very same."""
    if (factors == 1).all():
        return np.ones((1, 1, 3), np.float32)
    return cv2.resize(factors, shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _lit(pixels: np.ndarray, factors: np.ndarray, area: Rect) -> np.ndarray:
    """An area's pixels by its part of such factors."""
    return pixels if factors.shape[:2] == (1, 1) else pixels * factors[area.slices]


def _mix(pixels: np.ndarray, alpha: Alpha, painted: np.ndarray, mask: np.ndarray | None) -> None:
    """Puts the painting (h, w, 3), straight, into the pixels (h, w, C) in place, as far as the mask says."""
    if alpha is Alpha.NONE and mask is None:
        pixels[:] = painted
        return
    # Plane by plane: NumPy takes five times as long where the mask is repeated for every channel of a pixel.
    planes = cv2.split(pixels)
    coverage = None if alpha is Alpha.NONE else planes[3]
    here = np.ones(pixels.shape[:2], bool)
    for weight in (coverage, mask):
        if weight is not None:
            here &= weight > 0
    for plane, paint in zip(planes, cv2.split(painted), strict=False):  # an alpha stays as it is
        if alpha is Alpha.PREMULTIPLIED:
            paint = paint * planes[3]
        np.copyto(plane, paint if mask is None else plane + (paint - plane) * mask, where=here)
    pixels[:] = cv2.merge(planes)
