"""Documents and chats from what the field already has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue

from midspec.core.artifact import Built, write_rows
from midspec.core.errors import DataError
from midspec.core.fingerprint import hash_text
from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Reject
from midspec.exchange._files import Raw, RowFile, raw_rows
from midspec.exchange._parse import BadRowError, ParsedChat, ParsedDocument, chat_of, document_of, is_chat

_OPEN, _CLOSE = "<content>", "</content>"
_ID_LENGTH = 16


def is_tree(path: Path) -> bool:
    """Whether a folder is such a tree: text files below it beside a meta.json."""
    return (
        path.is_dir() and next((file for file in path.rglob("*.txt") if _meta_path(file).is_file()), None) is not None
    )


def _meta_path(file: Path) -> Path:
    return file.with_name("meta.json")


def tree_rows(root: Path) -> Iterator[Raw]:
    """A row for every text file, by path; `text` is missing where a reply was cut off before `</content>`.

    `source` is the path below the root, `domain` the name of the domain, and `metadata` says subdomain and type, by
    the names in meta.json where it has them (folder names were cut and cleaned) and else by the folders'.

    Raises:
        DataError: a file is not UTF-8 or a meta.json no JSON object.
    """
    for file in sorted(root.rglob("*.txt")):
        source = file.relative_to(root)
        reply = _read(file)
        row: dict[str, Any] = {"source": source.as_posix(), **_place(file, source)}
        text = _document(reply)
        if text is not None:
            row["text"] = text
            row["metadata"]["id"] = hash_text(f"{source.as_posix()}\n{text}")[:_ID_LENGTH]
        else:
            row["reply"] = reply
        yield Raw(str(file), row)


def _document(reply: str) -> str | None:
    """The document in a reply: what stands between the tags, or all of it where it has no tag; `None` if cut off."""
    head, opened, rest = reply.partition(_OPEN)
    if not opened:
        return None if _CLOSE in reply or "<scratchpad>" in head else reply.strip()
    text, closed, _ = rest.rpartition(_CLOSE)
    return text.strip() if closed else None


def _place(file: Path, source: Path) -> dict[str, Any]:
    """The domain, and the metadata, that a file's place and the meta.json beside it give."""
    folders = source.parent.parts
    meta = _meta(_meta_path(file))
    domain, subdomain, doc_type = (
        _named(meta.get(key)) or (folders[at] if at < len(folders) else "")
        for at, key in enumerate(("domain", "subdomain", "doc_type"))
    )
    return {
        "domain": domain or "root",
        "metadata": {"author": "imported", "subdomain": subdomain, "doc_type": doc_type, "idea": file.stem},
    }


def _named(value: Any) -> str:
    """A name that is given alone or as the field `doc_type` of an object."""
    found = value.get("doc_type") if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""


@lru_cache(maxsize=64)
def _meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(path), hint="Mend or remove that file") from error
    return found if isinstance(found, dict) else {}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error}", where=str(file), hint="Mend or remove that file") from error


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
        if (parsed := _document_of_read(raw, strip_prefix, tally)) is not None:
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
        hint = f"Name {path / _TWINS[0]} or {path / _TWINS[1]}"
        raise DataError("holds each chat twice, with and without chain of thought", where=str(path), hint=hint)


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
        elif (parsed := _document_of_read(raw, strip_prefix, tally)) is not None:
            yield parsed.document


def _document_of_read(raw: Raw, strip_prefix: str, tally: Tally | None) -> ParsedDocument | None:
    if (reply := raw.row.get("reply")) is not None and "text" not in raw.row:
        if tally is None:
            raise DataError("the reply was cut off before </content>", where=raw.where, hint="Remove that file")
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
    return DataError(str(error), where=raw.where, hint="Mend or remove that row")


def import_folder(path: Path, out: Path, *, strip_prefix: str = "") -> Built:
    """Write `documents.jsonl` and `chats.jsonl` (those that there are rows for) and `rejects.jsonl` from others' rows.

    Each row is what its keys say (see `read_documents` and `read_chats`). One without metadata of ours gets an id, made
    of its place and text, and `imported` as its author. Keys that we have no place for are counted in the summary.

    Args:
        path: a file or a folder.
        out: the folder to write into; made if it is not there.
        strip_prefix: taken off the beginning of each document where it is there (a loss-masked `<DOCTAG>`, say).

    Raises:
        MissingError: there is no such file, or no data file in the folder.
        DataError: a row is neither a document nor a chat; names file and line. Or the folder holds twins.
    """
    out.mkdir(parents=True, exist_ok=True)
    tally, counts = Tally(), Counter[str]()
    with RowFile(out / "documents.jsonl") as documents, RowFile(out / "chats.jsonl") as chats:
        files = {"documents": documents, "chats": chats}
        for kind, row in _with_ids(parsed_rows(path, strip_prefix=strip_prefix, tally=tally)):
            files[kind].write(row)
            counts[kind] += 1
    write_rows(out / "rejects.jsonl", tally.rejects)
    outputs = tuple(f"{kind}.jsonl" for kind in files if counts[kind])
    ignored: dict[str, JsonValue] = dict(sorted(tally.ignored.items()))
    summary: dict[str, JsonValue] = {f"n_{kind}": counts[kind] for kind in files}
    summary |= {"n_rejects": len(tally.rejects), "ignored_keys": ignored}
    return Built(outputs=(*outputs, "rejects.jsonl"), summary=summary)


def _with_ids(rows: Iterator[Document | Chat]) -> Iterator[tuple[str, BaseModel]]:
    for number, row in enumerate(rows):
        if isinstance(row, Document):
            made = DocumentMetadata(id=_id(number, row.text), author="imported")
            yield "documents", row if row.metadata else row.model_copy(update={"metadata": made})
        else:
            said = "\n".join(turn.content for turn in row.messages)
            tag = ChatMetadata(id=_id(number, said), author="imported")
            yield "chats", row if row.metadata else row.model_copy(update={"metadata": tag})


def _id(number: int, text: str) -> str:
    """Equal texts at two places are two rows, so the place is part of the id."""
    return hash_text(f"{number}\n{text}")[:_ID_LENGTH]
