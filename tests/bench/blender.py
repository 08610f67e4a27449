"""What a frame costs in Blender beyond what it costs the engine, at 1080p: `python tests/bench/blender.py`.

The engine alone evaluates the painted frame in this process; Blender's handler asks the worker for it, which writes it.
What the network costs is the same in both, and would drown the difference in the noise of a shared machine: so the
difference is measured on frames whose matte is empty, of which the network paints nothing. How much of a frame that is,
the first one tells, which is painted whole. Both in turn, several rounds, medians and minima.
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

FRAMES = 6
ROUNDS = 5

BUILD = """
with inside.blender() as say:
    folder = arguments[0]
    inside.open_shot(folder)
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/paint.png", frame=1)
    tree = inside.tree()
    for kind in ("PREFILTER", "GUIDE"):  # the network alone: what costs least, and so shows the rest best
        tree.nodes.remove(inside.node(kind))
    tree.links.new(inside.plate().outputs["Image"], inside.node("STYLIZE").inputs["Footage"])
    inside.link_matte(folder, ["STYLIZE"])
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
    handler(2)
    for frame in range(1, frames + 1):
        if os.path.exists(files % frame):
            os.remove(files % frame)
    made = [handler(frame) for frame in range(1, frames + 1)]
    say(whole=made[:1], made=made[1:], cached=[handler(frame) for frame in range(1, frames + 1)])
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        blender = Blender(folder / "home", folder / "cache")
        blender.home.mkdir()
        done = extension(folder)
        blender.run(INSTALL, done)
        picture = np.random.default_rng(0).random((68, 120, 3)).repeat(16, 0).repeat(16, 1)[:1080]
        for frame in range(1, FRAMES + 1):
            save(folder / f"plate.{frame:04d}.exr", np.roll(picture, frame * 5, axis=1), "half")
            save(folder / f"matte.{frame:04d}.png", np.full((1080, 1920, 1), frame == 1), "uint8")
        save(folder / "paint.png", picture, "uint8")
        blender.run(BUILD, folder)
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            whole, *empty = engine(folder)
            facts = blender.run(TIME, folder, FRAMES, OMP_NUM_THREADS="2").facts
            for name, values in {"engine, whole": [whole], "engine, empty": empty, **facts}.items():
                times.setdefault(name, []).extend(values)
        for summary in (statistics.median, min):
            ms = {name: 1000 * summary(values) for name, values in times.items()}
            over = ms["made"] - ms["engine, empty"]
            print(
                f"{summary.__name__}: a frame in the engine {ms['engine, whole']:.0f} ms; in Blender {over:.0f} ms more, "
                f"{100 * over / ms['engine, whole']:.0f} %; a frame that is there already {ms['cached']:.0f} ms"
            )
        print({name: [round(1000 * value) for value in values] for name, values in times.items()})


def extension(folder: Path) -> Path:
    """The extension's zip."""
    sys.path.insert(0, str(ROOT / "install"))
    from extension import build  # pyright: ignore[reportMissingImports]

    return build(folder / "zip")


def engine(folder: Path) -> list[float]:
    """Seconds of each frame."""
    model = str(folder / MODEL)
    shot = as_trained(read_info(model), str(folder / "plate.####.exr"), matte=str(folder / "matte.####.png"))
    node = stylized(shot, model)
    Evaluator()(node, 2)
    evaluate, seconds = Evaluator(), []
    for frame in range(1, FRAMES + 1):
        start = time.perf_counter()
        evaluate(node, frame)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
