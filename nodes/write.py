"""Write: results to disk, one whole file per frame or none.

A file is written under a hidden name beside its place and moved there when it is complete, so that whoever looks (a
player, a farm that skips finished frames, a second machine on the same frame) never meets half a picture. What a
process leaves behind that is killed meanwhile is called `.fewstroke-*.tmp.*`; `Write.sweep` deletes it an hour later.
"""

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

from ..engine import color
from ..engine.digest import digest
from ..engine.errors import ImageError, ParameterError
from ..engine.image import Alpha, Image, unpremultiply
from .exr import LINES, to_half, write_exr
from .node import Cancel, Fetch, Node
from .read import FramePattern, conversion_id, convert, open_picture, refuse_nonfinite

COMPRESSIONS = ("zip", "zips", "piz", "dwaa", "none")
DEPTHS = ("half", "float", "uint8", "uint16")

# Extension -> depth asked for -> what the file gets; a depth that the format lacks gives its usual one, under "half".
_TYPES = {
    ".exr": {"half": "half", "float": "float"},
    ".hdr": {"half": "float"},
    ".tif": {"half": "uint16", "float": "float", "uint8": "uint8"},
    ".png": {"half": "uint8", "uint16": "uint16"},
    ".jpg": {"half": "uint8"},
    ".dpx": {"half": "uint10", "uint16": "uint16"},
}
_TYPES |= {".tiff": _TYPES[".tif"], ".jpeg": _TYPES[".jpg"]}
_LARGEST = {"uint8": 255, "uint10": 1023, "uint16": 65535}

# x and y of red, green, blue and white, by colour space: ITU-R BT.709-6, BT.2020-2; SMPTE EG 432-1 (P3-D65);
# SMPTE ST 2065-1 (AP0); Academy S-2014-004 (AP1).
_CHROMATICITIES = {
    "lin_rec709_scene": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    "lin_rec2020_scene": (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
    "lin_p3d65_scene": (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),
    "lin_ap0_scene": (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.0770, 0.32168, 0.33767),
    "lin_ap1_scene": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767),
}


class Found(StrEnum):
    """What lies in a frame's place before it is made."""

    MISSING = "missing"
    """Nothing."""
    WHOLE = "whole"
    """The very frame: made of the same, and it decodes wholly."""
    DAMAGED = "damaged"
    """Something that does not decode: cut off, overwritten, no picture."""
    FOREIGN = "foreign"
    """A picture, but made of something else, or by somebody else; HDR files cannot say."""


@dataclass(frozen=True)
class WriteParams:
    """Where to and how.

    path         `out.####.exr` or `out.%04d.exr`; a name without placeholder takes one frame only
    space        colour space of the files; empty: the working space for float files, sRGB for others
    working      scene-linear space of the input; empty: linear Rec.709
    compression  of EXR files: zip, zips, piz, dwaa or none
    depth        half, float, uint8 or uint16; half and whatever a format lacks give its usual one: half in EXR, 8 bits
                 in PNG and JPEG, 10 in DPX, 16 in TIFF, float in HDR
    attributes   (name, text) pairs for the header, such as ("fewstroke:model", "...")
    """

    path: str
    space: str = ""
    working: str = ""
    compression: str = "zip"
    depth: str = "half"
    attributes: tuple[tuple[str, str], ...] = ()


