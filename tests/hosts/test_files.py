"""What is kept: .blend files without the extension, copies, links, paintings."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from blenders import MODEL, Blender, pixels

Rendered = Callable[..., dict[int, np.ndarray]]

WITHOUT = """
with inside.blender(extension=False) as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.render_range(1, 4, arguments[0] + "/without/")
    bpy.ops.wm.save_mainfile()
"""

WITH = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.render_range(*map(int, arguments[2:4]), arguments[0] + "/" + arguments[1] + "/")
    settings = inside.node("STYLIZE").node_tree.fewstroke
    say(model=settings.model, keyframe=settings.keyframes[0].frame, painting=settings.keyframes[0].image.filepath)
    say(radius=inside.node("PREFILTER").node_tree.fewstroke.prefilter.radius)
"""


def test_without_the_extension_made_frames_show_and_nothing_is_lost(
    blender: Blender, shot: Path, rendered: Rendered
) -> None:
    before = blender.run(WITH, shot, "with", 1, 3).facts
    blender.run(WITHOUT, shot)
    for frame in (1, 2, 3):
        assert np.array_equal(pixels(shot / "without" / f"{frame:04d}.exr"), pixels(shot / "with" / f"{frame:04d}.exr"))
    assert not pixels(shot / "without" / "0004.exr").any(), "a frame that was never made must not look like one"
    # With the extension back, all is as it was, in the file that was saved without it.
    after = blender.run(WITH, shot, "again", 4, 4).facts
    assert after == before and before["radius"] == 1 and before["keyframe"] == 2
    assert np.array_equal(pixels(shot / "again" / "0004.exr"), rendered(shot, "4")[4])


def test_a_file_under_another_name_makes_frames_of_its_own_with_the_same_model(
    blender: Blender, shot: Path, rendered: Rendered
) -> None:
    program = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    bpy.ops.wm.save_as_mainfile(filepath=arguments[0] + "/shot_v2.blend")
    inside.render_still(3, arguments[0] + "/out.exr")
"""
    blender.run(program, shot)
    assert np.array_equal(pixels(shot / "out.exr"), rendered(shot, "3")[3])
    assert (shot / "shot_v2.fewstroke" / "Stylize" / "painted.0003.exr").exists()
    assert not (shot / "shot_v2.fewstroke" / "Stylize" / "shot.onnx").exists()


LINKS = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    tree, stylize, prefilter = inside.tree(), inside.node("STYLIZE"), inside.node("PREFILTER")
    plate = inside.plate()
    # The footage through a reroute, a muted node and a group of the user's.
    group = bpy.data.node_groups.new("Mine", "CompositorNodeTree")
    for name, side in (("In", "INPUT"), ("Out", "OUTPUT")):
        group.interface.new_socket(name, in_out=side, socket_type="NodeSocketColor")
    entry, end = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    group.links.new(entry.outputs[0], end.inputs[0])
    mine = tree.nodes.new("CompositorNodeGroup")
    mine.node_tree = group
    reroute = tree.nodes.new("NodeReroute")
    blur = tree.nodes.new("CompositorNodeBlur")
    blur.mute = True
    tree.links.new(plate.outputs["Image"], reroute.inputs[0])
    tree.links.new(reroute.outputs[0], blur.inputs["Image"])
    tree.links.new(blur.outputs["Image"], mine.inputs["In"])
    tree.links.new(mine.outputs["Out"], prefilter.inputs["Footage"])
    inside.render_still(3, arguments[0] + "/linked.exr")
    # The node itself in a group of the user's, the footage from outside.
    outer = bpy.data.node_groups.new("Outer", "CompositorNodeTree")
    for name, side in (("In", "INPUT"), ("Out", "OUTPUT")):
        outer.interface.new_socket(name, in_out=side, socket_type="NodeSocketColor")
    entry, end = outer.nodes.new("NodeGroupInput"), outer.nodes.new("NodeGroupOutput")
    inner = outer.nodes.new("CompositorNodeGroup")
    inner.node_tree = stylize.node_tree
    outer.links.new(entry.outputs[0], inner.inputs["Footage"])
    outer.links.new(inner.outputs["Image"], end.inputs[0])
    holder = tree.nodes.new("CompositorNodeGroup")
    holder.node_tree = outer
    into = stylize.outputs["Image"].links[0].to_socket
    tree.nodes.remove(stylize)
    tree.links.new(plate.outputs["Image"], holder.inputs["In"])
    tree.links.new(holder.outputs["Out"], into)
    inside.render_still(3, arguments[0] + "/nested.exr")
    # Muted, it passes the footage on.
    inner.mute = True
    inside.render_still(3, arguments[0] + "/muted.exr")
"""


