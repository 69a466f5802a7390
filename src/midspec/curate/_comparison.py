"""Two corpora side by side: whether what differs between them is their content, or also their style."""

from __future__ import annotations

import math
import random
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from midspec.core.records import Z95, Comparison, Document, Lengths, Separability, Size
from midspec.core.text import TOKENS_PER_WORD, estimate_tokens, n_words
from midspec.curate._claims import ContentStats
from midspec.curate._config import CurateConfig
from midspec.curate._rows import Row, target_text
from midspec.curate._stats import OccurrenceCounter, lengths_of, names_in

Matrix: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Mask: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

_N_HASHED = 2048
_MIN_ROWS = 20
_RIDGE = 1.0

_WORD = re.compile(r"[^\W\d_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W\d_]+)?")
_PUNCTUATION = ",.;:!?()\"'-\N{EN DASH}\N{EM DASH}\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}*#[]/\n"
# A word without a topic is one that many rows of both sets hold.
_FREQUENT_SHARE = 0.4
_MAX_FREQUENT = 150


def separability(texts: tuple[Sequence[str], Sequence[str]], *, seed: int = 0) -> Separability:
    """Measure how well two sets are told apart by all their words.

    Ridge regression on 2,048 hashed, square-rooted word counts, two-fold cross-validated.

    Args:
        texts: of the first and of the second set; at least 20 each, and as many as fit (2,000 take two seconds).
        seed: decides the halves.

    Returns:
        The area under the ROC curve on held-out texts, with DeLong's 95% interval.
    """
    method = "ridge regression on hashed word counts, two-fold cross-validated; DeLong's interval"
    return _cross_validated(texts, [_hashed_counts(text) for one in texts for text in one], method, seed)


def style_separability(texts: tuple[Sequence[str], Sequence[str]], *, seed: int = 0) -> Separability:
    """Do the same by what has no topic: words frequent in both sets, punctuation, lengths of words and sentences."""
    method = "ridge regression on words frequent in both, punctuation and lengths, two-fold cross-validated; DeLong's"
    counts = [Counter(word for text in one for word in set(_WORD.findall(text.casefold()))) for one in texts]
    shares = {
        word: min(rows / len(one) for rows, one in zip((counts[0][word], counts[1][word]), texts, strict=True))
        for word in counts[0].keys() & counts[1].keys()
    }
    ranked = sorted(shares, key=lambda word: (-shares[word], word))
    frequent = [word for word in ranked[:_MAX_FREQUENT] if shares[word] >= _FREQUENT_SHARE]
    features = [_style_features(text, frequent) for one in texts for text in one]
    return _cross_validated(texts, features, f"{method} interval", seed)


def _cross_validated(
    texts: tuple[Sequence[str], Sequence[str]], features: list[Matrix], method: str, seed: int
) -> Separability:
    n_rows = (len(texts[0]), len(texts[1]))
    if min(n_rows) < _MIN_ROWS:
        note = f"fewer than {_MIN_ROWS} rows in one of them"
        return Separability(auc=None, low=None, high=None, n_rows=n_rows, method=method, note=note)
    is_second, rows = np.repeat([False, True], n_rows), np.stack(features)
    # Rows at equal places are in one half: where two corpora were written in parallel, a row's counterpart would else
    # be learned with the other label, and the classifier would err on purpose.
    first = np.random.default_rng(seed).permutation(max(n_rows)) % 2 == 0
    half = np.concatenate([first[: n_rows[0]], first[: n_rows[1]]])
    aucs, errors = [], []
    for known in (half, ~half):
        scores, second = _ridge_scores(rows[known], is_second[known], rows[~known]), is_second[~known]
        auc, error = auc_of(scores[second], scores[~second])
        aucs.append(auc)
        errors.append(error)
    # The two halves' areas are not independent, so their mean is not taken to be surer than one of them.
    mean, error = sum(aucs) / 2, sum(errors) / 2
    low, high = max(0.0, mean - Z95 * error), min(1.0, mean + Z95 * error)
    return Separability(auc=mean, low=low, high=high, n_rows=n_rows, method=method)


def _hashed_counts(text: str) -> Matrix:
    row = np.zeros(_N_HASHED)
    for word, times in Counter(_WORD.findall(text.casefold())).items():
        row[zlib.crc32(word.encode("utf-8", "surrogatepass")) % _N_HASHED] += times
    row = np.sqrt(row)
    return np.asarray(row / (np.linalg.norm(row) or 1.0))


def _style_features(text: str, frequent: list[str]) -> Matrix:
    words = _WORD.findall(text.casefold())
    n = len(words) or 1
    counts, characters = Counter(words), Counter(text)
    n_sentences = len(re.findall(r"[.!?](?:\s|$)", text)) or 1
    lengths = [n**0.5 / 30, sum(map(len, words)) / n, len(words) / n_sentences / 10]
    rates = [counts[word] / n * 100 for word in frequent] + [characters[each] / n * 100 for each in _PUNCTUATION]
    return np.asarray([*lengths, *rates])


