"""What the artist sees: the Add menu, a panel in the node editor's sidebar, a line in the status bar."""

from typing import Any

import bpy

from ..params import GUIDE, PREFILTER
from . import environment, operators, session
from .tree import KINDS, compositor, kind_of

_BARS = " ▁▂▃▄▅▆▇█"


class NODE_MT_fewstroke(bpy.types.Menu):
    bl_label = "Fewstroke"

    def draw(self, context: Any) -> None:
        self.layout.operator_context = "INVOKE_DEFAULT"
        for kind, name in KINDS.items():
            self.layout.operator("fewstroke.add_node", text=name).kind = kind
        self.layout.separator()
        self.layout.operator("fewstroke.open_footage", text="Open Footage...", icon="FILE_FOLDER")


def _add_menu(self: Any, context: Any) -> None:
    if context.space_data.tree_type == "CompositorNodeTree":
        self.layout.menu("NODE_MT_fewstroke")


class NODE_UL_fewstroke_keyframes(bpy.types.UIList):
    def draw_item(
        self, context: Any, layout: Any, data: Any, item: Any, icon: Any, active: Any, name: Any, index: Any
    ) -> None:
        row = layout.split(factor=0.3)
        row.label(text=str(item.frame))
        row.label(text="no painting" if item.image is None else item.image.name, icon="IMAGE_DATA")


class NODE_PT_fewstroke(bpy.types.Panel):
    bl_label = "Fewstroke"
    bl_category = "Fewstroke"
    bl_space_type = "NODE_EDITOR"
    bl_region_type = "UI"

    @classmethod
    def poll(cls, context: Any) -> bool:
        return context.space_data.tree_type == "CompositorNodeTree"

    def draw(self, context: Any) -> None:
        layout = self.layout
        tree = context.space_data.edit_tree
        node = None if tree is None else tree.nodes.active
        if not kind_of(node):
            there = operators.stylize_nodes(context.scene)
            node = there[0][0] if there else None
        if node is None:
            _say(layout, "Open a shot, or add nodes with Add > Fewstroke.")
            layout.operator("fewstroke.open_footage", icon="FILE_FOLDER")
            _say(layout, "Or paint what this scene renders:")
            column = layout.column(align=True)
            column.operator_context = "INVOKE_DEFAULT"
            column.operator("fewstroke.render_passes", icon="RENDER_ANIMATION")
            column.operator("fewstroke.open_passes", icon="NODETREE")
            return
        # In the node's own line, so that nothing below moves under the mouse.
        making = session.state_of(node.node_tree).making
        now = "" if making is None else f": making frame {making} ..."
        layout.label(text=f"{node.label or node.name}{now}", icon="NODE" if making is None else "TIME")
        _draw_problem(layout, node.node_tree)
        draw = {"PREFILTER": _draw_prefilter, "GUIDE": _draw_guide, "STYLIZE": _draw_stylize}
        draw[kind_of(node)](layout, node)


def _draw_problem(layout: Any, tree: Any) -> None:
    problem = session.state_of(tree).problem
    if not bpy.data.filepath:  # no problem, but what comes next
        _say(layout, "Save the file first: model, paintings and frames are kept beside it.")
        layout.operator("wm.save_as_mainfile", text="Save As...", icon="FILE_TICK")
    elif problem:
        _say(layout, problem, alert=True)


def _draw_prefilter(layout: Any, node: Any) -> None:
    _draw_params(layout, node.node_tree.fewstroke.prefilter, PREFILTER)


def _draw_guide(layout: Any, node: Any) -> None:
    _draw_params(layout, node.node_tree.fewstroke.guide, GUIDE)


def _draw_params(layout: Any, group: Any, table: Any) -> None:
    column = layout.column()
    column.use_property_split = True
    for name in table:
        column.prop(group, name)
    _say(layout, "Takes effect on the painting with the next training.")


