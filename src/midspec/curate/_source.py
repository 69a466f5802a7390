"""What is to be curated: documents or chats, in a file of rows or in a folder that a step made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from midspec.core.artifact import read_rows
from midspec.core.errors import DataError, MissingError
from midspec.core.records import Chat, Document, PlanRow
from midspec.curate._rows import Row

DOCUMENTS, CHATS = "documents.jsonl", "chats.jsonl"
COT, STRIPPED = "chats_cot.jsonl", "chats_cot_stripped.jsonl"
PLAN, COVERAGE = "plan.jsonl", "coverage.json"
_THINK, _END = "<think>", "</think>"


@dataclass(frozen=True)
class Source:
    """Rows to curate.

    Attributes:
        kind: what they are.
        path: their file; `twin` is the file of the same chats without reasoning, where there is one.
        folder: where a plan and a coverage may lie beside them.
    """

    kind: Literal["documents", "chats"]
    path: Path
    twin: Path | None = None
    folder: Path | None = None

    @property
    def name(self) -> str:
        """What the file of kept rows is called."""
        if self.kind == "documents":
            return DOCUMENTS
        return CHATS if self.twin is None else COT

    def rows(self) -> Iterator[Row]:
        """The rows, one at a time."""
        return self.read(self.path)

    def read(self, path: Path) -> Iterator[Row]:
        """The rows of another file of the same kind, one at a time."""
        if self.kind == "documents":
            yield from read_rows(path, Document)
        else:
            yield from read_rows(path, Chat)

    def n_rows(self) -> int:
        """How many lines there are."""
        with self.path.open("rb") as file:
            return sum(1 for line in file if line.strip())

    def twins(self) -> Iterator[Chat]:
        """The twins without reasoning, one at a time; none where there is no such file."""
        if self.twin is not None:
            yield from read_rows(self.twin, Chat)

    def plan(self) -> Path | None:
        """The plan beside the rows, if there is one."""
        path = self.folder / PLAN if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    def clause_texts(self) -> dict[str, str]:
        """What the plan says of each clause, the first time."""
        plan, texts = self.plan(), dict[str, str]()
        for row in read_rows(plan, PlanRow) if plan is not None else ():
            for assertion in row.assertions:
                texts.setdefault(assertion.clause_id, assertion.text)
        return texts

    def clause_ids(self) -> list[str]:
        """The clauses that count even where no row claims them: those of the coverage beside the rows.

        Raises:
            DataError: the file there is no coverage.
        """
        path = self.folder / COVERAGE if self.folder is not None else None
        if path is None or not path.is_file():
            return []
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise DataError("is no coverage by clause", where=str(path), hint="Remove it, or make the corpus again")
        return list(found)

    def twin_faults(self) -> dict[str, str | None]:
        """For each id of the twins: what is wrong with it, or `None`.

        Raises:
            DataError: a twin has no id, or two have the same.
        """
        faults: dict[str, str | None] = {}
        for chat in self.twins():
            if chat.metadata is None:
                raise DataError("a chat has no id to find its twin by", where=str(self.twin), hint="Give all rows ids")
            if chat.metadata.id in faults:
                raise DataError(f"two chats have the id {chat.metadata.id}", where=str(self.twin), hint="Remove one")
            left = any(tag in turn.content for turn in chat.messages for tag in (_THINK, _END))
            faults[chat.metadata.id] = "its twin still holds reasoning" if left else None
        return faults


def open_source(path: Path) -> Source:
    """What lies at `path`: a folder of `corpus`, `chats` or `curate`, or one JSONL file of rows.

    Raises:
        MissingError: nothing is there, or no rows in it.
        DataError: the first row is neither a document nor a chat.
    """
    if path.is_dir():
        if (path / DOCUMENTS).is_file():
            return Source("documents", path / DOCUMENTS, folder=path)
        if (path / COT).is_file() and (path / STRIPPED).is_file():
            return Source("chats", path / COT, twin=path / STRIPPED, folder=path)
        for name in (CHATS, COT):
            if (path / name).is_file():
                return Source("chats", path / name, folder=path)
        raise MissingError(f"holds neither {DOCUMENTS} nor {CHATS}", where=str(path), hint="Give a corpus or chats")
    if not path.is_file():
        raise MissingError("there is no such file or folder", where=str(path), hint="Check the path")
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    if _is(first, Chat):
        return Source("chats", path)
    if first and not _is(first, Document):
        raise DataError("its first row is neither a document nor a chat", where=str(path), hint="Import it first")
    return Source("documents", path)


def _is(line: bytes, kind: type[Document] | type[Chat]) -> bool:
    try:
        kind.model_validate_json(line)
    except ValidationError:
        return False
    return True


def read_any(path: Path) -> Iterator[Row]:
    """The rows at `path`, one at a time, whether documents or chats: a folder's, or a JSONL file's.

    Raises:
        MissingError, DataError: as `open_source`, and for a malformed row.
    """
    return open_source(path).rows()
