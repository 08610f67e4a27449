"""Frames in Blender: each shows the pixels that `fewstroke render` writes, in whatever order and process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import PyOpenColorIO
import pytest
from blenders import MODEL, PYTHON, VERSION, Blender, pixels, save

Rendered = Callable[..., dict[int, np.ndarray]]

HALF = 2**-10
"""How far half precision may take a value, relative to it: one step."""


def assert_half(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(got, wanted, rtol=HALF, atol=HALF / 16)


def test_the_extension_brings_nothing_of_the_engine_into_blender(blender: Blender) -> None:
    done = blender.run("with inside.blender() as say: say(version=bpy.app.version[:3], modules=sorted(sys.modules))")
    assert ".".join(map(str, done.facts["version"])) == VERSION
    loaded = {name.partition("fewstroke.")[2] for name in done.facts["modules"] if "fewstroke." in name}
    assert {"plugin.blender", "plugin.client", "plugin.params"} <= loaded
    assert not [name for name in loaded if name.startswith(("engine", "nodes"))]
    assert not {"torch", "cv2", "onnxruntime", "scipy"} & set(done.facts["modules"])


ANY_ORDER = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    for frame in (6, 1, 4):
        inside.render_still(frame, f"{arguments[0]}/still/{frame}.exr")
    inside.render_range(2, 5, arguments[0] + "/range/")
"""


def test_any_frame_in_any_order_is_what_the_command_writes(blender: Blender, shot: Path, rendered: Rendered) -> None:
    blender.run(ANY_ORDER, shot)
    wanted = rendered(shot, "1-6")
    for frame in (6, 1, 4):
        assert np.array_equal(pixels(shot / "still" / f"{frame}.exr"), wanted[frame]), frame
    for frame in range(2, 6):
        assert np.array_equal(pixels(shot / "range" / f"{frame:04d}.exr"), wanted[frame]), frame


HALVES = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.render_range(int(arguments[1]), int(arguments[2]), arguments[0] + "/out/")
"""


def test_several_blenders_render_one_file_at_once(blender: Blender, shot: Path, rendered: Rendered) -> None:
    environment = {
        **os.environ, "HOME": str(blender.home), "XDG_CONFIG_HOME": str(blender.home / ".config"),
        "PYTHONPATH": str(Path(__file__).parent), "FEWSTROKE_PYTHON": sys.executable, "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    script = "import sys, bpy, inside\narguments = sys.argv[1:]\n" + HALVES
    # The halves overlap, so that both want to write the same frames, too.
    halves = [
        subprocess.Popen([PYTHON, "-c", script, shot, *part], env=environment, stdout=subprocess.DEVNULL)
        for part in (("1", "4"), ("3", "6"))
    ]
    assert [half.wait(300) for half in halves] == [0, 0]
    for frame, wanted in rendered(shot, "1-6").items():
        assert np.array_equal(pixels(shot / "out" / f"{frame:04d}.exr"), wanted), frame
    assert not list((shot / "shot.fewstroke" / "Stylize").glob(".*"))


STRENGTH = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    strength = inside.node("STYLIZE").inputs["Strength"]
    for frame, value in ((1, 0.0), (5, 1.0)):
        strength.default_value = value
        strength.keyframe_insert("default_value", frame=frame)
    bpy.ops.wm.save_mainfile()
    inside.render_range(1, 5, arguments[0] + "/out/")
    bpy.context.scene.frame_set(3)
    say(strength=inside.node("STYLIZE").inputs["Strength"].default_value)
"""


def test_strength_is_animated_by_blender_itself(blender: Blender, shot: Path, rendered: Rendered) -> None:
    strength = round(blender.run(STRENGTH, shot).facts["strength"], 6)
    assert 0 < strength < 1
    assert_half(pixels(shot / "out" / "0003.exr"), rendered(shot, "3", strength=strength)[3])
    assert_half(pixels(shot / "out" / "0001.exr"), pixels(shot / "plate.0001.exr"))


