"""What the scripts of these tests share. Runs inside Blender, in a process of its own."""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]

ADDON = "bl_ext.user_default.fewstroke"


@contextlib.contextmanager
def blender(extension: bool = True) -> Iterator[Any]:
    """Blender with the extension on, and a function that says facts to the test; ends the process."""
    code = 1
    try:
        if extension:
            bpy.ops.preferences.addon_enable(module=ADDON)
        yield lambda **facts: print("FACTS " + json.dumps(facts), flush=True)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            bpy.ops.preferences.addon_disable(module=ADDON)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # bpy 4.5 as a module hangs when it ends the usual way


def open_shot(folder: str, first: str = "plate.0001.exr") -> None:
    """shot.blend in a folder with footage, all nodes built to paint it."""
    bpy.ops.wm.save_as_mainfile(filepath=folder + "/shot.blend")
    bpy.ops.fewstroke.open_footage(filepath=f"{folder}/{first}")


def plate() -> Any:
    """The Image node of the footage."""
    return next(node for node in tree().nodes if node.bl_idname == "CompositorNodeImage")


def link_matte(folder: str) -> None:
    """matte.####.png of a folder, of six frames, as the matte of all nodes that take one."""
    matte = tree().nodes.new("CompositorNodeImage")
    matte.image = bpy.data.images.load(folder + "/matte.0001.png")
    matte.image.source = "SEQUENCE"
    matte.frame_duration = 6
    for kind in ("GUIDE", "STYLIZE"):
        tree().links.new(matte.outputs["Image"], node(kind).inputs["Matte"])


def node(kind: str) -> Any:
    """The first node of ours of a kind."""
    return next(
        node
        for node in tree().nodes
        if node.bl_idname == "CompositorNodeGroup" and node.node_tree.fewstroke.kind == kind
    )


def tree() -> Any:
    scene = bpy.context.scene
    return scene.compositing_node_group if bpy.app.version >= (5, 0) else scene.node_tree


def write_exr(path: str) -> None:
    """Has renders written as 32 bit EXR."""
    render = bpy.context.scene.render
    if bpy.app.version >= (5, 0):
        render.image_settings.media_type = "IMAGE"
    render.image_settings.file_format = "OPEN_EXR"
    render.image_settings.color_depth = "32"
    render.image_settings.color_mode = "RGBA"
    render.compositor_device = "CPU"
    render.filepath = path


def render_still(frame: int, path: str) -> None:
    bpy.context.scene.frame_set(frame)
    write_exr(path)
    bpy.ops.render.render(write_still=True)


def render_range(first: int, last: int, path: str) -> None:
    """Writes path0001.exr and so on."""
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = first, last
    write_exr(path)
    bpy.ops.render.render(animation=True)
