"""Real Blenders: the bpy packages of PyPI, each in an environment of its own, `.venv-blender/VERSION`.

`$FEWSTROKE_BLENDER` says which; install/blender.sh makes them and runs these tests in each.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

ROOT = Path(__file__).resolve().parents[2]
VERSION = os.environ.get("FEWSTROKE_BLENDER", "5.0.1")
PYTHON = ROOT / ".venv-blender" / VERSION / "bin" / "python"
WIDTH, HEIGHT, FRAMES = 70, 51, range(1, 7)

MODEL = Path("shot.fewstroke") / "Stylize" / "shot.onnx"
"""Where a shot's model lies."""


INSTALL = """
print(bpy.ops.extensions.package_install_files(filepath=arguments[0], repo="user_default", enable_on_install=True))
with inside.blender() as say:
    say(version=bpy.app.version[:3], modules=sorted(sys.modules))
"""


@dataclass(frozen=True)
class Done:
    """What a script in Blender did: what it said with `say(...)`, all it printed, and how it ended."""

    facts: dict[str, Any]
    text: str
    code: int


@dataclass(frozen=True)
class Blender:
    """A Blender with a user's profile that has the extension installed."""

    home: Path
    cache: Path

    def run(self, program: str, *arguments: object, code: int = 0, **environment: str) -> Done:
        """Runs a script inside Blender, `say`, `inside`, `bpy` and `arguments` at hand; checks its exit code."""
        script = "import sys\nimport bpy\nimport inside\narguments = sys.argv[1:]\n" + program
        done = subprocess.run(
            [PYTHON, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
            env={
                **os.environ,
                "HOME": str(self.home),
                "XDG_CONFIG_HOME": str(self.home / ".config"),
                "PYTHONPATH": str(Path(__file__).parent),
                "FEWSTROKE_PYTHON": sys.executable,
                "FEWSTROKE_CACHE": str(self.cache),
                "OMP_NUM_THREADS": "1",
                **environment,
            },
        )
        text = done.stdout + done.stderr
        assert done.returncode == code, text
        facts: dict[str, Any] = {}
        for line in done.stdout.splitlines():
            if line.startswith("FACTS "):
                facts |= json.loads(line.removeprefix("FACTS "))
        return Done(facts, text, done.returncode)


def save(path: Path, pixels: np.ndarray, kind: str, **attributes: str) -> None:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    for name, value in attributes.items():
        spec[name.replace("__", ":")] = value
    output = oiio.ImageOutput.create(str(path))
    assert output is not None and output.open(str(path), spec), oiio.geterror()
    assert output.write_image(np.ascontiguousarray(pixels, np.float32)) and output.close()


def command(*arguments: object, cache: Path, **environment: str) -> None:
    """Runs the `fewstroke` command."""
    done = subprocess.run(
        [sys.executable, "-m", "fewstroke.plugin.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "FEWSTROKE_CACHE": str(cache), "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr


def pixels(path: Path) -> np.ndarray:
    """RGB as it stands in a file."""
    found = oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT)
    assert found is not None, path
    return found[:, :, :3]