STEADY = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    stylize = inside.node("STYLIZE")
    inside.render_still(3, arguments[0] + "/alone.exr")
    stylize.node_tree.fewstroke.steadiness = 0.7
    inside.render_still(3, arguments[0] + "/steady.exr")
    stylize.inputs["Strength"].default_value = 0.5
    inside.render_still(3, arguments[0] + "/mixed.exr")
"""


def test_steadiness_comes_before_strength_as_on_the_command_line(
    blender: Blender, shot: Path, rendered: Rendered
) -> None:
    blender.run(STEADY, shot)
    steady = pixels(shot / "steady.exr")
    assert np.array_equal(steady, rendered(shot, "3", steadiness=0.7)[3])
    assert not np.array_equal(steady, pixels(shot / "alone.exr"))
    mixed = pixels(shot / "mixed.exr")
    assert_half(mixed, rendered(shot, "3", steadiness=0.7, strength=0.5)[3])
    # Strength mixes the steadied painting into the footage as it is.
    assert_half(mixed, (steady + pixels(shot / "plate.0003.exr")) / 2)


MOVIE = """
with inside.blender() as say:
    folder = arguments[0]
    inside.open_shot(folder, "plate.mp4")
    scene = bpy.context.scene
    say(frames=[scene.frame_start, scene.frame_end], size=[scene.render.resolution_x, scene.render.resolution_y])
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/paint.png", frame=2)
    scene.frame_set(4)
    bpy.ops.fewstroke.paint_frame()
    say(painted=inside.node("STYLIZE").node_tree.fewstroke.keyframes[1].frame)
    bpy.ops.fewstroke.train(steps=2)
    for frame in (12, 1, 5):
        inside.render_still(frame, f"{folder}/still/{frame}.exr")
    inside.render_range(6, 8, folder + "/range/")
    strength = inside.node("STYLIZE").inputs["Strength"]
    strength.default_value = 0.5
    bpy.ops.wm.save_mainfile()
    inside.render_still(7, folder + "/mixed.exr")
    strength.default_value = 0
    strength.keyframe_insert("default_value", frame=1)
    bpy.ops.wm.save_mainfile()
    for frame in (1, 7, 12):
        inside.render_still(frame, f"{folder}/plate/{frame}.exr")
"""


def test_a_movie_is_painted_as_the_command_paints_it(blender: Blender, tmp_path: Path, rendered: Rendered) -> None:
    rng = np.random.default_rng(0)
    canvas = rng.integers(40, 216, (9, 24, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    movie = tmp_path / "plate.mp4"
    with av.open(str(movie), "w") as container:
        stream: Any = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(12):
            picture = np.ascontiguousarray(canvas[:64, number * 7 : number * 7 + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    save(tmp_path / "paint.png", 1 - canvas[:64, 7:103] / 255, "uint8")
    facts = blender.run(MOVIE, tmp_path).facts
    assert facts == {"frames": [1, 12], "size": [96, 64], "painted": 4}
    wanted = rendered(tmp_path, "1-12", footage=movie)
    for frame in (12, 1, 5):
        assert np.array_equal(pixels(tmp_path / "still" / f"{frame}.exr"), wanted[frame]), frame
    for frame in range(6, 9):
        assert np.array_equal(pixels(tmp_path / "range" / f"{frame:04d}.exr"), wanted[frame]), frame
    assert np.array_equal(pixels(tmp_path / "mixed.exr"), rendered(tmp_path, "7", footage=movie, strength=0.5)[7])
    # Where the strength is animated, Blender mixes, and decodes: colour is less sharp, but it is the same frame.
    plates = rendered(tmp_path, "1-12", footage=movie, strength=0)
    for frame in (1, 7, 12):
        shown = pixels(tmp_path / "plate" / f"{frame}.exr")
        apart = {number: np.abs(shown - plate).mean() for number, plate in plates.items()}
        assert [number for number, error in apart.items() if error < 0.05] == [frame], apart


MATTE = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.link_matte(arguments[0])
    bpy.ops.fewstroke.train(steps=2, afresh=True)
    inside.render_still(3, arguments[0] + "/out.exr")
"""


