"""Read: footage, a painted frame or a mask, from an image sequence, a movie or one still picture.

Files are read through OpenImageIO, movies through PyAV. Every frame is read on its own: nothing is remembered between
frames but file digests and the frame times of movies, both under the file's name, time stamp and size.
"""

import difflib
import hashlib
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenImageIO as oiio
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation

from ..engine import color
from ..engine.digest import digest
from ..engine.errors import FrameMissingError, ImageError, ParameterError
from ..engine.frames import FrameRange
from ..engine.image import Alpha, Image, Metadata, unpremultiply, with_rgb
from .node import Cancel, Fetch, Node, never

MOVIE_SUFFIXES = frozenset({".mov", ".mp4", ".mkv", ".avi", ".webm", ".mxf"})


@dataclass(frozen=True)
class FramePattern:
    """The file names of a sequence: `plate.####.exr` (one digit per #) or `plate.%04d.exr`.

    Own code and not fileseq's, which takes `@`, brackets and "1-10" in a name for its syntax and fails on such files.
    """

    folder: Path
    before: str
    digits: int
    after: str

    @classmethod
    def parse(cls, path: str) -> "FramePattern | None":
        """The pattern that stands in a path's last part, or None where none stands there."""
        folder, name = os.path.split(path)
        found = list(re.finditer(r"#+|%(?:0(\d+))?d", name))
        if not found:
            return None
        last = found[-1]
        digits = len(last[0]) if last[0].startswith("#") else int(last[1] or 1)
        return cls(Path(folder), name[: last.start()], digits, name[last.end() :])

    def path_of(self, frame: int) -> Path:
        """The file of a frame: zero-padded, a minus sign before the digits."""
        number = f"{'-' if frame < 0 else ''}{abs(frame):0{self.digits}d}"
        return self.folder / f"{self.before}{number}{self.after}"

    def files(self) -> dict[int, Path]:
        """Frame number -> file, of all that is on disk, sorted. Other paddings count too; the exact one goes first."""
        name = re.compile(re.escape(self.before) + r"(-?\d+)" + re.escape(self.after))
        found: dict[int, Path] = {}
        for entry in sorted(_names(self.folder)):
            match = name.fullmatch(entry)
            if match:
                exact = self.path_of(int(match[1]))
                found[int(match[1])] = exact if exact.name == entry else found.get(int(match[1]), self.folder / entry)
        return dict(sorted(found.items()))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ImageError(
            f"the folder '{folder}' cannot be listed: {error.strerror}; check its rights", path=folder
        ) from None


@dataclass(frozen=True)
class ReadParams:
    """What to read.

    path     `plate.####.exr`, `plate.%04d.exr`, a movie, or one picture
    space    colour space of the files; empty: what they say, else scene-linear for float files and sRGB for others
    working  scene-linear space of the result; empty: that of the files where they are scene-linear, else Rec.709
    layer    layer of an EXR file, such as "diffuse" or "ViewLayer.Combined"; empty: the main one
    matte    read one channel, in the file's own values, as a mask
    """

    path: str
    space: str = ""
    working: str = ""
    layer: str = ""
    matte: bool = False


