"""Runs in Blender's Python (bpy): builds a scene of unseen.py and renders it twice, as filmed and as painted.

    python unseen_inside.py SCENE FOLDER FRAMES

writes FOLDER/filmed.####.exr (Combined, Vector, Object Index) and FOLDER/painted.####.exr (Combined), scene-linear.

Everything that is painted has strokes in its own coordinates, so that they stick to it, and ink along its outline: a
shell, a little larger and turned inside out. Lengths are metres, angles radians.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]
import numpy as np
from mathutils import Vector, noise  # pyright: ignore[reportMissingImports]

Color = tuple[float, float, float]
Place = tuple[float, float, float]

WIDTH, HEIGHT = 512, 288
LAST = 48
SAMPLES = 12
TEXTURE = 512
STROKES = 520


@dataclass(frozen=True)
class Stuff:
    """What a thing is made of, as filmed and as painted."""

    filmed: Any
    painted: Any


class Scene:
    """Blender's scene, and what stands in it."""

    def __init__(self, seed: int, focal_length: float, sky: float):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.rng = np.random.default_rng(seed)
        self.blender = bpy.context.scene
        self.things: list[tuple[Any, Stuff]] = []
        self.ink = self._ink()
        self.camera = self._add("camera", bpy.data.cameras.new("camera"))
        self.camera.data.lens = focal_length
        self.blender.camera = self.camera
        self.blender.world = bpy.data.worlds.new("world")
        background = self.blender.world.node_tree.nodes["Background"]
        background.inputs["Color"].default_value = (0.5, 0.55, 0.65, 1)
        background.inputs["Strength"].default_value = sky

    # What things are made of

    def stuff(
        self,
        name: str,
        color: Color,
        roughness: float,
        paint: list[Color],
        scale: float,
        *,
        second: Color | None = None,
        grain: float = 0.0,
        waves: bool = False,
        width: tuple[float, float] = (5, 13),
        length: tuple[float, float] = (30, 90),
        direction: float | None = None,
        spread: float = 0.6,
    ) -> Stuff:
        """color, second  of what is filmed, scene-linear; the second by a noise or waves of `grain` a metre
        paint            of the strokes, scene-linear, the first most often
        scale            textures a metre
        """
        filmed = bpy.data.materials.new(f"{name}, filmed")
        tree = filmed.node_tree
        surface = tree.nodes["Principled BSDF"]
        surface.inputs["Roughness"].default_value = roughness
        surface.inputs["Base Color"].default_value = (*color, 1)
        if second is not None:
            pattern = tree.nodes.new("ShaderNodeTexWave" if waves else "ShaderNodeTexNoise")
            pattern.inputs["Scale"].default_value = grain
            places, mixed = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeMix")
            mixed.data_type = "RGBA"
            mixed.inputs["A"].default_value, mixed.inputs["B"].default_value = (*color, 1), (*second, 1)
            tree.links.new(places.outputs["Object"], pattern.inputs["Vector"])
            tree.links.new(pattern.outputs[0], mixed.inputs["Factor"])
            tree.links.new(mixed.outputs["Result"], surface.inputs["Base Color"])

        painted = bpy.data.materials.new(f"{name}, painted")
        tree = painted.node_tree
        tree.nodes.clear()
        output, light = tree.nodes.new("ShaderNodeOutputMaterial"), tree.nodes.new("ShaderNodeEmission")
        image = tree.nodes.new("ShaderNodeTexImage")
        image.image = strokes(name, paint, width, length, direction, spread)
        image.projection, image.projection_blend = "BOX", 0.15
        places, moved = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeMapping")
        moved.inputs["Scale"].default_value = (scale,) * 3
        moved.inputs["Location"].default_value = tuple(self.rng.uniform(0, 1, 3))
        tree.links.new(places.outputs["Object"], moved.inputs["Vector"])
        tree.links.new(moved.outputs["Vector"], image.inputs["Vector"])
        tree.links.new(image.outputs["Color"], light.inputs["Color"])
        tree.links.new(light.outputs[0], output.inputs["Surface"])
        return Stuff(filmed, painted)

    def _ink(self) -> Any:
        """Black where the outer side of a shell is turned inwards and looks at the camera, nothing elsewhere."""
        material = bpy.data.materials.new("ink")
        tree = material.node_tree
        tree.nodes.clear()
        output, black = tree.nodes.new("ShaderNodeOutputMaterial"), tree.nodes.new("ShaderNodeEmission")
        black.inputs["Color"].default_value = (0.01, 0.01, 0.02, 1)
        clear, either = tree.nodes.new("ShaderNodeBsdfTransparent"), tree.nodes.new("ShaderNodeMixShader")
        side = tree.nodes.new("ShaderNodeNewGeometry")
        tree.links.new(side.outputs["Backfacing"], either.inputs[0])
        tree.links.new(black.outputs[0], either.inputs[1])
        tree.links.new(clear.outputs[0], either.inputs[2])
        tree.links.new(either.outputs[0], output.inputs["Surface"])
        return material

    # Things. `outline` is the width of the ink; `subject` says that it is part of the mask

    def ball(self, at: Place, size: Place, stuff: Stuff, **how: Any) -> None:
        bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=24, location=at)
        bpy.context.object.scale = size
        bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
        self._finish(stuff, **how)

    def box(self, at: Place, size: Place, stuff: Stuff, *, bevel: float = 0.04, **how: Any) -> None:
        bpy.ops.mesh.primitive_cube_add(location=at)
        bpy.context.object.scale = size
        bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
        self._bevel(bevel, 3)
        self._finish(stuff, smooth=False, **how)

    def cone(self, at: Place, radii: tuple[float, float], depth: float, stuff: Stuff, **how: Any) -> None:
        bpy.ops.mesh.primitive_cone_add(vertices=48, radius1=radii[0], radius2=radii[1], depth=depth, location=at)
        self._finish(stuff, **how)

    def post(self, at: Place, radius: float, depth: float, stuff: Stuff, **how: Any) -> None:
        bpy.ops.mesh.primitive_cylinder_add(radius=radius, depth=depth, location=at)
        self._finish(stuff, **how)

    def wheel(self, radius: float, width: float, stuff: Stuff, **how: Any) -> None:
        bpy.ops.mesh.primitive_cylinder_add(radius=radius, depth=width, rotation=(math.pi / 2, 0, 0))
        bpy.ops.object.transform_apply(rotation=True)
        self._finish(stuff, smooth=False, **how)

    def limb(self, length: float, upper: float, lower: float, stuff: Stuff, **how: Any) -> None:
        """Hangs down from its joint, the parent's origin."""
        bpy.ops.mesh.primitive_cone_add(vertices=32, radius1=lower, radius2=upper, depth=length)
        for vertex in bpy.context.object.data.vertices:
            vertex.co.z -= length / 2
        self._bevel(min(upper, lower) * 0.6, 4)
        self._finish(stuff, **how)

    def joint(self, at: Place, parent: Any = None) -> Any:
        joint = self._add("joint", None)
        joint.location, joint.parent = at, parent
        return joint

    def light(self, kind: str, at: Place, energy: float, size: float = 2, color: Color = (1, 1, 1)) -> None:
        light = bpy.data.lights.new("light", kind)
        light.energy, light.color = energy, color
        if kind == "AREA":
            light.size = size
        lamp = self._add("light", light)
        lamp.location = at
        lamp.rotation_euler = _towards(at, (0, 0, 1))

    def _add(self, name: str, data: Any) -> Any:
        added = bpy.data.objects.new(name, data)
        self.blender.collection.objects.link(added)
        return added

    def _bevel(self, width: float, segments: int) -> None:
        if width:
            bevel = bpy.context.object.modifiers.new("bevel", "BEVEL")
            bevel.width, bevel.segments = width, segments

    def _finish(
        self, stuff: Stuff, *, subject: bool = False, outline: float = 0.02, parent: Any = None, smooth: bool = True
    ) -> None:
        thing = bpy.context.object
        thing.data.materials.clear()
        thing.data.materials.append(stuff.filmed)
        thing.data.materials.append(self.ink)
        if smooth:
            bpy.ops.object.shade_smooth()
        thing.pass_index = int(subject)
        if outline:
            shell = thing.modifiers.new("ink", "SOLIDIFY")
            shell.thickness, shell.offset = outline, 1
            shell.use_flip_normals, shell.material_offset = True, 1
        thing.parent = parent
        self.things.append((thing, stuff))

    # Motion

    def look(self, frame: int, at: Place, towards: Place) -> None:
        key(self.camera, frame, at, _towards(at, towards))

    def render(self, folder: str, frames: int) -> None:
        blender, layer = self.blender, self.blender.view_layers[0]
        blender.render.engine, blender.cycles.device = "CYCLES", "CPU"
        blender.cycles.samples, blender.cycles.max_bounces = SAMPLES, 3
        blender.render.resolution_x, blender.render.resolution_y = WIDTH, HEIGHT
        blender.render.use_persistent_data = True
        layer.use_pass_object_index = True
        settings = blender.render.image_settings
        settings.media_type = "MULTI_LAYER_IMAGE"
        settings.file_format, settings.color_depth = "OPEN_EXR_MULTILAYER", "32"
        for kind in ("filmed", "painted"):
            painted = kind == "painted"
            for thing, stuff in self.things:
                thing.data.materials[0] = stuff.painted if painted else stuff.filmed
                if "ink" in thing.modifiers:
                    thing.modifiers["ink"].show_render = painted
            blender.cycles.use_denoising, layer.use_pass_vector = not painted, not painted
            for frame in range(1, frames + 1):
                blender.frame_set(frame)
                blender.render.filepath = f"{folder}/{kind}.{frame:04d}.exr"
                bpy.ops.render.render(write_still=True)


