"""A folder of documents or chats as a data set that others load: shards of JSONL, a card, and a trainer's settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import JsonValue

from midspec.core.artifact import Built, read_rows, writable, write_text
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.records import Chat, Document, Strict
from midspec.exchange._card import Part, card, notes_for, source_of
from midspec.exchange._files import RowFile
from midspec.exchange._formats import ChatRows, Columns, Form, rows_of

_HEAD = """\
# The `datasets` block of an axolotl configuration for the rows in this folder. Paths are as seen from this folder.
# Documents are raw text to continue; of chats only assistant turns are trained on, with the token that ends each.
"""
_TWINS_NOTE = """\
# `cot` and `cot_stripped` hold the same chats with and without chain of thought: keep one of the two.
"""


def axolotl_settings(parts: Iterable[Part]) -> str:
    """The `datasets` block for these parts, as YAML."""
    found = list(parts)
    entries: list[JsonValue] = [_entry(part, shard) for part in found for shard in part.shards]
    twins = {"cot", "cot_stripped"} <= {part.name for part in found}
    body = yaml.safe_dump({"datasets": entries}, sort_keys=False, allow_unicode=True)
    return _HEAD + (_TWINS_NOTE if twins else "") + body


def _entry(part: Part, shard: str) -> JsonValue:
    if not part.is_chat:
        return {"path": shard, "ds_type": "json", "type": "completion", "field": "text"}
    return {
        "path": shard,
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }


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
        raise DataError(what, where=str(folder), hint="Name a folder that corpus, chats or curate made")
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
        raise DataError("holds no row", where=str(file.path), hint="Export a folder that has rows")
    return Part(file.name, file.kind is Chat, tuple(shards), n_rows, n_bytes, columns.features)


def _rows(file: _File, form: Form, chat_rows: ChatRows, columns: Columns, *, strict: bool) -> Iterator[Strict]:
    for row in read_rows(file.path, file.kind):
        columns.see(row)
        yield from rows_of(row, form, chat_rows, strict=strict)


_TOKEN = "HF_TOKEN"  # noqa: S105 (the name of a variable)


def push(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload an exported folder as a data set repository; returns the address of the commit.

    The token comes from the environment (`HF_TOKEN`) and appears nowhere else; `HF_ENDPOINT` names another hub. The
    record of the export and hidden files stay here. A repository that exists is added to and keeps its visibility.

    Args:
        folder: what `export` made.
        repo_id: `owner/name`.
        private: whether a new repository is visible to its owner alone.

    Raises:
        ConfigError: there is no token, or the hub refuses it or the name, or can't be reached.
        MissingError: the folder is no exported data set.
    """
    if not (folder / "README.md").is_file() or not (folder / "data").is_dir():
        raise MissingError("is no exported data set", where=str(folder), hint="Run midspec export first")
    token = os.environ.get(_TOKEN)
    if not token:
        hint = "Make a token with write access on the hub and export it under that name"
        raise ConfigError("is not set, and pushing to the hub needs it", where=_TOKEN, hint=hint)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Of whichever HTTP library the hub library stands on: what it raises where there is no answer at all.
    no_answer: type[Exception] = HfHubHTTPError.__bases__[0]
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        hub.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Data exported by midspec",
            ignore_patterns=["record.json", ".*", "**/.*"],
        )
    except HFValidationError as error:
        raise ConfigError("is not the name of a repository", where=repo_id, hint="Write it as owner/name") from error
    except HfHubHTTPError as error:
        said = " ".join((error.server_message or "").split())[:200]
        reason = f"the hub answered {error.response.status_code}" + (f" ({said})" if said else "")
        hint = "Check the name, and that the token may write there"
        raise ConfigError(reason, where=repo_id, hint=hint) from error
    except (ConnectionError, no_answer) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"the hub can't be reached: {said}", where=repo_id, hint="Check the network") from error
    return str(commit.commit_url)
