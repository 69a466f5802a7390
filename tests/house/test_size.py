"""Files have at most 400 lines and functions at most 60, so that each can be read at once."""

from __future__ import annotations

import ast
import re
import statistics
from collections import Counter
from functools import cache
from pathlib import Path

SRC = Path(__file__).parents[2] / "src" / "midspec"
FILES = sorted(SRC.rglob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _functions() -> list[tuple[str, int]]:
    """Each function and its length in lines, without its docstring."""
    found = []
    for path in FILES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                said = ast.get_docstring(node) is not None and node.end_lineno != first.end_lineno
                skipped = (first.end_lineno or 0) - first.lineno + 1 if said else 0
                length = (node.end_lineno or 0) - node.lineno + 1 - skipped
                found.append((f"{path.relative_to(SRC)}:{node.lineno} {node.name}", length))
    return found


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(path.relative_to(SRC)): lines for path in FILES if (lines := path.read_text().count("\n")) > 400}
    assert not long


def test_no_function_is_longer_than_60_lines() -> None:
    assert not [(name, lines) for name, lines in _functions() if lines > 60]


def test_the_median_function_is_about_ten_lines() -> None:
    assert statistics.median(lines for _, lines in _functions()) <= 12


def test_a_module_has_170_lines_on_average() -> None:
    """Modules of a screen or less are hard to find one's way among: there were 354 with 126 lines on average once."""
    n_lines = sum(path.read_text(encoding="utf-8").count("\n") for path in FILES)
    assert n_lines / len(FILES) >= 170


def test_few_private_functions_are_named_once_in_their_module() -> None:
    """A helper with one caller is worth its name where it is a concept; most are read better in place."""
    once = n_private = 0
    for path in FILES:
        nodes = list(ast.walk(_tree(path)))
        names = Counter(node.id for node in nodes if isinstance(node, ast.Name))
        names.update(node.attr for node in nodes if isinstance(node, ast.Attribute))
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and re.match(r"_[^_]", node.name):
                once += names[node.name] <= 1
                n_private += 1
    assert once <= 0.57 * n_private
