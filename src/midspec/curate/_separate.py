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
_LEAST_ROWS = 20
_RIDGE = 1.0
_Z95 = 1.959964

_WORD = re.compile(r"[^\W\d_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W\d_]+)?")
_MARKS = ",.;:!?()\"'-\N{EN DASH}\N{EM DASH}\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}*#[]/\n"
# A word without a topic is one that many rows of both sets hold.
_FREQUENT_SHARE = 0.4
_MOST_FREQUENT = 150


def separability(texts: tuple[Sequence[str], Sequence[str]], *, seed: int = 0) -> Separability:
    """By all words: ridge regression on 2,048 hashed, square-rooted word counts, two-fold cross-validated.

    Args:
        texts: of the first and of the second set; at least 20 each, and as many as fit (2,000 take two seconds).
        seed: decides the halves.

    Returns:
        The area under the ROC curve on held-out texts, with DeLong's 95% interval.
    """
    method = "ridge regression on hashed word counts, two-fold cross-validated; DeLong's interval"
    return _separated(texts, [_hashed(text) for one in texts for text in one], method, seed)


def style_separability(texts: tuple[Sequence[str], Sequence[str]], *, seed: int = 0) -> Separability:
    """The same by what has no topic: words frequent in both sets, punctuation, lengths of words and sentences."""
    method = "ridge regression on words frequent in both, punctuation and lengths, two-fold cross-validated; DeLong's"
    frequent = _frequent_in_both(texts)
    return _separated(texts, [_style(text, frequent) for one in texts for text in one], f"{method} interval", seed)


def _separated(
    texts: tuple[Sequence[str], Sequence[str]], features: list[Matrix], method: str, seed: int
) -> Separability:
    n_rows = (len(texts[0]), len(texts[1]))
    if min(n_rows) < _LEAST_ROWS:
        note = f"fewer than {_LEAST_ROWS} rows in one of them"
        return Separability(auc=None, low=None, high=None, n_rows=n_rows, method=method, note=note)
    is_second, rows, half = np.repeat([False, True], n_rows), np.stack(features), _halves(n_rows, seed)
    aucs, errors = [], []
    for known in (half, ~half):
        scores, second = _scores(rows[known], is_second[known], rows[~known]), is_second[~known]
        auc, error = _auc(scores[second], scores[~second])
        aucs.append(auc)
        errors.append(error)
    # The two halves' areas are not independent, so their mean is not taken to be surer than one of them.
    mean, error = sum(aucs) / 2, sum(errors) / 2
    low, high = max(0.0, mean - _Z95 * error), min(1.0, mean + _Z95 * error)
    return Separability(auc=mean, low=low, high=high, n_rows=n_rows, method=method)


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


def _halves(n_rows: tuple[int, int], seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which rows are in the first half. Rows at equal places are in one half: where two corpora were written in
    parallel, a row's counterpart would else be learned with the other label, and the classifier would err on purpose.
    """
    first = np.random.default_rng(seed).permutation(max(n_rows)) % 2 == 0
    return np.concatenate([first[: n_rows[0]], first[: n_rows[1]]])


def _scores(known: Matrix, is_second: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], new: Matrix) -> Matrix:
    """What a ridge regression that learned `known` says of `new`: the higher, the more like the second set."""
    mean, spread = known.mean(axis=0), known.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0) * known.shape[1] ** 0.5
    known, new = (known - mean) / scale, (new - mean) / scale
    wanted = np.where(is_second, 1.0, -1.0)
    # The dual form: as many unknowns as rows, however many features there are.
    weights = np.linalg.solve(known @ known.T + _RIDGE * np.eye(len(known)), wanted - wanted.mean())
    return np.asarray(new @ (known.T @ weights))


def _auc(positive: Matrix, negative: Matrix) -> tuple[float, float]:
    """The area under the ROC curve and its standard error (DeLong, DeLong and Clarke-Pearson 1988)."""
    above = _share_below(positive, np.sort(negative))
    below = _share_below(negative, np.sort(positive))
    auc = float(above.mean())
    error = float((above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)) ** 0.5)
    # Where they are told apart without a mistake the error is 0; there is then at most about 3 in n against it.
    return auc, max(error, 3 / min(len(positive), len(negative)) / _Z95) if auc in (0.0, 1.0) else error


def _share_below(values: Matrix, ordered: Matrix) -> Matrix:
    """For each value the share of `ordered` that is below it, ties counting half."""
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((left + right) / (2 * len(ordered)))
