"""Two corpora side by side: whether what differs between them is their content, or also their style."""

from __future__ import annotations

import math
import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping

from midspec.curate._gauge import Tally, lengths_of, names_in
from midspec.curate._rows import Row, n_words, said
from midspec.records import Comparison, Document, Lengths, Size

__all__ = ["compare"]

_WORD = re.compile(r"[^\W\d_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W\d_]+)?")
_N_SHOWN = 20
_MOST_WORDS = 500_000
# Added to every count, so that a word that one corpus lacks is no infinite excess.
_PRIOR = 0.5


class _Side:
    """What is asked of one corpus, gathered row by row."""

    def __init__(self, n_close: int, seed: int) -> None:
        self._n_close, self._draw = n_close, random.Random(f"{seed}:compare")
        self.n_words = array("q")
        self.n_tokens = 0
        self.types: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.names = Tally()
        self.texts: list[str] = []
        self.is_pruned = False

    def add(self, row: Row, tokens_per_word: float) -> None:
        text = said(row)
        words = n_words(text)
        self.n_words.append(words)
        self.n_tokens += round(words * tokens_per_word)
        kind = row.metadata.doc_type if isinstance(row, Document) and row.metadata else ""
        self.types[kind or "none"] += 1
        self.words.update(_WORD.findall(text.casefold()))
        if len(self.words) > _MOST_WORDS:
            self.words = Counter(dict(self.words.most_common(_MOST_WORDS // 2)))
            self.is_pruned = True
        self.names.add(names_in(text))
        if len(self.texts) < self._n_close:
            self.texts.append(text)
        elif (place := self._draw.randrange(len(self.n_words))) < self._n_close:
            self.texts[place] = text

    @property
    def size(self) -> Size:
        return Size(documents=len(self.n_words), tokens=self.n_tokens)


def compare(
    rows: Iterable[Row],
    others: Iterable[Row],
    *,
    names: tuple[str, str] = ("A", "B"),
    n_close: int = 1000,
    tokens_per_word: float = 4 / 3,
    seed: int = 0,
) -> Comparison:
    """What differs between two corpora: vocabulary, lengths, types, and how surely a classifier tells them apart.

    Args:
        rows: documents or chats of the first, gone through once.
        others: those of the second.
        names: what to call the two.
        n_close: how many rows of each, drawn by `seed`, the classifier sees.
        tokens_per_word: for estimates of tokens.
        seed: decides which rows are drawn, and the halves.
    """
    # One seed: of corpora of equal size the rows at equal places are drawn, which may have been written in parallel.
    from midspec.curate._separate import separability, style_separability

    one, other = _Side(n_close, seed), _Side(n_close, seed)
    for side, given in ((one, rows), (other, others)):
        for row in given:
            side.add(row, tokens_per_word)
    lengths = (lengths_of(one.n_words), lengths_of(other.n_words))
    return Comparison(
        names=names,
        sizes=(one.size, other.size),
        lengths=lengths,
        length_distance=_length_distance(*lengths),
        types={kind: (one.types[kind], other.types[kind]) for kind in sorted(one.types | other.types)},
        type_distance=_total_variation(one.types, other.types),
        n_vocabulary=(len(one.words), len(other.words)),
        vocabulary_distance=_jensen_shannon(one.words, other.words),
        more_in=(_excess(one.words, other.words), _excess(other.words, one.words)),
        names_in=(one.names.top(_N_SHOWN), other.names.top(_N_SHOWN)),
        separability=separability((one.texts, other.texts), seed=seed),
        style=style_separability((one.texts, other.texts), seed=seed),
        notes=_notes(one, other),
    )


def _notes(one: _Side, other: _Side) -> tuple[str, ...]:
    found = []
    if len(one.n_words) > len(one.texts) or len(other.n_words) > len(other.texts):
        found.append(f"the classifier saw {len(one.texts):,} and {len(other.texts):,} rows, drawn by seed")
    if one.is_pruned or other.is_pruned:
        found.append("rare words were let go: the vocabulary is larger than stated")
    return tuple(found)


def _length_distance(one: Lengths | None, other: Lengths | None) -> float | None:
    if one is None or other is None:
        return None
    return _total_variation(*({str(each.low): each.n for each in side.bins} for side in (one, other)))


def _total_variation(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """Half the sum of the differences of shares: 0 for equal distributions, 1 for ones without overlap."""
    totals = sum(one.values()), sum(other.values())
    if not all(totals):
        return None
    keys = one.keys() | other.keys()
    return sum(abs(one.get(key, 0) / totals[0] - other.get(key, 0) / totals[1]) for key in sorted(keys)) / 2


def _jensen_shannon(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """The Jensen-Shannon distance (base 2) of two distributions of words."""
    import numpy as np

    keys = sorted(one.keys() | other.keys())
    if not one or not other:
        return None
    shares = []
    for side in (one, other):
        counts = np.asarray([side.get(key, 0) for key in keys], dtype=np.float64)
        shares.append(counts / counts.sum())
    middle = (shares[0] + shares[1]) / 2
    parts = [np.where(share > 0, share * np.log2(np.where(share > 0, share, 1) / middle), 0).sum() for share in shares]
    return float(np.sqrt(max(0.0, sum(map(float, parts)) / 2)))


def _excess(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """The words most in excess in `one`, by the log-likelihood ratio, with their rates per million words in both."""
    totals = sum(one.values()) or 1, sum(other.values()) or 1

    def evidence(word: str) -> float:
        mine, theirs = one[word] + _PRIOR, other.get(word, 0) + _PRIOR
        share = (mine + theirs) / (totals[0] + totals[1])
        ratio = math.log(mine / (totals[0] * share))
        return mine * ratio + theirs * math.log(theirs / (totals[1] * share))

    more = [word for word, times in one.items() if times / totals[0] > other.get(word, 0) / totals[1]]
    ranked = sorted(more, key=lambda word: (-evidence(word), word))[:_N_SHOWN]
    return {
        word: (round(one[word] / totals[0] * 1e6, 1), round(other.get(word, 0) / totals[1] * 1e6, 1)) for word in ranked
    }
