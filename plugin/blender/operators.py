"""What the artist does: buttons, and the same from scripts (`bpy.ops.fewstroke...`).

Where an operator has a `node`, it is the name of a Stylize node in the scene's compositor; empty: the active one, or
the only one there is. From scripts and in background, `train` and `make_environment` return when they are done.
"""

import contextlib
import os
import re
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from ..client import WorkerError
from . import environment, painting, passes, session
from .tree import (
    KINDS,
    NodeProblem,
    Path,
    compositor,
    file_number,
    kind_of,
    make_compositor,
    new_node,
    output_socket,
    relative,
    sources,
    walk,
)

making: environment.Making | None = None
"""The environment that is being made, or the last one that was."""


def stylize_nodes(scene: Any) -> list[tuple[Any, Path]]:
    return [(node, path) for node, path in walk(compositor(scene)) if kind_of(node) == "STYLIZE"]


def chosen(scene: Any, name: str = "") -> tuple[Any, Path]:
    """The Stylize node that is meant. Raises NodeProblem where that is not clear."""
    there = stylize_nodes(scene)
    if name:
        there = [found for found in there if found[0].name == name]
        if not there:
            raise NodeProblem(f"there is no Stylize node '{name}' in the compositor of {scene.name}")
    elif len(there) > 1:
        tree = compositor(scene)
        there = [found for found in there if found[0] == tree.nodes.active]
        if not there:
            raise NodeProblem("there are several Stylize nodes; select the one that you mean")
    if not there:
        raise NodeProblem("there is no Stylize node; add one with Add > Fewstroke, or press Open Footage")
    return there[0]


class _Operator(bpy.types.Operator):
    """Problems become one sentence in Blender's status bar, or an exception in scripts."""

    def execute(self, context: Any) -> set[str]:
        try:
            self.run(context)
        except (NodeProblem, WorkerError) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}

    def run(self, context: Any) -> None:
        raise NotImplementedError


class FEWSTROKE_OT_add_node(_Operator):
    """Add a node of Fewstroke to the compositor"""

    bl_idname = "fewstroke.add_node"
    bl_label = "Add Fewstroke Node"
    bl_options = {"REGISTER", "UNDO"}

    kind: EnumProperty(items=[(kind, name, name) for kind, name in KINDS.items()], default="STYLIZE")

    def run(self, context: Any) -> None:
        space = context.space_data
        if space is not None and (space.type != "NODE_EDITOR" or space.edit_tree is None):
            space = None
        tree = make_compositor(context.scene) if space is None else space.edit_tree
        node = new_node(tree, self.kind)
        for other in tree.nodes:
            other.select = other == node
        tree.nodes.active = node
        if space is not None:
            node.location = space.cursor_location

    def invoke(self, context: Any, event: Any) -> set[str]:
        context.space_data.cursor_location_from_region(event.mouse_region_x, event.mouse_region_y)
        done = self.execute(context)
        if "FINISHED" in done:
            bpy.ops.node.translate_attach_remove_on_cancel("INVOKE_DEFAULT")
        return done


class FEWSTROKE_OT_open_footage(_Operator):
    """Open a sequence or movie, and build all nodes to paint it: prefilter, guide layer, stylize"""

    bl_idname = "fewstroke.open_footage"
    bl_label = "Open Footage"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH")
    filter_image: BoolProperty(default=True, options={"HIDDEN"})
    filter_movie: BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: Any, event: Any) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: Any) -> None:
        _open(context, context.scene, self.filepath)
        context.scene.view_settings.view_transform = "Standard"  # footage is looked at as it is, not as a render


def _open(context: Any, scene: Any, path: str, layer: str = "") -> None:
    """Sets a scene up to paint footage; or passes, with the matte that was rendered with them.

    layer  the view layer with the Vector pass, where that is not the first: with a compositor, its result comes first
    """
    image = _load(path, check_existing=False)  # to become a sequence
    tree = make_compositor(scene)
    plate, first, last = _image_node(tree, image, path)
    plate.label = "Footage"
    matte = passes.matte_beside(path)
    matte_node = _image_node(tree, _load(matte, check_existing=False), matte)[0] if matte else None
    vectors = plate
    if layer and "Vector" not in plate.outputs:
        vectors = _image_node(tree, image, path)[0]
        vectors.layer, vectors.label = layer, "Motion"
    scene.frame_start, scene.frame_end = first, last
    scene.frame_set(min(max(scene.frame_current, first), last))
    scene.render.resolution_x, scene.render.resolution_y = image.size
    scene.render.resolution_percentage = 100
    build(tree, plate, vectors, matte_node)
    space = context.space_data
    if space is not None and space.type == "NODE_EDITOR":
        space.node_tree = tree
        space.show_backdrop = True
        _show(context.window, context.area)


