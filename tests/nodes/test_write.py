"""Write, read back with OpenImageIO alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest
from standing import Fetched

from fewstroke.engine import color
from fewstroke.engine.digest import digest
from fewstroke.engine.errors import CancelledError, ImageError, ParameterError
from fewstroke.engine.image import Alpha, Image
from fewstroke.nodes.node import Node, never
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator, render_frames
from fewstroke.nodes.write import Found, Write, WriteParams, find


class Given(Node):
    """The same picture at every frame."""

    def __init__(self, image: Image):
        super().__init__(None)
        self.image = image

    def key_params(self):
        return {"image": digest(self.image.pixels)}

    def key_extra(self, frame):
        return frame

    def evaluate(self, frame, fetch, cancel):
        return self.image


def write(path, image: Image, frame: int = 1, **params) -> Path:
    node = Write(WriteParams(str(path), **params), image=Given(image))
    assert Evaluator()(node, frame) is image
    return node.path_of(frame)


def stored(path: Path) -> tuple[np.ndarray, Any]:
    """Pixels in the file's own type, and the header."""
    config = oiio.ImageSpec()
    config["oiio:UnassociatedAlpha"] = 1
    source = oiio.ImageInput.open(str(path), config)
    assert source is not None, oiio.geterror()
    pixels = source.read_image(0, 0, 0, source.spec().nchannels, source.spec().format)
    assert pixels is not None and not source.has_error, source.geterror()
    return pixels, source.spec()


def rgba(rng: np.random.Generator, *shape: int) -> np.ndarray:
    pixels = rng.uniform(-0.5, 3, (*shape, 4)).astype(np.float16).astype(np.float32)
    pixels[..., 3] = np.round(rng.random(shape), 2).astype(np.float16)
    return pixels


# ---- EXR


@pytest.mark.parametrize("compression", ["zip", "zips", "piz", "none"])
@pytest.mark.parametrize("depth", ["half", "float"])
def test_exr_is_exact_and_says_what_it_is(tmp_path, rng, compression, depth):
    image = Image(rgba(rng, 20, 30), Alpha.PREMULTIPLIED)
    path = write(tmp_path / "out" / "shot" / "a.####.exr", image, 1001, compression=compression, depth=depth)
    assert path == tmp_path / "out" / "shot" / "a.1001.exr"
    pixels, spec = stored(path)
    np.testing.assert_array_equal(pixels, image.pixels)
    assert str(spec.format) == depth and spec["compression"] == compression
    assert spec.channelnames == ("R", "G", "B", "A")
    assert spec["oiio:ColorSpace"] == "lin_rec709_scene"
    np.testing.assert_allclose(spec["chromaticities"], [0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329], rtol=1e-6)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.1001.exr"]


def test_dwaa_is_near(tmp_path, rng):
    pixels = np.tile(np.linspace(0, 2, 64, dtype=np.float32)[None, :, None], (32, 1, 3))
    found, spec = stored(write(tmp_path / "a.exr", Image(pixels), compression="dwaa"))
    np.testing.assert_allclose(found, pixels, atol=0.02)
    assert spec["compression"].startswith("dwaa")


def test_half_clamps_to_the_largest_half(tmp_path):
    pixels = np.array([[[65504, 65519, 65520], [1e30, -65504, -1e9]]], np.float32)
    found, _ = stored(write(tmp_path / "a.exr", Image(pixels)))
    np.testing.assert_array_equal(found, [[[65504, 65504, 65504], [65504, -65504, -65504]]])


def test_straight_alpha_is_premultiplied_in_exr(tmp_path, rng):
    pixels = rgba(rng, 6, 7)
    found, _ = stored(write(tmp_path / "a.exr", Image(pixels, Alpha.STRAIGHT), depth="float"))
    np.testing.assert_array_equal(found[..., :3], pixels[..., :3] * pixels[..., 3:])
    np.testing.assert_array_equal(found[..., 3], pixels[..., 3])


def test_metadata_and_attributes(tmp_path, rng):
    metadata = {
        "smpte:TimeCode": (0x01020304, 0),
        "camera": "A1",
        "iso": 800,
        "lens": 35.5,
        "DateTime": "2026:01:02 03:04:05",
    }
    metadata |= {"crop": (1.0, 2.0), "worldToCamera": tuple(float(i) for i in range(16)), "box": (1, 2, 3)}
    image = Image(rng.random((4, 5, 3), np.float32), metadata=metadata)
    node = Write(WriteParams(str(tmp_path / "a.exr"), attributes=(("fewstroke:model", "cat"),)), image=Given(image))
    Evaluator()(node, 7)
    _, spec = stored(tmp_path / "a.exr")
    assert {name: spec[name] for name in metadata} == metadata
    assert str(next(a.type for a in spec.extra_attribs if a.name == "smpte:TimeCode")) == "timecode"
    assert spec["fewstroke:model"] == "cat" and spec["fewstroke:key"] == node.stamp(7)
    # And through Read again.
    again = Read(ReadParams(str(tmp_path / "a.exr"))).evaluate(1, Fetched(), never).metadata
    assert dict(again) == metadata | {"PixelAspectRatio": 1.0}


