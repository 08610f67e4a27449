"""Builds the Blender extension: `python install/extension.py build/` makes build/fewstroke-0.1.0.zip.

Its folder is the import package `fewstroke`, so it holds the engine, too, for the worker that runs outside Blender.
What that needs installed stands in two requirement files, made from pyproject.toml. Blender's own builder, of the
newest Blender in .venv-blender, checks the manifest and makes the zip.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from stage import ROOT, stage

ENTRY = '''"""Fewstroke, as a Blender extension and as the import package that its worker runs from."""


def register():
    from .plugin import blender

    blender.register()


def unregister():
    from .plugin import blender

    blender.unregister()
'''
"""Imports nothing by itself, since outside Blender there is no bpy."""


def build(out: Path) -> Path:
    """Makes the zip in a folder; its path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    manifest = ROOT / "plugin" / "blender" / "blender_manifest.toml"
    facts = tomllib.loads(manifest.read_text())
    if facts["version"] != project["version"]:
        sys.exit(f"extension: {manifest} says version {facts['version']}, pyproject.toml {project['version']}")
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "fewstroke"
        stage(source, link=False)
        (source / "__init__.py").write_text(ENTRY)
        shutil.copy(manifest, source)
        shutil.copy(ROOT / "LICENSE", source)
        rendering, training = project["dependencies"], project["optional-dependencies"]["train"]
        (source / "requirements.txt").write_text("\n".join(rendering) + "\n")
        (source / "requirements-train.txt").write_text("\n".join(rendering + training) + "\n")
        out.mkdir(parents=True, exist_ok=True)
        for command in (
            ["validate", str(source)],
            ["build", "--source-dir", str(source), "--output-dir", str(out)],
        ):
            done = subprocess.run([sys.executable, builder(), *command], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"extension: Blender's builder refuses it: {(done.stdout + done.stderr).strip()}")
    return out / f"fewstroke-{facts['version']}.zip"


def builder() -> Path:
    """Blender's program that builds extensions; standard library only, so any Python runs it."""
    found = sorted(
        (ROOT / ".venv-blender").glob(
            "*/lib/python3.*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"
        )
    )
    if not found:
        sys.exit(
            "extension: there is no Blender in .venv-blender; run `python install/blender.py 5.0.1`, which makes it"
        )
    return found[-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    print(build(parser.parse_args().out))