class Write(Node):
    """Writes its input and passes it on unchanged.

    PNG and integer TIFF files hold straight colour; others with alpha hold it premultiplied; those without (JPEG, HDR)
    hold the picture over black. Mattes are written in their own values. Equal results give equal bytes.
    """

    EFFECT = True
    INPUTS = ("image",)
    params: WriteParams

    def __init__(self, params: WriteParams, *, image: Node):
        super().__init__(params, image=image)
        self._suffix = Path(params.path).suffix.lower()
        if self._suffix not in _TYPES:
            raise ParameterError(f"'{params.path}' cannot be written: name a file that ends in {', '.join(_TYPES)}")
        for name, value, known in (("compression", params.compression, COMPRESSIONS), ("depth", params.depth, DEPTHS)):
            if value not in known:
                raise ParameterError(f"the {name} '{value}' is unknown; use one of {', '.join(known)}")
        self._pattern = FramePattern.parse(params.path)
        self._type = _TYPES[self._suffix].get(params.depth, _TYPES[self._suffix]["half"])
        self._is_laid_out = self._suffix == ".exr" and params.compression in LINES

    def path_of(self, frame: int) -> Path:
        """The file of a frame."""
        return Path(self.params.path) if self._pattern is None else self._pattern.path_of(frame)

    def check(self, frames: Iterable[int]) -> None:
        """Raises ParameterError where several frames would go into one file."""
        if self._pattern is None and len(set(frames)) > 1:
            path = Path(self.params.path)
            raise ParameterError(
                f"'{path}' is one file for several frames; put #### where the frame number goes, "
                f"such as {path.stem}.####{path.suffix}"
            )

    def space(self) -> str:
        """The colour space of the files."""
        if self.params.space:
            return color.resolve_space(self.params.space)
        return self.working() if self._type in ("half", "float") else color.resolve_space(color.SRGB)

    def working(self) -> str:
        """The scene-linear colour space of the input."""
        if self.params.working:
            return color.resolve_space(self.params.working)
        return color.find_space(color.LINEAR_REC709) or color.resolve_space("scene_linear")

    def key_params(self) -> Mapping[str, Any]:
        return vars(self.params) | {"conversion": conversion_id(self.working(), self.space())}

    def stamp(self, frame: int) -> str:
        """What the file of a frame says it was made of ("fewstroke:key"): like the node's key, but free of the path."""
        return self._stamp(self.inputs["image"].key(frame))

    def _stamp(self, image: str) -> str:
        params = {name: value for name, value in self.key_params().items() if name != "path"}
        return digest("Write", self.VERSION, params, image)

    def found(self, frame: int) -> Found:
        """What is in the place of a frame."""
        path = self.path_of(frame)
        # The stamp takes milliseconds, and most often there is nothing yet.
        return find(path, self.stamp(frame)) if path.exists() else Found.MISSING

    def is_done(self, frame: int) -> bool:
        """Whether the file of a frame is there already, whole and made of the same."""
        return self.found(frame) is Found.WHOLE

    def sweep(self) -> None:
        """Deletes what killed processes left unfinished among the results, once nobody can be writing it any more."""
        for path in self.path_of(0).parent.glob(_TEMPORARY.format("*", "*")):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        """The input, once it is on disk. Raises ImageError where it cannot be written; then nothing was changed."""
        image: Image = fetch("image", frame)
        path = self.path_of(frame)
        where = f"frame {frame} ({path.name})"
        refuse_nonfinite(image.pixels, where, path, frame)
        pixels, straight = self._stored(image)
        spec = self._spec(image, pixels, straight, self._stamp(fetch.key("image", frame)))
        cancel()
        _make_folder(path.parent, frame)
        with _moved_into_place(path, where, frame, cancel) as temporary:
            _write(temporary, spec, pixels, path.name)
        return image

    def _stored(self, image: Image) -> tuple[np.ndarray, bool]:
        """Pixels as the file holds them, and whether their colour is straight."""
        straight = self._type in ("uint8", "uint16") and self._suffix != ".dpx"
        if image.alpha is not Alpha.NONE and self._suffix in (".jpg", ".jpeg", ".hdr"):
            image = Image(_premultiplied(image)[:, :, :3])
        if image.pixels.shape[2] > 1:
            image = convert(image, self.working(), self.space())
        pixels = image.pixels
        if image.alpha is not Alpha.NONE:
            pixels = (
                np.concatenate([unpremultiply(image), image.pixels[:, :, 3:]], axis=2)
                if straight
                else _premultiplied(image)
            )
        if self._type == "float" or self._is_laid_out:
            return pixels, straight
        if self._type == "half":
            return to_half(pixels), straight
        # Rounded here: OpenImageIO would be free to dither.
        levels = np.rint(np.clip(pixels, 0, 1) * np.float32(_LARGEST[self._type]))
        if self._type == "uint10":
            levels = np.rint(levels * np.float32(65535 / 1023))  # OpenImageIO takes DPX's 10 bits as the upper of 16
        return levels.astype(np.uint8 if self._type == "uint8" else np.uint16), straight

    def _spec(self, image: Image, pixels: np.ndarray, straight: bool, stamp: str) -> oiio.ImageSpec:
        height, width, channels = pixels.shape
        spec = oiio.ImageSpec(width, height, channels, "uint16" if self._type == "uint10" else self._type)
        spec["DateTime"] = ""  # none, unless the source has one: OpenImageIO would write the time of day
        for name, value in image.metadata.items():
            spec.attribute(name, *_typed(name, value))
        if channels > 1:
            space = self.space()
            spec["oiio:ColorSpace"] = space
            for name, chromaticities in _CHROMATICITIES.items():
                if color.find_space(name) == space:
                    spec.attribute("chromaticities", "float[8]", chromaticities)
        if channels == 4 and straight:
            spec["oiio:UnassociatedAlpha"] = 1
        if self._type == "uint10":
            spec["oiio:BitsPerSample"] = 10
        if self._suffix == ".exr":
            spec["compression"] = self.params.compression
        if self._suffix in (".jpg", ".jpeg"):
            spec["jpeg:subsampling"] = "4:4:4"  # painted strokes have edges in colour alone
        if self._suffix == ".png":
            spec["png:compressionLevel"] = 3  # 7 % larger than the usual 6, in a third of the time
        for name, value in self.params.attributes:
            spec[name] = value
        spec["fewstroke:key"] = stamp
        # TIFF, JPEG and DPX hold no attributes of other people's, but the name of the software that wrote them.
        spec["Software"] = f"Fewstroke {_SOFTWARE_KEY}{stamp}"
        return spec