def test_footage_is_found_through_reroutes_groups_and_muted_nodes(
    blender: Blender, shot: Path, rendered: Rendered
) -> None:
    blender.run(LINKS, shot)
    wanted = rendered(shot, "3")[3]
    assert np.array_equal(pixels(shot / "linked.exr"), wanted)
    assert np.array_equal(pixels(shot / "nested.exr"), wanted)
    assert np.array_equal(pixels(shot / "muted.exr"), pixels(shot / "plate.0003.exr"))


COPY = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    tree, stylize = inside.tree(), inside.node("STYLIZE")
    twin = tree.nodes.new("CompositorNodeGroup")
    twin.node_tree = stylize.node_tree  # as Shift+D and Ctrl+V do it
    plate = inside.plate()
    other = tree.nodes.new("CompositorNodeImage")
    other.image, other.frame_duration = plate.image, 6
    other.frame_offset = 2  # the same footage, two frames later
    tree.links.new(other.outputs["Image"], twin.inputs["Footage"])
    into = stylize.outputs["Image"].links[0].to_socket
    bpy.context.view_layer.update()
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.render_still(2, arguments[0] + "/first.exr")
    tree = inside.tree()
    (twin,) = [
        node
        for node in tree.nodes
        if node.bl_idname == "CompositorNodeGroup"
        and node.node_tree.fewstroke.kind == "STYLIZE"
        and node.inputs["Footage"].links[0].from_node.bl_idname == "CompositorNodeImage"
    ]
    tree.links.new(twin.outputs["Image"], inside.node("STYLIZE").outputs["Image"].links[0].to_socket)
    inside.render_still(2, arguments[0] + "/second.exr")
    say(trees=sorted(tree.name for tree in bpy.data.node_groups if tree.fewstroke.kind == "STYLIZE"))
"""


def test_a_copied_node_has_frames_of_its_own(blender: Blender, shot: Path, rendered: Rendered) -> None:
    done = blender.run(COPY, shot)
    assert done.facts["trees"] == ["Stylize", "Stylize.001"]
    wanted = rendered(shot, "2,4")
    assert np.array_equal(pixels(shot / "first.exr"), wanted[2])
    assert np.array_equal(pixels(shot / "second.exr"), wanted[4])


ELSEWHERE = """
with inside.blender() as say:
    folder, how = arguments
    link = how == "link"
    bpy.ops.wm.save_as_mainfile(filepath=folder + "/other.blend")
    with bpy.data.libraries.load(folder + "/shot.blend", link=link, relative=True) as (there, here):
        here.node_groups = ["Stylize"]
    (group,) = here.node_groups
    scene = bpy.context.scene
    if bpy.app.version >= (5, 0):
        tree = scene.compositing_node_group = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        end = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        end = tree.nodes.new("CompositorNodeComposite")
    node = tree.nodes.new("CompositorNodeGroup")
    node.node_tree = group
    plate = tree.nodes.new("CompositorNodeImage")
    plate.image = bpy.data.images.load(folder + "/plate.0001.exr")
    plate.image.source = "SEQUENCE"
    plate.frame_duration = 6
    tree.links.new(plate.outputs["Image"], node.inputs["Footage"])
    tree.links.new(node.outputs["Image"], end.inputs[0])
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 70, 51, 100
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=folder + "/other.blend")
    inside.render_still(4, f"{folder}/{how}.exr")
    group = inside.node("STYLIZE").node_tree
    say(model=group.fewstroke.model, linked=group.library is not None)
