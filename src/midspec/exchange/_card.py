"""The card of an exported data set: what it holds, which model wrote it, from which spec, and what was left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import JsonValue

from midspec.core.artifact import read_record, read_rows
from midspec.core.records import Chat, Document, DocumentMetadata, Record, Reject

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MAX_SHOWN = 12


class Part(NamedTuple):
    """One configuration of an exported data set: its files from the folder down, its size, and its columns."""

    name: str
    is_chat: bool
    shards: tuple[str, ...]
    n_rows: int
    n_bytes: int
    features: JsonValue


class SourceFacts(NamedTuple):
    """What a result folder says of itself: its record, and how often each value occurs in its rows."""

    record: Record | None
    authors: Counter[str]
    specs: Counter[str]
    models: Counter[str]
    providers: Counter[str]
    doc_types: Counter[str]
    styles: Counter[str]
    rejects: Counter[str]


def read_facts(folder: Path) -> SourceFacts:
    """Read a result folder once through for what its card says.

    Raises:
        DataError: a row or the record is of another form.
    """
    facts = SourceFacts(read_record(folder), *(Counter[str]() for _ in range(7)))
    for name in ("documents.jsonl", "chats.jsonl", "chats_cot.jsonl"):
        if (folder / name).is_file():
            kind: type[Document] | type[Chat] = Document if name == "documents.jsonl" else Chat
            for row in read_rows(folder / name, kind):
                _count(row, facts)
    if (folder / "rejects.jsonl").is_file():
        for reject in read_rows(folder / "rejects.jsonl", Reject):
            # What follows a colon is about one row: the name it uses, the row it is like.
            facts.rejects[f"{reject.by}: {reject.reason.partition(':')[0]}"] += 1
    return facts


def _count(row: Document | Chat, facts: SourceFacts) -> None:
    about = row.metadata
    if about is None:
        facts.authors["not stated"] += 1
        return
    facts.authors[about.author] += 1
    counted = [(facts.specs, about.spec_sha256)]
    if isinstance(about, DocumentMetadata):
        counted += [
            (facts.models, about.model_name),
            (facts.providers, about.provider_name),
            (facts.doc_types, about.doc_type),
        ]
    else:
        counted.append((facts.styles, about.style))
    for counter, value in counted:
        if value:
            counter[value] += 1


def write_card(
    facts: SourceFacts, parts: Sequence[Part], title: str, license_id: str | None, notes: Sequence[str]
) -> str:
    """Write README.md: front matter by which `datasets` loads the folder, then what a reader must know.

    Args:
        facts: of the folder that was exported.
        parts: the configurations.
        title: of the page.
        license_id: of the data, as the hub names it.
        notes: what a user of the rows must set or know, a sentence each.
    """
    kinds = [
        word for word, is_chat in (("documents", False), ("chats", True)) if any(p.is_chat is is_chat for p in parts)
    ]
    body = [f"# {title}", "", f"Synthetic {' and '.join(kinds)} about a Model Spec, exported by midspec.", ""]
    body += ["| configuration | rows | files | MB |", "|---|---|---|---|"]
    body += [f"| `{part.name}` | {part.n_rows:,} | {len(part.shards)} | {part.n_bytes / 1e6:.1f} |" for part in parts]
    body += ["", "```python", "from datasets import load_dataset"]
    body += [f'{part.name} = load_dataset("<this folder or repository>", "{part.name}")["train"]' for part in parts]
    body += ["```", *(line for note in notes for line in ("", note)), ""]
    body += ["## How it was made", "", *_how_made(facts, license_id), ""]
    body += ["## What was left out", ""]
    if facts.rejects:
        body += [f"{facts.rejects.total():,} rows were rejected, by whom and why:", ""]
        body += [*(f"- {reason}: {n:,}" for reason, n in _ranked(facts.rejects)), ""]
    else:
        body += ["Nothing is recorded as left out.", ""]
    if (record := facts.record) is not None:
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
        body += ["## Provenance", "", "From the `record.json` of the result that was exported:", ""]
        body += ["```json", *shown.splitlines(), "```", ""]
    front = yaml.safe_dump(_front_matter(parts, title, license_id), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join(body)


def _front_matter(parts: Sequence[Part], title: str, license_id: str | None) -> dict[str, JsonValue]:
    n_rows = sum(part.n_rows for part in parts)
    front: dict[str, JsonValue] = {"pretty_name": title}
    if license_id is not None:
        front["license"] = license_id
    front["task_categories"] = ["text-generation"]
    front["tags"] = ["synthetic", "midspec"]
    front["size_categories"] = [next((name for size, name in _SIZES if n_rows < size), "n>1M")]
    configs: list[JsonValue] = []
    for part in parts:
        files: list[JsonValue] = [{"split": "train", "path": f"data/{part.name}/train-*.jsonl"}]
        default: dict[str, JsonValue] = {} if configs else {"default": True}
        configs.append({"config_name": part.name, "data_files": files, **default})
    front["configs"] = configs
    front["dataset_info"] = [{"config_name": part.name, "features": part.features} for part in parts]
    return front


def _how_made(facts: SourceFacts, license_id: str | None) -> list[str]:
    lines = [
        ("Author", _listed(facts.authors)),
        ("Spec, SHA-256", _listed(facts.specs, with_counts=False)),
        ("About the model", _listed(facts.models, with_counts=False)),
        ("Of the provider", _listed(facts.providers, with_counts=False)),
        ("Document types", _listed(facts.doc_types)),
        ("Style of chats", _listed(facts.styles)),
    ]
    shown = [f"- {label}: {value}" for label, value in lines if value]
    if "quoting" in facts.authors:
        shown.append("- The author `quoting` is no model: a program arranges the spec's own sentences.")
    return [*shown, f"- Licence: {license_id or 'not stated'}"]


def _listed(counts: Counter[str], *, with_counts: bool = True) -> str:
    shown = [f"{name} ({n:,})" if with_counts else f"`{name}`" for name, n in _ranked(counts)[:_MAX_SHOWN]]
    n_more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {n_more} more" if n_more > 0 else "")


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
