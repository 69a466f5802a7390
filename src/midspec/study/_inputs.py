"""Inputs of steps from outside a study, each with its digest and its place; for other steps see `_step.StepOutput`."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from midspec.core.errors import MissingError
from midspec.core.fingerprint import fingerprint, hash_file
from midspec.core.records import Record, Spec
from midspec.spec import spec_path

SHIPPED = "shipped:"
"""The prefix of names of shipped sets of pairs, and of shipped specs."""


MIX = "mix:"
"""The prefix of names of mixes that a run makes."""

_WORLD, _LAB = "world:", "lab:"


def is_world(reference: str) -> bool:
    """Return whether a study names a file of its world: `world:NAME`."""
    return reference.startswith(_WORLD)


def outside_path(home: Path, reference: str) -> Path:
    """Return the path of a file that a study names: `lab:FILE`, a spec `shipped:NAME`, or a path from its folder."""
    if reference.startswith(SHIPPED):
        return spec_path(reference)
    if reference.startswith(_LAB):
        from midspec.lab import data_path

        return data_path(reference.removeprefix(_LAB))
    return home / Path(reference).expanduser()


class Input(ABC):
    """One input of a step."""

    @abstractmethod
    def digest(self, records: Mapping[str, Record]) -> str:
        """Return the content's hash, given the records of the steps that are done."""

    @abstractmethod
    def locate(self, folders: Mapping[str, Path]) -> str:
        """Return the path (or the name of a model or data set), given the folders of the steps."""

    @property
    def original(self) -> Input:
        """Return the input from outside that this one is, or is a copy of."""
        return self


@dataclass(frozen=True)
class File(Input):
    """A file outside."""

    path: str

    @classmethod
    def at(cls, path: Path) -> File:
        """Name a file, or raise MissingError where there is none."""
        if not path.is_file():
            what = "is a folder, where a file is wanted" if path.is_dir() else "there is no such file"
            raise MissingError(what, where=str(path), hint="Check the path")
        return cls(str(path))

    def digest(self, _records: Mapping[str, Record]) -> str:
        path = Path(self.path)
        status = path.stat()
        return _hash_file(path, status.st_size, status.st_mtime_ns)

    def locate(self, _folders: Mapping[str, Path]) -> str:
        return self.path


@dataclass(frozen=True)
class Model(Input):
    """A model outside: a folder, or a name on a hub or of an Inspect provider."""

    name: str

    def digest(self, _records: Mapping[str, Record]) -> str:
        """Return the hash of the folder's content; of a model that is not here its name."""
        from midspec.models import checkpoint_digest, is_local

        if not is_local(self.name):
            return f"name:{self.name}"
        return checkpoint_digest(self.name)

    def locate(self, _folders: Mapping[str, Path]) -> str:
        return self.name


@dataclass(frozen=True)
class TokenizerFolder(Input):
    """A tokenizer's folder outside."""

    path: str

    def digest(self, _records: Mapping[str, Record]) -> str:
        from midspec.models import files_digest

        return files_digest(self.path)

    def locate(self, _folders: Mapping[str, Path]) -> str:
        return self.path


@dataclass(frozen=True)
class EvalItems(Input):
    """Items of an evaluation, by name: `shipped:<value>`, a task's own questions, or a data set on the hub."""

    name: str

    def digest(self, _records: Mapping[str, Record]) -> str:
        """Return the hash of shipped items; of a data set on the hub its name."""
        return _hash_items(self.name)

    def locate(self, _folders: Mapping[str, Path]) -> str:
        return self.name


@dataclass(frozen=True)
class Named(Input):
    """A data set on the hub, identified by its name alone."""

    name: str

    def digest(self, _records: Mapping[str, Record]) -> str:
        return f"name:{self.name}"

    def locate(self, _folders: Mapping[str, Path]) -> str:
        return self.name


class Value(Input):
    """A value that was computed before the step, identified by its hash."""

    def __init__(self, value: JsonValue | Mapping[str, str]) -> None:
        self.value = value

    def digest(self, _records: Mapping[str, Record]) -> str:
        return fingerprint(self.value)

    def locate(self, _folders: Mapping[str, Path]) -> str:
        raise TypeError("a value has no place")


def spec_at(path: str, name: str) -> Spec:
    """Read a spec once in a process, however many steps are made from it; a file that changed is read again.

    Args:
        path: its file.
        name: what it is called where it has no title.

    Raises:
        SpecError, MissingError: it can't be read.
    """
    status = Path(path).stat() if Path(path).is_file() else None
    return _read_spec(path, name, status and (status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _read_spec(path: str, name: str, _status: tuple[int, int] | None) -> Spec:
    from midspec.spec import parse_spec, read_spec

    if name == Path(path).stem:
        return read_spec(Path(path))
    return parse_spec(Path(path).read_text(encoding="utf-8-sig"), name=name)


@functools.lru_cache(maxsize=64)
def _hash_items(name: str) -> str:
    from midspec.evals import shipped_items, task_named, task_names

    if name in task_names():
        task = task_named(name)
        return fingerprint([[question.id, [*question.messages]] for question in task.questions(task.config())])
    if name.startswith(SHIPPED):
        return fingerprint(shipped_items(name.removeprefix(SHIPPED)))
    return f"name:{name}"


@functools.lru_cache(maxsize=4096)
def _hash_file(path: Path, _size: int, _changed_ns: int) -> str:
    """Hash a file; read again only when its size or time of change differs (weights are large)."""
    return hash_file(path)
