"""A registry finds what midspec ships and what another installed package brings, and lists neither by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..installed import install

ASK = """
from midspec.core.errors import ConfigError
from midspec.core.registry import Registry
found = Registry("toy", package="toys", attribute="TOYS", group="toys", name_of=lambda toy: toy["name"])
"""


def _run(folder: Path, code: str) -> str:
    path = f"import sys; sys.path.insert(0, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", f"{path}\n{ASK}{code}"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A package with two modules of toys, and another that brings a third by an entry point."""
    package = tmp_path / "toys"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_ball.py").write_text('TOYS = {"name": "ball"}')
    (package / "_kites.py").write_text('TOYS = ({"name": "red"}, {"name": "blue"})')
    (package / "_help.py").write_text("")
    return install(tmp_path, "outside", "toys", "top = outside:TOP", outside='TOP = {"name": "top"}')


def test_what_is_shipped_comes_first_and_what_other_packages_bring_after_it(installed: Path) -> None:
    assert _run(installed, "print(*found.names(), found.get('top')['name'])") == "ball red blue top top"


def test_a_name_that_nothing_has_is_refused_with_the_one_that_was_meant(installed: Path) -> None:
    code = "try: found.get('bal')\nexcept ConfigError as error: print(error)"
    assert "no toy 'bal'" in (said := _run(installed, code))
    assert "'ball'" in said or "ball" in said


def test_a_name_that_two_packages_bring_is_refused(installed: Path) -> None:
    (installed / "outside.py").write_text('TOP = {"name": "ball"}')
    assert "'ball' of outside:TOP has a name that is taken" in _run(installed, "found.names()")
