"""The Python environment that the worker runs in: found, or made with one button.

The worker's code is in this extension; the environment holds only the packages it needs. So the two never disagree.
"""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import bpy

from ..client import WorkerError
from .settings import ADDON, preferences

VARIABLE = "FEWSTROKE_PYTHON"
"""Names the Python to use, for farms and studios."""

SHARED = "FEWSTROKE_WORKER"
"""Names the Unix socket of a worker that several Blenders ask, one after another or at once: for a farm's session."""

HERE = Path(__file__).resolve().parents[2]
"""The extension's folder, which is the import package `fewstroke` at the same time."""

COMMAND = ("-m", "fewstroke.plugin.cli", "worker")


def python() -> str:
    """The worker's Python. Raises WorkerError where there is none."""
    if chosen := preferences().python:
        return _there(bpy.path.abspath(chosen), "the Python of the preferences")
    if chosen := os.environ.get(VARIABLE):
        return _there(chosen, f"${VARIABLE}")
    made = _program(beside())
    if not made.exists():
        raise WorkerError(
            "there is no environment to paint and train in; press Make Environment in the preferences of Fewstroke, or "
            f"set ${VARIABLE}",
            kind="EnvironmentMissing",
        )
    return str(made)


def variables() -> dict[str, str]:
    """What the worker must find among its environment variables."""
    found = {"PYTHONPATH": str(HERE.parent), "PYTHONHOME": "", "PYTHONUNBUFFERED": "1"}
    # Blender and the frames want the same cores; threads that spin while they wait cost training most of its speed.
    found["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")
    # Colour spaces by the names that Blender uses, converted as Blender converts them. A studio's $OCIO holds for both.
    config = Path(bpy.utils.system_resource("DATAFILES", path="colormanagement")) / "config.ocio"
    if not os.environ.get("OCIO") and config.exists():
        found["OCIO"] = str(config)
    return found


def beside() -> Path:
    """Where the button makes the environment."""
    return Path(bpy.utils.extension_path_user(ADDON, path="environment"))


def _there(path: str, what: str) -> str:
    if not os.path.isfile(path):
        raise WorkerError(
            f"{what} is '{path}', which is not there; set it right, or empty it", kind="EnvironmentMissing"
        )
    return path


def _program(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


class Making:
    """The environment being made, in a thread, so that Blender's window keeps responding.

    It is made in a folder of its own and takes its place when it is whole: one that was interrupted is never used, and
    one that was there before works until then.

    line  what happens now
    error why it failed, or ""
    done  whether it has ended, well or not
    told  whether the artist has seen that
    """

    def __init__(self, training: bool):
        self.line, self.error, self.done, self.told = "making the environment", "", False, False
        self._half = beside().with_name("environment.half")
        packages = HERE / ("requirements-train.txt" if training else "requirements.txt")
        self._commands = [
            [sys.executable, "-I", "-m", "venv", "--clear", str(self._half)],
            [
                str(_program(self._half)),
                "-I",
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "-r",
                str(packages),
            ],
        ]
        self._thread = threading.Thread(target=self._make, name="fewstroke-environment", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def _make(self) -> None:
        try:
            reason = next(filter(None, map(self._run, self._commands)), None)
            if reason is None:
                shutil.rmtree(beside(), ignore_errors=True)
                self._half.rename(beside())
        except OSError as error:
            reason = str(error)
        if reason is not None:
            shutil.rmtree(self._half, ignore_errors=True)
            self.error = (
                f"the environment could not be made ({reason}); check the network and the free space, press again"
            )
        self.done = True

    def _run(self, command: list[str]) -> str | None:
        """None, or the reason why it failed."""
        said: list[str] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in filter(None, map(str.strip, process.stdout)):
                said.append(line)
                self.line = line[:100]
        if process.returncode == 0:
            return None
        if any("after connection broken" in line for line in said):  # pip's last word would be of a missing package
            return "the packages' server does not answer"
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
        return (errors or said or [f"exit code {process.returncode}"])[0]