def _draw_stylize(layout: Any, node: Any) -> None:
    tree = node.node_tree
    settings = tree.fewstroke
    big = layout.column()
    big.scale_y = 1.4
    big.operator("fewstroke.paint_frame", icon="BRUSH_DATA").node = node.name
    layout.label(text="Keyframes")
    row = layout.row()
    row.template_list("NODE_UL_fewstroke_keyframes", "", settings, "keyframes", settings, "active", rows=3)
    column = row.column(align=True)
    column.operator("fewstroke.add_keyframe", text="", icon="FILE_FOLDER").node = node.name
    column.operator("fewstroke.remove_keyframe", text="", icon="REMOVE").node = node.name
    if settings.active < len(settings.keyframes):
        keyframe = settings.keyframes[settings.active]
        column = layout.column()
        column.use_property_split = True
        for name in ("frame", "image", "mask"):
            column.prop(keyframe, name)

    training = session.training_of(tree)
    big = layout.column()
    big.scale_y = 1.4
    if session.is_training(tree):
        big.operator("fewstroke.stop", icon="PAUSE").node = node.name
    else:
        big.operator("fewstroke.train", icon="PLAY").node = node.name
    if training is not None:
        _draw_training(layout, training)
    split = layout.column()
    split.use_property_split = True
    split.prop(node.inputs["Strength"], "default_value", text="Strength", slider=True)
    split.prop(settings, "steadiness", slider=True)
    split.prop(settings, "minutes")
    split.prop(settings, "preset")
    split.prop(settings, "seed")
    split.prop(settings, "model")
    if not session.is_training(tree):
        again = layout.operator("fewstroke.train", text="Start Over", icon="FILE_REFRESH")
        again.node, again.afresh = node.name, True


def _draw_training(layout: Any, training: session.Training) -> None:
    if training.problem:
        _say(layout, training.problem, alert=True)
        return
    if training.line:
        spent = training.spent()
        left = training.left
        if left is None:
            layout.label(text="Until it gets no better")
        else:
            layout.progress(factor=spent / max(spent + left, 0.1), text=f"{_clock(left)} left")
        _say(layout, training.line)
    else:
        _say(layout, f"{training.step} steps learnt")
    if len(training.losses) > 1:
        layout.label(text=_curve(training.losses))


def _curve(losses: list[float], width: int = 24) -> str:
    """The losses as a line of bars, oldest to newest."""
    size = max(1, len(losses) // width)
    means = [sum(losses[i : i + size]) / len(losses[i : i + size]) for i in range(0, len(losses), size)]
    low, high = min(means), max(means)
    return "".join(_BARS[1 + round((mean - low) / max(high - low, 1e-9) * 7)] for mean in means)


def _clock(seconds: float) -> str:
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"


def _say(layout: Any, text: str, alert: bool = False) -> None:
    """A sentence, over as many lines as it needs: labels do not wrap by themselves."""
    width = max(24, round(bpy.context.region.width / (7 * bpy.context.preferences.system.ui_scale)) - 4)
    column = layout.column(align=True)
    column.alert = alert
    line = ""
    lines = []
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    for index, each in enumerate([*lines, line]):
        column.label(text=each, icon="ERROR" if alert and index == 0 else "NONE")


def _status_bar(self: Any, context: Any) -> None:
    tree = compositor(context.scene)
    if tree is None:
        return
    for node, _ in session.walk(tree):
        state, training = session.state_of(node.node_tree), session.training_of(node.node_tree)
        if state.problem:
            self.layout.label(text=f"{node.node_tree.name}: {state.problem}", icon="ERROR")
        elif training is not None and training.line:
            left = "" if training.left is None else f", {_clock(training.left)} left"
            self.layout.label(text=f"{node.node_tree.name}: {training.line}{left}", icon="BRUSH_DATA")
        elif state.making is not None:
            self.layout.label(text=f"{node.node_tree.name}: making frame {state.making}", icon="TIME")


def draw_preferences(preferences: Any, layout: Any) -> None:
    making = operators.making
    layout.prop(preferences, "python")
    try:
        layout.label(text=f"Painting and training run in {environment.python()}", icon="CHECKMARK")
    except session.client.WorkerError as problem:
        layout.label(text=str(problem), icon="ERROR")
    row = layout.row()
    row.prop(preferences, "training")
    row.operator("fewstroke.make_environment").training = preferences.training
    if making is not None and not making.done:
        layout.label(text=making.line, icon="TIME")
    elif making is not None and making.error:
        layout.label(text=making.error, icon="ERROR")


CLASSES = (NODE_MT_fewstroke, NODE_UL_fewstroke_keyframes, NODE_PT_fewstroke)


def register() -> None:
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.NODE_MT_compositor_node_add_all.append(_add_menu)
    bpy.types.STATUSBAR_HT_header.append(_status_bar)


def unregister() -> None:
    bpy.types.STATUSBAR_HT_header.remove(_status_bar)
    bpy.types.NODE_MT_compositor_node_add_all.remove(_add_menu)
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
