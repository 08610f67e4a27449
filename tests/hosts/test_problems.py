"""What goes wrong is one sentence, ends a background render, and costs nothing that was painted or learnt."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from blenders import MODEL, Blender, save

RENDER = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.render_range(3, 5, arguments[0] + "/out/")
"""


def sentence(text: str, start: str = "Fewstroke: ") -> str:
    (line,) = [line for line in text.splitlines() if start in line]
    assert "Traceback" not in text
    return line.partition(start)[2]


def test_a_frame_that_fails_ends_a_background_render(blender: Blender, shot: Path) -> None:
    blender.run(RENDER, shot)
    before = {path.name: path.read_bytes() for path in (shot / "out").iterdir()}
    assert sorted(before) == ["0003.exr", "0004.exr", "0005.exr"]
    (shot / "plate.0007.exr").write_text("no picture")  # near enough for the ST map to look at it
    done = blender.run(RENDER, shot, code=1)
    assert sentence(done.text).startswith("frame 3: frame 7 (plate.0007.exr)")
    assert {path.name: path.read_bytes() for path in (shot / "out").iterdir()} == before


def test_footage_that_was_moved_is_named(blender: Blender, shot: Path) -> None:
    for path in shot.glob("plate.*"):
        path.unlink()
    done = blender.run(RENDER, shot, code=1)
    assert "plate.####.exr" in sentence(done.text) and not (shot / "out").exists()


def test_a_model_that_is_missing_is_named(blender: Blender, shot: Path) -> None:
    (shot / MODEL).rename(shot / "away.onnx")
    done = blender.run(RENDER, shot, code=1)
    assert str(MODEL) in sentence(done.text) and not (shot / "out").exists()


def test_without_an_environment_there_is_a_sentence(blender: Blender, shot: Path) -> None:
    done = blender.run(RENDER, shot, code=1, FEWSTROKE_PYTHON="")
    assert "press Make Environment" in sentence(done.text)
    done = blender.run(RENDER, shot, code=1, FEWSTROKE_PYTHON=str(shot / "python"))
    assert f"'{shot / 'python'}', which is not there" in sentence(done.text)
    # One that lacks the packages: Blender's own Python.
    done = blender.run("import os\nos.environ['FEWSTROKE_PYTHON'] = sys.executable\n" + RENDER, shot, code=1)
    assert "the worker ended" in done.text and "No module named" in done.text


SENTENCES = """
def refused(operator, **options):
    try:
        operator(**options)
    except RuntimeError as error:
        assert "Traceback" not in str(error), error
        return str(error).removeprefix("Error: ").strip()
    raise AssertionError("it was not refused")

with inside.blender() as say:
    train, folder = bpy.ops.fewstroke.train, arguments[0]
    say(none=refused(train))
    bpy.ops.fewstroke.open_footage(filepath=folder + "/plate.0001.exr")
    say(unsaved=refused(train))
    bpy.ops.wm.save_as_mainfile(filepath=folder + "/new.blend")
    say(unpainted=refused(train))
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/small.png", frame=2)
    say(size=refused(train, steps=1))
    settings = inside.node("STYLIZE").node_tree.fewstroke
    settings.keyframes[0].image = None
    say(empty=refused(train))
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/paint.png", frame=2)
    settings.keyframes.add().frame = 2
    settings.keyframes[1].image = settings.keyframes[0].image
    say(twice=refused(train))
    settings.active = 1
    bpy.ops.fewstroke.remove_keyframe()
    settings.keyframes[0].frame = 99
    say(frame=refused(train, steps=1))
    settings.keyframes[0].frame = 2
    tree, stylize = inside.tree(), inside.node("STYLIZE")
    blur = tree.nodes.new("CompositorNodeBlur")
    tree.links.new(blur.outputs["Image"], stylize.inputs["Footage"])
    say(blur=refused(train))
    tree.links.remove(stylize.inputs["Footage"].links[0])
    say(unlinked=refused(train))
    say(gone=refused(bpy.ops.fewstroke.open_footage, filepath=folder + "/gone.exr"))
    say(text=refused(bpy.ops.fewstroke.add_keyframe, filepath=folder + "/text.png", frame=2))
    tree.links.new(inside.plate().outputs["Image"], stylize.inputs["Footage"])
    bpy.context.scene.frame_set(0)
    say(before=refused(bpy.ops.fewstroke.add_keyframe, filepath=folder + "/paint.png"))
    say(nothing=refused(bpy.ops.fewstroke.paint_frame))
    say(folder=refused(bpy.ops.fewstroke.open_footage, filepath=folder))
"""