class Read(Node):
    """Footage, a painted frame or a mask.

    The result is scene-linear RGB or RGBA; of an EXR file it is the display window, black and transparent where the
    data window does not reach, without overscan. With `matte` it is (H, W, 1): the alpha channel where that is not 1
    everywhere, else the first channel. A still picture is the same at every frame. The frames of a movie count from 1.
    """

    params: ReadParams

    def __init__(self, params: ReadParams):
        super().__init__(params)
        # A file that is really called so is a picture, whatever its name looks like.
        self._pattern = None if os.path.isfile(params.path) else FramePattern.parse(params.path)
        self._is_movie = self._pattern is None and Path(params.path).suffix.lower() in MOVIE_SUFFIXES

    def frames(self) -> FrameRange:
        """The frames on disk, sorted; (1,) for a still picture. Raises ImageError where there is none."""
        if self._is_movie:
            return _counted(len(_frame_times(*_identity(Path(self.params.path)))))
        return self._numbers

    def path_of(self, frame: int) -> Path:
        """The file that holds a frame. Raises FrameMissingError where there is none."""
        if self._pattern is None:
            if self._is_movie and frame not in self.frames():
                name = Path(self.params.path).name
                raise FrameMissingError(
                    f"frame {frame} is not in {name}, which has the frames {self.frames()}; ask for one of these",
                    path=self.params.path,
                    frame=frame,
                )
            return Path(self.params.path)
        # A frame may have been rendered since the folder was listed.
        path = self._files.get(frame) or self._pattern.files().get(frame)
        if path is None:
            there = str(FrameRange.of(self._files))
            there = there if len(there) <= 200 else there[:200] + "..."
            path = self._pattern.path_of(frame)
            pattern = Path(self.params.path).name
            raise FrameMissingError(
                f"frame {frame} ({path.name}) is not on disk: {pattern} in {path.parent} has {there}; bring it back "
                "or ask for one of these",
                path=path,
                frame=frame,
            )
        return path

    @cached_property
    def _numbers(self) -> FrameRange:
        return FrameRange.of(self._files)

    @cached_property
    def _files(self) -> Mapping[int, Path]:
        path = Path(self.params.path)
        if self._pattern is None:
            return {1: path}
        files = self._pattern.files()
        if not files:
            near = difflib.get_close_matches(path.name, sorted(_names(path.parent)), n=1)
            hint = f"did you mean {near[0]}?" if near else "check the folder, the name and the extension"
            raise ImageError(f"no file matches '{path}'; {hint}", path=path)
        return files

    def space(self) -> str:
        """The colour space of the files: the one given, else what the first readable file says."""
        return self._space

    @cached_property
    def _space(self) -> str:
        if self.params.space:
            return color.resolve_space(self.params.space)
        if self._is_movie:
            return color.default_space(None, is_float=False)
        damaged: ImageError | None = None
        for frame, path in self._files.items():
            try:
                spec = open_picture(path, self._where(frame, path), frame).spec()
            except ImageError as error:
                damaged = damaged or error
                continue
            is_float = spec.format.basetype in (oiio.HALF, oiio.FLOAT, oiio.DOUBLE)
            return color.default_space(spec.get_string_attribute("oiio:ColorSpace"), is_float=is_float)
        assert damaged is not None  # there is at least one file
        raise damaged

    def working(self) -> str:
        """The scene-linear colour space of the result."""
        if not self.params.working:
            return color.working_space(self._space)
        if not color.is_scene_linear(self.params.working):
            raise ParameterError(
                f"the working space '{self.params.working}' is not scene-linear; use '{color.LINEAR_REC709}' or another"
            )
        return color.resolve_space(self.params.working)

    def key_params(self) -> Mapping[str, Any]:
        params = vars(self.params).copy()
        del params["path"]
        if self.params.matte:
            del params["space"], params["working"]
            return params
        return params | {"conversion": conversion_id(self.space(), self.working())}

    def key_extra(self, frame: int) -> Any:
        path = self.path_of(frame)
        if self._is_movie:
            return _movie_digest(*_identity(path)), frame
        return _file_digest(*_identity(path, self._where(frame, path), frame))

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        """The picture or matte at a frame.

        Raises FrameMissingError, and ImageError for a file that is cut off, damaged, no picture, or not finite.
        """
        path = self.path_of(frame)
        where = self._where(frame, path)
        cancel()
        if self._is_movie:
            image = _read_movie(path, frame, self.params.matte, cancel)
        else:
            image = read_file(path, self.params.layer, matte=self.params.matte, where=where, frame=frame)
        cancel()
        refuse_nonfinite(image.pixels, where, path, frame)
        return image if self.params.matte else convert(image, self.space(), self.working())

    def _where(self, frame: int, path: Path) -> str:
        """How errors name the file."""
        return f"'{path}'" if self._pattern is None else f"frame {frame} ({path.name})"


def convert(image: Image, source: str, target: str) -> Image:
    """A picture in another colour space; colours are converted straight, as nonlinear spaces need it."""
    if color.resolve_space(source) == color.resolve_space(target):
        return image
    return with_rgb(image, color.convert(unpremultiply(image), source, target))


def conversion_id(source: str, target: str) -> list[str]:
    """What a colour conversion depends on: both spaces and, where they differ, the OpenColorIO config."""
    source, target = color.resolve_space(source), color.resolve_space(target)
    return [source, target] if source == target else [source, target, color.config().getCacheID()]


