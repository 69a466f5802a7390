"""The stages that a checkpoint came by, from the records beside it: parents, recipes and data, by their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import read_record
from midspec.core.errors import MidspecError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Record
from midspec.models import CONTENT_FILES, checkpoint_digest

_STAGES = ("pretrain", "midtrain", "finetune", "dpo", "grpo")
_MAX_STAGES = 64
_NAME = "name:"


class Source(NamedTuple):
    """A file of data: its hash, and the file and the step that wrote it, where that step's record was found."""

    sha256: str
    file: str = ""
    step: str = ""


class Ancestor(NamedTuple):
    """One stage: its folder and record, and the files that it was trained on."""

    folder: Path
    record: Record
    data: tuple[Source, ...]

    @property
    def stage(self) -> str:
        """Return the kind of training."""
        return self.record.identity.step.partition("@")[0]


class Lineage(NamedTuple):
    """The stages of a checkpoint, first one first, and what they began with.

    Attributes:
        stages: as far back as records were found.
        root: the name of the model before them, as its first stage names it; `None` if that began from scratch, or if
            the parent's folder was not found.
        unknown: the digest of a parent whose record was not found beside the others.
    """

    stages: tuple[Ancestor, ...]
    root: str | None
    unknown: str | None


def trace(checkpoint: Path) -> Lineage:
    """Follow a checkpoint's records back; the folders beside it and those of its study are searched.

    Raises:
        DataError: the checkpoint's own `record.json` is none.
    """
    record = read_record(checkpoint) if checkpoint.is_dir() else None
    if record is None:
        return Lineage((), None, None)
    known = dict(_records_near(checkpoint))
    known[checkpoint.resolve()] = record
    files = {sha256: (file, other.identity.step) for other in known.values() for file, sha256 in other.outputs.items()}
    stages: list[Ancestor] = []
    folder, unknown, root = checkpoint.resolve(), None, None
    while len(stages) < _MAX_STAGES:
        inputs = record.identity.inputs
        data = [Source(sha, *files.get(sha, ())) for role, sha in inputs.items() if role not in ("parent", "tokenizer")]
        stages.insert(0, Ancestor(folder, record, tuple(data)))
        parent = inputs.get("parent")
        if parent is None:
            break
        if parent.startswith(_NAME):
            root = shown_name(parent.removeprefix(_NAME))
            break
        found = _find(parent, known)
        if found is None:
            unknown = parent
            break
        folder, record = found
    return Lineage(tuple(stages), root, unknown)


def shown_name(name: str) -> str:
    """Return a model's name as others may read it: a path's last part alone."""
    return PurePath(name).name if name.startswith(("/", "~", ".")) or name.count("/") > 1 else name


def without_paths(value: JsonValue) -> JsonValue:
    """Replace each text that is a path of this machine by its last part."""
    if isinstance(value, dict):
        return {key: without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_paths(entry) for entry in value]
    return PurePath(value).name if isinstance(value, str) and value.startswith(("/", "~/", "./", "../")) else value


def _records_near(checkpoint: Path) -> Iterator[tuple[Path, Record]]:
    """Yield the finished steps beside a checkpoint, and all of its study if it is a step of one."""
    here = checkpoint.resolve()
    folders: Iterable[Path] = here.parent.iterdir()
    if here.parent.parent.name == "steps":
        folders = here.parent.parent.glob("*/*")
    for folder in sorted(folders):
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                record = read_record(folder)
            except MidspecError:
                continue  # of another version; it may be about something else entirely
            if record is not None:
                yield folder, record


def _find(digest: str, known: dict[Path, Record]) -> tuple[Path, Record] | None:
    """Return the folder whose result has this digest: as a step of a study, or as a checkpoint outside."""
    for folder, record in known.items():
        if record.digest == digest:
            return folder, record
    for folder, record in known.items():
        if record.identity.step.partition("@")[0] in _STAGES and _outside_digest(folder, record) == digest:
            return folder, record
    return None


def _outside_digest(folder: Path, record: Record) -> str | None:
    """Return what `checkpoint_digest` gives for a folder; of full weights from the record, without reading them."""
    if (folder / "adapter_config.json").is_file():
        return _adapter_digest(folder)
    content = {
        name: sha256
        for name, sha256 in record.outputs.items()
        if any(fnmatch(name, pattern) for pattern in CONTENT_FILES)
    }
    return fingerprint({"model": fingerprint(content)})


@cache
def _adapter_digest(folder: Path) -> str | None:
    try:
        return checkpoint_digest(str(folder))
    except MidspecError:
        return None  # its base is gone