def strokes(
    name: str,
    colors: list[Color],
    width: tuple[float, float],
    length: tuple[float, float],
    direction: float | None,
    spread: float,
) -> Any:
    """A texture of brush strokes that goes on over its edges, from the name as a seed."""
    rng = np.random.default_rng(sum(map(ord, name)))
    canvas = np.zeros((TEXTURE, TEXTURE, 3), np.float32)
    canvas[:] = colors[0]
    palette = np.array(colors, np.float32)
    common = rng.uniform(0, math.pi) if direction is None else direction
    for _ in range(STROKES):
        x, y = rng.uniform(0, TEXTURE, 2)
        angle = common + rng.normal(0, spread)
        reach, half = rng.uniform(*length), rng.uniform(*width)
        color = palette[min(len(palette) - 1, int(abs(rng.normal(0, 1.1))))]
        color = color * (1 + rng.normal(0, 0.10)) + rng.normal(0, 0.015, 3)
        around = int(reach + half + 4)
        rows, columns = (np.arange(-around, around) + int(middle) for middle in (y, x))
        down, right = np.meshgrid(rows - y, columns - x, indexing="ij")
        along = right * math.cos(angle) + down * math.sin(angle)
        across = down * math.cos(angle) - right * math.sin(angle)
        across += 0.002 * along**2 * rng.normal()
        cover = np.clip(1.2 - np.abs(along) / reach, 0, 0.2) / 0.2 * np.clip(half - np.abs(across), 0, 1)
        bristles = 1 + 0.13 * np.sin(across * rng.uniform(1.2, 2.4) + rng.uniform(0, 6)) * np.sin(across * 3.1 + 1)
        cover = (cover * rng.uniform(0.8, 1))[..., None]
        place = np.ix_(rows % TEXTURE, columns % TEXTURE)
        canvas[place] = canvas[place] * (1 - cover) + cover * np.clip(color * bristles[..., None], 0, 1)
    image = bpy.data.images.new(name, TEXTURE, TEXTURE)
    pixels = np.ones((TEXTURE, TEXTURE, 4), np.float32)
    pixels[..., :3] = canvas.clip(0, 1)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image