def refuse_nonfinite(pixels: np.ndarray, where: str, path: Path, frame: int) -> None:
    """Raises ImageError where a pixel is NaN or infinite; such a pixel would spread through every filter."""
    if np.isfinite(pixels).all():
        return
    bad = ~np.isfinite(pixels).all(axis=2)
    y, x = np.argwhere(bad)[0]
    raise ImageError(
        f"{where} has {bad.sum()} NaN or infinite pixels, the first at x {x}, y {y}; "
        "repair them or render the frame again",
        path=path,
        frame=frame,
    )


# ---- identity of files


def _identity(path: Path, where: str = "", frame: int | None = None) -> tuple[str, int, int]:
    """Under which the facts of a file are remembered: (path, modification time, size)."""
    try:
        status = os.stat(path)
        with open(path, "rb"):
            return str(path), status.st_mtime_ns, status.st_size
    except OSError as error:
        raise _unreadable(path, where or f"'{path}'", frame, error) from None


def _unreadable(path: Path, where: str, frame: int | None, error: OSError) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return FrameMissingError(f"{where} is not on disk; check the path", path=path, frame=frame)
    if isinstance(error, IsADirectoryError):
        return ImageError(f"{where} is a folder; name a picture, a movie or a sequence in it", path=path, frame=frame)
    reason = (error.strerror or str(error)).lower()
    return ImageError(f"{where} cannot be read: {reason}; check its rights and its disk", path=path, frame=frame)


