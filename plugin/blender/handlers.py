"""When things happen: before each rendered frame, ten times a second in the window, when files are opened and saved."""

import contextlib
import os
import sys
import time
import traceback
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..client import WorkerError
from . import operators, painting, session
from .tree import NodeProblem, compositor, show_paintings, tidy

TICK_SECONDS = 0.1
LOOK_SECONDS = 0.5
"""How often paintings are looked at."""

_looked = 0.0


@persistent
def before_rendered_frame(scene: Any, *_: Any) -> None:
    """`render_pre` is the one handler that comes before every frame in every kind of render.

    Blender swallows exceptions here and would write the frame before once more. In background the process ends instead,
    with exit code 1, so that a farm sees the frame fail.
    """
    try:
        session.render(scene)
    except (NodeProblem, WorkerError) as problem:
        print(f"Fewstroke: frame {scene.frame_current}: {problem}", file=sys.stderr, flush=True)
        if bpy.app.background:
            session.close()
            sys.stdout.flush()
            os._exit(1)  # SystemExit would do, too, but 4.5 can hang while it cleans up


@persistent
def before_render(scene: Any, *_: Any) -> None:
    """In the window, frames that are not there yet are passed over; a render waits for them. The current one is made
    first, since the window looks at the same nodes.
    """
    if not bpy.app.background:
        with contextlib.suppress(NodeProblem, WorkerError):  # told when that frame is rendered
            session.render(scene)
    show_paintings(scene)


@persistent
def after_update(scene: Any, *_: Any) -> None:
    """Something was changed, or a render is about to begin, also in background."""
    if not bpy.app.is_job_running("RENDER"):
        tidy(scene)


@persistent
def after_load(*_: Any) -> None:
    for scene in bpy.data.scenes:
        tidy(scene)
        show_paintings(scene)


@persistent
def before_save(*_: Any) -> None:
    # What is saved must render where this extension is missing.
    for scene in bpy.data.scenes:
        tidy(scene)
        show_paintings(scene)
    for tree in _our_trees():
        try:
            painting.keep(tree)
        except NodeProblem as problem:
            session.state_of(tree).problem = str(problem)


@persistent
def before_load(*_: Any) -> None:
    session.forget()
    painting.forget()


def tick() -> float:
    """For the window: asks for frames, shows them, follows trainings and paintings."""
    try:
        _tick()
    except Exception:  # Blender would never call again
        traceback.print_exc()
    return TICK_SECONDS


def _tick() -> None:
    global _looked
    if bpy.app.is_job_running("RENDER"):
        return  # the same images are being filled by another thread
    changed = False
    for scene in {window.scene for window in bpy.context.window_manager.windows}:
        if compositor(scene) is not None:
            tidy(scene)
            changed |= session.update(scene)
    look = time.monotonic() - _looked > LOOK_SECONDS
    if look:
        _looked = time.monotonic()
    for tree in _our_trees():
        try:
            if look:
                painting.look(tree)
                session.learn_from_new_pictures(tree)
        except (NodeProblem, WorkerError) as problem:
            session.state_of(tree).problem = str(problem)
            changed = True
        if training := session.training_of(tree):
            changed |= session.listen(tree, training)
    making = operators.making
    if making is not None and not making.told:
        changed, making.told = True, making.done
        if making.done:
            session.close()  # what runs still, runs in the environment that was there before
    if changed:
        redraw()


def redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("NODE_EDITOR", "PREFERENCES"):
                area.tag_redraw()
        window.workspace.status_text_set(None)  # draws the status bar anew


def _our_trees() -> list[Any]:
    return [
        tree
        for tree in bpy.data.node_groups
        if tree.bl_idname == "CompositorNodeTree" and tree.fewstroke.kind == "STYLIZE"
    ]


_HANDLERS = (
    (bpy.app.handlers.render_init, before_render),
    (bpy.app.handlers.render_pre, before_rendered_frame),
    (bpy.app.handlers.depsgraph_update_post, after_update),
    (bpy.app.handlers.load_post, after_load),
    (bpy.app.handlers.save_pre, before_save),
    (bpy.app.handlers.load_pre, before_load),
)


def register() -> None:
    for handlers, handler in _HANDLERS:
        handlers.append(handler)
    if not bpy.app.background:
        bpy.app.timers.register(tick, persistent=True)


def unregister() -> None:
    for handlers, handler in _HANDLERS:
        handlers.remove(handler)
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    session.close()
