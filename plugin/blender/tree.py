"""The nodes in the compositor: what they are made of, what they are linked to, and which files they show.

Requirements this design meets, all measured on Blender 4.5, 5.0 and 5.2:
- A file must render where this extension is missing. A custom node type crashes 4.5 and 5.0 there; so each of our nodes
  is a built-in group node, known by the settings on its node tree, and inside it stands a built-in Image node that
  shows a sequence of finished frames. What this extension does is to see to it that the right frame is on disk in time.
- Values that are animated are stale while an animation renders; so strength is no setting but an input of the group,
  mixed by Blender itself. Changing it costs nothing. Only what is mixed into a movie, which Blender decodes a little
  differently, is left to the worker, as long as the strength is one number for the whole shot.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy

KINDS = {"PREFILTER": "Prefilter", "GUIDE": "Guide Layer", "STYLIZE": "Stylize"}
"""The nodes, and how they are called in menus."""

_WANTS = {"PREFILTER": "filtered", "GUIDE": "guide", "STYLIZE": "painted"}
"""What the worker calls them; so are their files called."""

# Groups that a node stands in, from the outermost: our nodes may stand in groups of the user's, too.
Path = tuple[Any, ...]


class NodeProblem(Exception):
    """What keeps a node from having a frame, as a sentence for the artist."""


@dataclass(frozen=True)
class Job:
    """A frame that a node needs.

    fields  the worker's request, `frame`
    place   the file that it will be
    """

    fields: dict[str, Any]
    place: str


# ---- the compositor of a scene


def compositor(scene: Any) -> Any:
    """The scene's compositing tree, or None."""
    if bpy.app.version >= (5, 0):
        return scene.compositing_node_group
    return scene.node_tree if scene.use_nodes else None


def make_compositor(scene: Any) -> Any:
    """The scene's compositing tree, made where there is none, and empty then."""
    tree = compositor(scene)
    if tree is None and bpy.app.version >= (5, 0):
        tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        scene.compositing_node_group = tree
    elif tree is None:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
    return tree


def output_socket(tree: Any) -> Any:
    """The socket that leads to the render's result, made where there is none."""
    if bpy.app.version >= (5, 0):
        if not any(item.item_type == "SOCKET" and item.in_out == "OUTPUT" for item in tree.interface.items_tree):
            tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        kind = "NodeGroupOutput"
    else:
        kind = "CompositorNodeComposite"
    node = next((node for node in tree.nodes if node.bl_idname == kind), None)
    if node is None:
        node = tree.nodes.new(kind)
        node.location = (1100, 0)
    return node.inputs[0]


# ---- our nodes


def kind_of(node: Any) -> str:
    """Which of `KINDS` a node is, or ""."""
    if node is None or node.bl_idname != "CompositorNodeGroup" or node.node_tree is None:
        return ""
    kind = node.node_tree.fewstroke.kind
    return kind if kind in KINDS else ""


def new_node(tree: Any, kind: str) -> Any:
    """A node of ours in a compositing tree."""
    node = tree.nodes.new("CompositorNodeGroup")
    node.node_tree = _new_group(kind)
    node.name = node.label = node.node_tree.name
    node.width = 180
    return node


