"""What a package exports is what its stub says, and each name is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "midspec"
PACKAGES = sorted(path.parent for path in SRC.rglob("__init__.py"))
FACES = sorted(path.parent for path in SRC.rglob("__init__.pyi"))


def _dotted(path: Path) -> str:
    return ".".join(("midspec", *path.relative_to(SRC).parts))


def _stub_names(package: Path) -> list[str]:
    tree = ast.parse((package / "__init__.pyi").read_text(encoding="utf-8"))
    return [alias.asname or alias.name for node in tree.body for alias in node.names]  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", FACES, ids=_dotted)
def test_a_package_exports_exactly_what_its_stub_lists_and_each_name_once(package: Path) -> None:
    module = importlib.import_module(_dotted(package))
    listed = _stub_names(package)
    assert len(set(listed)) == len(listed)
    assert set(module.__all__) == set(listed)
    assert not [name for name in listed if getattr(module, name, None) is None]


@pytest.mark.parametrize("package", PACKAGES, ids=_dotted)
def test_a_package_says_what_it_is(package: Path) -> None:
    doc = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert doc
    assert "TODO" not in doc


@pytest.mark.parametrize("package", PACKAGES, ids=_dotted)
def test_a_package_that_exports_names_reads_them_from_its_stub(package: Path) -> None:
    text = (package / "__init__.py").read_text(encoding="utf-8")
    assert ("attach_stub" in text) == (package / "__init__.pyi").is_file()