def test_conversion_into_another_space(tmp_path, rng):
    pixels = rng.random((4, 5, 3), np.float32)
    path = write(tmp_path / "a.exr", Image(pixels), working=color.LINEAR_REC709, space="ACEScg", depth="float")
    found, spec = stored(path)
    np.testing.assert_array_equal(found, color.convert(pixels, color.LINEAR_REC709, "ACEScg"))
    assert spec["oiio:ColorSpace"] == "lin_ap1_scene" and spec["chromaticities"][0] == pytest.approx(0.713)


def test_a_matte_is_one_channel_in_its_own_values(tmp_path):
    values = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(16, 16, 1)
    found, spec = stored(write(tmp_path / "a.png", Image(values)))
    np.testing.assert_array_equal(found[..., 0].ravel(), np.arange(256))
    assert spec.channelnames == ("Y",)
    found, spec = stored(write(tmp_path / "a.exr", Image(values), depth="float"))
    np.testing.assert_array_equal(found, values)


# ---- integer files


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_8_bit_files_come_back_bit_for_bit(tmp_path, save, suffix):
    codes = np.stack([np.arange(256), np.roll(np.arange(256), 85), np.arange(255, -1, -1)], axis=-1).reshape(16, 16, 3)
    path = save(f"in.{suffix}", codes / 255, "uint8")
    read = Read(ReadParams(str(path)))
    for copy in (f"out.{suffix}", "out.png"):
        node = Write(WriteParams(str(tmp_path / copy), working=read.working(), depth="uint8"), image=read)
        Evaluator()(node, 1)
        np.testing.assert_array_equal(stored(tmp_path / copy)[0], codes)


def test_8_bit_straight_alpha_comes_back_bit_for_bit(tmp_path, save, rng):
    codes = rng.integers(0, 256, (32, 32, 4))
    read = Read(ReadParams(str(save("in.png", codes / 255, "uint8", oiio__UnassociatedAlpha=1))))
    Evaluator()(Write(WriteParams(str(tmp_path / "out.png")), image=read), 1)
    np.testing.assert_array_equal(stored(tmp_path / "out.png")[0], codes)


@pytest.mark.parametrize(
    "name, depth, type, levels, tolerance",
    [
        ("a.png", "half", "uint8", 255, 0.51),
        ("a.png", "uint16", "uint16", 65535, 3),
        ("a.tif", "half", "uint16", 65535, 3),
        ("a.dpx", "half", "uint10", 1023, 0.6),
        ("a.dpx", "uint16", "uint16", 65535, 3),
        ("a.jpg", "half", "uint8", 255, 3),
    ],
)
def test_integer_files_hold_srgb(tmp_path, name, depth, type, levels, tolerance):
    linear = np.tile(np.linspace(-0.1, 1.2, 64)[None, :, None], (16, 1, 3)).astype(np.float32)
    found, spec = stored(write(tmp_path / name, Image(linear), depth=depth))
    clipped = linear.clip(0, 1)
    expected = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    assert spec.get_int_attribute("oiio:BitsPerSample", 8 * found.dtype.itemsize) == int(type[4:])
    largest = np.iinfo(found.dtype).max
    np.testing.assert_allclose(found / largest * levels, expected * levels, atol=tolerance)


def test_png_is_straight_and_jpeg_over_black(tmp_path):
    image = Image(np.full((16, 16, 4), (0.25, 0.25, 0.25, 0.5), np.float32), Alpha.PREMULTIPLIED)
    found, spec = stored(write(tmp_path / "a.png", image))
    np.testing.assert_array_equal(found[0, 0], [188, 188, 188, 128])  # linear 0.5 is sRGB 188
    assert spec["oiio:UnassociatedAlpha"] == 1
    found, spec = stored(write(tmp_path / "a.jpg", image))
    np.testing.assert_allclose(found[0, 0], 137, atol=1)  # linear 0.25
    assert found.shape[2] == 3