def _new_group(kind: str) -> Any:
    # A name with a leading dot would keep it out of Add > Group, but out of the lists of File > Append and Link, too;
    # and one that is added there does no harm, since it becomes a node like one that was copied.
    group = bpy.data.node_groups.new(KINDS[kind], "CompositorNodeTree")
    group.fewstroke.kind = kind
    group.use_fake_user = False
    face = group.interface

    def socket(name: str, in_out: str, type_: str, sentence: str) -> Any:
        made = face.new_socket(name, in_out=in_out, socket_type=type_)
        made.description = sentence
        made.hide_value = in_out == "INPUT"  # a link is what counts
        return made

    color, number = "NodeSocketColor", "NodeSocketFloat"
    socket("Image", "OUTPUT", color, "The result, scene-linear")
    socket("Footage", "INPUT", color, "An Image node with a sequence or movie, or a Prefilter node")
    if kind == "STYLIZE":
        socket("Matte", "OUTPUT", number, "The matte, for what comes after")
        socket("Guide", "INPUT", color, "A Guide Layer node, for strokes that stick to surfaces")
    if kind in ("PREFILTER", "GUIDE"):
        socket("Vector", "INPUT", "NodeSocketVector", "A rendered sequence's Vector pass, in place of estimated motion")
    if kind in ("STYLIZE", "GUIDE"):
        matte = socket("Matte", "INPUT", number, "An Image node with a matte sequence: only inside is painted")
        matte.default_value = 1.0
    if kind == "STYLIZE":
        strength = socket("Strength", "INPUT", number, "How much of the painting is mixed into the footage")
        strength.default_value, strength.min_value, strength.max_value = 1.0, 0.0, 1.0
        strength.subtype, strength.hide_value = "FACTOR", False

    result = group.nodes.new("CompositorNodeImage")
    result.name = result.label = "Result"
    result.image = bpy.data.images.new(f".{group.name}", 1, 1)
    result.image.source = "SEQUENCE"
    result.image.colorspace_settings.name = "Linear Rec.709"  # until the worker says otherwise
    output = group.nodes.new("NodeGroupOutput")
    output.location = (600, 0)
    if kind != "STYLIZE":
        group.links.new(result.outputs["Image"], output.inputs["Image"])
        return group
    entry = group.nodes.new("NodeGroupInput")
    entry.location = (0, -400)
    footage = group.nodes.new("CompositorNodeImage")
    footage.name = footage.label = "Footage"
    footage.location = (0, -200)
    mix = group.nodes.new("ShaderNodeMix")
    mix.name, mix.data_type, mix.location = "Mix", "RGBA", (300, 0)
    group.links.new(entry.outputs["Strength"], _factor(group))
    group.links.new(result.outputs["Image"], _by_identifier(mix.inputs, "B_Color"))
    group.links.new(_by_identifier(mix.outputs, "Result_Color"), output.inputs["Image"])
    group.links.new(entry.outputs["Matte"], output.inputs["Matte"])
    return group


def _by_identifier(sockets: Any, identifier: str) -> Any:
    return next(socket for socket in sockets if socket.identifier == identifier)


def walk(tree: Any, path: Path = ()) -> Iterator[tuple[Any, Path]]:
    """Our nodes in a tree and in the groups in it, each with the groups that it stands in."""
    if tree is None:
        return
    for node in tree.nodes:
        if kind_of(node):
            yield node, path
        elif node.bl_idname == "CompositorNodeGroup" and node.node_tree is not None and node not in path:
            yield from walk(node.node_tree, (*path, node))


def tidy(scene: Any) -> None:
    """Sets up our nodes in a scene's compositor as their links and settings want it.

    Not while it renders: what a render shows is decided before its first frame.
    """
    seen: set[Any] = set()
    for node, path in walk(compositor(scene)):
        if node.node_tree.library is not None:
            continue  # linked from another file: as it was set up there
        if node.node_tree in seen:
            # A node that was copied with Shift+D shares its tree, and so its frames; it gets one of its own.
            node.node_tree = node.node_tree.copy()
            result = node.node_tree.nodes["Result"]
            result.image = result.image.copy()
        seen.add(node.node_tree)
        with contextlib.suppress(NodeProblem):  # which is told where a frame is wanted
            _set_up(node, sources(node, path))


def show_paintings(scene: Any) -> None:
    """Has a scene's Stylize nodes show what they have learnt, as a render, or the file elsewhere, must."""
    for node, _ in walk(compositor(scene)):
        if kind_of(node) == "STYLIZE":
            with contextlib.suppress(NodeProblem):
                show_painting(node.node_tree, os.path.exists(model_path(node.node_tree)))


def show_painting(tree: Any, shown: bool) -> None:
    """Whether a Stylize node shows its painting, or passes the footage through since there is none yet."""
    if tree.library is None:
        _set(tree.nodes["Mix"], "mute", not shown)


# ---- what a node is linked to


def origin(node: Any, name: str, path: Path) -> tuple[Any, Any, Path] | None:
    """The node and socket that an input's pixels really come from, past reroutes, muted nodes and groups; or None."""
    socket = node.inputs.get(name)
    while socket is not None and socket.is_linked:
        link = socket.links[0]
        source, out = link.from_node, link.from_socket
        if source.bl_idname == "NodeReroute":
            socket = source.inputs[0]
        elif source.mute:
            socket = next((inner.from_socket for inner in source.internal_links if inner.to_socket == out), None)
        elif source.bl_idname == "NodeGroupInput":
            if not path:
                return None
            *outer, parent = path
            path = tuple(outer)
            socket = _by_identifier(parent.inputs, out.identifier)
        elif source.bl_idname == "CompositorNodeGroup" and source.node_tree is not None and not kind_of(source):
            path = (*path, source)
            ends = [
                end for end in source.node_tree.nodes if end.bl_idname == "NodeGroupOutput" and end.is_active_output
            ]
            socket = _by_identifier(ends[0].inputs, out.identifier) if ends else None
        else:
            return source, out, path
    return None


