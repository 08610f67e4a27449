"""Makes or reuses `.venv` in the repository root, with all that training, rendering and the checks need.

Standard library only, since it runs before anything is installed. It can be interrupted, killed and run again at any
moment: a `.venv` is used as it is, brought up to date or made anew according to what is found in it.
"""

import csv
import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = ROOT / "install" / "constraints.txt"
LOG = VENV / "install.log"
STAMP = VENV / "installed.sha256"
"""Written last: what a complete `.venv` was made from."""
FETCHED = re.compile(r"\s*(?:Downloading|Using cached|Processing) (?:\S*/)?(\S+\.whl)(?: (\([\d.]+ \wB\)))?")
"""The lines of pip that name a package and, where it was downloaded, its size."""


def main() -> None:
    wanted = hashlib.sha256(CONSTRAINTS.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    whole = is_whole()
    if whole and STAMP.exists() and STAMP.read_text() == wanted:
        return
    if whole:
        say("bringing .venv up to date")
    else:
        again = ", anew, since the one here is damaged or came from elsewhere" if VENV.exists() else ""
        say(f"making .venv with Python {'.'.join(map(str, sys.version_info[:3]))}{again}")
        make()
    say("installing the packages of install/constraints.txt; PyTorch alone can take minutes")
    LOG.write_text("")
    # The build runs with the pinned setuptools, so that nothing unpinned is fetched and a later run needs no network.
    install("setuptools")
    install("--no-build-isolation", "--editable", ".[train,dev]")
    STAMP.write_text(wanted)
    say("installed")


def say(text: str) -> None:
    print(f"install: {text}", flush=True)


def is_whole() -> bool:
    """Whether `.venv` runs, was made at this place, and has every file that was installed in it, at its full size.

    A package that was cut off in the middle has no RECORD yet, since pip writes that last.
    """
    try:
        subprocess.run([PYTHON, "-m", "pip", "--version"], check=True, capture_output=True)
        if str(PYTHON) not in (VENV / "bin" / "pip").read_text():
            return False  # moved or copied: the programs in it would still start the old place's Python
        for package in VENV.glob("lib/python3.*/site-packages/*.dist-info"):
            for name, _, size in csv.reader((package / "RECORD").read_text().splitlines()):
                if size and not name.endswith(".pyc") and (package.parent / name).stat().st_size != int(size):
                    return False
    except (OSError, ValueError, subprocess.CalledProcessError):
        return False
    return True


def make() -> None:
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if made.returncode:
        version = "python{}.{}-venv".format(*sys.version_info)
        reason = (made.stderr or made.stdout).strip().partition("\n")[0]
        sys.exit(
            f"install: '{sys.executable} -m venv' cannot make {VENV} ({reason}); check that the folder can be written "
            f"and, on Debian and Ubuntu, that {version} is installed"
        )


def install(*what: str) -> None:
    """Runs pip, shows a short line per package and keeps the whole of what pip says in the log."""
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--constraint", CONSTRAINTS, *what]
    errors = []
    with (
        LOG.open("a") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            log.write(line)
            if fetched := FETCHED.match(line):
                print(f"  {fetched[1]} {fetched[2] or ''}", flush=True)
            elif line.startswith("Installing collected packages: "):
                print(f"  unpacking {line.count(',') + 1}", flush=True)
            elif line.startswith("ERROR: "):
                errors.append(line.removeprefix("ERROR: ").strip())
    if pip.returncode:
        reason = errors[0] if errors else f"exit code {pip.returncode}"
        sys.exit(
            f"install: pip failed ({reason}); check the network and the free space and run again; all that pip said is "
            f"in {LOG}"
        )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("install: interrupted; run it again to go on")