def _show(window: Any, area: Any) -> None:
    """Brings all nodes and our panel into view."""
    area.spaces.active.show_region_ui = True

    def later() -> None:  # nodes have no size, and a sidebar no tabs, until they have been drawn
        sides = {region.type: region for region in area.regions}
        with bpy.context.temp_override(window=window, area=area, region=sides["WINDOW"]):
            bpy.ops.node.view_all()
        sides["UI"].active_panel_category = "Fewstroke"

    bpy.app.timers.register(later, first_interval=0.5)


def _load(path: str, check_existing: bool = True) -> Any:
    """The image of a file, the one that is there already if wanted. Raises NodeProblem where it is none."""
    if not os.path.isfile(path):
        raise NodeProblem(f"'{path}' is no file; choose a movie, a picture, or any one picture of a sequence")
    there = set(bpy.data.images)
    image = bpy.data.images.load(path, check_existing=check_existing)
    if 0 in image.size and image.type != "MULTILAYER":  # of which single files have no size
        if image not in there:
            bpy.data.images.remove(image)
        raise NodeProblem(f"'{path}' is no picture or movie that Blender can read; choose another")
    # As Blender's own file browser does it, so that a shot's folder can be moved or mounted elsewhere.
    if bpy.data.filepath and bpy.context.preferences.filepaths.use_relative_paths:
        image.filepath = relative(image.filepath)
    return image


def _numbers(path: str) -> list[int]:
    """The numbers of the files that belong to a sequence with this one."""
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    numbers = list(re.finditer(r"\d+", stem))
    if not numbers:
        return []
    last = numbers[-1]
    alike = re.compile(re.escape(stem[: last.start()]) + r"(\d+)" + re.escape(stem[last.end() :] + suffix))
    return [int(found[1]) for found in map(alike.fullmatch, os.listdir(folder)) if found]


def _image_node(tree: Any, image: Any, path: str) -> tuple[Any, int, int]:
    """An Image node that shows each file at the frame of its number; and the first and the last of them."""
    node = tree.nodes.new("CompositorNodeImage")
    numbers = _numbers(path)
    if len(numbers) > 1:
        image.source = "SEQUENCE"
        first, last = min(numbers), max(numbers)
    else:
        first, last = 1, max(1, image.frame_duration)
    node.image = image
    node.frame_start, node.frame_offset, node.frame_duration = first, first - 1, last - first + 1
    node.use_auto_refresh = True
    return node, first, last


def build(tree: Any, plate: Any, vectors: Any, matte: Any = None) -> None:
    """Prefilter, Guide Layer and Stylize behind an Image node, linked to the result and a Viewer.

    vectors  the Image node whose Vector pass is used, if it has one
    matte    the Image node of a matte, or None
    """
    prefilter, guide, stylize = (new_node(tree, kind) for kind in KINDS)
    viewer = tree.nodes.new("CompositorNodeViewer")
    end = output_socket(tree)
    left, top = plate.location
    for node, x, y in ((prefilter, 320, 60), (guide, 320, -140), (stylize, 620, 0), (viewer, 920, -140)):
        node.location = left + x, top + y
    end.node.location = left + 920, top + 40
    footage = plate.outputs.get("Combined") or plate.outputs["Image"]
    if vectors != plate:
        vectors.location = left, top - 800
    if "Vector" in vectors.outputs:
        for node in (prefilter, guide):
            tree.links.new(vectors.outputs["Vector"], node.inputs["Vector"])
    if matte is not None:
        matte.location = left, top - 400
        for node in (guide, stylize):
            tree.links.new(matte.outputs["Image"], node.inputs["Matte"])
    tree.links.new(footage, prefilter.inputs["Footage"])
    tree.links.new(footage, guide.inputs["Footage"])
    tree.links.new(prefilter.outputs["Image"], stylize.inputs["Footage"])
    tree.links.new(guide.outputs["Image"], stylize.inputs["Guide"])
    tree.links.new(stylize.outputs["Image"], end)
    tree.links.new(stylize.outputs["Image"], viewer.inputs["Image"])
    for node in tree.nodes:
        node.select = node == stylize
    tree.nodes.active = stylize


