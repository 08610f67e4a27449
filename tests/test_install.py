"""The install scripts, as far as they go without a network: which Python they take, and which `.venv` they trust."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALL = ROOT / "install"
SCRIPTS = [*sorted(INSTALL.glob("*.sh")), ROOT / ".ci" / "run"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripts are for bash")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_understands_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for $PATH that has what the scripts need, but no Python."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for program in ("bash", "dirname"):
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return folder


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run([bash, INSTALL / script], env=environment, cwd="/", capture_output=True, text=True)


@pytest.mark.parametrize("script", ["demo.sh", "test.sh"])
def test_without_python_there_is_one_clear_sentence(script: str, bare_path: Path) -> None:
    done = run(script, PATH=str(bare_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Python 3.11 or newer is missing; install it")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["python3.11", "python3"])
def test_an_older_python_or_a_stub_counts_as_missing(name: str, bare_path: Path) -> None:
    (bare_path / name).write_text("#!/bin/sh\nexit 1\n")
    (bare_path / name).chmod(0o755)
    assert "Python 3.11 or newer is missing" in run("demo.sh", PATH=str(bare_path)).stderr


def test_the_python_that_was_asked_for_is_not_silently_replaced(bare_path: Path) -> None:
    (bare_path / "python3.11").symlink_to(sys.executable)
    done = run("demo.sh", PATH=str(bare_path), PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert "/nowhere/python" in done.stderr
    assert done.stderr.count("\n") == 1


# ---- which .venv is trusted


@pytest.fixture(scope="module")
def environment(program: Callable[[Path], ModuleType]) -> ModuleType:
    return program(INSTALL / "environment.py")


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory, environment: ModuleType) -> Path:
    """A real environment with pip, in a path with spaces."""
    folder = tmp_path_factory.mktemp("with spaces") / "few stroke" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def at(environment: ModuleType, monkeypatch: pytest.MonkeyPatch):
    def at(folder: Path) -> ModuleType:
        monkeypatch.setattr(environment, "VENV", folder)
        monkeypatch.setattr(environment, "PYTHON", folder / "bin" / "python")
        return environment

    return at


def record(venv: Path) -> Path:
    (found,) = venv.glob("lib/python3.*/site-packages/pip-*.dist-info/RECORD")
    return found


@pytest.mark.slow
def test_a_whole_venv_is_used(venv: Path, at) -> None:
    assert at(venv).is_whole()


@pytest.mark.slow
def test_a_venv_that_is_missing_or_half_made_is_not(tmp_path: Path, at) -> None:
    assert not at(tmp_path / ".venv").is_whole()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert not at(tmp_path / ".venv").is_whole()


@pytest.mark.slow
def test_a_venv_with_a_package_cut_off_is_not(venv: Path, at) -> None:
    moved_aside = venv / "RECORD"
    target = record(venv)
    target.rename(moved_aside)  # as a kill in the middle of an installation leaves it
    assert not at(venv).is_whole()
    moved_aside.rename(target)

    module = next(target.parent.parent.glob("pip/_internal/exceptions.py"))
    content = module.read_bytes()
    module.write_bytes(content[:-1])
    assert not at(venv).is_whole()
    module.write_bytes(content)
    assert at(venv).is_whole()


@pytest.mark.slow
def test_a_venv_that_was_moved_is_not(venv: Path, tmp_path: Path, at) -> None:
    shutil.copytree(venv, tmp_path / ".venv", symlinks=True)
    assert not at(tmp_path / ".venv").is_whole()
