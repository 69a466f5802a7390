"""What a room exports is what its `__all__` says, no more and no less."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "midspec"
PACKAGES = sorted(path.parent for path in SRC.rglob("__init__.py"))
MODULES = sorted(path for path in SRC.rglob("*.py") if path.name != "__main__.py")


def _dotted(path: Path) -> str:
    parts = [part.removesuffix(".py") for part in path.relative_to(SRC).parts]
    return ".".join(("midspec", *parts)).removesuffix(".__init__")


def _names_bound_at_top(tree: ast.Module, own: str) -> set[str]:
    """Names that a module binds for others: imports (those for type checkers too), functions, classes, constants."""
    names: set[str] = set()
    for node in ast.walk(tree):
        # A room's own private modules; what it imports from elsewhere to work with is not its own.
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(own):
            names |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES, ids=_dotted)
def test_a_package_exports_exactly_what_it_lists(package: Path) -> None:
    module = importlib.import_module(_dotted(package))
    listed = set(getattr(module, "__all__", ()))
    bound = _names_bound_at_top(ast.parse((package / "__init__.py").read_text(encoding="utf-8")), _dotted(package))
    assert bound == listed - {"__version__"}
    missing = [name for name in listed if getattr(module, name, None) is None]
    assert not missing


@pytest.mark.parametrize("path", MODULES, ids=_dotted)
def test_a_module_lists_its_names_in_order_and_once(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            names = ast.literal_eval(node.value)
            assert len(set(names)) == len(names)


@pytest.mark.parametrize("package", PACKAGES, ids=_dotted)
def test_a_package_says_what_it_is(package: Path) -> None:
    assert ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
