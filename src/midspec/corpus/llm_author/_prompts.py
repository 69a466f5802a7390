"""The prompt files: Markdown with `{{slot}}`s, filled in one pass, so that no value is ever read as a slot."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import yaml

from midspec.core.fingerprint import fingerprint, hash_text

_SLOT = re.compile(r"\{\{(\w+)\}\}")
_FOLDER = "_prompts"


class Template:
    """A prompt file, cut at its slots once; filling it is one join.

    Attributes:
        text: the file's text.
        slots: the names of its slots, in order, each as often as it stands there.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = _SLOT.split(text)
        self.slots = tuple(parts[1::2])
        self._parts = parts

    def fill(self, values: dict[str, str]) -> str:
        """The text with every slot replaced; values that no slot names are passed over.

        Raises:
            KeyError: a slot has no value.
        """
        parts = self._parts.copy()
        parts[1::2] = [values[name] for name in self.slots]
        return "".join(parts)


@cache
def template(name: str) -> Template:
    """The prompt file `name` (without its `.md`)."""
    path = resources.files("midspec.corpus") / _FOLDER / f"{name}.md"
    return Template(path.read_text(encoding="utf-8").removesuffix("\n"))


@cache
def voices_file() -> dict[str, list[object]]:
    """The lists that the manner of each document is drawn from."""
    path = resources.files("midspec.corpus") / _FOLDER / "voices.yaml"
    found: dict[str, list[object]] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return found


@cache
def prompts_digest() -> str:
    """SHA-256 over all prompt files: part of what identifies a reply that is wanted."""
    folder = resources.files("midspec.corpus") / _FOLDER
    files = [entry for entry in folder.iterdir() if entry.name.endswith((".md", ".yaml"))]
    return fingerprint({file.name: hash_text(file.read_text(encoding="utf-8")) for file in files})
