"""Own renders: the scene as files that can be painted like footage, with the renderer's exact motion and a matte.

In two steps, since the prefilter and the guide layer look at frames before and after the one that is painted: first the
scene is rendered to files, then a second scene paints them. In background both go in one command:
`blender -b shot.blend -S Scene -a -S "Scene painted" -a`.
"""

import os
from typing import Any

import bpy

from .tree import NodeProblem, compositor, make_compositor, output_socket, relative

RENDERED = "render.####"
MATTE = "matte.####"
_CRYPTOMATTE, _FILE = "Fewstroke Matte", "Fewstroke Matte File"


def folder(scene: Any) -> str:
    """Where a scene's passes are rendered to."""
    if not bpy.data.filepath:
        raise NodeProblem("save the .blend file first: the rendered passes are kept beside it")
    stem = os.path.splitext(bpy.data.filepath)[0]
    return os.path.join(f"{stem}.fewstroke", bpy.path.clean_name(scene.name))


def first_frame(scene: Any) -> str:
    """The first file of a scene's passes."""
    return os.path.join(folder(scene), RENDERED.replace("####", f"{scene.frame_start:04d}") + ".exr")


def matte_beside(path: str) -> str:
    """The matte that was rendered with a frame of passes, or ""."""
    head, name = os.path.split(path)
    matte = os.path.join(head, name.replace("render.", "matte.", 1))
    return matte if matte != path and os.path.exists(matte) else ""


def prepare(scene: Any, layer: Any, objects: str) -> None:
    """Sets a scene up to render its passes: multilayer EXR with motion vectors, and a matte of the objects named.

    objects  names, separated by commas; "" for no matte
    """
    if scene.camera is None:
        raise NodeProblem(f"the scene {scene.name} has no camera; add one")
    if scene.render.use_motion_blur:
        raise NodeProblem("with motion blur Blender renders no Vector pass; switch motion blur off")
    unknown = [name for name in _names(objects) if name not in scene.objects]
    if unknown:
        raise NodeProblem(f"there is no object '{unknown[0]}' in the scene {scene.name}; name one that is there")
    home = relative(folder(scene))
    layer.use_pass_vector = True
    scene.render.filepath = os.path.join(home, RENDERED)
    settings = scene.render.image_settings
    if bpy.app.version >= (5, 0):
        settings.media_type = "MULTI_LAYER_IMAGE"
        settings.use_exr_interleave = True  # one part, which every reader finds its way in
    else:
        settings.file_format = "OPEN_EXR_MULTILAYER"
    settings.color_depth = "32"  # half floats would round motion
    settings.exr_codec = "ZIP"
    if objects:
        _render_matte(scene, layer, objects, home)


def _names(objects: str) -> list[str]:
    return [name.strip() for name in objects.split(",") if name.strip()]


def _render_matte(scene: Any, layer: Any, objects: str, home: str) -> None:
    """Has the compositor write a Cryptomatte of some objects, beside whatever else it does."""
    layer.use_pass_cryptomatte_object = True
    tree = compositor(scene)
    if tree is None:
        tree = make_compositor(scene)
        tree.links.new(tree.nodes.new("CompositorNodeRLayers").outputs["Image"], output_socket(tree))
    for name in (_CRYPTOMATTE, _FILE):
        if name in tree.nodes:
            tree.nodes.remove(tree.nodes[name])
    cryptomatte, file = tree.nodes.new("CompositorNodeCryptomatteV2"), tree.nodes.new("CompositorNodeOutputFile")
    cryptomatte.name = cryptomatte.label = _CRYPTOMATTE
    file.name = file.label = _FILE
    cryptomatte.location, file.location = (0, -400), (300, -400)
    cryptomatte.source, cryptomatte.scene = "RENDER", scene
    cryptomatte.matte_id = ", ".join(_names(objects))
    if bpy.app.version >= (5, 0):
        file.directory, file.file_name = home, MATTE.partition("#")[0]
        file.format.media_type = "IMAGE"
        file.file_output_items.new("FLOAT", "")
    else:
        file.base_path, file.file_slots[0].path = home, MATTE
    file.format.file_format, file.format.color_mode, file.format.color_depth = "OPEN_EXR", "BW", "16"
    tree.links.new(cryptomatte.outputs["Matte"], file.inputs[0])


def painting_scene(scene: Any) -> Any:
    """The second scene, which paints what the first has rendered; made where there is none."""
    name = f"{scene.name} painted"
    painted = bpy.data.scenes.get(name)
    if painted is None:
        painted = bpy.data.scenes.new(name)
        painted.render.fps, painted.render.fps_base = scene.render.fps, scene.render.fps_base
    return painted
