"""Documents and chats from what the field already has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from midspec.errors import DataError
from midspec.exchange._parse import BadRowError, ParsedChat, ParsedDocument, chat_of, document_of, is_chat
from midspec.exchange._raw import Raw, raw_rows
from midspec.exchange._tree import is_tree, tree_rows
from midspec.fingerprint import hash_text
from midspec.records import Chat, Document, Reject

__all__ = ["Tally", "parsed_rows", "read_chats", "read_documents", "refuse_twins"]

_TWINS = ("chats_cot.jsonl", "chats_cot_stripped.jsonl")


@dataclass
class Tally:
    """What reading left behind, filled while rows are read.

    Attributes:
        ignored: how often each key that we have no place for was seen; the keys of metadata as `metadata.<key>`.
        rejects: replies of a tree of text files that were cut off, so that there is no whole document in them.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)


def read_documents(path: Path, *, strip_prefix: str = "", tally: Tally | None = None) -> Iterator[Document]:
    """The documents of a file or folder, one at a time: JSONL, JSON, parquet, a data set folder, or a tree of texts.

    A row has `text` or `content`, and may have `source`, `domain` and our `metadata`. Other keys are passed over.

    Args:
        path: the file or folder. Of one that midspec made, `documents.jsonl` is read.
        strip_prefix: taken off the beginning of each text where it is there (a loss-masked `<DOCTAG>`, say).
        tally: counts the keys that were passed over, and takes replies that were cut off.

    Raises:
        MissingError: there is no such file, or no data file in the folder.
        DataError: a row is not a document; names file and line. Or, without a tally, a reply was cut off.
    """
    for raw in _sources(path, "documents.jsonl"):
        if (parsed := _document(raw, strip_prefix, tally)) is not None:
            yield parsed.document


def read_chats(path: Path, *, tally: Tally | None = None) -> Iterator[Chat]:
    """The chats of a file or folder, one at a time: JSONL, JSON, parquet, or a data set folder.

    A row has `messages` (role and content), or `prompt` with `completion` (texts or turns), or `conversations` (from
    and value). Our `metadata` is kept where it is there; other keys are passed over.

    Args:
        path: the file or folder. Of one that midspec made, `chats.jsonl` is read; of twins, name the file.
        tally: counts the keys that were passed over.

    Raises:
        MissingError: there is no such file, or no data file in the folder.
        DataError: a row is not a chat; names file and line. Or the folder holds twins.
    """
    refuse_twins(path)
    for raw in _sources(path, "chats.jsonl"):
        yield _chat(raw, tally).chat


def refuse_twins(path: Path) -> None:
    """Refuse a folder in which every chat stands with and without chain of thought: reading both would train on both.

    Raises:
        DataError: it is one.
    """
    if all((path / name).is_file() for name in _TWINS):
        mend = f"Name {path / _TWINS[0]} or {path / _TWINS[1]}"
        raise DataError("holds each chat twice, with and without chain of thought", where=str(path), mend=mend)


def _sources(path: Path, *ours: str) -> Iterator[Raw]:
    """The raw rows of a path; of a folder with files of our names, those of these alone and no subsample of them."""
    if found := [path / name for name in ours if (path / name).is_file()]:
        return (raw for file in found for raw in raw_rows(file))
    return tree_rows(path) if is_tree(path) else raw_rows(path)


def parsed_rows(path: Path, *, strip_prefix: str, tally: Tally) -> Iterator[Document | Chat]:
    """Every row of a path as what its keys say that it is.

    Raises:
        MissingError: there is no such file, or no data file in the folder.
        DataError: a row is neither a document nor a chat; names file and line. Or the folder holds twins.
    """
    refuse_twins(path)
    for raw in _sources(path, "documents.jsonl", "chats.jsonl"):
        if is_chat(raw.row):
            yield _chat(raw, tally).chat
        elif (parsed := _document(raw, strip_prefix, tally)) is not None:
            yield parsed.document


def _document(raw: Raw, strip_prefix: str, tally: Tally | None) -> ParsedDocument | None:
    if (reply := raw.row.get("reply")) is not None and "text" not in raw.row:
        if tally is None:
            raise DataError("the reply was cut off before </content>", where=raw.where, mend="Remove that file")
        source = raw.row["source"]
        tally.rejects.append(
            Reject(id=hash_text(source)[:16], by="import", reason="truncated: no </content>", text=reply)
        )
        return None
    try:
        parsed = document_of(raw.row, strip_prefix=strip_prefix)
    except BadRowError as error:
        raise _bad(raw, error) from error
    if tally is not None:
        tally.ignored.update(parsed.ignored)
    return parsed


def _chat(raw: Raw, tally: Tally | None) -> ParsedChat:
    try:
        parsed = chat_of(raw.row)
    except BadRowError as error:
        raise _bad(raw, error) from error
    if tally is not None:
        tally.ignored.update(parsed.ignored)
    return parsed


def _bad(raw: Raw, error: BadRowError) -> DataError:
    return DataError(str(error), where=raw.where, mend="Mend or remove that row")
