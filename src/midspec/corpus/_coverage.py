"""Counting: words, estimated tokens, coverage of clauses, and how different documents are from each other."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from midspec.core.records import Clause, Document
from midspec.corpus._config import Covered, Distinctness

_SHINGLE = 5
_PAIRS = 200
_WIDE = re.compile("[\u3040-\u9fff\uac00-\ud7a3]")
# First bytes, in UTF-8, of the characters from U+3000 to U+DFFF.
_WIDE_LEADS = bytes(range(0xE3, 0xEE))
_SETS_KEPT = 64


def n_words(text: str) -> int:
    """What stands between spaces, and each character of a script that is written without them."""
    n_spaced = len(text.split())
    if text.isascii():
        return n_spaced
    # A million documents are counted so, most with a few curly quotes: is there any wide character at all?
    data = text.encode("utf-8", "surrogatepass")
    return n_spaced + (len(_WIDE.findall(text)) if len(data) > len(data.translate(None, _WIDE_LEADS)) else 0)


def estimate_tokens(text: str, tokens_per_word: float = 4 / 3) -> int:
    """An estimate, made of words: 4/3 tokens a word, OpenAI's rule of thumb for English (100 tokens ~ 75 words)."""
    return round(n_words(text) * tokens_per_word)


def cover(clauses: Sequence[Clause], documents: Iterable[Document], tokens_per_word: float) -> dict[str, Covered]:
    """For each clause, how many documents quote it, and the estimated tokens of those quotations."""
    times = {clause.id: 0 for clause in clauses}
    for document in documents:
        for clause_id in document.metadata.clause_ids if document.metadata else ():
            times[clause_id] += 1
    return {
        clause.id: Covered(
            documents=times[clause.id], tokens=times[clause.id] * estimate_tokens(clause.text, tokens_per_word)
        )
        for clause in clauses
    }


def distinctness(texts: Sequence[str], seed: int, n_pairs: int = _PAIRS) -> Distinctness:
    """The share of distinct texts, and the mean overlap of random pairs."""
    share = len(set(texts)) / len(texts) if texts else 1.0
    if len(texts) < 2:
        return Distinctness(share_distinct=share, mean_overlap=0.0, n_pairs=0)
    draw = random.Random(f"{seed}:pairs")
    pairs = [draw.sample(range(len(texts)), 2) for _ in range(n_pairs)]
    shingles = lru_cache(_SETS_KEPT)(lambda index: _shingles(texts[index]))
    overlaps = [_jaccard(shingles(one), shingles(other)) for one, other in pairs]
    return Distinctness(share_distinct=share, mean_overlap=round(sum(overlaps) / n_pairs, 4), n_pairs=n_pairs)


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[at : at + _SHINGLE]) for at in range(max(1, len(words) - _SHINGLE + 1))}


def _jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)
