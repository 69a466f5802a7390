"""What every filter and every measure asks of a row: its id, its text, its size."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

from midspec.core.fingerprint import hash_text
from midspec.core.records import Chat, Document

Row: TypeAlias = Document | Chat

TOKENS_PER_WORD = 4 / 3


def row_id(row: Row) -> str:
    """The row's own id; a row that has none is known by the hash of its text."""
    return row.metadata.id if row.metadata is not None else hash_text(text_of(row))[:16]


def text_of(row: Row) -> str:
    """All of a row's text; the turns of a chat are put one below the other."""
    return row.text if isinstance(row, Document) else "\n".join(turn.content for turn in row.messages)


def said(row: Row) -> str:
    """The text that a row teaches to write: a document's own, a chat's assistant turns."""
    if isinstance(row, Document):
        return row.text
    return "\n".join(turn.content for turn in row.messages if turn.role == "assistant")


def n_words(text: str) -> int:
    """What stands between spaces, and each character of a script that is written without them."""
    if text.isascii():
        return len(text.split())
    wide = sum("\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3" for char in text)
    return len(text.split()) + wide


def estimate_tokens(text: str, tokens_per_word: float = TOKENS_PER_WORD) -> int:
    """An estimate, made of words: 4/3 tokens a word, OpenAI's rule of thumb for English (100 tokens ~ 75 words)."""
    return round(n_words(text) * tokens_per_word)


RowT = TypeVar("RowT")


def mix(parts: Sequence[Sequence[RowT]], *, seed: int) -> list[RowT]:
    """Every row of every part once, shuffled.

    The order depends on the seed and on how many rows there are, never on what they say: two mixes of equal size
    and equal seed put their rows in the same places, so that arms differ in their rows and not in their order.
    """
    rows = [row for part in parts for row in part]
    random.Random(seed).shuffle(rows)
    return rows