def key(thing: Any, frame: int, at: Place | None = None, turned: Place | None = None) -> None:
    if at is not None:
        thing.location = at
        thing.keyframe_insert("location", frame=frame)
    if turned is not None:
        thing.rotation_euler = turned
        thing.keyframe_insert("rotation_euler", frame=frame)


def _towards(at: Place, there: Place) -> Place:
    return tuple((Vector(there) - Vector(at)).to_track_quat("-Z", "Y").to_euler())


def hand(frame: int, axis: int) -> float:
    """How far a hand that holds a camera shakes, -1..1."""
    return noise.noise(Vector((frame * 0.13, axis * 7.3, 0)))


def dancer() -> Scene:
    """A dancer before a plain wall: arms too quick for optical flow, and a camera that comes nearer by a quarter."""
    scene = Scene(3, 40, 0.25)
    stuff = scene.stuff
    wall = stuff(
        "wall", (0.42, 0.36, 0.33), 0.9, [(0.55, 0.3, 0.75), (0.45, 0.2, 0.65), (0.72, 0.45, 0.85), (0.95, 0.6, 0.75)],
        0.35, second=(0.47, 0.4, 0.36), grain=3, width=(8, 20), length=(40, 120),
    )  # fmt: skip
    floor = stuff(
        "floor", (0.25, 0.16, 0.1), 0.35, [(0.9, 0.65, 0.2), (0.8, 0.5, 0.15), (0.95, 0.8, 0.4), (0.7, 0.4, 0.1)],
        0.4, second=(0.32, 0.2, 0.12), grain=2.5, waves=True, direction=0.1, spread=0.2,
    )  # fmt: skip
    scene.box((0, 3, 2), (8, 0.1, 4), wall, outline=0)
    scene.box((0, 0, -0.1), (8, 6, 0.1), floor, outline=0)
    curtain = stuff(
        "curtain", (0.25, 0.05, 0.06), 0.8, [(0.1, 0.5, 0.55), (0.1, 0.4, 0.5), (0.3, 0.7, 0.65), (0.8, 0.9, 0.6)],
        0.7, direction=1.57, spread=0.15,
    )  # fmt: skip
    for fold in range(6):
        scene.ball((-4.4 + fold * 0.42, 2.7, 2), (0.27, 0.2, 2.2), curtain, outline=0.03)
    pane = stuff("win", (0.7, 0.75, 0.8), 0.2, [(0.95, 0.85, 0.3), (1, 0.95, 0.6), (0.95, 0.7, 0.2)], 0.8)
    frame = stuff("frame", (0.6, 0.58, 0.52), 0.5, [(0.85, 0.25, 0.2), (0.7, 0.15, 0.15), (0.95, 0.45, 0.3)], 1.2)
    scene.box((2.6, 2.9, 2.4), (1.0, 0.08, 0.8), frame, outline=0.03)
    scene.box((2.6, 2.82, 2.4), (0.85, 0.08, 0.65), pane, outline=0.03)
    stool = stuff("stool", (0.08, 0.07, 0.06), 0.5, [(0.2, 0.3, 0.75), (0.15, 0.2, 0.6), (0.4, 0.5, 0.9)], 1.2)
    scene.box((-2.4, 1.4, 0.5), (0.5, 0.4, 0.08), stool, outline=0.03)
    for side in (-0.4, 0.4):
        scene.box((-2.4 + side, 1.4, 0.2), (0.06, 0.35, 0.25), stool)
    skin = stuff(
        "skin", (0.55, 0.33, 0.24), 0.5, [(0.95, 0.7, 0.5), (0.9, 0.55, 0.4), (1, 0.85, 0.65), (0.6, 0.8, 0.7)],
        1.6, width=(4, 9), length=(15, 50),
    )  # fmt: skip
    dress = stuff(
        "dress", (0.045, 0.05, 0.07), 0.7, [(0.9, 0.2, 0.3), (0.75, 0.1, 0.25), (1, 0.45, 0.4), (1, 0.8, 0.3)],
        0.9, width=(6, 14),
    )  # fmt: skip
    hair = stuff(
        "hair", (0.09, 0.05, 0.03), 0.4, [(0.25, 0.2, 0.55), (0.15, 0.1, 0.4), (0.45, 0.35, 0.8)],
        1.6, direction=1.2, spread=0.3,
    )  # fmt: skip
    shoe = stuff("shoe", (0.02, 0.02, 0.02), 0.3, [(0.2, 0.65, 0.4), (0.1, 0.5, 0.3)], 2)

    body = scene.joint((0, 0, 1.15))
    scene.ball((0, 0, 0.45), (0.3, 0.22, 0.5), dress, parent=body, outline=0.025, subject=True)
    scene.cone((0, 0, -0.25), (0.62, 0.22), 0.8, dress, parent=body, outline=0.025, subject=True)
    head = scene.joint((0, 0, 1.12), body)
    scene.ball((0, 0, 0.1), (0.2, 0.22, 0.26), skin, parent=head, subject=True)
    scene.ball((0, 0.05, 0.2), (0.22, 0.22, 0.22), hair, parent=head, subject=True)
    scene.ball((0, 0.22, 0.28), (0.12, 0.12, 0.12), hair, parent=head, subject=True)
    for side in (-0.08, 0.08):
        scene.ball((side, -0.19, 0.12), (0.03, 0.03, 0.03), shoe, parent=head, outline=0, subject=True)
    limbs = []
    for side in (-1, 1):
        upper = scene.joint((side * 0.3, 0, 0.78), body)
        scene.limb(0.5, 0.09, 0.07, dress, parent=upper, subject=True)
        lower = scene.joint((0, 0, -0.5), upper)
        scene.limb(0.48, 0.07, 0.05, skin, parent=lower, subject=True)
        scene.ball((0, 0, -0.52), (0.07, 0.05, 0.09), skin, parent=lower, subject=True)
        leg = scene.joint((side * 0.16, 0, -0.45), body)
        scene.limb(0.68, 0.1, 0.06, skin, parent=leg, subject=True)
        scene.ball((0, -0.08, -0.68), (0.08, 0.17, 0.06), shoe, parent=leg, subject=True)
        limbs.append((side, upper, lower, leg))
    for now in range(LAST + 2):
        part = (now - 1) / (LAST - 1)
        turn = part * 2 * math.pi
        sway = math.sin(turn)
        key(body, now, (0.5 * sway, 0, 1.15 + 0.05 * math.cos(2 * turn)), (0, 0.12 * sway, 0.5 * sway))
        key(head, now, turned=(0.15 * math.sin(2 * turn), 0.2 * math.sin(turn + 1), 0.3 * sway))
        for side, upper, lower, leg in limbs:
            key(upper, now, turned=(-0.3, side * -(1.1 + 0.8 * math.sin(turn + side)), 0))
            key(lower, now, turned=(-0.2, side * -(0.6 + 0.5 * math.sin(2 * turn + side)), 0))
            key(leg, now, turned=(0.25 * math.sin(turn + side), side * -0.12, 0))
        scene.look(
            now,
            (0.25 * hand(now, 1) - 0.3 + 0.6 * part, -6.6 + 1.4 * part + 0.1 * hand(now, 2), 1.6 + 0.12 * hand(now, 3)),
            (0.1 * hand(now, 4), 0, 1.45 + 0.08 * hand(now, 5)),
        )
    scene.light("AREA", (-3, -4, 5), 500, 3)
    scene.light("AREA", (4, -2, 3), 160, 2, color=(1, 0.85, 0.7))
    return scene