def _image_node(found: tuple[Any, Any, Path] | None, name: str, also: str = "") -> tuple[Any, Any]:
    """The Image node, and its socket, that an input must come from. Raises NodeProblem where it does not."""
    if found is None:
        raise NodeProblem(f"link an Image node{also} to {name}")
    source, socket, _ = found
    if source.bl_idname != "CompositorNodeImage":
        raise NodeProblem(
            f"{name} comes from '{source.label or source.name}', whose pixels exist in the compositor only; link an "
            f"Image node{also}, or render that to files first"
        )
    if source.image is None:
        raise NodeProblem(f"the Image node '{source.label or source.name}' has no image; open the footage in it")
    return source, socket


@dataclass(frozen=True)
class Sources:
    """What a node is linked to, found.

    plate   the Image node of the footage
    socket  its socket that is used
    shot    the fields of `nodes.shot.Shot`
    guide   the tree of the Guide Layer node, or None
    """

    plate: Any
    socket: Any
    shot: dict[str, Any]
    guide: Any = None


def sources(node: Any, path: Path) -> Sources:
    """What a node is linked to. Raises NodeProblem where that cannot be used."""
    kind, settings = kind_of(node), node.node_tree.fewstroke
    found = origin(node, "Footage", path)
    prefilter = guide = None
    vectors = _files(node, "Vector", path)
    if kind == "PREFILTER":
        prefilter = settings.prefilter
    elif found is not None and kind_of(found[0]) == "PREFILTER":
        prefilter = found[0].node_tree.fewstroke.prefilter
        vectors = _files(found[0], "Vector", found[2])
        found = origin(found[0], "Footage", found[2])
    plate, socket = _image_node(found, "Footage", "" if kind == "PREFILTER" else " or a Prefilter node")
    shot: dict[str, Any] = {
        "footage": footage_path(plate.image),
        "footage_space": plate.image.colorspace_settings.name,
        "matte": _files(node, "Matte", path),
        "vectors": vectors,
        "prefilter": None if prefilter is None else prefilter.as_json(),
        "guide": settings.guide.as_json() if kind == "GUIDE" else None,
    }
    linked = origin(node, "Guide", path)
    if linked is not None:
        guide_node, _, guide_path = linked
        if kind_of(guide_node) != "GUIDE":
            raise NodeProblem(f"Guide comes from '{guide_node.label or guide_node.name}'; link a Guide Layer node")
        seen = sources(guide_node, guide_path)
        if prefilter is None:
            shot["vectors"] = seen.shot["vectors"]
        for what in ("footage", "matte", "vectors"):
            if seen.shot[what] != shot[what]:
                raise NodeProblem(
                    f"the Guide Layer has another {what} than the rest of the shot; link both to the same"
                )
        guide = guide_node.node_tree
        shot["guide"] = seen.shot["guide"]
    return Sources(plate, socket, shot, guide)


def _files(node: Any, name: str, path: Path) -> str | None:
    """The files that an optional input comes from, or None."""
    found = origin(node, name, path)
    return None if found is None else footage_path(_image_node(found, name)[0].image)


def footage_path(image: Any) -> str:
    """The files of an image as the engine names them: `plate.####.exr`, a movie or one picture."""
    if image.packed_file is not None or not image.filepath:
        raise NodeProblem(f"the image '{image.name}' is not on disk, where the worker could read it; save it as files")
    path = absolute(image.filepath, image.library)
    if image.source != "SEQUENCE":
        return path
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    numbers = list(re.finditer(r"\d+", stem))
    if not numbers:
        raise NodeProblem(f"the sequence '{name}' has no frame number in its name; open it again")
    last = numbers[-1]
    return os.path.join(folder, stem[: last.start()] + "#" * len(last[0]) + stem[last.end() :] + suffix)


def absolute(path: str, library: Any) -> str:
    return os.path.normpath(bpy.path.abspath(path, library=library))


def file_number(plate: Any, scene_frame: int) -> int | None:
    """The number of the file that an Image node shows at a frame of the scene; None where it shows none."""
    if plate.image.source not in ("SEQUENCE", "MOVIE"):
        return 1
    place = scene_frame - plate.frame_start + 1
    if plate.use_cyclic:
        place = (place - 1) % max(1, plate.frame_duration) + 1
    elif place < 1:
        return None
    return min(place, plate.frame_duration) + plate.frame_offset


# ---- which files a node shows


def folder(tree: Any) -> str:
    """Where a node keeps its model, keyframes and frames: beside the .blend file, under its name and the node's."""
    home = tree.library.filepath if tree.library is not None else bpy.data.filepath
    if not home:
        raise NodeProblem("save the .blend file first: model, paintings and frames are kept beside it")
    stem = os.path.splitext(absolute(home, None))[0]
    return os.path.join(f"{stem}.fewstroke", bpy.path.clean_name(tree.name))


