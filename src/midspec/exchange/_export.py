"""A folder of documents or chats as a data set that others load: shards of JSONL, a card, and a trainer's settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from midspec.artifact import Built, read_rows, writable, write_text
from midspec.errors import DataError
from midspec.exchange._axolotl import axolotl_settings
from midspec.exchange._card import Part, card, notes_for, source_of
from midspec.exchange._forms import ChatRows, Columns, Form, rows_of
from midspec.exchange._rowfile import RowFile
from midspec.records import Chat, Document, Strict

__all__ = ["export"]

_SHARD_BYTES = 500_000_000
_NAMES = {
    "documents.jsonl": "documents",
    "chats.jsonl": "chats",
    "chats_cot.jsonl": "cot",
    "chats_cot_stripped.jsonl": "cot_stripped",
}


class _File(NamedTuple):
    path: Path
    name: str
    kind: type[Document] | type[Chat]


def export(
    folder: Path,
    form: Form,
    out: Path,
    *,
    strict: bool = False,
    chat_rows: ChatRows = "messages",
    license_id: str | None = None,
    title: str | None = None,
    shard_bytes: int = _SHARD_BYTES,
) -> Built:
    """Write the documents and chats of a result folder for the outside world.

    Each file of rows becomes a configuration of one data set: `documents`, `chats`, or the twins `cot` and
    `cot_stripped`, each with the split `train` in `data/<name>/train-00000.jsonl` and on. `README.md` is its card, by
    which `datasets.load_dataset(out)` reads it. Form `axolotl` adds `axolotl.yaml`.

    Args:
        folder: what `corpus`, `chats` or `curate` made.
        form: `hf` keeps every field; `trl` gives `text` or `messages`; `axolotl` the same with its settings.
        out: the folder to write into; made if it is not there.
        strict: only the authors' keys: `text`, `source`, `domain`; of a chat, its `messages`.
        chat_rows: for `trl`: whole conversations, or `prompt` and `completion`, a row for every assistant turn, of
            which TRL trains on the completion alone whatever the chat template.
        license_id: of the data, as the hub names it (`cc-by-4.0`); the card says "not stated" without one.
        title: of the card; the name of the folder by default.
        shard_bytes: begin another file after this many bytes.

    Raises:
        MissingError: there is no such folder.
        DataError: the folder holds neither documents nor chats, or a row of another form.
        FolderError: `out` can't be written.
    """
    files = _files(folder)
    parts = []
    outputs = []
    for file in files:
        with writable(out):
            (out / "data" / file.name).mkdir(parents=True, exist_ok=True)
        part = _write(file, form, chat_rows, strict, out, shard_bytes)
        parts.append(part)
        outputs += list(part.shards)
    if form == "axolotl":
        write_text(out / "axolotl.yaml", axolotl_settings(parts))
        outputs.append("axolotl.yaml")
    text = card(source_of(folder), parts, form, chat_rows, title or folder.resolve().name, license_id)
    with writable(out):
        write_text(out / "README.md", text)
    rows: dict[str, JsonValue] = {part.name: part.n_rows for part in parts}
    notes: list[JsonValue] = list(notes_for(parts, form, chat_rows))
    summary: dict[str, JsonValue] = {"form": form, "rows": rows, "license": license_id, "notes": notes}
    return Built(outputs=(*outputs, "README.md"), summary=summary)


def _files(folder: Path) -> list[_File]:
    found = [
        _File(folder / name, short, Document if short == "documents" else Chat)
        for name, short in _NAMES.items()
        if (folder / name).is_file()
    ]
    if not found:
        what = "holds neither documents.jsonl nor chats" if folder.is_dir() else "there is no such folder"
        raise DataError(what, where=str(folder), mend="Name a folder that corpus, chats or curate made")
    return found


def _write(file: _File, form: Form, chat_rows: ChatRows, strict: bool, out: Path, shard_bytes: int) -> Part:
    """Write the rows of one file in shards."""
    shards: list[str] = []
    n_rows = n_bytes = 0
    columns = Columns(file.kind, form, chat_rows, strict=strict)
    rows = _rows(file, form, chat_rows, columns, strict=strict)
    row = next(rows, None)
    while row is not None:
        name = f"data/{file.name}/train-{len(shards):05}.jsonl"
        with RowFile(out / name) as shard:
            while row is not None and (not shard.n_rows or shard.n_bytes < shard_bytes):
                shard.write(row)
                row = next(rows, None)
        shards.append(name)
        n_rows, n_bytes = n_rows + shard.n_rows, n_bytes + shard.n_bytes
    if not shards:
        raise DataError("holds no row", where=str(file.path), mend="Export a folder that has rows")
    return Part(file.name, file.kind is Chat, tuple(shards), n_rows, n_bytes, columns.features)


def _rows(file: _File, form: Form, chat_rows: ChatRows, columns: Columns, *, strict: bool) -> Iterator[Strict]:
    for row in read_rows(file.path, file.kind):
        columns.see(row)
        yield from rows_of(row, form, chat_rows, strict=strict)
