"""The job template for .blend files, run by OpenJobDescription's own command through a real Blender."""

import os
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blenders import PYTHON, ROOT, Blender, Done, pixels

TEMPLATE = ROOT / "install" / "farm" / "blender" / "template.yaml"

BLENDER = """
import sys
import bpy
import inside

# What `blender --background FILE --python SCRIPT -- ...` does; the bpy package has no such command.
with inside.blender():
    bpy.ops.wm.open_mainfile(filepath=sys.argv[2])
    script = sys.argv[sys.argv.index("--python") + 1]
    exec(compile(open(script).read(), script, "exec"), {"__name__": "__main__"})
    with open(sys.argv[-1] + "/workers", "a") as file:
        worker = sys.modules[inside.ADDON + ".plugin.blender.session"].worker()
        print(worker.ask("hello").wait()["pid"], file=file)
"""

AS_EXR = """
with inside.blender() as say:
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    inside.write_exr("//nowhere/")
    bpy.ops.wm.save_mainfile()
"""


def test_chunks_of_a_blend_file_are_what_the_command_writes(
    blender: Blender, shot: Path, tmp_path: Path, rendered: Callable[..., dict[int, np.ndarray]]
) -> None:
    blender.run(AS_EXR, shot)
    (tmp_path / "blender.py").write_text(BLENDER)
    command = tmp_path / "blender"
    variables = {
        "HOME": blender.home,
        "XDG_CONFIG_HOME": blender.home / ".config",
        "PYTHONPATH": Path(__file__).parent,
    }
    exported = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    command.write_text(f"#!/bin/sh\n{exported}exec '{PYTHON}' '{tmp_path / 'blender.py'}' \"$@\"\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    values = {
        "BlenderFile": shot / "shot.blend", "Output": tmp_path / "out", "Frames": "2-5", "ChunkSize": 2,
        "Cache": blender.cache, "Blender": command, "Python": sys.executable,
    }  # fmt: skip
    given = [part for name, value in values.items() for part in ("-p", f"{name}={value}")]
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "openjd", "run", TEMPLATE, *given],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = rendered(shot, "2-5")
    got = {int(path.name.split(".")[1]): pixels(path) for path in (tmp_path / "out").glob("painted.*")}
    assert sorted(got) == [2, 3, 4, 5]
    for frame, picture in got.items():
        assert np.array_equal(picture, wanted[frame]), frame
    # One worker served both Blenders, and has gone with the session.
    first, second = map(int, (tmp_path / "out" / "workers").read_text().split())
    assert first == second
    ends(first)


def ends(pid: int) -> None:
    """Waits for a process that is no child of ours."""
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


SHARED = """
import os, signal, time
with inside.blender() as say:
    session = sys.modules[inside.ADDON + ".plugin.blender.session"]
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    say(pid=session.worker().ask("hello").wait()["pid"])
    for frame in arguments[2:]:
        if frame == "kill":
            worker = session.worker()
            os.kill(worker.ask("hello").wait()["pid"], signal.SIGKILL)
            while worker.alive:
                time.sleep(0.01)
        else:
            inside.render_still(int(frame), f"{arguments[0]}/{arguments[1]}/{frame}.exr")
"""


def test_blenders_share_a_worker_that_outlives_them(
    blender: Blender, shot: Path, tmp_path: Path, rendered: Callable[..., dict[int, np.ndarray]]
) -> None:
    socket = tmp_path / "s"

    def run(*frames: object, ocio: str = "") -> Done:
        return blender.run(SHARED, shot, "out", *frames, FEWSTROKE_WORKER=str(socket), OCIO=ocio)

    first = run(3).facts["pid"]
    assert run(4).facts["pid"] == first
    # Killed between two frames: the next one starts another.
    assert run("kill", 5).facts["pid"] == first
    second = run(6).facts["pid"]
    assert second != first
    wanted = rendered(shot, "3-6")
    for frame in (3, 4, 5, 6):
        assert np.array_equal(pixels(shot / "out" / f"{frame}.exr"), wanted[frame]), frame
    # One that goes by other colours is left alone.
    other = run(2, ocio="ocio://cg-config-v2.2.0_aces-v1.3_ocio-v2.4")
    assert other.facts["pid"] not in (first, second) and "starts a worker of its own" in other.text
    socket.unlink()
    ends(second)


DIES = """
import os, signal, threading
with inside.blender() as say:
    session = sys.modules[inside.ADDON + ".plugin.blender.session"]
    bpy.ops.wm.open_mainfile(filepath=arguments[0] + "/shot.blend")
    pid = session.worker().ask("hello").wait()["pid"]
    os.kill(pid, signal.SIGSTOP)  # in the middle of the frame
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    inside.render_still(3, arguments[0] + "/out.exr")
"""


def test_a_shared_worker_that_dies_ends_the_frame_with_a_sentence(blender: Blender, shot: Path, tmp_path: Path) -> None:
    done = blender.run(DIES, shot, code=1, FEWSTROKE_WORKER=str(tmp_path / "s"))
    assert f"Fewstroke: frame 3: the worker at {tmp_path / 's'} has hung up" in done.text
    assert not (shot / "out.exr").exists()
