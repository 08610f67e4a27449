"""What happens in the window by itself, ten times a second: driven here by calling the same function."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from blenders import Blender, pixels, save

PRELUDE = """
import os, signal, time
def part(name):
    return sys.modules[f"{inside.ADDON}.plugin.blender.{name}"]

def ticks(until, seconds=300):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not happen"
        part("handlers")._tick()
        time.sleep(0.05)
"""

FRAMES = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    session, tree = part("session"), inside.node("STYLIZE").node_tree
    state = session.state_of(tree)
    # The window goes on even where the worker stands still.
    pid = session.worker().ask("hello").wait()["pid"]
    os.kill(pid, signal.SIGSTOP)
    bpy.context.scene.frame_set(3)
    for _ in range(3):
        part("handlers")._tick()
    say(making=state.making)
    os.kill(pid, signal.SIGCONT)
    ticks(lambda: state.making is None)
    # Frames that are passed over quickly are given up for the one that is looked at.
    for frame in (1, 2, 4, 5):
        bpy.context.scene.frame_set(frame)
        part("handlers")._tick()
    ticks(lambda: state.making is None)
    say(problem=state.problem, shown=sorted(path[-8:-4] for path in state.shown))
    bpy.context.scene.frame_set(99)
    inside.plate().frame_duration = 99
    ticks(lambda: state.problem)
    say(missing=state.problem)
    bpy.context.scene.frame_set(3)
    ticks(lambda: not state.problem)
    # A link that is taken away and brought back.
    tree, stylize = inside.tree(), inside.node("STYLIZE")
    source = stylize.inputs["Footage"].links[0].from_socket
    tree.links.remove(stylize.inputs["Footage"].links[0])
    ticks(lambda: state.problem)
    say(unlinked=state.problem)
    tree.links.new(source, stylize.inputs["Footage"])
    ticks(lambda: not state.problem and state.making is None)
"""


def test_frames_are_made_while_the_window_goes_on(blender: Blender, shot: Path) -> None:
    facts = blender.run(PRELUDE + FRAMES, shot).facts
    assert facts["making"] == 3
    assert facts["problem"] == "" and facts["shown"] == ["0003", "0005"]
    assert "plate.0099.exr" in facts["missing"]
    assert facts["unlinked"] == "link an Image node or a Prefilter node to Footage"


PASSED_OVER = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    session, tree, scene = part("session"), inside.node("STYLIZE").node_tree, bpy.context.scene
    state, mix = session.state_of(tree), tree.nodes["Mix"]
    say(passes=[[link.from_socket.identifier, link.to_socket.identifier] for link in mix.internal_links])
    for name, frame in (("first", 3), ("other", 4), ("first again", 3)):
        scene.frame_set(frame)
        part("handlers")._tick()
        begun = mix.mute
        ticks(lambda: state.making is None)
        say(**{name: [begun, mix.mute]})
    # What is saved, and what is rendered, never passes over a frame.
    scene.frame_set(5)
    part("handlers")._tick()
    waiting = mix.mute
    bpy.ops.wm.save_mainfile()
    say(saved=[waiting, mix.mute])
    scene.frame_set(6)
    part("handlers")._tick()
    say(waiting=mix.mute)
    inside.render_still(6, arguments[0] + "/out.exr")
"""


def test_a_frame_that_is_not_there_yet_shows_the_footage(
    blender: Blender, shot: Path, rendered: Callable[..., dict[int, np.ndarray]]
) -> None:
    facts = blender.run(PRELUDE + PASSED_OVER, shot).facts
    assert facts["passes"] == [["A_Color", "Result_Color"]]
    assert facts["first"] == facts["other"] == [True, False]
    assert facts["first again"] == [False, False]
    assert facts["saved"] == [True, False]
    assert facts["waiting"] and np.array_equal(pixels(shot / "out.exr"), rendered(shot, "6")[6])


CHANGED = """
with inside.blender() as say:
    import os, shutil
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.link_matte(arguments[0])
    bpy.ops.fewstroke.train(steps=1, afresh=True)
    bpy.context.scene.frame_set(3)
    place = part("tree").files_of(inside.node("STYLIZE").node_tree).replace("####", "0003")
    for other in ("", "matte.0003.png", "plate.0003.exr", "plate.0004.exr"):
        stamp = os.path.exists(place) and os.stat(place).st_mtime_ns
        if other:
            shutil.copy(arguments[0] + "/other." + other, arguments[0] + "/" + other)
        ticks(lambda: os.path.exists(place) and os.stat(place).st_mtime_ns != stamp)