_HEADER_BYTES = 1 << 16
_SOFTWARE_KEY = "fewstroke:key="


def find(path: Path, key: str) -> Found:
    """What is there, as against a picture that was written under this key (`Write.stamp`); never an error."""
    if not path.exists():
        return Found.MISSING
    try:
        source = open_picture(path)
        spec = source.spec()
        software = re.search(_SOFTWARE_KEY + "([0-9a-f]+)", spec.get_string_attribute("Software"))
        written = spec.get_string_attribute("fewstroke:key") or (software[1] if software else "")
        if not written or written != key:
            return Found.FOREIGN
        # In the file's own type, since nobody looks at the pixels; JPEG tells what it lacks by the error only.
        whole = source.read_image(oiio.UNKNOWN) is not None and not source.has_error
    except ImageError:
        return Found.DAMAGED
    return Found.WHOLE if whole else Found.DAMAGED


def _premultiplied(image: Image) -> np.ndarray:
    if image.alpha is not Alpha.STRAIGHT:
        return image.pixels
    alpha = image.pixels[:, :, 3:]
    return np.concatenate([image.rgb * alpha, alpha], axis=2)


_TYPED = {"smpte:TimeCode": "timecode", "smpte:KeyCode": "keycode", "FramesPerSecond": "rational"}


def _typed(name: str, value: Any) -> tuple[Any, ...]:
    """The arguments that give an attribute back its OpenImageIO type."""
    if not isinstance(value, tuple):
        return (value,)
    whole = all(isinstance(number, int) for number in value)
    return _TYPED.get(name, f"{'int' if whole else 'float'}[{len(value)}]"), value


def _make_folder(folder: Path, frame: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ImageError(
            f"the folder '{folder}' cannot be made, a file is in its place; move it or write elsewhere",
            path=folder,
            frame=frame,
        ) from None
    except OSError as error:
        raise ImageError(
            f"the folder '{folder}' cannot be made: {(error.strerror or str(error)).lower()}; write elsewhere",
            path=folder,
            frame=frame,
        ) from None


_TEMPORARY = ".fewstroke-{}.tmp{}"
_ABANDONED_SECONDS = 3600
"""A temporary file this old belongs to a process that was killed: writing one takes seconds."""

_unfinished: set[Path] = set()
_unfinished_lock = threading.Lock()


def discard_unfinished() -> None:
    """Deletes what this process has begun to write, and lets it begin nothing more: the last act before it ends."""
    _unfinished_lock.acquire()
    for path in _unfinished:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _moved_into_place(path: Path, where: str, frame: int, cancel: Cancel) -> Iterator[Path]:
    """A temporary file that becomes `path` on success and vanishes on whatever else.

    Its name begins with a dot, so that no sequence pattern picks it up, and ends like `path`'s, which tells the format.
    """
    temporary = path.with_name(_TEMPORARY.format(f"{os.getpid()}-{secrets.token_hex(4)}", path.suffix))
    with _unfinished_lock:
        _unfinished.add(temporary)
    try:
        yield temporary
        cancel()
        os.replace(temporary, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImageError(
            f"{where} cannot be written to '{path.parent}': {reason}; free some space there, check its rights, "
            "or write elsewhere",
            path=path,
            frame=frame,
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        with _unfinished_lock:
            _unfinished.discard(temporary)


def _write(path: Path, spec: oiio.ImageSpec, pixels: np.ndarray, name: str) -> None:
    """Raises OSError where the file cannot be written wholly.

    name  what the file will be called in the end
    """
    # Room is reserved first, since native writers cannot be trusted with a full disk: libpng's says nothing and
    # libjpeg's ends the process. It also gives Python's exact reasons where the file cannot be made at all.
    with open(path, "xb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, pixels.nbytes + _HEADER_BYTES)
    if spec.get_string_attribute("compression") in LINES:
        write_exr(path, spec, pixels)
        return
    output = oiio.ImageOutput.create(str(path))
    if output is None:
        raise OSError(oiio.geterror())
    # Not `has_error`: OpenImageIO reports an error when a TIFF file has no Exif data to write.
    opened = output.open(str(path), spec)
    if not opened or not output.write_image(np.ascontiguousarray(pixels)) or not output.close():
        raise OSError(_reason(output))
    if path.suffix.lower() == ".dpx":
        # The header names its own file (SMPTE ST 268-1, offset 36, 100 bytes): not the temporary one, please.
        with open(path, "r+b") as file:
            file.seek(36)
            file.write(name.encode()[:99].ljust(100, b"\0"))
    try:
        open_picture(path)  # PNG files are checked to their end here: another process may have filled the disk
    except ImageError:
        raise OSError("not all of it could be written") from None


def _reason(output: oiio.ImageOutput) -> str:
    message = " ".join(output.geterror().split())
    return re.sub(r'image file ".*?"', "the file", message).rstrip(".") or "not all of it could be written"
