"""The script in README.md, as it stands there."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blenders import ROOT, Blender, pixels


def test_the_script_of_the_readme_makes_a_shot_from_nothing(
    blender: Blender, built: Path, tmp_path: Path, rendered: Callable[..., dict[int, np.ndarray]]
) -> None:
    (script,) = re.findall(r"^```python blender\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    for frame in range(1, 5):
        (tmp_path / f"plate.{1000 + frame}.exr").write_bytes((built / f"plate.{frame:04d}.exr").read_bytes())
    (tmp_path / "paint.png").write_bytes((built / "paint.png").read_bytes())
    script = script.replace("/shots/sh010", str(tmp_path)).replace("seconds=120", "steps=3")
    program = "with inside.blender() as say:\n" + "".join(f"    {line}\n" for line in script.splitlines())
    blender.run(program)
    wanted = rendered(tmp_path, "1001-1004", strength=0.8)
    for frame, picture in wanted.items():
        got = pixels(tmp_path / f"painted.{frame}.exr")
        # Mixed by Blender from half floats, and written as half floats once more.
        np.testing.assert_allclose(got, picture, rtol=2**-9, atol=2**-14)
