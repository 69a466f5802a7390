"""What a record says of the software that made a result: versions, and the commit of our own checkout."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

__all__ = ["commit", "versions"]

_PACKAGES = (
    *("midspec", "torch", "transformers", "peft", "accelerate", "inspect_ai", "numpy"),
    *("anthropic", "openai", "rensa", "datasets"),
)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result may hang on, where they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of midspec's own checkout, read from git's files; `None` outside a checkout."""
    for parent in Path(__file__).resolve().parents:
        head = parent / ".git" / "HEAD"
        if head.is_file():
            return _resolve_head(head)
    return None


def _resolve_head(head: Path) -> str | None:
    text = head.read_text(encoding="utf-8").strip()
    if not text.startswith("ref: "):
        return text
    name = text.removeprefix("ref: ")
    loose = head.parent / name
    if loose.is_file():
        return loose.read_text(encoding="utf-8").strip()
    packed = head.parent / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