def test_a_matte_keeps_the_footage_outside(blender: Blender, shot: Path, rendered: Rendered) -> None:
    blender.run(MATTE, shot)
    wanted = rendered(shot, "3", matte=shot / "matte.####.png")[3]
    got, plate = pixels(shot / "out.exr"), pixels(shot / "plate.0003.exr")
    assert np.array_equal(got, wanted)
    assert np.array_equal(got[:, 40:], plate[:, 40:]) and not np.array_equal(got[:, :30], plate[:, :30])


COLOUR = """
with inside.blender() as say:
    folder, first, space = arguments
    inside.open_shot(folder, first)
    inside.plate().image.colorspace_settings.name = space
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/paint.png", frame=2)
    bpy.ops.fewstroke.train(steps=2)
    inside.node("STYLIZE").inputs["Strength"].default_value = 0.5
    inside.render_still(3, folder + "/out.exr")
    say(space=inside.node("STYLIZE").node_tree.nodes["Result"].image.colorspace_settings.name)
"""


@pytest.mark.parametrize(("space", "kind"), [("ACEScg", "half"), ("sRGB", "uint8"), ("Linear Rec.709", "half")])
def test_colour_comes_in_and_goes_out_as_blender_has_it(
    blender: Blender, built: Path, tmp_path: Path, rendered: Rendered, space: str, kind: str
) -> None:
    suffix = "exr" if kind == "half" else "png"
    for frame in range(1, 5):
        save(tmp_path / f"plate.{frame:04d}.{suffix}", pixels(built / f"plate.{frame:04d}.exr") / 1.5, kind)
    (tmp_path / "paint.png").write_bytes((built / "paint.png").read_bytes())
    done = blender.run(COLOUR, tmp_path, f"plate.0001.{suffix}", space)
    assert done.facts["space"] == ("ACEScg" if space == "ACEScg" else "Linear Rec.709")
    plate = {"footage": tmp_path / f"plate.####.{suffix}", "footage_space": space}
    wanted = rendered(tmp_path, "3", strength=0.5, **plate)[3]
    if space == "ACEScg":  # the command keeps the footage's space, Blender composites in its own
        ocio: Any = PyOpenColorIO  # it has no type stubs
        config = ocio.Config.CreateFromBuiltinConfig("studio-config-v4.0.0_aces-v2.0_ocio-v2.5")
        wanted = np.ascontiguousarray(wanted)
        config.getProcessor("ACEScg", "Linear Rec.709 (sRGB)").getDefaultCPUProcessor().applyRGB(wanted)
        np.testing.assert_allclose(pixels(tmp_path / "out.exr"), wanted, rtol=2 * HALF, atol=HALF)
    else:
        assert_half(pixels(tmp_path / "out.exr"), wanted)


@pytest.mark.slow
def test_a_minute_of_training_on_real_footage(blender: Blender, tmp_path: Path, rendered: Rendered) -> None:
    for path in (Path(__file__).resolve().parents[2] / "install" / "footage").glob("p*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    program = """
with inside.blender() as say:
    folder = arguments[0]
    inside.open_shot(folder, "plate.1001.exr")
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/painting.1001.png", frame=1001)
    bpy.ops.fewstroke.train(seconds=60)
    bpy.ops.wm.save_mainfile()
    for frame in (1020, 1003, 1011):
        inside.render_still(frame, f"{folder}/still/{frame}.exr")
    inside.render_range(1005, 1007, folder + "/range/")
"""
    blender.run(program, tmp_path)
    wanted = rendered(tmp_path, "1003,1005-1007,1011,1020")
    for folder, frames in (("still", (1020, 1003, 1011)), ("range", (1005, 1006, 1007))):
        for frame in frames:
            np.testing.assert_array_equal(pixels(tmp_path / folder / f"{frame}.exr"), wanted[frame])
    # It has learnt: nearer to the painting than to the footage, at the painted frame.
    assert (tmp_path / MODEL).exists()