"""


@pytest.mark.parametrize("how", ["append", "link"])
def test_a_node_goes_into_another_file(blender: Blender, shot: Path, rendered: Rendered, how: str) -> None:
    done = blender.run(ELSEWHERE, shot, how)
    assert done.facts["linked"] is (how == "link") and done.facts["model"].endswith("shot.onnx")
    assert np.array_equal(pixels(shot / f"{how}.exr"), rendered(shot, "4")[4])


PAINT = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    bpy.context.scene.frame_set(5)
    bpy.ops.fewstroke.paint_frame()
    keyframe = inside.node("STYLIZE").node_tree.fewstroke.keyframes[1]
    image = keyframe.image
    say(frame=keyframe.frame, file=image.filepath, start=list(image.pixels[:3]), highest=max(image.pixels[:]))
    image.pixels[0:3] = (0.25, 3.0, 0.75)  # the lower left corner
    say(dirty=image.is_dirty)
    # A painting that is in memory only, and a mask for it.
    mine = bpy.data.images.new("Mine", 70, 51, float_buffer=True)
    mine.pixels[:] = [0.5, 0.25, 2.0, 1.0] * (70 * 51)
    mask = bpy.data.images.new("My mask", 70, 51)
    mask.pixels[:] = [1.0, 1.0, 1.0, 1.0] * (70 * 51)
    other = inside.node("STYLIZE").node_tree.fewstroke.keyframes.add()
    other.frame, other.image, other.mask = 6, mine, mask
    bpy.ops.fewstroke.train(steps=4)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    first, second = inside.node("STYLIZE").node_tree.fewstroke.keyframes[1:3]
    say(painted=list(first.image.pixels[:3]), mine=list(second.image.pixels[:3]))
    say(packed=second.image.packed_file is not None)
    # Painting this frame once more opens what was painted.
    bpy.context.scene.frame_set(5)
    bpy.ops.fewstroke.paint_frame()
    say(count=len(inside.node("STYLIZE").node_tree.fewstroke.keyframes), again=list(first.image.pixels[:3]))
    bpy.ops.fewstroke.train(steps=5)
"""


def test_paintings_are_kept_and_learnt_from(blender: Blender, shot: Path) -> None:
    facts = blender.run(PAINT, shot).facts
    folder = shot / "shot.fewstroke" / "Stylize"
    assert facts["frame"] == 5 and facts["file"].endswith("keyframe.0005.exr") and facts["dirty"]
    assert facts["start"] == pytest.approx(pixels(shot / "plate.0005.exr")[-1, 0].tolist())
    assert facts["highest"] > 1, "highlights are there to paint on"
    assert facts["painted"] == facts["again"] == pytest.approx([0.25, 3.0, 0.75], rel=1e-3)
    assert facts["packed"] and facts["mine"] == pytest.approx([0.5, 0.25, 2.0], rel=1e-3)
    assert facts["count"] == 3
    assert pixels(folder / "keyframe.0005.exr")[-1, 0].tolist() == pytest.approx([0.25, 3.0, 0.75], rel=1e-3)
    assert sorted(path.name for path in (folder / "unsaved").iterdir()) == ["Mine.exr", "My_mask.png"]


def test_the_farm_needs_no_torch(blender: Blender, shot: Path, tmp_path: Path, rendered: Rendered) -> None:
    """With a worker that has no PyTorch, at another place, from a copy of the files."""
    moved = tmp_path / "mounted elsewhere"
    shutil.move(shot, moved)
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    program = """
import os
from pathlib import Path
with inside.blender() as say:
    # Python's own way to have no torch: whatever imports it fails.
    environment = sys.modules[inside.ADDON + ".plugin.blender.environment"]
    variables = environment.variables
    environment.variables = lambda: {**variables(), "PYTHONPATH": arguments[1] + os.pathsep + variables()["PYTHONPATH"]}
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.render_still(3, arguments[0] + "/out.exr")
    try:
        bpy.ops.fewstroke.train(steps=1)
    except RuntimeError as error:
        say(error=str(error))
"""
    facts = blender.run(program, moved, tmp_path).facts
    assert np.array_equal(pixels(moved / "out.exr"), rendered(moved, "3")[3])
    assert "training needs the package torch" in facts["error"]
    assert (moved / MODEL).exists()
