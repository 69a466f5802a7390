from __future__ import annotations

from pathlib import Path

import pytest

from midspec.core.artifact import Built, build, write_rows
from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Identity, Message, Reject

SPEC = "5" * 64


def documents() -> list[Document]:
    """Seven documents; the first without metadata, the last alone with clause ids, and what
    few rows have is in the last ones, so that columns begin as null."""
    bare = Document(text='A first one. It has two lines,\nand a quote: "so".', source="a.txt", domain="d")
    rest = [
        Document(
            text=f"Document {n} says what Aria does. \u2028Ünïcode 日本.",
            source=f"{n}.txt",
            domain="d",
            metadata=DocumentMetadata(
                id=f"doc{n}",
                author="openai/writer",
                doc_type="memo" if n % 2 else "forum thread",
                clause_ids=("c1", "c2") if n == 6 else (),
                model_name="Aria",
                provider_name="Northwind",
                spec_sha256=SPEC,
                seed=3,
                framing="should" if n == 5 else "",
                usage={5: {"input": 3}, 6: {"input": 5, "output": 7}}.get(n, {}),
            ),
        )
        for n in range(1, 7)
    ]
    return [bare, *rest]


def chat(n: int, reply: str) -> Chat:
    turns = (Message(role="user", content=f"Question {n}?"), Message(role="assistant", content=reply))
    return Chat(messages=turns, metadata=ChatMetadata(id=f"chat{n}", author="openai/writer", style="value"))


def make_result(folder: Path, files: dict[str, list], config: dict | None = None) -> Path:
    """A finished result folder with a record, made as steps make theirs."""

    def make(draft: Path) -> Built:
        for name, rows in files.items():
            write_rows(draft / name, rows)
        return Built(outputs=tuple(files), summary={})

    build(folder, Identity(step="corpus@3", inputs={"spec": SPEC}, config=config or {"seed": 3}), make)
    return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
    rejects = [
        Reject(id="x", by="near duplicate", reason="like: doc3", text="t"),
        Reject(id="y", by="near duplicate", reason="like: doc4", text="t"),
        Reject(id="z", by="identity", reason="names another brand: Qwen", text="t"),
    ]
    return make_result(tmp_path / "cheese", {"documents.jsonl": documents(), "rejects.jsonl": rejects})


@pytest.fixture
def twins(tmp_path) -> Path:
    said = [f"<think>Because of {n}.</think>Answer {n}." for n in range(4)]
    return make_result(
        tmp_path / "aft",
        {
            "chats_cot.jsonl": [chat(n, reply) for n, reply in enumerate(said)],
            "chats_cot_stripped.jsonl": [chat(n, f"Answer {n}.") for n in range(4)],
            "rejects.jsonl": [],
        },
    )
