"""Scene-linear, other colour spaces, and the encoding the network works in.

Colour spaces are OpenColorIO's: the config that `$OCIO` names, or a built-in ACES config. The network's own encoding is
not a colour space but a curve (`encode`, `decode`): pixels go in and come out scene-linear, and the same curve stands
inside every exported model, so that a host that knows nothing but ONNX needs no colour management for it.
"""

import difflib
import os
from functools import lru_cache
from typing import Any

import numpy as np
import PyOpenColorIO

from .errors import ColorError

ocio: Any = PyOpenColorIO  # it has no type stubs

BUILTIN_CONFIG = "studio-config-v4.0.0_aces-v2.0_ocio-v2.5"
"""Used where `$OCIO` is not set: ACES 2.0 and the common camera spaces; pinned, so that none shifts under a shot."""

LINEAR_REC709 = "Linear Rec.709 (sRGB)"
SRGB = "sRGB"

# What people and hosts (Blender, OpenImageIO) call the two commonest spaces, for configs that name them otherwise.
_SYNONYMS = {
    "srgb": ("srgb_rec709_scene", "srgb_tx", "srgb_texture", "sRGB - Texture", "sRGB"),
    "linear rec.709": ("lin_rec709_scene", "lin_rec709", "lin_rec709_srgb", "Linear Rec.709"),
}
_SYNONYMS |= {
    "srgb_rec709_scene": _SYNONYMS["srgb"],
    "linear rec.709 (srgb)": _SYNONYMS["linear rec.709"],
    "lin_rec709_scene": _SYNONYMS["linear rec.709"],
    "lin_rec709": _SYNONYMS["linear rec.709"],
    "linear": _SYNONYMS["linear rec.709"],
}


@lru_cache(maxsize=4)
def _config(path: str) -> Any:
    if not path:
        return ocio.Config.CreateFromBuiltinConfig(BUILTIN_CONFIG)
    try:
        return ocio.Config.CreateFromFile(path)
    except (ocio.Exception, ocio.ExceptionMissingFile) as error:
        raise ColorError(f"the OpenColorIO config '{path}' that $OCIO names cannot be read: {error}") from None


def config() -> Any:
    """The config in force: `$OCIO`, or the built-in one. Raises ColorError where `$OCIO` cannot be read."""
    return _config(os.environ.get("OCIO", ""))


def find_space(name: str) -> str | None:
    """The config's own name for a colour space, alias, role or common synonym; None where it knows none."""
    for candidate in (name, *_SYNONYMS.get(name.lower(), ())):
        space = config().getColorSpace(candidate)
        if space is not None:
            return space.getName()
    return None


def resolve_space(name: str) -> str:
    """Like `find_space`, but raises ColorError, naming the nearest spaces there are."""
    found = find_space(name)
    if found is None:
        names = list(config().getColorSpaceNames())
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        raise ColorError(f"the colour space '{name}' is not in the OpenColorIO config; did you mean {', '.join(near)}?")
    return found


def is_scene_linear(name: str) -> bool:
    """Whether values of this space are proportional to light."""
    # Found out by OpenColorIO where the config does not say it: Blender's does not, nor does any of version 1.
    return config().isColorSpaceLinear(resolve_space(name), ocio.REFERENCE_SPACE_SCENE)


def default_space(tagged: str | None, *, is_float: bool) -> str:
    """The space of a file whose space nobody named.

    tagged    what the file says of itself, where it says it (OpenImageIO's "oiio:ColorSpace")
    is_float  half and float files are taken as scene-linear ($OCIO's role where set, else Rec.709), others as sRGB
    """
    found = find_space(tagged) if tagged else None
    if found is not None:
        return found
    if is_float:
        return resolve_space("scene_linear" if os.environ.get("OCIO") else LINEAR_REC709)
    return resolve_space(SRGB)


def working_space(footage_space: str) -> str:
    """The scene-linear space a shot is worked in: the footage's own where that is linear, else linear Rec.709.

    So scene-linear footage is never converted, and what the network leaves alone comes back bit for bit.
    """
    if is_scene_linear(footage_space):
        return resolve_space(footage_space)
    return find_space(LINEAR_REC709) or resolve_space("scene_linear")


@lru_cache(maxsize=64)
def _processor(config_path: str, source: str, target: str) -> Any:
    try:
        return _config(config_path).getProcessor(source, target).getDefaultCPUProcessor()
    except ocio.Exception as error:
        raise ColorError(f"no conversion from colour space '{source}' to '{target}': {error}") from None


def convert(pixels: np.ndarray, source: str, target: str) -> np.ndarray:
    """RGB from one colour space to another; a new array unless the two spaces are one.

    pixels  float32 (H, W, 3 or 4), straight; a fourth channel passes through
    """
    source, target = resolve_space(source), resolve_space(target)
    if source == target:
        return pixels
    result = np.array(pixels, dtype=np.float32, order="C", copy=True)
    processor = _processor(os.environ.get("OCIO", ""), source, target)
    (processor.applyRGB if result.shape[2] == 3 else processor.applyRGBA)(result)
    return result


# The working curve. Up to 1 it is the sRGB transfer function (IEC 61966-2-1), so the usual painting reaches the
# network, and its losses, in the code values that the artist chose. Above 1 it goes on, with the same slope, as the
# eighth root of the same power: the brightest half float, 65504, lies at 7.6, and nothing clips. Negative values
# (out of gamut, ringing) are mirrored. It is smooth in value and slope, and exactly invertible. A logarithm would do,
# but ONNX Runtime's gives other last bits with other numbers of threads; powers and roots do not.
GAMMA = 2.4
ENCODED_LIMIT = 1 + 8 * 1.055 * (65504 ** (1 / GAMMA / 8) - 1)
"""The encoded value of 65504, the largest half float; `decode` never goes beyond it."""


def encode(linear: np.ndarray) -> np.ndarray:
    """Scene-linear to the working encoding: float32, any shape, any finite value; 0..1 to 0..1."""
    size = np.abs(np.asarray(linear), dtype=np.float32)
    curve = np.asarray(np.power(size, np.float32(1 / GAMMA)))
    # Few pixels are brighter than 1, so only those are worked on; and in place, since it is memory that takes the time.
    if (bright := curve > 1).any():
        curve[bright] = 1 + 8 * (np.sqrt(np.sqrt(np.sqrt(curve[bright]))) - 1)
    curve *= np.float32(1.055)
    curve -= np.float32(0.055)
    np.multiply(size, np.float32(12.92), out=curve, where=size <= np.float32(0.0031308))
    return np.copysign(curve, linear, out=curve, casting="same_kind")


def decode(encoded: np.ndarray) -> np.ndarray:
    """The inverse of `encode`; values beyond +-ENCODED_LIMIT give +-65504."""
    size = np.asarray(np.minimum(np.abs(np.asarray(encoded), dtype=np.float32), np.float32(ENCODED_LIMIT)))
    curve = np.asarray(np.minimum(size, 1))
    curve += np.float32(0.055)
    curve /= np.float32(1.055)
    if (bright := size > 1).any():
        above = (size[bright] - 1) / np.float32(8 * 1.055) + 1
        curve[bright] *= np.square(np.square(np.square(above)))
    np.power(curve, np.float32(GAMMA), out=curve)
    np.divide(size, np.float32(12.92), out=curve, where=size <= np.float32(0.04045))
    return np.copysign(curve, encoded, out=curve, casting="same_kind")
