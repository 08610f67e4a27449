"""What a frame costs in Blender beyond what it costs the engine, at 1080p: `python tests/bench/blender.py`.

The engine alone evaluates the painted frame in this process; Blender's handler asks the worker for it, which writes it.
On a shared machine the difference of the two drowns in what the network's time varies by. So the handler is timed a
second time with the file taken away, while the worker has the pixels in memory still: that is all but the engine. Both
in turn, several rounds, medians and minima.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "hosts"))
from blenders import INSTALL, MODEL, ROOT, Blender, save

from fewstroke.engine.sessions import read_info
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.shot import as_trained, stylized

FRAMES = 4
ROUNDS = 3

BUILD = """
with inside.blender() as say:
    folder = arguments[0]
    inside.open_shot(folder)
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/paint.png", frame=1)
    tree = inside.tree()
    for kind in ("PREFILTER", "GUIDE"):  # the network alone: what costs least, and so shows the rest best
        tree.nodes.remove(inside.node(kind))
    tree.links.new(inside.plate().outputs["Image"], inside.node("STYLIZE").inputs["Footage"])
    bpy.ops.fewstroke.train(steps=1)
    bpy.ops.wm.save_mainfile()
"""

TIME = """
import os, time
with inside.blender() as say:
    folder, frames = arguments[0], int(arguments[1])
    bpy.ops.wm.open_mainfile(filepath=folder + "/shot.blend")
    session, scene = sys.modules[inside.ADDON + ".plugin.blender.session"], bpy.context.scene
    files = folder + "/shot.fewstroke/Stylize/painted.%04d.exr"
    def handler(frame):
        scene.frame_set(frame)
        start = time.perf_counter()
        session.render(scene)
        return time.perf_counter() - start
    def handlers():
        return [handler(frame) for frame in range(1, frames + 1)]
    def take_away():
        for frame in range(1, frames + 1):
            if os.path.exists(files % frame):
                os.remove(files % frame)
    handler(frames + 1)
    take_away()
    made = handlers()
    take_away()
    say(made=made, over=handlers(), cached=handlers())
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        blender = Blender(folder / "home", folder / "cache")
        blender.home.mkdir()
        done = extension(folder)
        blender.run(INSTALL, done)
        picture = np.random.default_rng(0).random((68, 120, 3)).repeat(16, 0).repeat(16, 1)[:1080]
        for frame in range(1, FRAMES + 2):  # one more, to warm up with
            save(folder / f"plate.{frame:04d}.exr", np.roll(picture, frame * 5, axis=1), "half")
        save(folder / "paint.png", picture, "uint8")
        blender.run(BUILD, folder)
        times: dict[str, list[float]] = {"engine": [], "made": [], "over": [], "cached": []}
        for _ in range(ROUNDS):
            times["engine"] += engine(folder)
            facts = blender.run(TIME, folder, FRAMES, OMP_NUM_THREADS="2").facts
            for name, values in facts.items():
                times[name] += values
        for summary in (statistics.median, min):
            ms = {name: 1000 * summary(values) for name, values in times.items()}
            print(
                f"{summary.__name__}: engine {ms['engine']:.0f} ms, in Blender {ms['made']:.0f} ms; all but the engine "
                f"{ms['over']:.0f} ms, {100 * ms['over'] / ms['engine']:.0f} %; a frame that is there already "
                f"{ms['cached']:.0f} ms"
            )


def extension(folder: Path) -> Path:
    """The extension's zip."""
    sys.path.insert(0, str(ROOT / "install"))
    from extension import build  # pyright: ignore[reportMissingImports]

    return build(folder / "zip")


def engine(folder: Path) -> list[float]:
    """Seconds of each frame."""
    model = str(folder / MODEL)
    node = stylized(as_trained(read_info(model), str(folder / "plate.####.exr")), model)
    Evaluator()(node, FRAMES + 1)
    evaluate, seconds = Evaluator(), []
    for frame in range(1, FRAMES + 1):
        start = time.perf_counter()
        evaluate(node, frame)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
