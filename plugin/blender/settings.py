"""What is saved in the .blend file and in the preferences. Every property may be set from scripts."""

from collections.abc import Mapping
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..params import GUIDE, PREFILTER, Param
from .tree import KINDS

ADDON = __name__.partition(".plugin.")[0]
"""The extension's name in Blender: bl_ext.user_default.fewstroke."""


class _FromParams:
    """A group of properties made from a table of `Param`s."""

    TABLE: Mapping[str, Param]

    def as_json(self) -> dict[str, Any]:
        """The parameters as the worker takes them."""
        # Blender stores single precision: 0.1 would come back as 0.10000000149.
        values = {name: getattr(self, name) for name in self.TABLE}
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def _properties(table: Mapping[str, Param]) -> dict[str, Any]:
    made = {}
    for name, param in table.items():
        kind = IntProperty if isinstance(param.default, int) else FloatProperty
        made[name] = kind(
            name=param.label,
            description=param.sentence,
            default=param.default,
            min=param.low,
            max=param.high,
            options=set(),  # not to be animated: one model is trained with one value
        )
    return made


class FewstrokePrefilter(_FromParams, bpy.types.PropertyGroup):
    TABLE = PREFILTER
    __annotations__ = _properties(PREFILTER)


class FewstrokeGuide(_FromParams, bpy.types.PropertyGroup):
    TABLE = GUIDE
    __annotations__ = _properties(GUIDE)


class FewstrokeKeyframe(bpy.types.PropertyGroup):
    frame: IntProperty(name="Frame", description="Its number in the footage", options=set())
    image: PointerProperty(name="Painting", description="The painted frame", type=bpy.types.Image)
    mask: PointerProperty(
        name="Mask", description="White where the painting counts; without one, all of it does", type=bpy.types.Image
    )


class FewstrokeSettings(bpy.types.PropertyGroup):
    """On the node tree of each of our nodes: `node.node_tree.fewstroke`."""

    kind: EnumProperty(
        items=[("NONE", "None", "Not one of ours"), *((kind, name, name) for kind, name in KINDS.items())],
        options={"HIDDEN"},
    )
    prefilter: PointerProperty(type=FewstrokePrefilter)
    guide: PointerProperty(type=FewstrokeGuide)
    keyframes: CollectionProperty(type=FewstrokeKeyframe)
    active: IntProperty(name="Active Keyframe", options={"SKIP_SAVE"})
    model: StringProperty(
        name="Model",
        description="The trained network. Kept relative to the .blend file; empty until the first training",
        subtype="FILE_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    steadiness: FloatProperty(
        name="Steadiness",
        description="How far painted neighbours are averaged in, against flicker; frames take longer then",
        min=0,
        max=1,
        default=0,
        options=set(),
    )
    minutes: FloatProperty(
        name="Minutes",
        description="How long to train, in minutes; 0 until the painting gets no better",
        min=0,
        soft_max=60,
        default=0,
        options=set(),
    )
    preset: EnumProperty(
        name="Network",
        items=[
            ("fast", "Fast", "Minutes on a processor, seconds on a graphics card"),
            ("paper", "Paper", "The published network, some 50 times dearer"),
        ],
        options=set(),
    )
    seed: IntProperty(name="Seed", description="The same seed paints the same picture", min=0, options=set())


class FewstrokePreferences(bpy.types.AddonPreferences):
    bl_idname = ADDON

    python: StringProperty(
        name="Python",
        description="The Python that paints and trains, of an environment that has Fewstroke's packages. Empty: "
        "$FEWSTROKE_PYTHON, else the environment that the button below makes",
        subtype="FILE_PATH",
    )
    training: BoolProperty(
        name="With PyTorch",
        description="Install what training needs, too; some hundred megabytes, with a graphics card some gigabytes",
        default=True,
    )

    def draw(self, context: Any) -> None:
        from . import ui

        ui.draw_preferences(self, self.layout)


CLASSES = (
    FewstrokePrefilter,
    FewstrokeGuide,
    FewstrokeKeyframe,
    FewstrokeSettings,
    FewstrokePreferences,
)


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.CompositorNodeTree.fewstroke = PointerProperty(type=FewstrokeSettings)


def unregister() -> None:
    del bpy.types.CompositorNodeTree.fewstroke
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)


def preferences() -> Any:
    return bpy.context.preferences.addons[ADDON].preferences