def relative(path: str) -> str:
    """A path as it is kept in the .blend file: relative to it, where that is possible."""
    try:
        return bpy.path.relpath(path)
    except ValueError:  # another drive
        return path


def model_path(tree: Any) -> str:
    """The model of a Stylize node; where none was chosen, the one that it is trained into."""
    model = tree.fewstroke.model
    return absolute(model, tree.library) if model else os.path.join(folder(tree), "shot.onnx")


def files_of(tree: Any) -> str:
    """The files of a node's frames, `painted.####.exr`."""
    return os.path.join(folder(tree), f"{_WANTS[tree.fewstroke.kind]}.####.exr")


def is_shown(node: Any) -> bool:
    """Whether a node's pixels go anywhere but into another node of ours, which takes the files instead."""
    if node.mute:
        return False
    ahead = [link.to_node for output in node.outputs for link in output.links]
    while ahead:
        follower = ahead.pop()
        if follower.bl_idname == "NodeReroute":
            ahead += [link.to_node for link in follower.outputs[0].links]
        elif not kind_of(follower) or follower.mute:
            return True
    return False


def job(node: Any, path: Path, scene_frame: int) -> Job | None:
    """The frame that a node needs at a frame of the scene; None where it needs none.

    Raises NodeProblem where the node cannot have one.
    """
    kind, tree = kind_of(node), node.node_tree
    found = sources(node, path)
    number = file_number(found.plate, scene_frame)
    if number is None:
        return None
    place = files_of(tree)
    # Uncompressed: half as long to write, a quarter to check and read, for half as much again on disk.
    fields = {"frame": number, "out": place, "want": _WANTS[kind], "shot": found.shot, "compression": "none"}
    if kind == "STYLIZE":
        fields["model"] = model_path(tree)
        fields["steadiness"] = round(tree.fewstroke.steadiness, 6)
        if not _factor(tree).is_linked:
            fields["strength"] = round(node.inputs["Strength"].default_value, 6)
    return Job(fields, place.replace("####", f"{number:04d}"))


def _set_up(node: Any, found: Sources) -> None:
    """Points the nodes inside at the right files. Nothing is written that is so already, since all this is undoable."""
    tree = node.node_tree
    place = relative(files_of(tree).replace("####", "0001"))
    result = tree.nodes["Result"]
    _set(result.image, "filepath", place)
    _show_like(result, found.plate)
    if tree.fewstroke.kind == "STYLIZE":
        footage, mix = tree.nodes["Footage"], tree.nodes["Mix"]
        _set(footage, "image", found.plate.image)
        _show_like(footage, found.plate)
        if found.plate.has_layers:
            _set(footage, "layer", found.plate.layer)
        out = footage.outputs.get(found.socket.name)
        into = _by_identifier(mix.inputs, "A_Color")
        if out is not None and not (into.is_linked and into.links[0].from_socket == out):
            tree.links.new(out, into)
        strength = node.inputs["Strength"]
        constant = not strength.is_linked and node.id_data.animation_data is None
        if constant and found.plate.image.source == "MOVIE":
            for link in _factor(tree).links:
                tree.links.remove(link)
            _set(_factor(tree), "default_value", 1.0)
        elif not _factor(tree).is_linked:
            entry = next(inner for inner in tree.nodes if inner.bl_idname == "NodeGroupInput")
            tree.links.new(entry.outputs["Strength"], _factor(tree))
        model = model_path(tree)
        if not tree.fewstroke.model and os.path.exists(model):
            tree.fewstroke.model = relative(model)  # so that it is found when the file is saved under another name


def _factor(tree: Any) -> Any:
    """The socket inside a Stylize node that the strength is linked to where Blender mixes."""
    return _by_identifier(tree.nodes["Mix"].inputs, "Factor_Float")


def _show_like(inner: Any, plate: Any) -> None:
    """Makes an Image node show the file numbers that the footage's node shows."""
    moves = plate.image.source in ("SEQUENCE", "MOVIE")
    _set(inner, "frame_start", plate.frame_start if moves else 1)
    _set(inner, "frame_offset", plate.frame_offset if moves else 0)
    _set(inner, "frame_duration", plate.frame_duration if moves else 1)
    _set(inner, "use_cyclic", plate.use_cyclic if moves else True)
    _set(inner, "use_auto_refresh", True)


def _set(thing: Any, name: str, value: Any) -> None:
    if getattr(thing, name) != value:
        setattr(thing, name, value)
