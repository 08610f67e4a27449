"""Read against files that were made with OpenImageIO and PyAV alone, whose pixels are known."""

import os
import struct
import zlib
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import OpenImageIO as oiio
import pytest
from av.video.stream import VideoStream
from standing import Fetched

from fewstroke.engine import color
from fewstroke.engine.errors import ColorError, FrameMissingError, ImageError, ParameterError
from fewstroke.engine.image import Alpha, Image
from fewstroke.nodes.node import never
from fewstroke.nodes.read import FramePattern, Read, ReadParams


def picture(path, frame: int = 1, **params) -> Image:
    return Read(ReadParams(str(path), **params)).evaluate(frame, Fetched(), never)


def half(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random values that half floats hold exactly, some negative, some above 1."""
    return rng.uniform(-0.5, 3, shape).astype(np.float16).astype(np.float32)


# ---- names and frames


@pytest.mark.parametrize(
    "pattern", ["plate.####.exr", "plate.%04d.exr", "plate.#.exr", "plate.%d.exr", "plate.######.exr"]
)
def test_frames_of_a_pattern_with_gaps_negative_and_long_numbers(tmp_path, pattern):
    names = {
        -5: "plate.-005.exr",
        -4: "plate.-0004.exr",
        7: "plate.0007.exr",
        9: "plate.9.exr",
        12345: "plate.12345.exr",
    }
    for name in [*names.values(), "plate.exr", "plate.0001.png", "xplate.0001.exr", ".plate.0002.exr", "plate.1a.exr"]:
        (tmp_path / name).touch()
    read = Read(ReadParams(str(tmp_path / pattern)))
    assert read.frames().frames == (-5, -4, 7, 9, 12345)
    assert {frame: read.path_of(frame).name for frame in read.frames()} == names


def test_the_exact_padding_wins(tmp_path):
    for name in ("p.1.exr", "p.01.exr", "p.001.exr"):
        (tmp_path / name).touch()
    assert [Read(ReadParams(str(tmp_path / f"p.{n}.exr"))).path_of(1).name for n in ("#", "##", "###")] == [
        "p.1.exr",
        "p.01.exr",
        "p.001.exr",
    ]


@pytest.mark.parametrize("name", ["pl@te 1-3 [x] (é).{}.exr", "v#2 {{}} 100%.{}.exr", "?a=b&*{}.exr", "$F-{}.exr"])
def test_difficult_names(save, rng, tmp_path, name):
    folder = tmp_path / "shöt [1-10] #2 ünd"
    pixels = half(rng, 4, 6, 3)
    for frame in (3, 4):
        save(str(folder / name.format(f"{frame:04d}")), pixels + frame)
    for placeholder in ("####", "%04d"):
        path = str(folder / name.format(placeholder))
        assert Read(ReadParams(path)).frames().frames == (3, 4)
        np.testing.assert_array_equal(picture(path, 4).pixels, (pixels + 4).astype(np.float16))
    # A file that is called like a pattern is a picture.
    literal = save(str(folder / "take #1.exr"), pixels)
    np.testing.assert_array_equal(picture(literal, 55).pixels, pixels)


def test_path_of_and_files_are_inverse(tmp_path):
    pattern = FramePattern.parse(str(tmp_path / "a.###.exr"))
    assert pattern is not None
    frames = (-1234, -12, -1, 0, 1, 99, 1000)
    for frame in frames:
        pattern.path_of(frame).touch()
    assert pattern.files() == {frame: pattern.path_of(frame) for frame in frames}


def test_a_still_picture_is_the_same_everywhere(save, rng):
    path = save("still.exr", half(rng, 3, 5, 3))
    read = Read(ReadParams(str(path)))
    assert read.frames().frames == (1,)
    assert read.key(1) == read.key(99)
    np.testing.assert_array_equal(picture(path, 1).pixels, picture(path, 99).pixels)


def test_a_missing_frame_says_which_there_are(save, rng):
    for frame in (1001, 1002, 1003, 1006):
        path = save(f"plate.{frame}.exr", half(rng, 2, 2, 3))
    read = Read(ReadParams(str(path.with_name("plate.####.exr"))))
    for ask in (read.key, lambda frame: read.evaluate(frame, Fetched(), never)):
        with pytest.raises(
            FrameMissingError, match=r"frame 1005 \(plate\.1005\.exr\) is not on disk: .* has 1001-1003,1006"
        ) as caught:
            ask(1005)
        assert caught.value.frame == 1005 and caught.value.path == path.with_name("plate.1005.exr")
    # It may be rendered later.
    save("plate.1005.exr", half(rng, 2, 2, 3))
    read.evaluate(1005, Fetched(), never)


def test_no_file_at_all_names_a_similar_one(tmp_path):
    (tmp_path / "plate_0001.exr").touch()
    with pytest.raises(ImageError, match=r"no file matches .*plate\.####\.exr.*did you mean plate_0001\.exr"):
        Read(ReadParams(str(tmp_path / "plate.####.exr"))).frames()
    with pytest.raises(ImageError, match="no file matches"):
        Read(ReadParams(str(tmp_path / "nowhere" / "plate.####.exr"))).frames()


# ---- pixels


@pytest.mark.parametrize("type", ["half", "float"])
@pytest.mark.parametrize("count", [3, 4])
def test_exr_values_are_kept(save, rng, type, count):
    pixels = half(rng, 7, 9, count)
    if count == 4:
        pixels[..., 3] = np.clip(pixels[..., 3], 0, 1)
        pixels[0, 0] = (0.5, 0.25, 2, 0)  # light without coverage
    image = picture(save("a.exr", pixels, type))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.alpha is (Alpha.PREMULTIPLIED if count == 4 else Alpha.NONE)


@pytest.mark.parametrize(
    "window", [(0, 0, 8, 6), (-2, -1, 12, 9), (2, 1, 4, 3), (-3, 2, 8, 6), (100, 100, 5, 5)], ids=str
)
def test_the_result_is_the_display_window(save, rng, window):
    pixels = half(rng, 6, 8, 4)
    image = picture(save("a.exr", pixels, window=window))
    x0, y0, width, height = window
    expected = np.zeros((height, width, 4), np.float32)
    for y in range(height):
        for x in range(width):
            if 0 <= y + y0 < 6 and 0 <= x + x0 < 8:
                expected[y, x] = pixels[y + y0, x + x0]
    np.testing.assert_array_equal(image.pixels, expected)


def test_channels_are_found_by_name(save, rng):
    pixels = half(rng, 4, 5, 5)
    image = picture(save("a.exr", pixels, channels=["Z", "A", "B", "G", "R"]))
    np.testing.assert_array_equal(image.pixels, pixels[:, :, [4, 3, 2, 1]])


LAYERS = [f"ViewLayer.Combined.{channel}" for channel in "RGBA"] + [f"diffuse.{channel}" for channel in "RGB"]
LAYERS += ["ViewLayer.Depth.Z", "ViewLayer.Normal.X", "ViewLayer.Normal.Y", "ViewLayer.Normal.Z"]


@pytest.mark.parametrize(
    "layer, channels",
    [
        ("", [0, 1, 2, 3]),
        ("Combined", [0, 1, 2, 3]),
        ("ViewLayer.Combined", [0, 1, 2, 3]),
        ("diffuse", [4, 5, 6]),
        ("DIFFUSE", [4, 5, 6]),
        ("ViewLayer.Depth", [7, 7, 7]),
        ("Normal", [8, 9, 10]),
        ("diffuse.G", [5, 5, 5]),
    ],
)
@pytest.mark.parametrize("multipart", [False, True])
def test_layers(save, rng, tmp_path, layer, channels, multipart):
    pixels = half(rng, 4, 5, len(LAYERS))
    path = tmp_path / "a.exr"
    if multipart:
        parts = [("ViewLayer.Depth", [7]), ("diffuse", [4, 5, 6]), ("ViewLayer.Combined", [0, 1, 2, 3])]
        save_parts(path, pixels, [*parts, ("ViewLayer.Normal", [8, 9, 10])])
    else:
        save("a.exr", pixels, channels=LAYERS)
    np.testing.assert_array_equal(picture(path, layer=layer).pixels, pixels[:, :, channels])


def save_parts(path: Path, pixels: np.ndarray, parts: list[tuple[str, list[int]]]) -> None:
    specs = []
    for name, indices in parts:
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(indices), "half")
        # One part names its channels in full, as Blender does; the others leave that to the part.
        spec.channelnames = tuple(LAYERS[i] if name.startswith("V") else LAYERS[i].rpartition(".")[2] for i in indices)
        spec["oiio:subimagename"] = name
        specs.append(spec)
    output = oiio.ImageOutput.create(str(path))
    assert output is not None and output.open(str(path), tuple(specs))
    for number, (_, indices) in enumerate(parts):
        if number:
            assert output.open(str(path), specs[number], "AppendSubimage")
        assert output.write_image(np.ascontiguousarray(pixels[:, :, indices]))
    assert output.close()


def test_the_unnamed_layer_comes_before_others(save, rng):
    pixels = half(rng, 4, 5, 6)
    path = save("a.exr", pixels, channels=["Combined.R", "Combined.G", "Combined.B", "R", "G", "B"])
    np.testing.assert_array_equal(picture(path).pixels, pixels[:, :, 3:])


def test_an_unknown_layer_lists_those_there_are(save, rng):
    path = save("a.0001.exr", half(rng, 4, 5, len(LAYERS)), channels=LAYERS)
    with pytest.raises(ImageError, match=r"no layer 'specular'; it has .*ViewLayer.Combined.*diffuse") as caught:
        picture(path, layer="specular")
    assert caught.value.path == path


INTEGER_FILES = [
    ("a.png", "uint8", 1), ("a.png", "uint8", 2), ("a.png", "uint8", 3), ("a.png", "uint8", 4), ("a.png", "uint16", 3),
    ("a.png", "uint16", 4), ("a.tif", "uint8", 3), ("a.tif", "uint16", 4), ("a.dpx", "uint16", 3),
]  # fmt: skip


@pytest.mark.parametrize("name, type, count", INTEGER_FILES)
def test_integer_files_are_srgb_and_straight(save, rng, name, type, count):
    values = np.rint(rng.random((5, 6, count)) * 255) / 255
    image = picture(save(name, values, type, oiio__UnassociatedAlpha=1))
    expected = values[:, :, [0, 0, 0] if count < 3 else [0, 1, 2]]
    linear = np.where(expected <= 0.04045, expected / 12.92, ((expected + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    np.testing.assert_allclose(image.rgb, linear, rtol=5e-5, atol=1e-6)  # OpenColorIO approximates powers
    assert image.alpha is (Alpha.NONE if count % 2 else Alpha.STRAIGHT)
    if count % 2 == 0:
        np.testing.assert_allclose(image.pixels[:, :, 3], values[:, :, -1], atol=1e-7)


def test_palette_png(tmp_path):
    # Made after the PNG specification: two pixels, red and half-transparent green.
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", bytes([255, 0, 0, 0, 255, 0])), (b"tRNS", bytes([255, 51]))]
    chunks += [(b"IDAT", zlib.compress(bytes([0, 0, 1]))), (b"IEND", b"")]
    path = tmp_path / "palette.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))
    image = picture(path)
    np.testing.assert_allclose(image.pixels, [[[1, 0, 0, 1], [0, 1, 0, 0.2]]], rtol=5e-5)
    assert image.alpha is Alpha.STRAIGHT


def test_jpeg(save):
    image = picture(save("a.jpg", np.full((16, 16, 3), 0.5), "uint8"))
    np.testing.assert_allclose(image.pixels, 0.214, atol=0.004)


def test_float_tiff_is_linear(save, rng):
    pixels = rng.uniform(-1, 5, (4, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(picture(save("a.tif", pixels, "float")).pixels, pixels)


# ---- colour


def test_spaces(save, rng):
    pixels = half(rng, 4, 5, 3)
    untagged = Read(ReadParams(str(save("a.exr", pixels))))
    assert (untagged.space(), untagged.working()) == (color.LINEAR_REC709, color.LINEAR_REC709)
    tagged = Read(ReadParams(str(save("b.exr", pixels, oiio__ColorSpace="lin_ap1_scene"))))
    assert (tagged.space(), tagged.working()) == ("ACEScg", "ACEScg")
    converted = picture(tagged.params.path, working=color.LINEAR_REC709)
    np.testing.assert_array_equal(converted.pixels, color.convert(pixels, "ACEScg", color.LINEAR_REC709))
    named = Read(ReadParams(str(save("c.png", np.zeros((2, 2, 3)), "uint8")), space="ACEScg"))
    assert named.space() == "ACEScg"
    with pytest.raises(ColorError, match="did you mean"):
        Read(ReadParams(named.params.path, space="ACESgc")).space()
    with pytest.raises(ParameterError, match="not scene-linear"):
        Read(ReadParams(named.params.path, working="sRGB")).working()


def test_premultiplied_colour_is_converted_straight(save):
    alpha, code = np.float32(0.5), 0.5
    pixels = np.array([[[code * alpha] * 3 + [alpha], [0.25, 0.25, 0.25, 0]]], np.float32)
    image = picture(save("a.exr", pixels, "float"), space="sRGB")
    linear = 0.214041  # of sRGB 0.5, IEC 61966-2-1
    np.testing.assert_allclose(image.pixels[0, 0], [linear * alpha] * 3 + [alpha], atol=1e-5)
    np.testing.assert_allclose(image.pixels[0, 1], [0.050876] * 3 + [0], atol=1e-5)


def test_a_damaged_first_frame_does_not_hide_the_space(save, rng, tmp_path):
    save("a.0002.exr", half(rng, 4, 5, 3), oiio__ColorSpace="lin_ap1_scene")
    (tmp_path / "a.0001.exr").touch()
    assert Read(ReadParams(str(tmp_path / "a.####.exr"))).space() == "ACEScg"


def test_metadata_without_storage(save, rng):
    path = save("a.exr", half(rng, 4, 5, 3), camera="A1", iso=800, FNumber=2.8, compression="piz", fewstroke__key="x")
    metadata = dict(picture(path).metadata)
    assert metadata.pop("FNumber") == pytest.approx(2.8)
    assert metadata == {"camera": "A1", "iso": 800, "PixelAspectRatio": 1.0}


# ---- mattes


def test_matte_takes_alpha_unless_it_is_full(save, rng):
    pixels = half(rng, 4, 5, 4)
    np.testing.assert_array_equal(picture(save("a.exr", pixels), matte=True).pixels, pixels[:, :, 3:])
    pixels[:, :, 3] = 1
    image = picture(save("b.exr", pixels), matte=True)
    np.testing.assert_array_equal(image.pixels, pixels[:, :, :1])
    assert image.alpha is Alpha.NONE


def test_matte_in_file_values(save):
    values = np.linspace(0, 1, 256).reshape(16, 16, 1)
    np.testing.assert_allclose(picture(save("a.png", values, "uint8"), matte=True).pixels, values, atol=1e-7)


def test_matte_of_a_channel(save, rng):
    pixels = half(rng, 4, 5, len(LAYERS))
    path = save("a.exr", pixels, channels=LAYERS)
    np.testing.assert_array_equal(picture(path, layer="diffuse.B", matte=True).pixels, pixels[:, :, 6:7])
    np.testing.assert_array_equal(picture(path, layer="Depth", matte=True).pixels, pixels[:, :, 7:8])


# ---- what can be wrong with a file


FORMATS = [("exr", "half"), ("png", "uint8"), ("jpg", "uint8"), ("tif", "uint16"), ("dpx", "uint16"), ("hdr", "float")]


@pytest.mark.parametrize("cut", [0, 5, 60, 0.3, 0.7, -40, -3, -1])
@pytest.mark.parametrize("suffix, type", FORMATS)
def test_a_file_cut_off_is_found(save, rng, capfd, suffix, type, cut):
    path = save(f"plate.1003.{suffix}", rng.random((48, 64, 3)), type)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut) if isinstance(cut, float) else cut])
    with pytest.raises(
        ImageError, match=rf"frame 1003 \(plate\.1003\.{suffix}\) .*; render or copy it again"
    ) as caught:
        picture(path.with_name(f"plate.####.{suffix}"), 1003)
    assert "\n" not in str(caught.value) and caught.value.path == path and caught.value.frame == 1003
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cut", [100, 500, 0.5, 0.9, -1])
@pytest.mark.parametrize(
    "attributes", [{"tile": 16}, {"compression": "piz"}, {"compression": "none"}, {"compression": "dwaa"}]
)
def test_a_cut_off_exr_of_any_kind_is_found(save, rng, tmp_path, capfd, attributes, cut):
    pixels = rng.random((48, 64, 4)).astype(np.float32)
    path = tmp_path / "a.exr"
    if "tile" in attributes:
        spec = oiio.ImageSpec(64, 48, 4, "half")
        spec.tile_width = spec.tile_height = 16
        output = oiio.ImageOutput.create(str(path))
        assert output is not None and output.open(str(path), spec)
        assert output.write_image(pixels) and output.close()
    else:
        save("a.exr", pixels, **attributes)
    picture(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut) if isinstance(cut, float) else cut])
    with pytest.raises(ImageError, match="cut off"):
        picture(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["exr", "png", "jpg", "tif", "dpx", "hdr", "txt"])
def test_no_picture(tmp_path, rng, capfd, suffix):
    path = tmp_path / f"a.{suffix}"
    for data in (b"", b"hello", rng.bytes(5000)):
        path.write_bytes(data)
        with pytest.raises(ImageError, match="no picture"):
            picture(path)
    assert capfd.readouterr() == ("", "")


def test_a_corrupt_png_is_found(save, rng, capfd):
    path = save("a.png", rng.random((48, 64, 3)), "uint8")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ImageError, match="checksum"):
        picture(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(save, rng, bad):
    pixels = half(rng, 12, 8, 4)
    pixels[9, 5, 2] = pixels[9, 5, 3] = pixels[10, 1, 0] = bad
    path = save("plate.1003.exr", pixels)
    message = r"frame 1003 \(plate.1003.exr\) has 2 NaN or infinite pixels, the first at x 5, y 9; repair"
    with pytest.raises(ImageError, match=message) as caught:
        picture(path.with_name("plate.####.exr"), 1003)
    assert caught.value.frame == 1003


def test_folders_and_absent_files(tmp_path):
    with pytest.raises(ImageError, match="is a folder; name a picture"):
        picture(tmp_path)
    with pytest.raises(FrameMissingError, match="is not on disk"):
        picture(tmp_path / "a.exr")
    with pytest.raises(FrameMissingError, match="is not on disk"):
        Read(ReadParams(str(tmp_path / "a.mov"))).frames()


@contextmanager
def no_rights(path: Path):
    """A file without rights, met by somebody who is not root."""
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights are a POSIX matter")
def test_permission_denied(save, rng):
    path = save("a.exr", half(rng, 2, 2, 3))
    read = Read(ReadParams(str(path)))
    with no_rights(path):
        for ask in (read.key, lambda frame: read.evaluate(frame, Fetched(), never)):
            with pytest.raises(ImageError, match="permission denied; check its rights"):
                ask(1)


# ---- keys


def test_the_key_is_of_the_content(save, rng):
    pixels = half(rng, 4, 5, 4)
    path = save("one/a.0001.exr", pixels)
    key = Read(ReadParams(str(path))).key(1)
    assert Read(ReadParams(str(save("two/b.0007.exr", pixels)))).key(1) == key
    assert Read(ReadParams(str(path.with_name("a.#.exr")))).key(1) == key
    for change in ({"space": "ACEScg"}, {"working": "ACEScg"}, {"layer": "G"}, {"matte": True}):
        assert Read(replace(ReadParams(str(path)), **change)).key(1) != key
    # What an empty parameter stands for is the same as its name.
    assert Read(ReadParams(str(path), space=color.LINEAR_REC709)).key(1) != ""
    save("one/a.0001.exr", pixels + 1)
    os.utime(path, ns=(1, 1))
    assert Read(ReadParams(str(path))).key(1) != key


# ---- movies


def make_movie(path: Path, codec: str = "libx264", pix_fmt: str = "yuv420p", frames: int = 40, **options: str) -> None:
    """Frame n shows a bar at 4 n on a ramp, so that every frame is another."""
    ramp = np.tile(np.linspace(40, 200, 192, dtype=np.uint8)[None, :, None], (64, 1, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(24000, 1001), options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 192, 64, pix_fmt
        for number in range(1, frames + 1):
            pixels = ramp.copy()
            pixels[:, 4 * number : 4 * number + 8] = (250, 10, 30)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


MOVIES = [
    ("a.mov", "libx264", "yuv420p", {"bf": "3", "g": "12"}),
    ("a.mp4", "libx264", "yuv420p", {"bf": "2", "g": "250", "x264-params": "open-gop=1:keyint=10"}),
    ("a.mkv", "libx264", "yuv420p", {"bf": "3", "g": "7"}),
    ("a.avi", "mpeg4", "yuv420p", {"bf": "2", "g": "12"}),
    ("a.avi", "mjpeg", "yuvj420p", {}),
    ("a.mov", "prores_ks", "yuv422p10le", {}),
    ("b ü [1-2].webm", "libvpx-vp9", "yuv420p", {"g": "12", "cpu-used": "8", "deadline": "realtime"}),
    ("a.mxf", "mpeg2video", "yuv420p", {"bf": "2", "g": "12"}),
]


@pytest.mark.parametrize("name, codec, pix_fmt, options", MOVIES, ids=lambda value: str(value) if value else "")
def test_any_frame_of_a_movie_is_that_of_sequential_decoding(tmp_path, capfd, name, codec, pix_fmt, options):
    path = tmp_path / name
    make_movie(path, codec, pix_fmt, **options)
    with av.open(str(path)) as container:
        sequential = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    read = Read(ReadParams(str(path)))
    assert read.frames().frames == tuple(range(1, 41)) and len(sequential) == 40
    for frame in (40, 1, 23, 24, 25, 2, 12, 13, 39):
        image = read.evaluate(frame, Fetched(), never)
        codes = color.convert(image.pixels, read.working(), read.space()) * 255
        distances = [np.abs(codes - other.astype(np.float32)).mean() for other in sequential]
        assert int(np.argmin(distances)) == frame - 1
        assert distances[frame - 1] < 2
    assert len({read.key(frame) for frame in read.frames()}) == 40
    assert capfd.readouterr() == ("", "")


def test_movie_alpha_is_straight(tmp_path):
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=24)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "argb"
        pixels = np.full((16, 16, 4), (255, 0, 51, 102), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="argb")))
        container.mux(stream.encode(None))
    image = picture(path)
    assert image.alpha is Alpha.STRAIGHT
    np.testing.assert_allclose(image.pixels[5, 5], [1, 0, 0.033105, 0.4], rtol=5e-5)  # 51/255 in sRGB
    np.testing.assert_allclose(picture(path, matte=True).pixels, 0.4, atol=1e-6)


@pytest.mark.parametrize("height, red, blue", [(720, 0.2126, 0.0722), (480, 0.299, 0.114)])
def test_untagged_video_is_rec709_in_hd_and_rec601_in_sd(tmp_path, height, red, blue):
    codes = np.array([120, 90, 170])  # Y, Cb, Cr
    planes = np.broadcast_to(codes[:, None, None], (3, height, 64)).astype(np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, height, "yuv444p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes.copy(), format="yuv444p")))
        container.mux(stream.encode(None))
    # ITU-R BT.601 and BT.709, section 3: luma, and the two colour differences, in 8-bit video range.
    y, cb, cr = (codes[0] - 16) / 219, (codes[1] - 128) / 224, (codes[2] - 128) / 224
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    expected = [r, (y - red * r - blue * b) / (1 - red - blue), b]
    read = Read(ReadParams(str(tmp_path / "a.mkv")))
    image = read.evaluate(1, Fetched(), never)
    found = color.convert(image.pixels, read.working(), read.space())
    np.testing.assert_allclose(found[5, 5], expected, atol=1.1 / 255)


def test_a_frame_beyond_the_movie(tmp_path):
    make_movie(tmp_path / "a.mov", frames=5)
    for frame in (0, 6, -1):
        with pytest.raises(FrameMissingError, match=rf"frame {frame} is not in a\.mov, which has the frames 1-5"):
            picture(tmp_path / "a.mov", frame)


def test_a_damaged_movie(tmp_path, capfd, rng):
    path = tmp_path / "a.mov"
    make_movie(path)
    data = path.read_bytes()
    for damaged in (data[:100], data[: len(data) // 2], rng.bytes(3000), b""):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match="cannot be decoded"):
            picture(path)
    assert capfd.readouterr() == ("", "")
