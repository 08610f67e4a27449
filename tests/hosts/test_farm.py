"""The job template for .blend files, run by OpenJobDescription's own command through a real Blender."""

import os
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blenders import PYTHON, ROOT, Blender, pixels

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
    got = {int(path.name.split(".")[1]): pixels(path) for path in (tmp_path / "out").iterdir()}
    assert sorted(got) == [2, 3, 4, 5]
    for frame, picture in got.items():
        assert np.array_equal(picture, wanted[frame]), frame
