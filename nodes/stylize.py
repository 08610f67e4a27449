"""Stylize: footage, guide and matte through a trained model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2

from ..engine.digest import digest
from ..engine.errors import ImageError, ShapeError
from ..engine.image import Image
from ..engine.sessions import Device, read_model
from ..engine.stylizer import TILE, Stylizer
from .node import Cancel, Fetch, Node


@dataclass(frozen=True)
class StylizeParams:
    """model  path of the `.onnx` file"""

    model: str


class Stylize(Node):
    """Footage in, painted footage out, frame by frame.

    footage  RGB or RGBA, scene-linear in the model's working space (`Stylizer.info.working_space`)
    source   what the network looks at, where that is not the footage itself but the prefiltered footage
    guide    (H, W, 3) where the model was trained with one
    stmap    (H, W, 3) likewise, see `STMap`
    light    the key frames' light, where the frame has another, see `Light`
    matte    (H, W, 1) region of interest: outside, the footage passes through

    How it runs is no parameter, since it changes no pixel by more than a rounding: `device`, `threads` and `tile` as in
    `Stylizer`.
    """

    INPUTS = ("footage",)
    OPTIONAL_INPUTS = ("source", "guide", "stmap", "light", "matte")
    params: StylizeParams

    def __init__(
        self,
        params: StylizeParams,
        *,
        footage: Node,
        source: Node | None = None,
        guide: Node | None = None,
        stmap: Node | None = None,
        light: Node | None = None,
        matte: Node | None = None,
        device: Device | str = Device.AUTO,
        threads: int = 0,
        tile: int = TILE,
    ):
        """Raises ModelError where the model is none, ParameterError where the device cannot be."""
        links = {"source": source, "guide": guide, "stmap": stmap, "light": light, "matte": matte}
        super().__init__(params, footage=footage, **links)
        self._model_digest = digest(read_model(params.model))
        self.stylizer = Stylizer(params.model, device=device, threads=threads, tile=tile)

    def key_params(self) -> Mapping[str, Any]:
        return {"model": self._model_digest}

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        footage: Image = fetch("footage", frame)
        source, matte = (fetch(name, frame) if name in self.inputs else None for name in ("source", "matte"))
        shown = [fetch(name, frame).pixels for name in ("guide", "stmap") if name in self.inputs]
        try:
            return self.stylizer(
                footage,
                source=source,
                guide=cv2.merge(shown) if shown else None,  # six times as fast as NumPy's concatenate
                light=fetch("light", frame) if "light" in self.inputs else None,
                mask=None if matte is None else matte.pixels[:, :, 0],
                cancel=cancel,
            )
        except ShapeError as error:
            raise ImageError(f"frame {frame}: {error}", frame=frame) from None