def test_every_mistake_has_its_sentence(blender: Blender, shot: Path) -> None:
    save(shot / "small.png", np.ones((20, 30, 3)), "uint8")
    (shot / "text.png").write_text("no picture")
    said = blender.run(SENTENCES, shot).facts
    parts = {
        "none": "add one with Add > Fewstroke",
        "unsaved": "save the .blend file first",
        "unpainted": "press Paint This Frame",
        "size": "the painting of keyframe 2",
        "empty": "keyframe 2 has no painting",
        "twice": "there are two keyframes 2",
        "frame": "plate.0099.exr",
        "blur": "Footage comes from 'Blur'",
        "unlinked": "link an Image node or a Prefilter node to Footage",
        "gone": "is no file",
        "text": "is no picture or movie",
        "before": "there is no footage at frame 0",
        "nothing": "there is no footage at frame 0",
        "folder": "is no file",
    }
    assert set(said) == set(parts)
    for what, part in parts.items():
        assert part in said[what] and "\n" not in said[what], said[what]
    assert "small.png" in said["size"] and "30x20" in said["size"] and "70x51" in said["size"]


KILLED = """
import os, signal, time
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    session = sys.modules[inside.ADDON + ".plugin.blender.session"]
    node = inside.node("STYLIZE")
    training = session.train(node, (), seconds=600, steps=None, resume=True)
    while training.step == 0:
        time.sleep(0.05)
        session.listen(node.node_tree, training)
    os.kill(session.worker()._process.pid, signal.SIGKILL)
    try:
        session.wait(node.node_tree, training)
    except Exception as error:
        say(error=str(error))
    # The next thing that is asked for starts another.
    inside.render_still(3, arguments[0] + "/out.exr")
    bpy.ops.fewstroke.train(steps=4)
    say(step=session.training_of(node.node_tree).step)
"""


@pytest.mark.slow
def test_a_worker_that_dies_takes_neither_blender_nor_the_checkpoint_along(blender: Blender, shot: Path) -> None:
    facts = blender.run(KILLED, shot).facts
    assert "the worker ended (exit code -9)" in facts["error"]
    assert (shot / "out.exr").exists() and facts["step"] >= 4


DISABLED = """
import time
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    session = sys.modules[inside.ADDON + ".plugin.blender.session"]
    node = inside.node("STYLIZE")
    training = session.train(node, (), seconds=600, steps=None, resume=True)
    while training.step == 0:
        time.sleep(0.05)
        session.listen(node.node_tree, training)
    process = session.worker()._process
    bpy.ops.preferences.addon_disable(module=inside.ADDON)
    say(code=process.poll(), step=training.request.wait(0)["step"])
    bpy.ops.preferences.addon_enable(module=inside.ADDON)
    say(keyframes=len(inside.node("STYLIZE").node_tree.fewstroke.keyframes))
    bpy.ops.fewstroke.train(steps=1)
"""


def test_disabling_the_extension_while_it_trains_keeps_what_was_learnt(blender: Blender, shot: Path) -> None:
    facts = blender.run(DISABLED, shot).facts
    assert facts["code"] == 0 and facts["step"] > 3 and facts["keyframes"] == 1


OFFLINE = """
import os, shutil
with inside.blender() as say:
    environment = sys.modules[inside.ADDON + ".plugin.blender.environment"]
    bpy.context.preferences.system.use_online_access = arguments[0] == "allowed"
    if arguments[1:]:  # one that was made before
        (environment.beside() / "bin").mkdir(parents=True)
        (environment.beside() / "bin" / "python").symlink_to(arguments[1])
    try:
        bpy.ops.fewstroke.make_environment()
    except RuntimeError as error:
        say(error=str(error))
    del os.environ["FEWSTROKE_PYTHON"]
    try:
        say(python=environment.python(), beside=str(environment.beside()))
    except Exception as error:
        say(python=str(error))
    say(left=[path.name for path in environment.beside().parent.glob("*")])
    shutil.rmtree(environment.beside(), ignore_errors=True)
"""


def test_making_the_environment_offline_fails_clearly_and_changes_nothing(
    blender: Blender, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "allow online access" in blender.run(OFFLINE, "forbidden").facts["error"]
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # a port that nobody listens on
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    facts = blender.run(OFFLINE, "allowed").facts
    assert "could not be made (the packages' server does not answer); check the network" in facts["error"]
    assert "press Make Environment" in facts["python"] and facts["left"] == []
    facts = blender.run(OFFLINE, "allowed", sys.executable).facts
    assert "does not answer" in facts["error"]
    assert facts["python"].startswith(facts["beside"]) and facts["left"] == ["environment"]