def dog() -> Scene:
    """A dog walks towards a panning camera, before a fence whose boards are all alike, on grass that shows nothing."""
    scene = Scene(5, 38, 0.6)
    stuff = scene.stuff
    grass = stuff(
        "grass", (0.13, 0.2, 0.05), 0.9, [(0.35, 0.7, 0.35), (0.25, 0.6, 0.4), (0.55, 0.8, 0.3), (0.9, 0.85, 0.3)],
        0.35, second=(0.18, 0.24, 0.08), grain=6, width=(5, 12), length=(20, 60), direction=1.4, spread=0.4,
    )  # fmt: skip
    fence = stuff(
        "fence", (0.5, 0.48, 0.44), 0.8, [(0.9, 0.45, 0.35), (0.8, 0.35, 0.35), (1, 0.65, 0.45)],
        0.6, second=(0.4, 0.38, 0.35), grain=4, direction=1.57, spread=0.15,
    )  # fmt: skip
    sky = stuff(
        "sky", (0.45, 0.6, 0.8), 1, [(0.3, 0.45, 0.85), (0.25, 0.35, 0.75), (0.5, 0.65, 0.95), (0.95, 0.9, 0.9)],
        0.16, width=(10, 22), length=(50, 130), direction=0.3, spread=0.4,
    )  # fmt: skip
    scene.box((0, 9, 4), (16, 0.1, 6), sky, outline=0, bevel=0)
    scene.box((0, 0, -0.1), (16, 9, 0.1), grass, outline=0, bevel=0)
    for board in range(22):
        scene.box((-6.6 + board * 0.62, 4, 0.75), (0.2, 0.05, 0.75), fence, outline=0.025)
    for height in (0.5, 1.1):
        scene.box((0, 4.08, height), (8, 0.04, 0.07), fence)
    trunk = stuff(
        "trunk", (0.16, 0.1, 0.06), 0.9, [(0.45, 0.25, 0.55), (0.35, 0.15, 0.45), (0.65, 0.4, 0.7)],
        0.8, second=(0.24, 0.16, 0.1), grain=5, direction=1.57, spread=0.2,
    )  # fmt: skip
    leaves = stuff(
        "leaf", (0.06, 0.14, 0.04), 0.8, [(0.1, 0.45, 0.5), (0.1, 0.35, 0.45), (0.3, 0.65, 0.5), (0.8, 0.8, 0.3)],
        0.6, second=(0.1, 0.2, 0.05), grain=7,
    )  # fmt: skip
    scene.post((2.6, 2.4, 1.5), 0.3, 3, trunk, outline=0.03)
    for _ in range(5):
        right, back, up = (float(scene.rng.normal(0, spread)) for spread in (0.6, 0.3, 0.3))
        scene.ball((2.6 + right, 2.4 + back, 3.1 + up), (0.8, 0.7, 0.6), leaves, outline=0.03)
    fur = stuff(
        "fur", (0.33, 0.2, 0.09), 0.8, [(1, 0.75, 0.25), (0.95, 0.6, 0.2), (1, 0.9, 0.5), (0.9, 0.4, 0.3)],
        1.0, second=(0.38, 0.25, 0.13), grain=5, width=(4, 10), length=(15, 50),
    )  # fmt: skip
    dark = stuff("dark", (0.03, 0.02, 0.02), 0.5, [(0.35, 0.1, 0.3), (0.25, 0.05, 0.2), (0.55, 0.2, 0.4)], 1.5)
    collar = stuff("red", (0.5, 0.04, 0.03), 0.4, [(0.1, 0.6, 0.85), (0.1, 0.45, 0.7)], 2)

    body = scene.joint((0, 0, 0.78))
    scene.ball((0, 0, 0), (0.75, 0.3, 0.32), fur, parent=body, subject=True)
    scene.ball((0.45, 0, 0.03), (0.38, 0.31, 0.36), fur, parent=body, subject=True)
    neck = scene.joint((0.7, 0, 0.2), body)
    scene.ball((0.15, 0, 0.2), (0.2, 0.17, 0.3), fur, parent=neck, subject=True)
    scene.ball((0.22, 0, 0.12), (0.17, 0.19, 0.06), collar, parent=neck, subject=True)
    head = scene.joint((0.25, 0, 0.45), neck)
    scene.ball((0.05, 0, 0.02), (0.27, 0.21, 0.22), fur, parent=head, subject=True)
    scene.ball((0.33, 0, -0.05), (0.2, 0.12, 0.1), fur, parent=head, subject=True)
    scene.ball((0.51, 0, -0.01), (0.06, 0.06, 0.05), dark, parent=head, subject=True)
    for side in (-1, 1):
        scene.ball((-0.06, side * 0.19, 0), (0.1, 0.05, 0.2), dark, parent=head, subject=True)
        scene.ball((0.22, side * 0.13, 0.1), (0.035, 0.035, 0.035), dark, parent=head, outline=0, subject=True)
    tail = scene.joint((-0.72, 0, 0.12), body)
    scene.limb(0.6, 0.07, 0.04, dark, parent=tail, subject=True)
    legs = []
    for along, side, phase in ((0.5, 1, 0.0), (0.5, -1, 1.0), (-0.5, 1, 1.2), (-0.5, -1, 0.2)):
        upper = scene.joint((along, side * 0.18, -0.1), body)
        scene.limb(0.36, 0.13, 0.08, fur, parent=upper, subject=True)
        lower = scene.joint((0, 0, -0.34), upper)
        scene.limb(0.32, 0.08, 0.06, fur, parent=lower, subject=True)
        scene.ball((0.05, 0, -0.32), (0.12, 0.08, 0.06), dark, parent=lower, subject=True)
        legs.append((upper, lower, phase * math.pi))
    for now in range(LAST + 2):
        part, turn = (now - 1) / (LAST - 1), (now - 1) / 24 * 2 * math.pi
        place = (-2.2 + 3.6 * part, 0.8 - 2.0 * part, 0.78 + 0.03 * math.cos(2 * turn))
        key(body, now, place, (0, 0.03 * math.sin(2 * turn), -0.5 - 0.15 * part))
        key(neck, now, turned=(0, 0.12 * math.sin(turn), 0.25 * math.sin(turn / 2)))
        nod = (0.1 * math.sin(turn), 0.15 * math.sin(turn + 0.5), 0.35 * math.sin(turn / 2 + 0.6))
        key(head, now, turned=nod)
        key(tail, now, turned=(0.5 * math.sin(3 * turn), 2.3, 0))
        for upper, lower, phase in legs:
            key(upper, now, turned=(0, -0.5 * math.sin(turn + phase), 0))
            key(lower, now, turned=(0, 0.35 + 0.35 * math.cos(turn + phase), 0))
        scene.look(
            now,
            (-0.6 + 1.8 * part + 0.1 * hand(now, 1), -6.2 + 0.08 * hand(now, 2), 1.5 + 0.08 * hand(now, 3)),
            (-0.9 + 1.9 * part + 0.05 * hand(now, 4), 0.6, 1.0 + 0.05 * hand(now, 5)),
        )
    scene.light("SUN", (-4, -5, 7), 3.2)
    return scene


