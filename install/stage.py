"""Lays the three folders out as the import package they are: `python install/stage.py build/dev/fewstroke --link`.

Static checkers cannot see setuptools' package-dir mapping; they read this tree of links instead. Without `--link` the
folders are copied, for builds that must hold real files (the Blender extension).
"""

import argparse
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("engine", "nodes", "plugin")


def stage(target: Path, *, link: bool) -> None:
    """Makes `target`/engine, nodes and plugin, as links or copies, in place of what stood there."""
    target.mkdir(parents=True, exist_ok=True)
    for name in FOLDERS:
        place = target / name
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            shutil.rmtree(place)
        if link:
            place.symlink_to(ROOT / name, target_is_directory=True)
        else:
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--link", action="store_true", help="link instead of copy")
    arguments = parser.parse_args()
    stage(arguments.target, link=arguments.link)
