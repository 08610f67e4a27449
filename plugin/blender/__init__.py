"""The Blender extension: nodes in the compositor, painting, training. It draws, acts and moves files; the worker works.

Nothing of the engine is imported into Blender, and nothing here needs more than what Blender brings.
"""

from . import handlers, operators, settings, ui

PARTS = (settings, operators, ui, handlers)


def register() -> None:
    for part in PARTS:
        part.register()


def unregister() -> None:
    for part in reversed(PARTS):
        part.unregister()