class FEWSTROKE_OT_render_passes(_Operator):
    """Render this scene to files that can be painted: EXR with motion vectors, and a matte of objects"""

    bl_idname = "fewstroke.render_passes"
    bl_label = "Render Passes"

    objects: StringProperty(
        name="Matte of", description="Objects to paint, names separated by commas; empty: paint the whole picture"
    )

    def invoke(self, context: Any, event: Any) -> set[str]:
        if not self.objects:
            self.objects = ", ".join(each.name for each in context.selected_objects if each.type != "CAMERA")
        return context.window_manager.invoke_props_dialog(self)

    def run(self, context: Any) -> None:
        passes.prepare(context.scene, context.view_layer, self.objects)
        mode = "EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT"
        bpy.ops.render.render(mode, animation=True, scene=context.scene.name)


class FEWSTROKE_OT_open_passes(_Operator):
    """Build the nodes to paint what Render Passes has rendered, in a scene of their own"""

    bl_idname = "fewstroke.open_passes"
    bl_label = "Paint Rendered Passes"

    def run(self, context: Any) -> None:
        rendered = context.scene
        first = passes.first_frame(rendered)
        if not os.path.exists(first):
            raise NodeProblem(f"'{first}' is not there; press Render Passes first")
        painted = passes.painting_scene(rendered)
        _open(context, painted, first, context.view_layer.name)
        painted.view_settings.view_transform = rendered.view_settings.view_transform
        context.window.scene = painted


class FEWSTROKE_OT_paint_frame(_Operator):
    """Make a keyframe of the current frame, as a picture to paint over, and open it for painting"""

    bl_idname = "fewstroke.paint_frame"
    bl_label = "Paint This Frame"
    bl_options = {"REGISTER", "UNDO"}

    node: StringProperty(options={"HIDDEN"})

    def run(self, context: Any) -> None:
        scene = context.scene
        node, path = chosen(scene, self.node)
        tree = node.node_tree
        found = sources(node, path)
        number = _number(found.plate, scene)
        keyframe = next((key for key in tree.fewstroke.keyframes if key.frame == number), None)
        if keyframe is None or keyframe.image is None:
            image = _begin(tree, found.shot, number)
            keyframe = keyframe or tree.fewstroke.keyframes.add()
            keyframe.frame, keyframe.image = number, image
        tree.fewstroke.active = list(tree.fewstroke.keyframes).index(keyframe)
        if found.guide is not None and len(tree.fewstroke.keyframes) == 1:
            found.guide.fewstroke.guide.keyframe = number
        if not bpy.app.background:
            _open_for_painting(context, keyframe.image)


def _number(plate: Any, scene: Any) -> int:
    """The number of the footage's current frame. Raises NodeProblem where there is none."""
    number = file_number(plate, scene.frame_current)
    if number is None:
        raise NodeProblem(f"there is no footage at frame {scene.frame_current}; go to a frame that has some")
    return number


def _begin(tree: Any, shot: dict[str, Any], number: int) -> Any:
    """The image of a footage frame to paint over; of one that was begun before, what was painted."""
    worker = session.worker()
    # Highlights above 1 stay above 1 in the painting: scene-linear footage is painted on in EXR.
    suffix = ".exr" if worker.ask("footage", shot=shot).wait()["linear"] else ".png"
    place = painting.place_of(tree, number, suffix)
    space = shot["footage_space"] if suffix == ".exr" else "sRGB"
    if not os.path.exists(place):
        worker.ask("frame", frame=number, shot=shot, want="footage", out=place).wait()
    image = _load(place)
    if image.colorspace_settings.name != space:
        image.colorspace_settings.name = space
    return image


def _open_for_painting(context: Any, image: Any) -> None:
    """Shows an image in an Image Editor, in paint mode; beside the node editor where there is no editor yet."""
    areas = context.screen.areas
    area = next((area for area in areas if area.type == "IMAGE_EDITOR"), None)
    if area is None:
        others = [other for other in areas if other != context.area and min(other.width, other.height) > 250]
        area = max(others, key=lambda other: other.width * other.height, default=None)
    if area is None:
        before = set(areas)
        with context.temp_override(area=context.area):
            bpy.ops.screen.area_split(direction="VERTICAL", factor=0.5)
        area = next((new for new in context.screen.areas if new not in before), context.area)
    area.ui_type = "IMAGE_EDITOR"
    space = area.spaces.active
    space.image = image
    space.mode = "PAINT"


