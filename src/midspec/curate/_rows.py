"""Rows to curate (documents or chats): where they are read from, and the id and text of each."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import ValidationError

from midspec.core.artifact import read_rows
from midspec.core.errors import DataError, MissingError
from midspec.core.fingerprint import id_of
from midspec.core.records import Chat, Document, PlanRow

Row: TypeAlias = Document | Chat

DOCUMENTS, CHATS = "documents.jsonl", "chats.jsonl"
COT, STRIPPED = "chats_cot.jsonl", "chats_cot_stripped.jsonl"
PLAN, COVERAGE = "plan.jsonl", "coverage.json"
THINK, END_THINK = "<think>", "</think>"


def row_id(row: Row) -> str:
    """Return the row's own id, or for a row without one the start of its text's hash."""
    return row.metadata.id if row.metadata is not None else id_of(row.text)


def target_text(row: Row) -> str:
    """Return the text that training on the row teaches to write: a document's own, a chat's assistant turns."""
    if isinstance(row, Document):
        return row.text
    return "\n".join(turn.content for turn in row.messages if turn.role == "assistant")


@dataclass(frozen=True)
class RowSource:
    """A file of rows, with what stands beside it.

    Attributes:
        kind: what the rows are.
        path: their file.
        twin: the file of the same chats without reasoning, where there is one.
        folder: where a plan and a coverage may be.
    """

    kind: Literal["documents", "chats"]
    path: Path
    twin: Path | None = None
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Return the name of the file of kept rows."""
        if self.kind == "documents":
            return DOCUMENTS
        return CHATS if self.twin is None else COT

    def rows(self) -> Iterator[Row]:
        """Read the rows, one at a time."""
        return self.read(self.path)

    def read(self, path: Path) -> Iterator[Row]:
        """Read the rows of another file of the same kind, one at a time."""
        if self.kind == "documents":
            yield from read_rows(path, Document)
        else:
            yield from read_rows(path, Chat)

    def n_rows(self) -> int:
        """Count the lines that are not blank."""
        with self.path.open("rb") as file:
            return sum(1 for line in file if line.strip())

    def twins(self) -> Iterator[Chat]:
        """Read the twins without reasoning, one at a time; none where there is no such file."""
        if self.twin is not None:
            yield from read_rows(self.twin, Chat)

    def plan(self) -> Path | None:
        """Return the plan beside the rows, if there is one."""
        path = self.folder / PLAN if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    def clause_texts(self) -> dict[str, str]:
        """Return clause id -> text, as the plan first states it."""
        plan, texts = self.plan(), dict[str, str]()
        for row in read_rows(plan, PlanRow) if plan is not None else ():
            for assertion in row.assertions:
                texts.setdefault(assertion.clause_id, assertion.text)
        return texts

    def clause_ids(self) -> list[str]:
        """Return the clauses of the coverage beside the rows: they count even where no row is about them.

        Raises:
            DataError: the file there is no coverage.
        """
        path = self.folder / COVERAGE if self.folder is not None else None
        if path is None or not path.is_file():
            return []
        coverage = json.loads(path.read_bytes())
        if not isinstance(coverage, dict):
            raise DataError("is no coverage by clause", where=str(path), hint="Remove it, or make the corpus again")
        return list(coverage)

    def twin_faults(self) -> dict[str, str | None] | None:
        """Return for each id of the twins what is wrong with it, or `None`; no mapping where there are no twins.

        Raises:
            DataError: a twin has no id, or two have the same.
        """
        if self.twin is None:
            return None
        faults: dict[str, str | None] = {}
        for chat in self.twins():
            if chat.metadata is None:
                raise DataError("a chat has no id to find its twin by", where=str(self.twin), hint="Give all rows ids")
            if chat.metadata.id in faults:
                raise DataError(f"two chats have the id {chat.metadata.id}", where=str(self.twin), hint="Remove one")
            has_reasoning = any(tag in turn.content for turn in chat.messages for tag in (THINK, END_THINK))
            faults[chat.metadata.id] = "its twin still holds reasoning" if has_reasoning else None
        return faults


def open_source(path: Path) -> RowSource:
    """Find the rows at `path`: a folder of `corpus`, `chats` or `curate`, or one JSONL file of rows.

    Raises:
        MissingError: nothing is there, or no rows in it.
        DataError: the first row is neither a document nor a chat.
    """
    if path.is_dir():
        if (path / DOCUMENTS).is_file():
            return RowSource("documents", path / DOCUMENTS, folder=path)
        if (path / COT).is_file() and (path / STRIPPED).is_file():
            return RowSource("chats", path / COT, twin=path / STRIPPED, folder=path)
        for name in (CHATS, COT):
            if (path / name).is_file():
                return RowSource("chats", path / name, folder=path)
        raise MissingError(f"holds neither {DOCUMENTS} nor {CHATS}", where=str(path), hint="Give a corpus or chats")
    if not path.is_file():
        raise MissingError("there is no such file or folder", where=str(path), hint="Check the path")
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    if _is(first, Chat):
        return RowSource("chats", path)
    if first and not _is(first, Document):
        raise DataError("its first row is neither a document nor a chat", where=str(path), hint="Import it first")
    return RowSource("documents", path)


def _is(line: bytes, kind: type[Document] | type[Chat]) -> bool:
    try:
        kind.model_validate_json(line.removeprefix(codecs.BOM_UTF8))
    except ValidationError:
        return False
    return True


def read_any(path: Path) -> Iterator[Row]:
    """Read the rows of a folder or a JSONL file, one at a time, whether documents or chats.

    Raises:
        MissingError, DataError: as `open_source`, and for a malformed row.
    """
    return open_source(path).rows()
