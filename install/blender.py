"""Makes a real, headless Blender for tests: `python install/blender.py 5.0.1` makes .venv-blender/5.0.1.

It is the bpy package of PyPI in an environment of its own, since each wants its own Python and its own NumPy. Standard
library only. It can be interrupted and run again: one that is complete is used as it is, any other is made anew.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = {"4.5": "3.11", "5.0": "3.11", "5.1": "3.13", "5.2": "3.13"}
"""Which Python each Blender has inside."""


def main(version: str) -> None:
    venv = ROOT / ".venv-blender" / version
    stamp = venv / "installed"
    if stamp.exists() and runs(str(venv / "bin" / "python")):
        return
    wanted = PYTHONS.get(version.rpartition(".")[0])
    if wanted is None:
        sys.exit(f"blender: {version} is not known; there are {', '.join(PYTHONS)}, with a third number")
    print(f"blender: installing Blender {version}, some 300 MB", flush=True)
    for command in (
        [find_python(wanted), "-m", "venv", "--clear", str(venv)],
        [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", f"bpy=={version}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()
            errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
            sys.exit(f"blender: Blender {version} cannot be installed ({' '.join(errors[:1])}); check the network")
    stamp.write_text(version)


def find_python(wanted: str) -> str:
    """An interpreter of a version, from $PATH or pyenv."""
    candidates = [shutil.which(f"python{wanted}"), sys.executable]
    candidates += map(str, sorted(Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python")))
    for candidate in candidates:
        if candidate is not None and runs(candidate, wanted):
            return candidate
    sys.exit(f"blender: this Blender needs Python {wanted}, which is not there; install it (pyenv install {wanted})")


def runs(python: str, wanted: str = "") -> bool:
    """Whether an interpreter runs and is of a version; the `python3.13` of a version manager may be a stub."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() in (wanted or done.stdout.strip(),)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit("blender: interrupted; run it again to go on")
