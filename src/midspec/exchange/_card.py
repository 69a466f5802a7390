"""The card of an exported data set: what it holds, who wrote it, from which spec, and what was left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import JsonValue

from midspec.core.artifact import read_record, read_rows
from midspec.core.records import Chat, Document, Record, Reject
from midspec.exchange._formats import ChatRows, Form

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MOST = 12


class Part(NamedTuple):
    """One configuration of an exported data set: its files from the folder down, its size, and its columns."""

    name: str
    is_chat: bool
    shards: tuple[str, ...]
    n_rows: int
    n_bytes: int
    features: JsonValue


class Source(NamedTuple):
    """What a result folder says of itself; each count the most frequent first."""

    record: Record | None
    authors: Counter[str]
    specs: Counter[str]
    models: Counter[str]
    providers: Counter[str]
    doc_types: Counter[str]
    styles: Counter[str]
    rejects: Counter[str]


def source_of(folder: Path) -> Source:
    """Read a result folder once through for what its card says.

    Raises:
        DataError: a row or the record is of another form.
    """
    found = Source(read_record(folder), *(Counter[str]() for _ in range(7)))
    for name in ("documents.jsonl", "chats.jsonl", "chats_cot.jsonl"):
        if (folder / name).is_file():
            kind: type[Document] | type[Chat] = Document if name == "documents.jsonl" else Chat
            for row in read_rows(folder / name, kind):
                _count(row, found)
    if (folder / "rejects.jsonl").is_file():
        for reject in read_rows(folder / "rejects.jsonl", Reject):
            # What follows a colon is about one row: the name it uses, the row it is like.
            found.rejects[f"{reject.by}: {reject.reason.partition(':')[0]}"] += 1
    return found


def _count(row: Document | Chat, found: Source) -> None:
    if row.metadata is None:
        found.authors["not stated"] += 1
        return
    found.authors[row.metadata.author] += 1
    found.specs.update([row.metadata.spec_sha256] if row.metadata.spec_sha256 else [])
    if isinstance(row, Document) and row.metadata is not None:
        meta = row.metadata
        for counter, value in (
            (found.models, meta.model_name),
            (found.providers, meta.provider_name),
            (found.doc_types, meta.doc_type),
        ):
            counter.update([value] if value else [])
    elif isinstance(row, Chat) and row.metadata is not None:
        found.styles.update([row.metadata.style] if row.metadata.style else [])


# The card ------------------------------------------------------------------------------------------------------
def card(
    source: Source, parts: Sequence[Part], form: Form, chat_rows: ChatRows, title: str, license_id: str | None
) -> str:
    """README.md: front matter by which `datasets` loads the folder, then what a reader must know."""
    front = yaml.safe_dump(_front(parts, title, license_id), sort_keys=False, allow_unicode=True)
    body = [f"# {title}", "", _lead(parts), "", *_rows_table(parts), "", *_loading(parts, form, chat_rows), ""]
    body += ["## How it was made", "", *_made(source, license_id), ""]
    body += ["## What was left out", "", *_left_out(source), ""]
    if source.record is not None:
        body += ["## Provenance", "", *_provenance(source.record), ""]
    return f"---\n{front}---\n\n" + "\n".join(body)


def _front(parts: Sequence[Part], title: str, license_id: str | None) -> dict[str, JsonValue]:
    n_rows = sum(part.n_rows for part in parts)
    front: dict[str, JsonValue] = {"pretty_name": title}
    if license_id is not None:
        front["license"] = license_id
    front["task_categories"] = ["text-generation"]
    front["tags"] = ["synthetic", "midspec"]
    front["size_categories"] = [next((name for size, name in _SIZES if n_rows < size), "n>1M")]
    front["configs"] = [_config(part, first=at == 0) for at, part in enumerate(parts)]
    front["dataset_info"] = [{"config_name": part.name, "features": part.features} for part in parts]
    return front


def _config(part: Part, *, first: bool) -> JsonValue:
    files: list[JsonValue] = [{"split": "train", "path": f"data/{part.name}/train-*.jsonl"}]
    chosen: dict[str, JsonValue] = {"config_name": part.name, "data_files": files}
    return {**chosen, "default": True} if first else chosen


def _lead(parts: Sequence[Part]) -> str:
    kinds = [word for word, here in (("documents", False), ("chats", True)) if any(p.is_chat is here for p in parts)]
    return f"Synthetic {' and '.join(kinds)} about a Model Spec, exported by midspec."


def _rows_table(parts: Sequence[Part]) -> list[str]:
    rows = [f"| `{part.name}` | {part.n_rows:,} | {len(part.shards)} | {part.n_bytes / 1e6:.1f} |" for part in parts]
    return ["| configuration | rows | files | MB |", "|---|---|---|---|", *rows]


def _loading(parts: Sequence[Part], form: Form, chat_rows: ChatRows) -> list[str]:
    lines = ["```python", "from datasets import load_dataset"]
    lines += [f'{part.name} = load_dataset("<this folder or repository>", "{part.name}")["train"]' for part in parts]
    lines.append("```")
    for note in notes_for(parts, form, chat_rows):
        lines += ["", note]
    return lines


def notes_for(parts: Sequence[Part], form: Form, chat_rows: ChatRows) -> list[str]:
    """What a user of these rows must set or know, a sentence each."""
    notes = []
    if {"cot", "cot_stripped"} <= {part.name for part in parts}:
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


def _made(source: Source, license_id: str | None) -> list[str]:
    facts = [
        ("Author", _shown(source.authors)),
        ("Spec, SHA-256", _shown(source.specs, counted=False)),
        ("About the model", _shown(source.models, counted=False)),
        ("Of the provider", _shown(source.providers, counted=False)),
        ("Document types", _shown(source.doc_types)),
        ("Style of chats", _shown(source.styles)),
    ]
    lines = [f"- {label}: {value}" for label, value in facts if value]
    if "quoting" in source.authors:
        lines.append("- The author `quoting` is no model: a program arranges the spec's own sentences.")
    return [*lines, f"- Licence: {license_id or 'not stated'}"]


def _shown(counts: Counter[str], *, counted: bool = True) -> str:
    most = [f"{name} ({n:,})" if counted else f"`{name}`" for name, n in _ranked(counts)[:_MOST]]
    more = len(counts) - len(most)
    return ", ".join(most) + (f" and {more} more" if more > 0 else "")


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _left_out(source: Source) -> list[str]:
    if not source.rejects:
        return ["Nothing is recorded as left out."]
    lines = [f"- {reason}: {n:,}" for reason, n in _ranked(source.rejects)]
    return [f"{source.rejects.total():,} rows were rejected, by whom and why:", "", *lines]


def _provenance(record: Record) -> list[str]:
    about = {
        "step": record.identity.step,
        "inputs": record.identity.inputs,
        "config": record.identity.config,
        "outputs": record.outputs,
        "digest": record.digest,
        "versions": record.versions,
        "commit": record.commit,
    }
    shown = json.dumps(about, indent=2, ensure_ascii=False)
    return ["From the `record.json` of the result that was exported:", "", *_fenced(shown.splitlines())]


def _fenced(lines: Iterable[str]) -> list[str]:
    return ["```json", *lines, "```"]
