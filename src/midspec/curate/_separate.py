"""How well two sets of texts can be told apart by a linear classifier, on texts that it was not trained on."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from midspec.records import Separability

__all__ = ["separability", "style_separability"]

Matrix: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_N_HASHED = 2048
_N_FOLDS = 5
_LEAST_ROWS = 20
_RIDGE = 1.0
_Z95 = 1.959964

_WORD = re.compile(r"[^\W\d_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W\d_]+)?")
_MARKS = ",.;:!?()\"'-\N{EN DASH}\N{EM DASH}\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}*#[]/\n"
# A word without a topic is one that many rows of both sets hold.
_FREQUENT_SHARE = 0.4
_MOST_FREQUENT = 150


def separability(texts: tuple[Sequence[str], Sequence[str]], *, seed: int = 0) -> Separability:
    """By all words: ridge regression on 2,048 hashed, square-rooted word counts, 5-fold cross-validated.

    Args:
        texts: of the first and of the second set; at least 20 each, and as many as fit (2,000 take two seconds).
        seed: decides the folds.

    Returns:
        The area under the ROC curve on held-out texts, with DeLong's 95% interval.
    """
    method = "ridge regression on hashed word counts, 5-fold cross-validated; DeLong's interval"
    return _separated(texts, [_hashed(text) for one in texts for text in one], method, seed)


def style_separability(texts: tuple[Sequence[str], Sequence[str]], *, seed: int = 0) -> Separability:
    """The same by what has no topic: words frequent in both sets, punctuation, lengths of words and sentences."""
    method = "ridge regression on words frequent in both, punctuation and lengths, 5-fold cross-validated; DeLong's"
    frequent = _frequent_in_both(texts)
    return _separated(texts, [_style(text, frequent) for one in texts for text in one], f"{method} interval", seed)


def _separated(
    texts: tuple[Sequence[str], Sequence[str]], features: list[Matrix], method: str, seed: int
) -> Separability:
    n_rows = (len(texts[0]), len(texts[1]))
    if min(n_rows) < _LEAST_ROWS:
        note = f"fewer than {_LEAST_ROWS} rows in one of them"
        return Separability(auc=None, low=None, high=None, n_rows=n_rows, method=method, note=note)
    labels = np.repeat([0, 1], n_rows)
    scores = _held_out_scores(np.stack(features), labels, seed)
    auc, low, high = _auc(scores[labels == 1], scores[labels == 0])
    return Separability(auc=auc, low=low, high=high, n_rows=n_rows, method=method)


def _hashed(text: str) -> Matrix:
    row = np.zeros(_N_HASHED)
    for word, times in Counter(_WORD.findall(text.casefold())).items():
        row[zlib.crc32(word.encode("utf-8", "surrogatepass")) % _N_HASHED] += times
    row = np.sqrt(row)
    return np.asarray(row / (np.linalg.norm(row) or 1.0))


def _frequent_in_both(texts: tuple[Sequence[str], Sequence[str]]) -> list[str]:
    counts = [Counter(word for text in one for word in set(_WORD.findall(text.casefold()))) for one in texts]
    shares = {
        word: min(rows / len(one) for rows, one in zip((counts[0][word], counts[1][word]), texts, strict=True))
        for word in counts[0].keys() & counts[1].keys()
    }
    ranked = sorted(shares, key=lambda word: (-shares[word], word))
    return [word for word in ranked[:_MOST_FREQUENT] if shares[word] >= _FREQUENT_SHARE]


def _style(text: str, frequent: list[str]) -> Matrix:
    words = _WORD.findall(text.casefold())
    n = len(words) or 1
    counts, marks = Counter(words), Counter(text)
    n_sentences = len(re.findall(r"[.!?](?:\s|$)", text)) or 1
    lengths = [n**0.5 / 30, sum(map(len, words)) / n, len(words) / n_sentences / 10]
    rates = [counts[word] / n * 100 for word in frequent] + [marks[mark] / n * 100 for mark in _MARKS]
    return np.asarray([*lengths, *rates])


def _held_out_scores(features: Matrix, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]], seed: int) -> Matrix:
    """For each row the score of a classifier that was trained on the other folds; folds have equal shares of both."""
    draw = np.random.default_rng(seed)
    folds = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        folds[draw.permutation(rows)] = np.arange(len(rows)) % _N_FOLDS
    scores = np.empty(len(labels))
    for fold in range(_N_FOLDS):
        known, new = features[folds != fold], features[folds == fold]
        mean, spread = known.mean(axis=0), known.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0) * features.shape[1] ** 0.5
        known, new = (known - mean) / scale, (new - mean) / scale
        wanted = np.where(labels[folds != fold] == 1, 1.0, -1.0)
        wanted = wanted - wanted.mean()
        # The dual form: as many unknowns as rows, however many features there are.
        weights = np.linalg.solve(known @ known.T + _RIDGE * np.eye(len(known)), wanted)
        scores[folds == fold] = new @ (known.T @ weights)
    return scores


def _auc(positive: Matrix, negative: Matrix) -> tuple[float, float, float]:
    """The area under the ROC curve and its 95% interval (DeLong, DeLong and Clarke-Pearson 1988)."""
    ordered_positive, ordered_negative = np.sort(positive), np.sort(negative)
    above = _share_below(positive, ordered_negative)
    below = 1 - _share_below(negative, ordered_positive)
    auc = float(above.mean())
    error = (above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)) ** 0.5
    # Where they are told apart without a mistake the error is 0; there is then at most about 3 in n against it.
    error = max(error, 3 / (2 * min(len(positive), len(negative))) / _Z95) if auc in (0.0, 1.0) else error
    return auc, max(0.0, auc - _Z95 * error), min(1.0, auc + _Z95 * error)


def _share_below(values: Matrix, ordered: Matrix) -> Matrix:
    """For each value the share of `ordered` that is below it, ties counting half."""
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((left + right) / (2 * len(ordered)))
