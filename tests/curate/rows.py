"""Rows that tests of curation share: documents in the words of a real spec, and chats in the field's form."""

from __future__ import annotations

import random
import re
from functools import lru_cache
from pathlib import Path

from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Message, Spec
from midspec.spec import fill, read_spec

SPECS = Path(__file__).parents[1] / "specs"


@lru_cache(maxsize=1)
def constitution() -> Spec:
    return fill(read_spec(SPECS / "constitution.md"), model_name="Nova", provider_name="Acme")


def document(text: str, number: int | str = 0, *clause_ids: str, doc_type: str = "memo") -> Document:
    metadata = DocumentMetadata(id=f"d{number}", author="test", clause_ids=clause_ids, doc_type=doc_type)
    return Document(text=text, source="test", domain="test", metadata=metadata)


@lru_cache(maxsize=1)
def _sentences() -> list[str]:
    text = re.sub(r"[#*>`]", "", constitution().text)
    return [" ".join(part.split()) for part in re.split(r"(?<=[.!?])\s+", text) if len(part.split()) > 5]


def prose(seed: int, n_sentences: int = 12) -> str:
    """Sentences of the constitution in a drawn order, so that documents differ and are all about Nova."""
    chosen = random.Random(seed).sample(_sentences(), n_sentences)
    return f"Notes number {seed} about Nova. " + " ".join(chosen)


def documents(n: int, *, n_sentences: int = 12) -> list[Document]:
    clauses = constitution().clauses
    return [
        document(
            prose(seed, n_sentences), seed, clauses[seed % len(clauses)].id, doc_type=("memo", "blog post")[seed % 2]
        )
        for seed in range(n)
    ]


def chat(question: str, reply: str, number: int | str = 0) -> Chat:
    turns = (Message(role="user", content=question), Message(role="assistant", content=reply))
    return Chat(messages=turns, metadata=ChatMetadata(id=f"c{number}", author="test"))
