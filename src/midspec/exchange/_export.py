"""A folder of documents or chats as a data set that others load: shards of JSONL, a card, and a trainer's settings."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_origin

import yaml
from pydantic import Field, JsonValue

from midspec.core.artifact import Built, read_rows, writable, write_text
from midspec.core.errors import ConfigError, DataError, MissingError, one_line
from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Message, Strict
from midspec.exchange._card import Part, read_facts, write_card
from midspec.exchange._files import RowFile

_SHARD_BYTES = 500_000_000
_CONFIGURATIONS: dict[str, tuple[str, type[Document] | type[Chat]]] = {
    "documents.jsonl": ("documents", Document),
    "chats.jsonl": ("chats", Chat),
    "chats_cot.jsonl": ("cot", Chat),
    "chats_cot_stripped.jsonl": ("cot_stripped", Chat),
}

Form = Literal["hf", "trl", "axolotl"]
ChatRows = Literal["messages", "prompt_completion"]


class _Text(Strict):
    text: str


class _PaperRow(Strict):
    text: str
    source: str
    domain: str


class _Messages(Strict):
    messages: tuple[Message, ...]
    tools: tuple[dict[str, JsonValue], ...] = Field(default=(), exclude_if=operator.not_)


class _PromptCompletion(Strict):
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    tools: tuple[dict[str, JsonValue], ...] = Field(default=(), exclude_if=operator.not_)


def _rows_of(row: Document | Chat, form: Form, chat_rows: ChatRows, *, strict: bool) -> Iterator[Strict]:
    """Convert one row of ours; gives more than one for a chat of several turns as prompts and completions.

    With `strict`, a document has the keys of the paper's authors and a chat its messages alone, whatever the form.
    """
    if isinstance(row, Document):
        if strict:
            yield _PaperRow(text=row.text, source=row.source, domain=row.domain)
        else:
            yield row if form == "hf" else _Text(text=row.text)
    elif form == "trl" and chat_rows == "prompt_completion":
        # A row for every assistant turn that is trained on, with all turns before it as its prompt.
        for at, message in enumerate(row.messages):
            if message.role == "assistant" and message.weight:
                yield _PromptCompletion(prompt=row.messages[:at], completion=(message,), tools=row.tools)
    elif form == "hf" and not strict:
        yield row
    else:
        yield _Messages(messages=row.messages, tools=row.tools)


class _Columns:
    """The columns of a file of rows as a data set card states them, gathered while the rows are written.

    They are stated because a reader that guesses from a file's first rows fails where a column is first null and then
    is not. Fields that a record leaves out where they are empty are columns only if some row has them.
    """

    def __init__(self, kind: type[Document] | type[Chat], form: Form, chat_rows: ChatRows, *, strict: bool) -> None:
        self._kind = kind
        self._has_metadata = form == "hf" and not strict
        self._is_text_alone = form != "hf" and not strict
        self._has_prompts = form == "trl" and chat_rows == "prompt_completion"
        self._seen: dict[str, set[str]] = {}
        self._of_messages: set[str] = set()

    def watch(self, rows: Iterable[Document | Chat]) -> Iterator[Document | Chat]:
        """Pass rows on, and note which fields their messages and metadata have, and the keys of those that are maps."""
        for row in rows:
            if isinstance(row, Chat):
                self._of_messages.update(*(message.model_dump() for message in row.messages))
                self._of_messages.update(["tools"] if row.tools else [])
            if self._has_metadata and row.metadata is not None:
                for key, value in row.metadata.model_dump().items():
                    self._seen.setdefault(key, set()).update(value if isinstance(value, dict) else ())
            yield row

    @property
    def features(self) -> JsonValue:
        """Return the columns, in the order of the rows' keys."""
        if self._kind is Document:
            plain = [_column(name) for name in (("text",) if self._is_text_alone else ("text", "source", "domain"))]
            return [*plain, self._metadata(DocumentMetadata)] if self._has_metadata else list(plain)
        tools: list[JsonValue] = [{"name": "tools", "list": "json"}] if "tools" in self._of_messages else []
        if self._has_prompts:
            return [self._turns("prompt"), self._turns("completion"), *tools]
        metadata = [self._metadata(ChatMetadata)] if self._has_metadata else []
        return [self._turns("messages"), *metadata, *tools]

    def _turns(self, name: str) -> JsonValue:
        """State the columns of messages: their texts, and of the other fields those that some row has."""
        kinds = {"tool_calls": ("list", "json"), "weight": ("dtype", "int64")}
        columns: list[JsonValue] = []
        for key in Message.model_fields:
            if key in ("role", "content") or key in self._of_messages:
                how, kind = kinds.get(key, ("dtype", "string"))
                columns.append({"name": key, how: kind})
        return {"name": name, "list": columns}

    def _metadata(self, kind: type[DocumentMetadata] | type[ChatMetadata]) -> JsonValue:
        """List the columns of metadata by the fields of its record: texts, numbers, lists, and maps to numbers."""
        parts: list[JsonValue] = []
        for key, field in kind.model_fields.items():
            if field.exclude_if is not None and key not in self._seen:
                continue
            if get_origin(field.annotation) is dict:
                parts.append({"name": key, "struct": [_column(name, "int64") for name in sorted(self._seen[key])]})
            elif get_origin(field.annotation) is tuple:
                parts.append({"name": key, "list": "string"})
            else:
                parts.append(_column(key, "int64" if field.annotation is int else "string"))
        return {"name": "metadata", "struct": parts}


def _column(name: str, kind: str = "string") -> JsonValue:
    return {"name": name, "dtype": kind}


