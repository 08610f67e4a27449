"""Fixtures of the tests in Blender: the extension, a profile that has it, and a shot that was made with it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from blenders import FRAMES, HEIGHT, INSTALL, MODEL, PYTHON, ROOT, VERSION, WIDTH, Blender, command, pixels, save


@pytest.fixture(scope="session")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip, built as for release."""
    if not PYTHON.exists():
        pytest.fail(f"Blender {VERSION} is missing; run: bash install/blender.sh {VERSION}")
    out = tmp_path_factory.mktemp("extension")
    done = subprocess.run([sys.executable, ROOT / "install" / "extension.py", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def blender(extension: Path, tmp_path_factory: pytest.TempPathFactory) -> Blender:
    """Blender with the extension installed into a fresh profile."""
    home = tmp_path_factory.mktemp("home")
    blender = Blender(home, tmp_path_factory.mktemp("cache"))
    blender.run(INSTALL, extension)
    return blender


BUILD = """
with inside.blender() as say:
    folder = arguments[0]
    inside.open_shot(folder)
    bpy.ops.fewstroke.add_keyframe(filepath=folder + "/paint.png", frame=2)
    inside.node("PREFILTER").node_tree.fewstroke.prefilter.radius = 1
    bpy.ops.fewstroke.train(steps=3)
    bpy.ops.wm.save_mainfile()
    say(model=inside.node("STYLIZE").node_tree.fewstroke.model)
"""


@pytest.fixture(scope="session")
def built(blender: Blender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with footage, a painting, shot.blend with all three nodes, and the model that was trained in it."""
    folder = tmp_path_factory.mktemp("built")
    canvas = np.random.default_rng(0).random((10, 16, 3)).repeat(6, 0).repeat(6, 1).astype(np.float32)
    for frame in FRAMES:
        save(folder / f"plate.{frame:04d}.exr", canvas[:HEIGHT, frame : frame + WIDTH] * 1.5, "half")
        matte = np.zeros((HEIGHT, WIDTH, 1))
        matte[:, : 30 + frame] = 1
        save(folder / f"matte.{frame:04d}.png", matte, "uint8")
    save(folder / "paint.png", 1 - canvas[:HEIGHT, 2 : 2 + WIDTH], "uint8")
    done = blender.run(BUILD, folder)
    assert done.facts["model"] == "//shot.fewstroke/Stylize/shot.onnx"
    return folder


@pytest.fixture
def shot(built: Path, tmp_path: Path) -> Path:
    """A copy of `built` of the test's own, in another place: nothing in it may point back."""
    folder = tmp_path / "a shot"
    shutil.copytree(built, folder)
    return folder


@pytest.fixture
def rendered(blender: Blender) -> Callable[..., dict[int, np.ndarray]]:
    """`rendered(folder, frames, **options)`: frame -> pixels as `fewstroke render` writes them."""

    def rendered(folder: Path, frames: str, **options: object) -> dict[int, np.ndarray]:
        out = folder / "command"
        options = {"footage": folder / "plate.####.exr", **options}
        more = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        command(
            "render", "--model", folder / MODEL, "--frames", frames, "--out", out / "c.####.exr", *more,
            cache=blender.cache,
        )  # fmt: skip
        return {int(path.name.split(".")[1]): pixels(path) for path in sorted(out.iterdir())}

    return rendered
