"""Prompt files: Markdown in a package's `_prompts/`, with `{{slot}}`s that are filled in one pass.

No value is ever read for slots, and any other brace is ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable

import yaml

from midspec.core.fingerprint import fingerprint, hash_text

_SLOT = re.compile(r"\{\{(\w+)\}\}")


class PromptTemplate:
    """A text with slots, cut at them once; filling it is one join.

    Attributes:
        text: the whole text.
        slots: the names of its slots, in order, each as often as it stands there.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = _SLOT.split(text)
        self.slots = tuple(self._parts[1::2])

    def fill(self, values: Mapping[str, str]) -> str:
        """Replace every slot; values that no slot names are passed over.

        Raises:
            KeyError: a slot has no value.
        """
        parts = self._parts.copy()
        parts[1::2] = [values[name] for name in self.slots]
        return "".join(parts)


class PromptFolder:
    """The prompt files of one package.

    Args:
        package: the package whose folder `_prompts` holds them.
        strip_end: whether the line feed at the end of a file belongs to the file and not to the prompt.
    """

    def __init__(self, package: str, *, strip_end: bool = False) -> None:
        self._package = package
        self._strip_end = strip_end
        self.template = cache(self._template)

    def _template(self, name: str) -> PromptTemplate:
        """Read the prompt file `name` (without its `.md`); each is read once."""
        text = self._read(f"{name}.md")
        return PromptTemplate(text.removesuffix("\n") if self._strip_end else text)

    def fill(self, name: str, /, **values: str) -> str:
        """Fill the prompt file `name`.

        Raises:
            KeyError: a slot has no value.
        """
        return self.template(name).fill(values)

    def load_yaml(self, name: str) -> object:
        """Read a YAML file that stands among the prompts."""
        return yaml.load(self._read(name), Loader=yaml.CSafeLoader)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and texts of all files; a renamed file asks for every reply anew."""
        files = [file for file in self._folder.iterdir() if file.name.endswith((".md", ".yaml"))]
        return fingerprint({file.name: hash_text(file.read_text(encoding="utf-8")) for file in files})

    @property
    def _folder(self) -> Traversable:
        return resources.files(self._package) / "_prompts"

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8")