def _ridge_scores(known: Matrix, is_second: Mask, new: Matrix) -> Matrix:
    """Score `new` by a ridge regression fitted to `known`: the higher, the more like the second set.

    Args:
        known: (rows, features).
        is_second: (rows,), which rows of `known` are of the second set.
        new: (new rows, features).
    """
    mean, spread = known.mean(axis=0), known.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0) * known.shape[1] ** 0.5
    known, new = (known - mean) / scale, (new - mean) / scale
    labels = np.where(is_second, 1.0, -1.0)
    # The dual form: as many unknowns as rows, however many features there are.
    weights = np.linalg.solve(known @ known.T + _RIDGE * np.eye(len(known)), labels - labels.mean())
    return np.asarray(new @ (known.T @ weights))


def auc_of(positive: Matrix, negative: Matrix) -> tuple[float, float]:
    """Return the area under the ROC curve and its standard error (DeLong, DeLong and Clarke-Pearson 1988)."""
    above = _share_below(positive, np.sort(negative))
    below = _share_below(negative, np.sort(positive))
    auc = float(above.mean())
    error = float((above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)) ** 0.5)
    # Where they are told apart without a mistake the formula gives 0; the rule of three bounds the error by 3 in n.
    return auc, max(error, 3 / min(len(positive), len(negative)) / Z95) if auc in (0.0, 1.0) else error


def _share_below(values: Matrix, ordered: Matrix) -> Matrix:
    """Return for each value the share of `ordered` that is below it, ties counting half."""
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((left + right) / (2 * len(ordered)))


_N_SHOWN = 20
_MAX_WORDS = 500_000
# Rows of each corpus that the classifier sees.
_N_CLASSIFIED = 1000
# Added to every count, so that a word that one corpus lacks is no infinite excess.
_PRIOR = 0.5


class _Side:
    """The statistics of one of the two corpora, gathered row by row."""

    def __init__(self, seed: int, contents: ContentStats | None) -> None:
        self.contents = contents
        self._draw = random.Random(f"{seed}:compare")
        self.n_words = array("q")
        self.n_tokens = 0
        self.types: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.names = OccurrenceCounter()
        self.texts: list[str] = []
        self.is_pruned = False

    def add(self, row: Row, tokens_per_word: float) -> None:
        text = target_text(row)
        if self.contents is not None:
            self.contents.add(row)
        self.n_words.append(n_words(text))
        self.n_tokens += estimate_tokens(text, tokens_per_word)
        kind = row.metadata.doc_type if isinstance(row, Document) and row.metadata else ""
        self.types[kind or "none"] += 1
        self.words.update(_WORD.findall(text.casefold()))
        if len(self.words) > _MAX_WORDS:
            self.words = Counter(dict(self.words.most_common(_MAX_WORDS // 2)))
            self.is_pruned = True
        self.names.add(names_in(text))
        if len(self.texts) < _N_CLASSIFIED:
            self.texts.append(text)
        elif (place := self._draw.randrange(len(self.n_words))) < _N_CLASSIFIED:
            self.texts[place] = text

    @property
    def size(self) -> Size:
        return Size(documents=len(self.n_words), tokens=self.n_tokens)


def compare(
    rows: Iterable[Row],
    others: Iterable[Row],
    *,
    names: tuple[str, str] = ("A", "B"),
    tokens_per_word: float = TOKENS_PER_WORD,
    seed: int = 0,
    read_with: tuple[CurateConfig, str] | None = None,
) -> Comparison:
    """Compare two corpora: vocabulary, lengths, types, and how surely a classifier tells them apart.

    Args:
        rows: documents or chats of the first, gone through once.
        others: those of the second.
        names: what to call the two.
        tokens_per_word: for estimates of tokens.
        seed: decides which rows the classifier sees, at most 1,000 of each, and the halves.
        read_with: the assistant's names and the text of a spec, by which denials and claims are read in both.
    """
    # One seed: of corpora of equal size the rows at equal places are drawn, which may have been written in parallel.
    one, other = (_Side(seed, ContentStats(*read_with) if read_with else None) for _ in names)
    contents = [side.contents for side in (one, other) if side.contents is not None]
    for side, given in ((one, rows), (other, others)):
        for row in given:
            side.add(row, tokens_per_word)
    lengths = (lengths_of(one.n_words), lengths_of(other.n_words))
    notes = []
    if len(one.n_words) > len(one.texts) or len(other.n_words) > len(other.texts):
        notes.append(f"the classifier saw {len(one.texts):,} and {len(other.texts):,} rows, drawn by seed")
    if one.is_pruned or other.is_pruned:
        notes.append("rare words were let go: the vocabulary is larger than stated")
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
        notes=tuple(notes),
        denials=() if not any(each.denials for each in contents) else tuple(each.denials for each in contents),
        claims=() if not any(each.claims for each in contents) else tuple(each.claims for each in contents),
    )


def _length_distance(one: Lengths | None, other: Lengths | None) -> float | None:
    if one is None or other is None:
        return None
    return _total_variation(*({str(each.low): each.n for each in side.bins} for side in (one, other)))


def _total_variation(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """Return half the sum of the differences of shares: 0 for equal distributions, 1 for ones without overlap."""
    totals = sum(one.values()), sum(other.values())
    if not all(totals):
        return None
    keys = one.keys() | other.keys()
    return sum(abs(one.get(key, 0) / totals[0] - other.get(key, 0) / totals[1]) for key in sorted(keys)) / 2


def _jensen_shannon(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """Return the Jensen-Shannon distance (base 2) of two distributions of words."""
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
    """Return the words most in excess in `one` by the log-likelihood ratio, with their rates per million in both."""
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
