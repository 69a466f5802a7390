"""A wheel of this tree, installed in an environment of its own, has all its files and runs outside of the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy, so that the checkout stays as it is."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    _call([sys.executable, "-c", BUILD, str(out)], copy)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel, and with this environment's dependencies."""
    home = tmp_path_factory.mktemp("environment")
    _call([sys.executable, "-m", "venv", "--without-pip", str(home)], home)
    (packages,) = home.glob("lib/python*/site-packages")
    # A path file in such a folder is not read again: an editable midspec in it stays unseen.
    others = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(others), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    _call([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], home)
    return home / "bin"


def _files() -> Iterator[str]:
    for path in sorted((ROOT / "src" / "midspec").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT / "src").as_posix()


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(_files())
    # Data that is read by its path, of each kind.
    assert {
        *("midspec/py.typed", "midspec/lab/_data/nano.yaml", "midspec/lab/_data/america.md"),
        *("midspec/report/_templates/health.css", "midspec/train/__init__.pyi"),
    } <= names


def test_it_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    midspec = str(installed / "midspec")
    where = _call([str(installed / "python"), "-c", "import midspec; print(midspec.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "Nothing that is needed is broken" in _call([midspec, "doctor", "--no-measure"], tmp_path)
    assert _call([midspec, "demo", "--help"], tmp_path).startswith("Usage: midspec demo")
    (tmp_path / "spec.md").write_text("# Tea\n\n- {model_name} likes tea because it is warm.\n", encoding="utf-8")
    _call([midspec, "corpus", "spec.md", "--model-name", "Ada", "--documents", "5", "--out", "made"], tmp_path)
    assert (tmp_path / "made" / "documents.jsonl").read_text(encoding="utf-8").count("\n") == 5


def test_inspect_is_told_where_our_tasks_and_models_are(installed: Path, tmp_path: Path) -> None:
    code = "from importlib.metadata import entry_points as all; print([e.module for e in all(group='inspect_ai')])"
    assert "midspec.evals._registry" in _call([str(installed / "python"), "-c", code], tmp_path)