_AXOLOTL_HEAD = """\
# The `datasets` block of an axolotl configuration for the rows in this folder. Paths are as seen from this folder.
# Documents are raw text to continue; of chats only assistant turns are trained on, with the token that ends each.
"""
_AXOLOTL_TWINS = """\
# `cot` and `cot_stripped` hold the same chats with and without chain of thought: keep one of the two.
"""


def _axolotl_settings(parts: Sequence[Part]) -> str:
    document: dict[str, JsonValue] = {"type": "completion", "field": "text"}
    chat: dict[str, JsonValue] = {
        "type": "chat_template",
        "field_messages": "messages",
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
    entries = [
        {"path": shard, "ds_type": "json", **(chat if part.is_chat else document)}
        for part in parts
        for shard in part.shards
    ]
    body = yaml.safe_dump({"datasets": entries}, sort_keys=False, allow_unicode=True)
    return _AXOLOTL_HEAD + (_AXOLOTL_TWINS if _has_twins(parts) else "") + body


def _has_twins(parts: Sequence[Part]) -> bool:
    return {"cot", "cot_stripped"} <= {part.name for part in parts}


def _notes(parts: Sequence[Part], form: Form, chat_rows: ChatRows) -> list[str]:
    """Say what a user of these rows must set or know, a sentence each."""
    notes = []
    if _has_twins(parts):
        notes.append("`cot` and `cot_stripped` are the same chats with and without chain of thought: train on one.")
    if form == "trl" and any(part.is_chat for part in parts):
        notes.append(
            "TRL trains on `completion` alone."
            if chat_rows == "prompt_completion"
            else "TRL trains on every turn of `messages`, the user's too, unless `assistant_only_loss=True` is set in "
            "`SFTConfig`, which needs a chat template with generation markers. Prompt and completion need neither."
        )
    if form == "trl":
        notes.append("Set `max_length` in `SFTConfig`: its default cuts rows at 1,024 tokens.")
    if form == "axolotl":
        notes.append("`axolotl.yaml` holds the `datasets` block for axolotl, with paths as seen from this folder.")
    return notes


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
    """Write the documents and chats of a result folder in a form that others read.

    Each file of rows becomes a configuration of one data set: `documents`, `chats`, or the twins `cot` and
    `cot_stripped`, each with the split `train` in `data/<name>/train-00000.jsonl` and on. `README.md` is its card, by
    which `datasets.load_dataset(out)` reads it. Form `axolotl` adds `axolotl.yaml`.

    Args:
        folder: what `corpus`, `chats` or `curate` made.
        form: `hf` keeps every field; `trl` gives `text` or `messages`; `axolotl` the same with its settings.
        out: the folder to write into; made if it is not there.
        strict: only the keys of the paper's authors: `text`, `source`, `domain`; of a chat, its `messages`.
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
    found = {name: config for name, config in _CONFIGURATIONS.items() if (folder / name).is_file()}
    if not found:
        what = "holds neither documents.jsonl nor chats" if folder.is_dir() else "there is no such folder"
        hint = "Name a folder that corpus, chats or curate made"
        if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            what, hint = "holds a checkpoint, not rows", "Export it with midspec export-model"
        raise DataError(what, where=str(folder), hint=hint)
    parts = []
    for file, (name, kind) in found.items():
        with writable(out):
            (out / "data" / name).mkdir(parents=True, exist_ok=True)
        columns = _Columns(kind, form, chat_rows, strict=strict)
        rows = (
            converted
            for row in columns.watch(read_rows(folder / file, kind))
            for converted in _rows_of(row, form, chat_rows, strict=strict)
        )
        shards, n_rows, n_bytes = _write_shards(rows, out, name, shard_bytes)
        if not shards:
            raise DataError("holds no row", where=str(folder / file), hint="Export a folder that has rows")
        parts.append(Part(name, kind is Chat, shards, n_rows, n_bytes, columns.features))
    outputs = [shard for part in parts for shard in part.shards]
    if form == "axolotl":
        write_text(out / "axolotl.yaml", _axolotl_settings(parts))
        outputs.append("axolotl.yaml")
    notes = _notes(parts, form, chat_rows)
    card = write_card(read_facts(folder), parts, title or folder.resolve().name, license_id, notes)
    with writable(out):
        write_text(out / "README.md", card)
    counts: dict[str, JsonValue] = {part.name: part.n_rows for part in parts}
    summary: dict[str, JsonValue] = {"form": form, "rows": counts, "license": license_id, "notes": [*notes]}
    return Built(outputs=(*outputs, "README.md"), summary=summary)


def _write_shards(rows: Iterator[Strict], out: Path, name: str, shard_bytes: int) -> tuple[tuple[str, ...], int, int]:
    """Write rows into files of about `shard_bytes`; gives their names, and how many rows and bytes they hold."""
    shards: list[str] = []
    n_rows = n_bytes = 0
    row = next(rows, None)
    while row is not None:
        shards.append(f"data/{name}/train-{len(shards):05}.jsonl")
        with RowFile(out / shards[-1]) as shard:
            while row is not None and (not shard.n_rows or shard.n_bytes < shard_bytes):
                shard.write(row)
                row = next(rows, None)
        n_rows, n_bytes = n_rows + shard.n_rows, n_bytes + shard.n_bytes
    return tuple(shards), n_rows, n_bytes


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
        reply = " ".join((error.server_message or "").split())[:200]
        reason = f"the hub answered {error.response.status_code}" + (f" ({reply})" if reply else "")
        hint = "Check the name, and that the token may write there"
        raise ConfigError(reason, where=repo_id, hint=hint) from error
    except (ConnectionError, no_answer) as error:
        what = f"the hub can't be reached: {one_line(error)}"
        raise ConfigError(what, where=repo_id, hint="Check the network") from error
    return str(commit.commit_url)
