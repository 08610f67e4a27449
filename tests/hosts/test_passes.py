"""Own renders: a scene's passes, painted with the renderer's motion and a matte, in one process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from blenders import Blender, pixels

RENDER = """
with inside.blender() as say:
    folder, objects = arguments
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.device = 1, "CPU"
    scene.cycles.use_denoising = False
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 96, 64, 100
    scene.frame_start, scene.frame_end = 1, 4
    cube = bpy.data.objects["Cube"]
    for frame in (1, 4):
        cube.location.x = frame / 2 - 1
        cube.keyframe_insert("location", frame=frame)
    bpy.ops.wm.save_as_mainfile(filepath=folder + "/shot.blend")
    bpy.ops.fewstroke.render_passes(objects=objects)
    bpy.ops.fewstroke.open_passes()
    scene = bpy.context.scene
    say(scene=scene.name, size=[scene.render.resolution_x, scene.render.resolution_y], last=scene.frame_end)
    prefilter, stylize = inside.node("PREFILTER"), inside.node("STYLIZE")
    say(vector=prefilter.inputs["Vector"].is_linked, matte=stylize.inputs["Matte"].is_linked)
    scene.frame_set(2)
    bpy.ops.fewstroke.paint_frame()
    image = stylize.node_tree.fewstroke.keyframes[0].image
    image.pixels[:] = [1 - value if index % 4 < 3 else value for index, value in enumerate(image.pixels[:])]
    bpy.ops.fewstroke.train(steps=2)
    bpy.ops.wm.save_mainfile()
    inside.render_still(3, folder + "/out.exr")
"""


@pytest.mark.slow
@pytest.mark.parametrize("objects", ["Cube", ""])
def test_a_scene_is_rendered_and_painted_in_one_process(
    blender: Blender, tmp_path: Path, rendered: Callable[..., dict[int, np.ndarray]], objects: str
) -> None:
    facts = blender.run(RENDER, tmp_path, objects).facts
    assert facts["scene"] == "Scene painted" and facts["size"] == [96, 64] and facts["last"] == 4
    assert facts["vector"] and facts["matte"] == bool(objects)
    passes = tmp_path / "shot.fewstroke" / "Scene" / "render.####.exr"
    plate = oiio.ImageBuf(str(passes).replace("####", "0003"))
    assert {"ViewLayer.Combined.R", "ViewLayer.Vector.Z"} <= set(plate.spec().channelnames)
    options = {"footage": passes, "vectors": passes, "footage_space": "Linear Rec.709"}
    if objects:
        options["matte"] = passes.with_name("matte.####.exr")
    wanted = rendered(tmp_path, "3", **options)[3]
    got = pixels(tmp_path / "out.exr")
    np.testing.assert_allclose(got, wanted, rtol=2**-10, atol=2**-14)
    if objects:
        matte = pixels(passes.with_name("matte.0003.exr"))[:, :, 0]
        assert 0.02 < matte.mean() < 0.5
        names = plate.spec().channelnames
        combined = plate.get_pixels(oiio.FLOAT)
        assert combined is not None
        rgb = combined[:, :, [names.index(f"ViewLayer.Combined.{channel}") for channel in "RGB"]]
        np.testing.assert_allclose(got[matte == 0], rgb[matte == 0], rtol=2**-10, atol=2**-14)
        assert not np.allclose(got[matte == 1], rgb[matte == 1], rtol=0.01)
