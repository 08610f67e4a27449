"""The facts of an exported model, as they stand in the metadata of its `.onnx` file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import ModelError

FORMAT = 3
"""Raised when a model file changes in a way that older code cannot run, or that newer code cannot run any more."""

METADATA_KEY = "fewstroke"


@dataclass(frozen=True)
class ModelInfo:
    """Everything about a model that is not its weights. JSON values only.

    name            of the shot, for people
    channels        what the input channels are, in order: "R", "G", "B", then the guide's and the ST map's
    working_space   the scene-linear OpenColorIO space that RGB goes in and comes out in
    footage_space   the space of the footage that it was trained on, which `render` takes for granted
    halo            how far around a pixel the network looks, pixels
    size_multiple   the grid of its strided layers, pixels; any size may go in, the model pads and crops by itself
    guide           parameters and seed of the guide layer, or None
    exemplars       the keyframes that the network may copy from, whose pictures the model holds
    lights          in how much light each of them is, the first being 1; empty: all are in one (nodes/light.py)
    response        how far the paintings follow the light of the plates, 0 to 1, an exponent
    prefilter       parameters of the temporal prefilter, or None
    keyframes       for each: {"frame", "painting" (file name), "digest" of source, target and mask}
    network         `NetworkConfig` as JSON
    training        `TrainConfig` as JSON
    steps           training steps done
    losses          means over the last steps: l1, adversarial, perceptual, discriminator
    encoding        the name of the curve inside (`color.encode`)
    licence         who may use it; a model belongs to whoever painted its keyframes
    format          version of this list
    """

    name: str
    channels: tuple[str, ...]
    working_space: str
    footage_space: str
    halo: int
    size_multiple: int
    keyframes: tuple[Mapping[str, Any], ...]
    network: Mapping[str, Any]
    training: Mapping[str, Any]
    steps: int
    losses: Mapping[str, float]
    guide: Mapping[str, Any] | None = None
    exemplars: tuple[int, ...] = ()
    lights: tuple[float, ...] = ()
    response: float = 1.0
    prefilter: Mapping[str, Any] | None = None
    encoding: str = "sRGB, its eighth root above 1"
    licence: str = "belongs to the author of its keyframes"
    format: int = field(default=FORMAT)

    def to_metadata(self) -> dict[str, str]:
        """For ONNX's metadata_props: one JSON text."""
        return {METADATA_KEY: json.dumps(asdict(self), sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> "ModelInfo":
        """The inverse. Raises ModelError, naming `source`, where it is no Fewstroke model or a newer one."""
        if METADATA_KEY not in metadata:
            raise ModelError(f"{source} is ONNX but not a Fewstroke model; give a file that `fewstroke train` made")
        values = json.loads(metadata[METADATA_KEY])
        if values.get("format", 0) > FORMAT:
            raise ModelError(f"{source} was made by a newer version of Fewstroke; update Fewstroke, or train it again")
        if values.get("format", 0) < FORMAT:
            raise ModelError(f"{source} was made by an older version of Fewstroke; train it again (--resume goes on)")
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in values.items() if key in known}
        lists = {key: tuple(values.get(key, ())) for key in ("channels", "keyframes", "exemplars", "lights")}
        return cls(**{**values, **lists})
