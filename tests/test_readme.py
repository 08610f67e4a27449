"""What README.md says is run, or compared with what is there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from fewstroke.plugin.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code of README.md in a language, "" for shell commands."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [code for named, code in found if named == language]


def test_the_python_in_it_runs(
    save: Callable[..., Path], tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for frame in (1001, 1002, 1003):
        save(f"plate.{frame}.exr", rng.random((48, 64, 3)))
    save("paint.png", rng.random((48, 64, 3)), "uint8")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    assert "Budget(seconds=120)" in code
    exec(code.replace("Budget(seconds=120)", "Budget(steps=2)"), {"__name__": "readme"})
    assert sorted(path.name for path in tmp_path.glob("painted.*")) == [f"painted.{n}.exr" for n in (1001, 1002, 1003)]


def test_every_option_in_it_exists() -> None:
    group: Any = typer.main.get_command(app)
    options = {
        name: {"--json", "--openjd"}
        | {word for option in command.params for word in option.opts + option.secondary_opts}
        for name, command in group.commands.items()
    }
    commands = "\n".join(blocks("")).replace("\\\n", "").splitlines()
    lines = [shlex.split(line) for line in commands if "fewstroke " in line]
    assert {command for _, command, *_ in lines} == set(options)
    for _, command, *arguments in lines:
        assert {word for word in arguments if word.startswith("--")} <= options[command]
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    mentioned = {word for span in re.findall(r"`[^`]+`", prose) for word in re.findall(r"--[a-z-]+", span)}
    assert mentioned <= set.union(*options.values())


def test_its_map_names_every_file() -> None:
    sections = dict(
        re.findall(r"^\*\*(\w+)/\*\* - [^\n]*\n\n\| file \| what \|\n\| --- \| --- \|\n((?:\|.*\n)+)", README, re.M)
    )
    assert set(sections) == {"engine", "nodes", "plugin", "install"}
    for folder, table in sections.items():
        named = {name for row in table.splitlines() for name in row.split("|")[1].strip().split(", ")}
        there = {
            str(path.relative_to(ROOT / folder))
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".sh", ".txt") and path.name != "__init__.py"
        }
        assert named - {"footage/"} == there, f"the map of {folder}/ in README.md"


def test_everything_it_points_to_is_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