@lru_cache(maxsize=65536)
def _file_digest(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@lru_cache(maxsize=64)
def _movie_digest(path: str, mtime_ns: int, size: int) -> str:
    """Of a movie's size, beginning and end, where its header and index stand; reading all of it may take minutes."""
    with open(path, "rb") as file:
        head = file.read(1 << 20)
        file.seek(max(0, size - (1 << 20)))
        return digest(size, head, file.read())


# ---- pictures

# Attributes that say how a file was stored and not what it shows: whoever writes the result decides them anew.
_STORAGE = re.compile(
    r"(oiio|openexr|tiff|png|jpeg|dpx|gif|bmp|targa|webp|rla|psd|fits|cineon|heif|jpegxl|ICCProfile|fewstroke):.*"
    r"|compression|CompressionQuality|planarconfig|chromaticities|whiteLuminance|colorInteropID|CICP|ICCProfile"
    r"|acesImageContainerFlag|screenWindow(Center|Width)|name|type|view|multiView|chunkCount|version|Software"
    r"|Exif:(ColorSpace|ExifVersion|FlashPixVersion|PixelXDimension|PixelYDimension)|thumbnail.*"
)


def read_file(path: Path, layer: str = "", *, matte: bool = False, where: str = "", frame: int | None = None) -> Image:
    """One picture in its file's own values (integers as 0..1): float32 RGB or RGBA, or with `matte` (H, W, 1).

    where  how errors name the file
    Raises ImageError for a file that cannot be decoded wholly, or has no such layer.
    """
    where = where or f"'{path}'"
    source = open_picture(path, where, frame)
    part, rgb, alpha = _choose_channels(source, layer, path, where, frame)
    spec = source.spec(part)
    if spec.deep:
        raise ImageError(f"{where} is a deep picture, which has no flat pixels; flatten it", path=path, frame=frame)
    wanted = [*rgb, *([] if alpha is None else [alpha])]
    first, last = min(wanted), max(wanted) + 1
    pixels = source.read_image(part, 0, first, last, oiio.FLOAT)
    # JPEG and others give what they have of a cut-off file, and say so in the error only.
    if pixels is None or source.has_error:
        raise _damaged(path, where, frame, source.geterror())
    source.close()
    if wanted != list(range(first, last)):
        pixels = pixels[:, :, [channel - first for channel in wanted]]
    if source.format_name() == "openexr":
        pixels = _display_window(pixels, spec)

    metadata = _metadata(spec)
    if matte:
        use_alpha = alpha is not None and not (pixels[:, :, -1] == 1).all()
        return Image(np.ascontiguousarray(pixels[:, :, -1:] if use_alpha else pixels[:, :, :1]), metadata=metadata)
    if len(rgb) == 1:
        pixels = pixels[:, :, [0, 0, 0] if alpha is None else [0, 0, 0, 1]]
    if alpha is None:
        return Image(pixels, metadata=metadata)
    straight = spec.get_int_attribute("oiio:UnassociatedAlpha") == 1
    return Image(pixels, Alpha.STRAIGHT if straight else Alpha.PREMULTIPLIED, metadata)


def open_picture(path: Path, where: str = "", frame: int | None = None) -> oiio.ImageInput:
    """A picture opened for its header. Raises ImageError where that cannot be read."""
    where = where or f"'{path}'"
    try:
        with open(path, "rb") as file:
            # libpng would print what it meets in a damaged file; so PNG files are looked through beforehand.
            if file.read(8) == b"\x89PNG\r\n\x1a\n" and not _is_whole_png(file.read()):
                raise _damaged(path, where, frame, "a PNG chunk is missing or does not match its checksum")
    except OSError as error:
        raise _unreadable(path, where, frame, error) from None
    config = oiio.ImageSpec()
    config["oiio:UnassociatedAlpha"] = 1  # leave straight alpha straight
    source = oiio.ImageInput.open(str(path), config)
    if source is None:
        raise _damaged(path, where, frame, oiio.geterror())
    return source


def _is_whole_png(chunks: bytes) -> bool:
    """Whether all chunks match their checksums, up to the end chunk (PNG specification, section 5.3)."""
    view, at = memoryview(chunks), 0
    while at + 12 <= len(view):
        end = at + 8 + int.from_bytes(view[at : at + 4])
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4]):
            return False
        if view[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def _damaged(path: Path, where: str, frame: int | None, reason: str) -> ImageError:
    reason = " ".join(reason.split("\n")[0].replace(str(path), path.name).split()).rstrip(". ")
    return ImageError(
        f"{where} is cut off, damaged or no picture ({reason or 'unknown format'}); render or copy it again",
        path=path,
        frame=frame,
    )


_LONG_NAMES = {"RED": "R", "GREEN": "G", "BLUE": "B", "ALPHA": "A"}


def _choose_channels(
    source: oiio.ImageInput, layer: str, path: Path, where: str, frame: int | None
) -> tuple[int, list[int], int | None]:
    """The part of the file, its one or three colour channels, and its alpha channel."""
    parts = source.spec().get_int_attribute("oiio:subimages", 1)
    layers: dict[tuple[int, str], dict[str, int]] = {}  # (part, layer name) -> channel -> index
    single: dict[str, tuple[int, int]] = {}  # full channel name -> part, index
    unnamed: set[tuple[int, str]] = set()
    for part in range(parts):
        spec = source.spec(part)
        part_name = spec.get_string_attribute("oiio:subimagename")
        for index, full_name in enumerate(spec.channelnames):
            head, _, channel = full_name.rpartition(".")
            # Blender 5 and others write one part per layer; the layer's name may then stand in the part alone.
            key = part, head or (part_name if parts > 1 else "")
            if not head:
                unnamed.add(key)
            short = _LONG_NAMES.get(channel.upper()) or channel.upper()
            layers.setdefault(key, {}).setdefault(short, index)
            for name in (full_name, f"{key[1]}.{channel}"):
                single.setdefault(name.casefold(), (part, index))

    if layer:
        wanted = layer.casefold()
        found = [key for key in layers if key[1].casefold() == wanted]
        found = found or [key for key in layers if key[1].casefold().endswith("." + wanted)]
        if not found and wanted in single:
            part, index = single[wanted]
            return part, [index], None
        if not found:
            names = ", ".join(dict.fromkeys(name for _, name in layers if name)) or "no named layers"
            raise ImageError(f"{where} has no layer '{layer}'; it has {names}", path=path, frame=frame)
        key = found[0]
    else:

        def rank(key: tuple[int, str]) -> tuple[bool, ...]:
            last_word = key[1].rpartition(".")[2].casefold()
            has_rgb = {"R", "G", "B"} <= layers[key].keys()
            return not has_rgb, key[1] != "", last_word not in ("combined", "rgba"), key not in unnamed

        key = min(layers, key=rank)

    channels = layers[key]
    for names in ("RGB", "XYZ"):
        if set(names) <= channels.keys():
            return key[0], [channels[name] for name in names], channels.get("A")
    color_channels = [index for name, index in channels.items() if name != "A"]
    return (key[0], color_channels[:1], channels.get("A")) if color_channels else (key[0], [channels["A"]], None)


def _display_window(pixels: np.ndarray, spec: oiio.ImageSpec) -> np.ndarray:
    left, top = spec.x - spec.full_x, spec.y - spec.full_y
    height, width = pixels.shape[:2]
    if (left, top, width, height) == (0, 0, spec.full_width, spec.full_height):
        return pixels
    full = np.zeros((spec.full_height, spec.full_width, pixels.shape[2]), np.float32)
    y0, y1 = max(top, 0), min(top + height, spec.full_height)
    x0, x1 = max(left, 0), min(left + width, spec.full_width)
    if y0 < y1 and x0 < x1:
        full[y0:y1, x0:x1] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    return full


def _metadata(spec: oiio.ImageSpec) -> Metadata:
    kept: dict[str, Any] = {}
    for attribute in spec.extra_attribs:
        value = attribute.value
        simple = isinstance(value, str | int | float) or (
            isinstance(value, tuple) and all(isinstance(number, int | float) for number in value)
        )
        if simple and not _STORAGE.fullmatch(attribute.name):
            kept[attribute.name] = value
    return kept


# ---- movies


@lru_cache(maxsize=16)
def _frame_times(path: str, mtime_ns: int, size: int) -> tuple[int, ...]:
    """Presentation times of a movie's frames in order, in the stream's time base.

    From the packets, without decoding: so variable frame rates, B-frames and edit lists need no guess.
    """
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            times = {packet.dts if packet.pts is None else packet.pts for packet in packets}
            return tuple(sorted(time for time in times if time is not None))
    except (FFmpegError, IndexError) as error:
        raise _damaged_movie(Path(path), None, error) from None


@lru_cache(maxsize=16)
def _counted(count: int) -> FrameRange:
    """A movie's frames."""
    return FrameRange.of(range(1, count + 1))


def _read_movie(path: Path, frame: int, matte: bool, cancel: Cancel = never) -> Image:
    time = _frame_times(*_identity(path))[frame - 1]
    try:
        # The key frame that a seek finds may come too late (open groups of pictures); then from the beginning.
        decoded = _decode_at(path, time, time, cancel) or _decode_at(path, time, None, cancel)
    except FFmpegError as error:
        raise _damaged_movie(path, frame, error) from None
    if decoded is None:
        raise _damaged_movie(path, frame, "the frame is in the index but cannot be decoded")
    return _movie_image(decoded, matte)


def _decode_at(path: Path, time: int, seek_to: int | None, cancel: Cancel) -> VideoFrame | None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if seek_to is not None:
            container.seek(seek_to, stream=stream)
        for decoded in container.decode(stream):
            cancel()
            if decoded.pts is None or decoded.pts > time:
                return None
            if decoded.pts == time:
                return decoded
    return None


def _movie_image(decoded: VideoFrame, matte: bool) -> Image:
    components = decoded.format.components
    has_alpha = any(component.is_alpha for component in components)
    deep = any(component.bits > 8 for component in components)
    # Untagged video is Rec. 709 in HD and Rec. 601 in SD, as players take it.
    untagged = Colorspace.ITU709 if decoded.height >= 720 else Colorspace.ITU601
    known = {space.value for space in Colorspace}
    formats = ("rgb24", "rgba", "rgb48le", "rgba64le")
    rgb = decoded.reformat(
        format=formats[2 * deep + has_alpha],
        src_colorspace=decoded.colorspace if decoded.colorspace in known else untagged,
        interpolation=Interpolation.BICUBIC
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.ACCURATE_RND
        | Interpolation.BITEXACT,
    )
    pixels = rgb.to_ndarray().astype(np.float32) / np.float32(65535 if deep else 255)
    if matte:
        use_alpha = has_alpha and not (pixels[:, :, 3] == 1).all()
        return Image(np.ascontiguousarray(pixels[:, :, 3:] if use_alpha else pixels[:, :, :1]))
    return Image(pixels, Alpha.STRAIGHT if has_alpha else Alpha.NONE)


def _damaged_movie(path: Path, frame: int | None, error: object) -> ImageError:
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    at = "" if frame is None else f"frame {frame} of "
    return ImageError(
        f"{at}'{path}' cannot be decoded ({reason}); export the movie again, or as an image sequence",
        path=path,
        frame=frame,
    )