def car() -> Scene:
    """A car drives along and turns; the camera goes with it, so a third of the wall is new at the end."""
    scene = Scene(7, 36, 0.5)
    stuff = scene.stuff
    road = stuff(
        "road", (0.1, 0.1, 0.11), 0.8, [(0.35, 0.3, 0.5), (0.3, 0.25, 0.42), (0.5, 0.42, 0.6), (0.85, 0.6, 0.5)],
        0.3, second=(0.12, 0.12, 0.13), grain=8, width=(8, 18), length=(40, 110), direction=0.1, spread=0.25,
    )  # fmt: skip
    wall = stuff(
        "brick", (0.3, 0.14, 0.1), 0.9, [(0.95, 0.75, 0.45), (0.9, 0.65, 0.35), (1, 0.88, 0.6), (0.6, 0.75, 0.6)],
        0.35, second=(0.36, 0.2, 0.14), grain=4, direction=0, spread=0.5,
    )  # fmt: skip
    scene.box((0, 5, 2), (14, 0.1, 4), wall, outline=0, bevel=0)
    scene.box((0, 0, -0.1), (14, 6, 0.1), road, outline=0, bevel=0)
    poster = stuff(
        "poster", (0.7, 0.65, 0.5), 0.6, [(0.15, 0.55, 0.5), (0.1, 0.4, 0.45), (0.85, 0.85, 0.4)],
        0.8, second=(0.1, 0.25, 0.4), grain=2.5,
    )  # fmt: skip
    for right in (-3.2, 0.4, 3.4):
        scene.box((right, 4.85, 1.9), (0.7, 0.05, 0.9), poster, outline=0.03)
    post = stuff("post", (0.3, 0.32, 0.3), 0.4, [(0.9, 0.3, 0.45), (0.8, 0.2, 0.4)], 1)
    for right in (-4.5, -1.4, 1.8, 5):
        scene.box((right, 3.6, 0.5), (0.12, 0.12, 0.5), post, outline=0.03)
    body = stuff(
        "body", (0.55, 0.04, 0.03), 0.12, [(0.2, 0.45, 0.9), (0.15, 0.35, 0.8), (0.45, 0.65, 1), (0.95, 0.95, 0.8)], 0.6
    )
    glass = stuff("glass", (0.02, 0.03, 0.04), 0.05, [(0.75, 0.9, 0.95), (0.6, 0.8, 0.9), (0.95, 1, 0.95)], 1)
    tyre = stuff("tyre", (0.015, 0.015, 0.015), 0.8, [(0.25, 0.15, 0.3), (0.2, 0.1, 0.25), (0.4, 0.25, 0.4)], 1.2)
    rim = stuff("rim", (0.6, 0.6, 0.6), 0.2, [(1, 0.8, 0.2), (0.95, 0.65, 0.1)], 1.5)

    chassis = scene.joint((0, 0, 0.35))
    how: dict[str, Any] = {"parent": chassis, "outline": 0.025, "subject": True}
    scene.box((0, 0, 0.2), (1.3, 0.55, 0.25), body, bevel=0.15, **how)
    scene.box((-0.1, 0, 0.6), (0.7, 0.48, 0.22), glass, bevel=0.15, **how)
    scene.box((-0.1, 0, 0.82), (0.6, 0.42, 0.05), body, **how)
    for side in (-1, 1):
        scene.ball((1.28, side * 0.35, 0.25), (0.06, 0.12, 0.1), rim, **how)
    axles = []
    for along in (-0.8, 0.8):
        for side in (-1, 1):
            axle = scene.joint((along, side * 0.55, 0), chassis)
            scene.wheel(0.33, 0.2, tyre, parent=axle, outline=0.025, subject=True)
            for size in ((0.2, 0.05, 0.06), (0.06, 0.05, 0.2)):
                scene.box((0, side * 0.08, 0), size, rim, parent=axle, outline=0, subject=True)
            axles.append(axle)
    right, back, speed = -3.2, 1.6, 0.125
    for now in range(LAST + 2):
        part = (now - 1) / (LAST - 1)
        heading = -0.9 * max(0, min(1, part * 1.3 - 0.2))
        right, back = right + speed * math.cos(heading), back + speed * math.sin(heading)
        shaken = (0.02 * math.sin(now * 0.7), 0.015 * math.sin(now * 0.9), heading)
        key(chassis, now, (right, back, 0.35 + 0.012 * math.sin(now * 1.1)), shaken)
        for axle in axles:
            key(axle, now, turned=(0, now * speed / 0.33, 0))
        scene.look(
            now,
            (-1.2 + 2.4 * part + 0.06 * hand(now, 1), -6.5 + 0.05 * hand(now, 2), 2.0 + 0.06 * hand(now, 3)),
            (-1.6 + 3.2 * part + 0.05 * hand(now, 4), 1.2, 0.8 + 0.05 * hand(now, 5)),
        )
    scene.light("AREA", (-3, -5, 6), 700, 4)
    scene.light("AREA", (5, -3, 4), 250, 2, color=(0.8, 0.9, 1))
    return scene


SCENES: dict[str, Callable[[], Scene]] = {"dancer": dancer, "dog": dog, "car": car}

if __name__ == "__main__":
    SCENES[sys.argv[1]]().render(sys.argv[2], int(sys.argv[3]))
