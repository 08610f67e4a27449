"""Scene-linear, other colour spaces, and the encoding the network works in.

Colour spaces are OpenColorIO's: the config that `$OCIO` names, or a built-in ACES config. The network's own encoding is
not a colour space but a curve (`encode`, `decode`): pixels go in and come out scene-linear, and the same curve stands
inside every exported model, so that a host that knows nothing but ONNX needs no colour management for it.
"""

import difflib
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
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
    return _found(os.environ.get("OCIO", ""), name)


@lru_cache(maxsize=256)
def _found(config_path: str, name: str) -> str | None:
    for candidate in (name, *_SYNONYMS.get(name.lower(), ())):
        space = _config(config_path).getColorSpace(candidate)
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
    return _is_linear(os.environ.get("OCIO", ""), resolve_space(name))


@lru_cache(maxsize=256)
def _is_linear(config_path: str, space: str) -> bool:
    # Found out by OpenColorIO where the config does not say it: Blender's does not, nor does any of version 1.
    return _config(config_path).isColorSpaceLinear(space, ocio.REFERENCE_SPACE_SCENE)


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


def brightness(pixels: np.ndarray) -> np.ndarray:
    """The mean of a picture's three channels, float32 (H, W), in whatever values: to compare by, not to show."""
    return cv2.transform(pixels, _MEAN)


_MEAN = np.full((1, 3), 1 / 3, np.float32)

# The working curve. Up to 1 it is the sRGB transfer function (IEC 61966-2-1), so the usual painting reaches the
# network, and its losses, in the code values that the artist chose. Above 1 it goes on, with the same slope, as the
# eighth root of the same power: the brightest half float, 65504, lies at 7.6, and nothing clips. Negative values
# (out of gamut, ringing) are mirrored. It is smooth in value and slope, and exactly invertible. A logarithm would do,
# but ONNX Runtime's gives other last bits with other numbers of threads; powers and roots do not.
GAMMA = 2.4
ENCODED_LIMIT = 1 + 8 * 1.055 * (65504 ** (1 / GAMMA / 8) - 1)
"""The encoded value of 65504, the largest half float; `decode` never goes beyond it."""


_TOE = 0.0031308
"""The linear value up to which the curve is a straight line of this slope:"""
_SLOPE = 12.92
_BRIGHTER = 8 * 1.055
"""Above 1: 1 + _BRIGHTER * (power^(1/8) - 1)."""

_BLOCK = 1 << 14
"""Values worked on at once: as many as fit the processor's nearest caches."""


def encode(linear: np.ndarray) -> np.ndarray:
    """Scene-linear to the working encoding: float32, any shape, any finite value; 0..1 to 0..1."""
    return _in_blocks(_encode_sizes, linear)


def decode(encoded: np.ndarray) -> np.ndarray:
    """The inverse of `encode`; values beyond +-ENCODED_LIMIT give +-65504."""
    return _in_blocks(_decode_sizes, encoded)


def _in_blocks(curve: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """A curve of absolute values, float32 (1, N), mirrored for negative ones."""
    source = np.ascontiguousarray(values, np.float32).reshape(1, -1)
    result = np.empty_like(source)
    for start in range(0, source.size, _BLOCK):
        block = source[:, start : start + _BLOCK]
        sizes = curve(np.abs(block))
        result[:, start : start + _BLOCK] = np.copysign(sizes, block, out=sizes) if block.min() < 0 else sizes
    return result.reshape(np.shape(values))


def _power(base: np.ndarray, exponent: float) -> np.ndarray:
    """A power of float32 (1, N), above 0: a sixth of the time that NumPy takes, wrong by less than 1e-6 of it."""
    logarithm = cv2.log(base)
    logarithm *= np.float32(exponent)
    return cv2.exp(logarithm)


def _encode_sizes(size: np.ndarray) -> np.ndarray:
    curve = _power(np.maximum(size, np.float32(_TOE)), 1 / GAMMA)
    # Few pixels are brighter than 1, so only those are worked on.
    if curve.max() > 1:
        bright = curve > 1
        curve[bright] = 1 + 8 * (np.sqrt(np.sqrt(np.sqrt(curve[bright]))) - 1)
    # The curve from where the line ends, and the line up to there.
    curve -= _ENCODED_TOE
    curve *= np.float32(1.055)
    np.minimum(size, np.float32(_TOE), out=size)
    size *= np.float32(_SLOPE)
    curve += size
    return curve


def _decode_sizes(size: np.ndarray) -> np.ndarray:
    np.minimum(size, np.float32(ENCODED_LIMIT), out=size)
    curve = np.clip(size, np.float32(_SLOPE * _TOE), 1)
    curve += np.float32(0.055)
    curve *= np.float32(1 / 1.055)
    if size.max() > 1:
        bright = size > 1
        above = (size[bright] - 1) / np.float32(_BRIGHTER) + 1
        curve[bright] *= np.square(np.square(np.square(above)))
    curve = _power(curve, GAMMA)
    curve -= _DECODED_TOE
    np.minimum(size, np.float32(_SLOPE * _TOE), out=size)
    size *= np.float32(1 / _SLOPE)
    curve += size
    return curve


# What the powers give where the line ends, in these very functions, so that 0 stays 0.
_ENCODED_TOE = _power(np.full((1, 64), _TOE, np.float32), 1 / GAMMA)[0, 0]
_DECODED_TOE = _power(np.full((1, 64), (_SLOPE * _TOE + 0.055) / 1.055, np.float32), GAMMA)[0, 0]