"""


def test_a_matte_or_a_plate_that_changes_is_noticed_also_in_the_frames_beside(
    blender: Blender, shot: Path, rendered: Callable[..., dict[int, np.ndarray]]
) -> None:
    save(shot / "other.matte.0003.png", np.ones((51, 70, 1)), "uint8")
    for frame in (3, 4):
        save(shot / f"other.plate.{frame:04d}.exr", np.full((51, 70, 3), frame / 10), "half")
    blender.run(PRELUDE + CHANGED, shot)
    wanted = rendered(shot, "3", matte=shot / "matte.####.png")[3]
    assert np.array_equal(pixels(shot / "shot.fewstroke" / "Stylize" / "painted.0003.exr"), wanted)


PAINTED = """
with inside.blender() as say:
    folder = arguments[0]
    bpy.ops.wm.open_mainfile(filepath=folder + "/shot.blend")
    session, node = part("session"), inside.node("STYLIZE")
    bpy.context.scene.frame_set(5)
    bpy.ops.fewstroke.paint_frame()
    keyframes = node.node_tree.fewstroke.keyframes
    training = session.train(node, (), seconds=600, steps=None, resume=True)
    ticks(lambda: training.step > 3)
    first, learnt = training.request, training.step
    keyframes[1].image.pixels[:] = [0.0, 0.5, 0.0, 1.0] * (len(keyframes[1].image.pixels) // 4)
    ticks(lambda: training.request is not first)
    ticks(lambda: training.step > learnt and first.ended)
    # Another program writes over the other painting.
    second, learnt = training.request, training.step
    import shutil
    shutil.copy(folder + "/other.png", folder + "/paint.png")
    ticks(lambda: training.request is not second)
    ticks(lambda: training.step > learnt and second.ended)
    say(read=list(keyframes[0].image.pixels[:3]))
    bpy.ops.fewstroke.stop()
    ticks(lambda: training.request.ended and not training.line)
    say(step=training.step, learnt=learnt, problem=training.problem, losses=len(training.losses))
"""


def test_what_is_painted_meanwhile_is_learnt_without_saving(blender: Blender, shot: Path) -> None:
    save(shot / "other.png", np.full((51, 70, 3), 0.2), "uint8")
    facts = blender.run(PRELUDE + PAINTED, shot).facts
    assert facts["step"] > facts["learnt"] and facts["problem"] == "" and facts["losses"] > 0
    assert np.allclose(facts["read"], 0.2, atol=0.01)
    painting = pixels(shot / "shot.fewstroke" / "Stylize" / "keyframe.0005.exr")
    assert np.allclose(painting, [0.0, 0.5, 0.0], atol=1e-3)


HALF = """
with inside.blender() as say:
    folder = arguments[0]
    bpy.ops.wm.open_mainfile(filepath=folder + "/shot.blend")
    session, node = part("session"), inside.node("STYLIZE")
    with open(folder + "/other.png", "rb") as file:
        whole = file.read()

    def write(data, mode):
        with open(folder + "/paint.png", mode) as file:
            file.write(data)

    # A training that begins while another program has written half of a painting.
    write(whole[: len(whole) // 2], "wb")
    training = session.train(node, (), seconds=600, steps=None, resume=False)
    ticks(lambda: training.problem)
    say(half=training.problem)
    write(whole[len(whole) // 2 :], "ab")
    ticks(lambda: training.step > 3)
    say(whole=training.problem, again=training.step)
    # And one that goes on while another is being written.
    request = training.request
    write(whole[:1], "wb")
    for place in range(1, len(whole), len(whole) // 8):
        end = time.monotonic() + 0.3
        ticks(lambda: time.monotonic() > end)
        write(whole[place : place + len(whole) // 8], "ab")
        assert training.request is request
    ticks(lambda: training.request is not request)
    ticks(lambda: request.ended)
    bpy.ops.fewstroke.stop()
    ticks(lambda: training.request.ended and not training.line)
    say(end=training.problem)
"""


def test_a_painting_that_is_still_being_written_is_learnt_once_it_is_whole(blender: Blender, shot: Path) -> None:
    save(shot / "other.png", np.full((51, 70, 3), 0.2), "uint8")
    facts = blender.run(PRELUDE + HALF, shot).facts
    assert "paint.png" in facts["half"]
    assert facts["whole"] == facts["end"] == "" and facts["again"] > 3
