"""No module of midspec imports itself by way of others, and none a private module of another package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
FILES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path for path in SRC.rglob("*.py")
}


def _exports() -> dict[tuple[str, str], str]:
    """For each name that a package's stub lists, the module that it comes from."""
    found = {}
    for path in SRC.rglob("__init__.pyi"):
        package = ".".join(path.relative_to(SRC).parent.parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            assert isinstance(node, ast.ImportFrom)
            found |= {(package, alias.asname or alias.name): f"{package}.{node.module}" for alias in node.names}
    return found


EXPORTS = _exports()


def _imports(tree: ast.Module) -> Iterator[str]:
    """The modules that one names, in functions and for type checkers too: not packages that only list names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("midspec"):
            for alias in node.names:
                by_stub = EXPORTS.get((node.module or "", alias.name))
                inner = f"{node.module}.{alias.name}"
                yield by_stub or (inner if inner in FILES else str(node.module))


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {
        name: {module for module in _imports(ast.parse(path.read_text(encoding="utf-8"))) if module in FILES}
        for name, path in FILES.items()
    }
    try:
        TopologicalSorter({name: needed - {name} for name, needed in graph.items()}).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_no_package_imports_a_private_module_of_another() -> None:
    found = [
        f"{name} imports {node.module}"
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("midspec.")
        if str(node.module).split(".")[1] != name.split(".")[1] and "._" in str(node.module)
    ]
    assert not found