class FEWSTROKE_OT_add_keyframe(_Operator):
    """Make a keyframe of the current frame from a painting made elsewhere; it is read again when it changes"""

    bl_idname = "fewstroke.add_keyframe"
    bl_label = "Open Painting"
    bl_options = {"REGISTER", "UNDO"}

    node: StringProperty(options={"HIDDEN"})
    filepath: StringProperty(subtype="FILE_PATH")
    frame: IntProperty(
        name="Frame",
        description="Its number in the footage; -1 for the current one",
        default=-1,
        options={"SKIP_SAVE"},
    )
    filter_image: BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: Any, event: Any) -> set[str]:
        with contextlib.suppress(NodeProblem):  # told when it is opened
            node, path = chosen(context.scene, self.node)
            self.frame = _number(sources(node, path).plate, context.scene)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: Any) -> None:
        node, path = chosen(context.scene, self.node)
        number = _number(sources(node, path).plate, context.scene) if self.frame == -1 else self.frame
        image = _load(self.filepath)
        settings = node.node_tree.fewstroke
        keyframe = next((key for key in settings.keyframes if key.frame == number), None) or settings.keyframes.add()
        keyframe.frame, keyframe.image = number, image
        settings.active = list(settings.keyframes).index(keyframe)


class FEWSTROKE_OT_remove_keyframe(_Operator):
    """Take the keyframe out of the list. The painting stays on disk"""

    bl_idname = "fewstroke.remove_keyframe"
    bl_label = "Remove Keyframe"
    bl_options = {"REGISTER", "UNDO"}

    node: StringProperty(options={"HIDDEN"})

    def run(self, context: Any) -> None:
        settings = chosen(context.scene, self.node)[0].node_tree.fewstroke
        settings.keyframes.remove(settings.active)
        settings.active = max(0, min(settings.active, len(settings.keyframes) - 1))


class FEWSTROKE_OT_train(_Operator):
    """Learn from the keyframes, going on from what has been learnt. Paint on meanwhile: it is picked up"""

    bl_idname = "fewstroke.train"
    bl_label = "Train"  # no undo: Ctrl+Z after it is for the last stroke

    node: StringProperty(options={"HIDDEN"})
    seconds: FloatProperty(description="How long; 0: as the node's Minutes say", min=0)
    steps: IntProperty(description="How many steps in all; 0: no limit", min=0)
    afresh: BoolProperty(name="Start Over", description="Forget what has been learnt; the last checkpoint is kept")

    def run(self, context: Any) -> None:
        node, path = chosen(context.scene, self.node)
        tree = node.node_tree
        if session.is_training(tree):
            raise NodeProblem("this node is being trained already; press Stop first")
        seconds = self.seconds or tree.fewstroke.minutes * 60
        training = session.train(node, path, seconds=seconds or None, steps=self.steps or None, resume=not self.afresh)
        if bpy.app.background:
            session.wait(tree, training)


class FEWSTROKE_OT_stop(_Operator):
    """End the training and keep what has been learnt"""

    bl_idname = "fewstroke.stop"
    bl_label = "Stop"

    node: StringProperty(options={"HIDDEN"})

    def run(self, context: Any) -> None:
        session.stop(chosen(context.scene, self.node)[0].node_tree)


class FEWSTROKE_OT_make_environment(_Operator):
    """Make a Python environment beside the extension and install what painting and training need, from PyPI"""

    bl_idname = "fewstroke.make_environment"
    bl_label = "Make Environment"

    training: BoolProperty(name="With PyTorch", default=True)

    def run(self, context: Any) -> None:
        global making
        if making is not None and not making.done:
            raise NodeProblem("the environment is being made already")
        if not bpy.app.online_access:
            raise NodeProblem("this needs the network: allow online access in Preferences > System, then press again")
        session.close()
        making = environment.Making(self.training)
        if bpy.app.background:
            making.wait()
            if making.error:
                raise NodeProblem(making.error)


CLASSES = (
    FEWSTROKE_OT_add_node,
    FEWSTROKE_OT_open_footage,
    FEWSTROKE_OT_render_passes,
    FEWSTROKE_OT_open_passes,
    FEWSTROKE_OT_paint_frame,
    FEWSTROKE_OT_add_keyframe,
    FEWSTROKE_OT_remove_keyframe,
    FEWSTROKE_OT_train,
    FEWSTROKE_OT_stop,
    FEWSTROKE_OT_make_environment,
)


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)


def unregister() -> None:
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
