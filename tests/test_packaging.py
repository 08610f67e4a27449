"""The house as a package: what is shipped, what may import what, and what a farm never needs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewstroke.plugin.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("engine", "nodes", "plugin")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def code() -> set[str]:
    """Every module of the three folders, as a path from the root."""
    return {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


def test_the_list_of_packages_names_every_folder_with_code() -> None:
    # A folder that is left out imports well in an editable install and is missing from the wheel.
    folders = {str(Path(path).parent).replace(os.sep, ".") for path in code()}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(f"fewstroke.{folder}" for folder in folders)
    assert all((ROOT / folder.replace(".", "/") / "__init__.py").exists() for folder in folders)


@pytest.mark.slow
def test_the_wheel_holds_the_code_and_nothing_else(tmp_path: Path) -> None:
    # Built from a copy: a build leaves folders behind, and would ship again what lies in an old one.
    source = tmp_path / "source"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in shipped if name.endswith(".py")} == {f"fewstroke/{path}" for path in code()}
    assert {f"fewstroke/{folder}/py.typed" for folder in FOLDERS} <= shipped
    assert "fewstroke/engine/prior.safetensors" in shipped
    licences = {name.partition(".dist-info/licenses/")[2] for name in shipped} - {""}
    assert licences == set(PROJECT["project"]["license-files"])
    assert {name.split("/")[0].split("-")[0] for name in shipped} == {"fewstroke"}


def test_rendering_a_frame_imports_no_torch(
    save: Callable[..., Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    for frame in (1, 2):
        save(f"plate.{frame:04d}.exr", rng.random((48, 64, 3)))
    painting = save("painting.png", rng.random((48, 64, 3)), "uint8")
    plate, model = str(tmp_path / "plate.####.exr"), str(tmp_path / "shot.onnx")
    train = ["train", "--footage", plate, "--keyframe", f"1={painting}", "--out", model, "--steps", "1"]
    assert main(train) == 0

    # In a process of its own, since the training above has imported torch into this one.
    program = """
import importlib, pkgutil, sys
import fewstroke.nodes
for module in pkgutil.iter_modules(fewstroke.nodes.__path__):
    importlib.import_module("fewstroke.nodes." + module.name)
from fewstroke.plugin.cli.main import main
assert main(sys.argv[1:]) == 0
sys.exit("torch was imported" if "torch" in sys.modules else 0)
"""
    out = tmp_path / "out.####.exr"
    render = ["render", "--model", model, "--footage", plate, "--frames", "2", "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", program, *render], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.0002.exr").exists()


def test_imports_run_from_plugin_to_nodes_to_engine() -> None:
    checker = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run([checker, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