@pytest.mark.parametrize("name", ["a.exr", "a.png", "a.tif", "a.dpx"])
def test_alpha_survives_a_round_trip(tmp_path, rng, name):
    pixels = rng.random((8, 9, 4), np.float32)
    pixels[..., :3] *= pixels[..., 3:]
    path = write(tmp_path / name, Image(pixels, Alpha.PREMULTIPLIED), depth="uint16")
    image = Read(ReadParams(str(path), working=color.LINEAR_REC709)).evaluate(1, Fetched(), never)
    found = image.pixels.copy()
    if image.alpha is Alpha.STRAIGHT:
        found[..., :3] *= found[..., 3:]
    np.testing.assert_allclose(found, pixels, atol=6e-4)


# ---- the same bytes, the whole file or none


ALL = ["exr", "png", "jpg", "tif", "dpx", "hdr"]


@pytest.mark.parametrize("suffix", ALL)
def test_equal_results_are_equal_bytes(tmp_path, rng, suffix):
    image = Image(rng.random((20, 30, 3), np.float32), metadata={"camera": "A1"})
    paths = [write(tmp_path / folder / f"a.####.{suffix}", image, 5) for folder in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b".tmp" not in paths[0].read_bytes()
    assert stored(paths[0])[1].get_string_attribute("DateTime") == ""


@pytest.mark.parametrize("suffix", ALL)
def test_what_is_found_in_a_frames_place(tmp_path, rng, suffix):
    node = Write(WriteParams(str(tmp_path / f"a.#.{suffix}")), image=Given(Image(rng.random((48, 64, 3), np.float32))))
    path, key = node.path_of(3), node.stamp(3)
    assert node.found(3) is Found.MISSING and not node.is_done(3)
    Evaluator()(node, 3)
    assert node.found(3) is find(path, key) is (Found.FOREIGN if suffix == "hdr" else Found.WHOLE)
    assert node.is_done(3) == (suffix != "hdr")
    assert find(path, node.stamp(4)) is find(path, "") is Found.FOREIGN
    data = path.read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], data[:100], b""):
        path.write_bytes(damaged)
        left = find(path, key)
        # Where the header goes with the cut, or never said anything, it is somebody else's picture.
        assert left is Found.DAMAGED if suffix in ("exr", "png") else left is not Found.WHOLE


def test_the_stamp_follows_pixels_and_parameters_but_not_the_place(tmp_path, rng):
    pixels = rng.random((4, 5, 3), np.float32)

    def stamp(pixels: np.ndarray = pixels, path: str = "a.#.exr", **params: Any) -> str:
        return Write(WriteParams(path, **params), image=Given(Image(pixels))).stamp(1)

    changes: list[dict[str, Any]] = [
        {"space": "ACEScg"},
        {"working": "ACEScg"},
        {"compression": "piz"},
        {"depth": "float"},
    ]
    changes += [{"attributes": (("fewstroke:model", "x"),)}, {"pixels": pixels + 1}, {"path": "a.#.png"}]
    assert len({stamp(), *(stamp(**change) for change in changes)}) == len(changes) + 1
    assert stamp(path=str(tmp_path / "b.####.exr")) == stamp()
    # The node's own key knows the place: two writers of one result are two results.
    image = Given(Image(pixels))
    assert Write(WriteParams("a.#.exr"), image=image).key(1) != Write(WriteParams("b.#.exr"), image=image).key(1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, CancelledError, RuntimeError])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, rng, error):
    image = Image(rng.random((4, 5, 3), np.float32))
    (tmp_path / "a.0001.exr").write_bytes(b"the old frame")
    node = Write(WriteParams(str(tmp_path / "a.####.exr")), image=Given(image))
    calls = 0

    def cancel() -> None:
        nonlocal calls
        calls += 1
        if any(entry.name.startswith(".fewstroke") for entry in tmp_path.iterdir()):
            raise error

    with pytest.raises(error):
        node.evaluate(1, Fetched(node), cancel)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.0001.exr"]
    assert (tmp_path / "a.0001.exr").read_bytes() == b"the old frame"


def test_temporary_files_are_in_no_sequence(tmp_path, rng):
    image = Image(rng.random((4, 5, 3), np.float32))
    seen: list[tuple[int, ...]] = []

    def cancel() -> None:
        if any(entry.name.startswith(".") for entry in tmp_path.iterdir()):
            for pattern in ("a.#.exr", "####.exr", "#.exr", ".%d.exr"):
                with pytest.raises(ImageError, match="no file matches"):
                    Read(ReadParams(str(tmp_path / pattern))).frames()
            seen.append((1,))

    node = Write(WriteParams(str(tmp_path / "a.#.exr")), image=Given(image))
    node.evaluate(1, Fetched(node), cancel)
    assert seen


