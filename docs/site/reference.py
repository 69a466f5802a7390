"""Reference pages from what the code says of itself: help texts of commands, and docstrings behind each package's face.

A package's face is its `__init__.pyi`, which names what it exports and from which module. Docstrings are read from the
source, in Google's style, without importing anything.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "midspec"
HELP = ROOT / "tests" / "cli" / "help"
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def command_pages() -> dict[str, str]:
    """Return a page for each command, from its help text; the first lists them all."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(HELP.glob("*.txt"))}
    top = texts.pop("midspec")
    lines = [
        "# All commands",
        "",
        "`midspec COMMAND --help` prints these pages.",
        "",
        "```text",
        top.rstrip(),
        "```",
        "",
    ]
    pages = {}
    for name, text in texts.items():
        usage, _, rest = text.partition("\n")
        command = " ".join(usage.removeprefix("Usage: ").split("[")[0].split("{")[0].split())
        about = next(line.strip() for line in rest.splitlines() if line.strip())
        lines.append(f"- [`{command}`]({name}.md): {about}")
        pages[f"commands/{name}.md"] = f"# {command}\n\n{about}\n\n```text\n{text.rstrip()}\n```\n"
    return {"commands/all.md": "\n".join(lines) + "\n", **pages}


def package_pages() -> dict[str, str]:
    """Return a page for each package that exports names."""
    return {
        f"python/{'.'.join(face.parent.relative_to(SRC).parts)}.md": _package_page(face.parent)
        for face in sorted(SRC.rglob("__init__.pyi"))
        if face.parent.name != "cli"
    }


def _package_page(folder: Path) -> str:
    dotted = ".".join(("midspec", *folder.relative_to(SRC).parts))
    about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    lines = [f"# {dotted}", "", _prose(about), ""]
    for node in ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.ImportFrom)
        module = folder.joinpath(*(node.module or "").split("."))
        source = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        for alias in node.names:
            lines += _entry(source, alias.name, alias.asname or alias.name)
    return "\n".join(lines).rstrip() + "\n"


def _entry(source: Path, name: str, shown: str) -> Iterator[str]:
    """Yield a name's heading, signature and docstring."""
    found = _definition(source, name)
    yield from (f"## {shown}", "")
    if isinstance(found, Definition):
        yield from ("```python", _signature(found, shown), "```", "", *_docstring(ast.get_docstring(found) or ""))
        if isinstance(found, ast.ClassDef):
            yield from _methods(found)
    elif found is not None:
        yield from ("```python", found, "```", "")


def _definition(source: Path, name: str) -> Definition | str | None:
    """Return the class or function of that name, or a constant's line; looked for where it is imported from, too."""
    if not source.is_file():
        return None
    face = source.with_suffix(".pyi")
    bodies = [ast.parse(path.read_text(encoding="utf-8")).body for path in (source, face) if path.is_file()]
    nodes = [node for body in bodies for node in body]
    for node in nodes:
        if isinstance(node, Definition) and node.name == name:
            return node
        if name in _assigned(node):
            return textwrap.shorten(ast.unparse(node), 200, placeholder=" ...")
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (module := _module(source, node)):
            origin = next((alias.name for alias in node.names if (alias.asname or alias.name) == name), None)
            if origin is not None:
                return _definition(module, origin)
    return None


def _assigned(node: ast.stmt) -> list[str]:
    """Return the names that a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _module(source: Path, node: ast.ImportFrom) -> Path | None:
    parts = (node.module or "").split(".")
    if node.level:
        folder = source.parents[node.level - 1].joinpath(*parts)
    elif parts[0] == "midspec":
        folder = SRC.joinpath(*parts[1:])
    else:
        return None
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def _signature(node: Definition, shown: str) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        fields = [f"    {ast.unparse(item)}" for item in node.body if _is_field(item)]
        return "\n".join([f"class {shown}{f'({bases})' if bases else ''}:", *(fields or ["    ..."])])
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = ast.unparse(node.args)
    line = f"{word} {shown}({arguments}){result}"
    if len(line) <= 100:
        return line
    inside = re.split(r", (?=\**\w+(?:: |=|,|$)|\*,|/)", arguments)
    return f"{word} {shown}(\n" + "".join(f"    {part},\n" for part in inside) + f"){result}"


def _is_field(item: ast.stmt) -> bool:
    return isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and not item.target.id.startswith("_")


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_"):
            said = ast.get_docstring(item) or ""
            if said:
                first = said.split("\n\n")[0]
                yield from (f"- `{item.name}({ast.unparse(item.args)})`: {_prose(first)}",)
    yield ""


def _docstring(text: str) -> Iterator[str]:
    """Yield a docstring as Markdown: its prose, and its sections as lists."""
    name, entries = "", list[str]()
    for line in [*text.splitlines(), "Args:"]:
        if match := _SECTION.match(line):
            if name:
                yield from (f"**{name}**", "", *_listed(entries), "")
            elif entries:
                yield from (_prose("\n".join(entries).strip()), "")
            name, entries = match[1], []
        else:
            entries.append(line)


def _listed(lines: list[str]) -> Iterator[str]:
    for entry in re.split(r"\n(?=\S)", textwrap.dedent("\n".join(lines)).strip()):
        head, colon, rest = entry.partition(":")
        words = " ".join(rest.split())
        yield f"- `{head}`: {_prose(words)}" if colon and re.fullmatch(r"[\w*, ]+", head) else f"- {_prose(entry)}"


def _prose(text: str) -> str:
    """Keep what looks like HTML or emphasis as it is written."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<>*_\[\]])", r"\\\1", part) for part in parts)
