"""Files that packages bring: prompts with `{{slot}}`s, and YAML files found by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import metadata, resources
from importlib.resources.abc import Traversable

import yaml

from midspec.core.errors import ConfigError
from midspec.core.fingerprint import fingerprint, hash_text
from midspec.llm import Request

_SLOT = re.compile(r"\{\{(\w+)\}\}")
_NAME = re.compile(r"[\w-]+")


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

    def fill_some(self, values: Mapping[str, str]) -> str:
        """Replace the slots that have a value, and leave the others open."""
        return self.fill({slot: f"{{{{{slot}}}}}" for slot in self.slots} | dict(values))


class PromptFolder:
    """The prompt files of one package: Markdown in its folder `_prompts`.

    Slots are filled in one pass: no value is ever read for slots, and any other brace is ordinary text.

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

    def rephrase(self, request: Request) -> Request:
        """Return a request that was refused in the words of the prompt file `rephrase`."""
        return request.model_copy(update={"prompt": self.fill("rephrase", prompt=request.prompt)})

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


class YamlRegistry:
    """YAML files of one kind by name: one file each, in a folder of ours or in another installed package.

    Another package brings `NAME.yaml` by an entry point whose name is NAME and whose value is the package that holds
    the file: `[project.entry-points."midspec.<group>"]`, `NAME = "their_package"`.

    Args:
        kind: what one of them is called in messages.
        package: the package of ours that holds `folder`.
        folder: the folder of the shipped files.
        group: of entry points, without `midspec.`.
    """

    def __init__(self, kind: str, *, package: str, folder: str, group: str) -> None:
        self._kind, self._package, self._folder, self._group = kind, package, folder, f"midspec.{group}"

    def names(self) -> tuple[str, ...]:
        """Return the names of all of them, the shipped ones first."""
        folder = resources.files(self._package) / self._folder
        shipped = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
        return tuple(dict.fromkeys((*shipped, *(entry.name for entry in metadata.entry_points(group=self._group)))))

    def find(self, name: str) -> Traversable | None:
        """Find the file of that name; of a shipped name it is the shipped one.

        Raises:
            ConfigError: two packages bring the name, or one that does not hold the file.
        """
        if not _NAME.fullmatch(name):
            return None
        shipped = resources.files(self._package) / self._folder / f"{name}.yaml"
        if shipped.is_file():
            return shipped
        brought = tuple(metadata.entry_points(group=self._group, name=name))
        if not brought:
            return None
        packages = ", ".join(entry.value for entry in brought)
        file = resources.files(brought[0].value) / f"{name}.yaml"
        if len(brought) > 1 or not file.is_file():
            what = "is brought by two packages" if len(brought) > 1 else f"has no file {name}.yaml in its package"
            hint = "Uninstall the package that brings it, or have it mended"
            raise ConfigError(f"the {self._kind} {name!r} {what} ({packages})", where=self._group, hint=hint)
        return file