def test_threads_give_the_bytes_of_one(tmp_path, rng, save):
    for frame in range(1, 9):
        save(f"in.{frame:04d}.exr", rng.random((30, 40, 4)))
    files = []
    for jobs in (1, 4):
        folder = tmp_path / f"jobs{jobs}"
        node = Write(WriteParams(str(folder / "a.####.exr")), image=Read(ReadParams(str(tmp_path / "in.####.exr"))))
        frames = rng.permutation(np.arange(1, 9)) if jobs > 1 else range(1, 9)
        assert sorted(done.frame for done in render_frames(node, frames, jobs=jobs)) == list(range(1, 9))
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert files[0] == files[1] and len(files[0]) == 8


# ---- errors


def test_parameters_are_checked_at_once():
    image = Given(Image(np.zeros((2, 2, 3), np.float32)))
    for path in ("a.####.txt", "a.####", "a.mov"):
        with pytest.raises(ParameterError, match=r"cannot be written: name a file that ends in \.exr"):
            Write(WriteParams(path), image=image)
    with pytest.raises(ParameterError, match="compression 'zap' is unknown; use one of zip"):
        Write(WriteParams("a.exr", compression="zap"), image=image)
    with pytest.raises(ParameterError, match="depth '8' is unknown; use one of half"):
        Write(WriteParams("a.exr", depth="8"), image=image)
    with pytest.raises(ParameterError, match=r"one file for several frames; put #### .* such as a\.####\.exr"):
        Write(WriteParams("a.exr"), image=image).check([1, 2])
    Write(WriteParams("a.exr"), image=image).check([1])
    Write(WriteParams("a.#.exr"), image=image).check([1, 2])


def test_a_file_where_the_folder_should_be(tmp_path, rng):
    image = Image(rng.random((4, 5, 3), np.float32))
    (tmp_path / "out").write_bytes(b"")
    for path in (tmp_path / "out" / "a.exr", tmp_path / "out" / "deeper" / "a.exr"):
        with pytest.raises(ImageError, match="cannot be made, a file is in its place; move it"):
            write(path, image)


def test_a_folder_where_the_file_should_be(tmp_path, rng):
    (tmp_path / "a.exr").mkdir()
    with pytest.raises(ImageError, match=r"frame 1 \(a\.exr\) cannot be written to .*: is a directory;"):
        write(tmp_path / "a.exr", Image(rng.random((4, 5, 3), np.float32)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.exr"]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights are a POSIX matter")
def test_a_folder_without_rights(tmp_path, rng):
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        for path in (folder / "a.exr", folder / "new" / "a.exr"):
            with pytest.raises(ImageError, match=r"permission denied; .*write elsewhere"):
                write(path, Image(rng.random((4, 5, 3), np.float32)))
    finally:
        if root:
            os.seteuid(0)


def test_not_finite_pixels_are_not_written(tmp_path):
    pixels = np.zeros((4, 5, 3), np.float32)
    pixels[2, 1, 0] = np.nan
    with pytest.raises(
        ImageError, match=r"frame 9 \(a\.0009\.png\) has 1 NaN or infinite pixels, the first at x 1, y 2"
    ):
        write(tmp_path / "a.####.png", Image(pixels), 9)
    assert not list(tmp_path.iterdir())


FULL_DISK = """
import resource, sys
import numpy as np
from fewstroke.engine.errors import ImageError
from fewstroke.engine.image import Image
from fewstroke.nodes.node import Node
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.write import Write, WriteParams

source, folder = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for suffix in ("exr", "png", "jpg", "tif", "dpx", "hdr"):
    node = Write(WriteParams(f"{folder}/a.{suffix}"), image=Read(ReadParams(source)))
    try:
        Evaluator()(node, 1)
    except ImageError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit that stands for a full disk is a POSIX one")
def test_a_full_disk(tmp_path, save, rng):
    source = save("in.exr", rng.random((200, 300, 3)))
    folder = tmp_path / "out"
    folder.mkdir()
    # In a process of its own, since the limit cannot be lifted, and since libjpeg may end the process.
    command = [sys.executable, "-c", FULL_DISK, str(source), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and done.stderr == ""
    assert all(line.startswith("frame 1 (a.") and "free some space there" in line for line in lines), lines
    assert not list(folder.iterdir())


def test_a_frame_that_was_deleted_is_written_again_by_the_same_evaluator(save: Any, tmp_path: Path) -> None:
    source = save("plate.0001.exr", np.full((8, 8, 3), 0.5), "half")
    write = Write(WriteParams(str(tmp_path / "out.####.exr")), image=Read(ReadParams(str(source))))
    evaluate = Evaluator()
    for _ in range(2):
        evaluate(write, 1)
        write.path_of(1).unlink()
