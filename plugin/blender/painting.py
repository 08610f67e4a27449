"""Keyframes: paintings as files that the worker can read, kept up to date while somebody paints.

Painting in Blender changes pixels in memory and tells nobody, so images that are not saved are looked at twice a
second. One that has come to rest is written: over its own file where we made that, beside the .blend file otherwise. So
nothing that was painted is in memory only for long, and all others (worker, training) just look at files.
"""

import array
import contextlib
import os
import zlib
from typing import Any

import bpy

from .tree import NodeProblem, absolute, folder

_seen: dict[str, int] = {}  # image -> checksum of its pixels at the last look
_written: dict[str, int] = {}  # image -> checksum of the pixels that were written last
_stamps: dict[str, int] = {}  # image -> time stamp of its file when it was last read


def place_of(tree: Any, frame: int, suffix: str) -> str:
    """The file of a painting that is begun in Blender."""
    return os.path.join(folder(tree), f"keyframe.{frame:04d}{suffix}")


def keyframes(tree: Any) -> list[dict[str, Any]]:
    """A node's keyframes as the worker takes them. Raises NodeProblem where a painting is missing."""
    found = []
    for keyframe in tree.fewstroke.keyframes:
        if keyframe.image is None:
            raise NodeProblem(f"keyframe {keyframe.frame} has no painting; choose one, or remove the keyframe")
        entry = {
            "frame": keyframe.frame,
            "path": _on_disk(tree, keyframe.image, f"keyframe {keyframe.frame}"),
            "space": keyframe.image.colorspace_settings.name,
        }
        if keyframe.mask is not None:
            entry["mask"] = _on_disk(tree, keyframe.mask, f"the mask of keyframe {keyframe.frame}")
        found.append(entry)
    numbers = [entry["frame"] for entry in found]
    for number in numbers:
        if numbers.count(number) > 1:
            raise NodeProblem(f"there are two keyframes {number}; remove one, or give it its own frame number")
    if not found:
        raise NodeProblem("there is no keyframe yet; go to a frame and press Paint This Frame")
    return found


def signature(tree: Any) -> Any:
    """What a node's paintings are by now: changes when one of them does."""
    found = []
    for keyframe in tree.fewstroke.keyframes:
        for image in (keyframe.image, keyframe.mask):
            path = "" if image is None else _file_of(tree, image)
            found.append((keyframe.frame, path, _time_stamp(path)))
    return tuple(found)


def forget() -> None:
    """Another file is opened, whose images may have the same names."""
    for known in (_seen, _written, _stamps):
        known.clear()


def look(tree: Any) -> None:
    """Writes paintings that have changed and come to rest, and reads again those that another program has changed."""
    for image in _images(tree):
        if image.is_dirty:
            _write_at_rest(tree, image)
        elif _own_file(image):
            stamp = _time_stamp(_own_file(image))
            if stamp and stamp != _stamps.setdefault(image.name_full, stamp):
                _stamps[image.name_full] = stamp
                image.reload()


def keep(tree: Any) -> None:
    """Before the .blend file is saved: paintings that exist in memory only are saved or packed with it."""
    for image in _images(tree):
        if image.is_dirty and _is_ours(tree, image):
            _save(image)
        elif image.is_dirty:
            image.pack()


def _images(tree: Any) -> list[Any]:
    found = [image for keyframe in tree.fewstroke.keyframes for image in (keyframe.image, keyframe.mask)]
    return [image for image in found if image is not None]


def _own_file(image: Any) -> str:
    """The file that an image is read from, or ""."""
    if image.packed_file is not None or image.source == "GENERATED" or not image.filepath:
        return ""
    return absolute(image.filepath, image.library)


def _is_ours(tree: Any, image: Any) -> bool:
    """Whether an image's file was begun by us: files of others are never written over unasked."""
    return os.path.dirname(_own_file(image)) == folder(tree)


def _copy_of(tree: Any, image: Any) -> str:
    """Where the pixels of an image without a file of ours are written."""
    suffix = ".exr" if image.is_float else ".png"
    return os.path.join(folder(tree), "unsaved", bpy.path.clean_name(image.name) + suffix)


def _file_of(tree: Any, image: Any) -> str:
    """The file that holds what an image shows by now."""
    own = _own_file(image)
    if own and (not image.is_dirty or _is_ours(tree, image)):
        return own
    return _copy_of(tree, image)


def _on_disk(tree: Any, image: Any, what: str) -> str:
    """The same, written first where that is needed. Raises NodeProblem where there is nothing to write."""
    path = _file_of(tree, image)
    if image.is_dirty or (not _own_file(image) and _checksum(image) != _written.get(image.name_full)):
        _write(tree, image)
    if not os.path.exists(path):
        raise NodeProblem(f"{what} is painted in {path}, which is not there; bring it back, or choose another")
    return path


def _write_at_rest(tree: Any, image: Any) -> None:
    checksum, name = _checksum(image), image.name_full
    if checksum == _seen.get(name) and checksum != _written.get(name):
        _write(tree, image)
    _seen[name] = checksum


def _write(tree: Any, image: Any) -> None:
    _written[image.name_full] = _checksum(image)
    if _is_ours(tree, image):
        _save(image)
        return
    path = _copy_of(tree, image)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image.file_format = "OPEN_EXR" if image.is_float else "PNG"
    try:
        image.save(filepath=path, save_copy=True)
    except RuntimeError as error:
        raise NodeProblem(f"'{image.name}' cannot be written to {path} ({_reason(error)}); free some space") from None


def _save(image: Any) -> None:
    """Writes an image over its own file. Blender does that in place, so a copy goes first: if there is no room for two,
    the file stays as it was.
    """
    path = _own_file(image)
    spare = os.path.join(os.path.dirname(path), f".saving.{os.path.basename(path)}")
    try:
        image.save(filepath=spare, save_copy=True)
        image.save()
    except RuntimeError as error:
        raise NodeProblem(
            f"'{image.name}' cannot be written to {path} ({_reason(error)}); free some space, or save it elsewhere"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(spare)
    _stamps[image.name_full] = _time_stamp(path)


def _reason(error: Exception) -> str:
    return str(error).removeprefix("Error: ").strip().splitlines()[0].rstrip(".")


def _checksum(image: Any) -> int:
    pixels = array.array("f", bytes(4 * len(image.pixels)))
    image.pixels.foreach_get(pixels)
    return zlib.crc32(pixels)


def _time_stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
