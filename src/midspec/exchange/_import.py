"""What others made, as a folder of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, JsonValue

from midspec.artifact import Built, write_rows
from midspec.exchange._read import Tally, parsed_rows
from midspec.exchange._rowfile import RowFile
from midspec.fingerprint import hash_text
from midspec.records import Chat, ChatMetadata, Document, DocumentMetadata

__all__ = ["import_folder"]

_ID_LENGTH = 16


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
