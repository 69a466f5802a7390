"""Near duplicates: of texts by what they share (MinHash), and of vectors by their angle.

In: texts with keys, or vectors. Out: which earlier one a new one nearly repeats. A text is kept as a signature of
fixed size, so memory grows with the number of texts and never with their length. The same seed gives the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from midspec.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from rensa import RMinHash

Unit = Literal["auto", "words", "characters"]
Sketch: TypeAlias = "tuple[tuple[Literal['words', 'characters'], RMinHash], ...]"

# Below the first a text is short and compared by characters, from the second on by words, between them by both: no two
# texts with a similarity of 2/3 or more can then be on different sides.
_MIN_WORDS_FOR_WORDS, _MIN_WORDS_FOR_MIXED = 60, 40
# More letters than this to a "word" is a script that is written without spaces.
_MAX_MEAN_WORD_CHARS = 15
# How surely a pair that is just as similar as the threshold must come up to be looked at.
_MIN_RECALL = 0.9
_FIRST_CAPACITY = 1024


@dataclass(frozen=True)
class Sketcher:
    """Turns a text into its sketch, the MinHash signatures that it is compared by. Picklable, so workers can do it.

    Attributes:
        n_perm: entries of a signature, 4 bytes each; the standard error of a similarity s is sqrt(s(1-s)/n_perm).
        shingle: how many neighbouring words, or characters, make one shingle.
        unit: what shingles are made of; `auto` takes characters for short texts (under about 50 words) and for
            scripts without spaces, words for all others.
        seed: decides the hash functions.
    """

    n_perm: int = 128
    shingle: int = 5
    unit: Unit = "auto"
    seed: int = 0

    def __call__(self, text: str) -> Sketch:
        """Return the sketch of one text; case and the width of white space do not matter."""
        words = text.casefold().split()
        from rensa import RMinHash

        units: tuple[Literal["words", "characters"], ...]
        if self.unit != "auto":
            units = (self.unit,)
        elif sum(map(len, words)) > _MAX_MEAN_WORD_CHARS * len(words) or len(words) < _MIN_WORDS_FOR_MIXED:
            units = ("characters",)
        else:
            units = ("words",) if len(words) >= _MIN_WORDS_FOR_WORDS else ("characters", "words")
        sketch = []
        for unit in units:
            signature = RMinHash(self.n_perm, self.seed)
            signature.update(_shingles(words, unit, self.shingle))
            sketch.append((unit, signature))
        return tuple(sketch)


def _shingles(words: list[str], unit: str, size: int) -> list[str]:
    """Return every run of `size` words or characters; all of a shorter text is one run."""
    if unit == "characters":
        line = " ".join(words)
        return [line[at : at + size] for at in range(max(1, len(line) - size + 1))]
    if len(words) <= size:
        return [" ".join(words)]
    return list(map(" ".join, zip(*(words[at:] for at in range(size)), strict=False)))


class NearIndex:
    """Finds the earlier text that a new one nearly repeats, among any number of texts that come one at a time.

    Candidates come from locality-sensitive hashing; each is verified by the similarity that the two signatures give
    (an estimate of the Jaccard similarity of the sets of shingles). An exact copy is always found. A pair just at the
    threshold is missed in at most one of ten cases by the hashing, and in about half of all by the estimate, whose
    standard error there is 0.035 with 128 entries. Memory is about 2 kB a text.

    Args:
        threshold: from which similarity on a text repeats another.
        n_perm: entries of a signature, a power of two from 16 on.
        shingle: how many words or characters make one shingle.
        unit: what shingles are made of; see `Sketcher`.
        seed: decides the hash functions.

    Raises:
        ConfigError: the threshold is not in (0, 1], or `n_perm` is no power of two from 16 on, or `shingle` < 1.
    """

    def __init__(
        self, *, threshold: float = 0.8, n_perm: int = 128, shingle: int = 5, unit: Unit = "auto", seed: int = 0
    ) -> None:
        if not 0 < threshold <= 1:
            raise ConfigError(f"{threshold} is no share of shingles", where="threshold", hint="Give one in (0, 1]")
        if n_perm < 16 or n_perm & (n_perm - 1):
            raise ConfigError(f"{n_perm} is no size of a signature", where="n_perm", hint="Give 64, 128 or 256")
        if shingle < 1:
            raise ConfigError(f"{shingle} is too few", where="shingle", hint="Give 1 or more")
        self.threshold = threshold
        self.sketcher = Sketcher(n_perm=n_perm, shingle=shingle, unit=unit, seed=seed)
        self._tables: dict[str, _Table] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, text: str | Sketch) -> str | None:
        """Return the key of the text most like this one, the earliest of several, or `None` if none is like enough."""
        return self._found(self._sketch(text))

    def add(self, key: str, text: str | Sketch) -> None:
        """Add a text, whether or not it repeats another."""
        self._add(key, self._sketch(text))

    def find_or_add(self, key: str, text: str | Sketch) -> str | None:
        """Return the key of the text that this one repeats; where there is none, add it and return `None`."""
        sketch = self._sketch(text)
        found = self._found(sketch)
        if found is None:
            self._add(key, sketch)
        return found

    def _sketch(self, text: str | Sketch) -> Sketch:
        return self.sketcher(text) if isinstance(text, str) else text

    def _found(self, sketch: Sketch) -> str | None:
        met = [self._tables[unit].nearest(signature) for unit, signature in sketch if unit in self._tables]
        similarity, number = max(met, key=lambda near: (near[0], -near[1]), default=(0.0, -1))
        return self._keys[number] if number >= 0 and similarity >= self.threshold else None

    def _add(self, key: str, sketch: Sketch) -> None:
        for unit, signature in sketch:
            if unit not in self._tables:
                self._tables[unit] = _Table(self.threshold, self.sketcher.n_perm)
            self._tables[unit].add(len(self._keys), signature)
        self._keys.append(key)


class _Table:
    """Signatures of one unit in the order in which they came, and the buckets that find candidates among them."""

    def __init__(self, threshold: float, n_perm: int) -> None:
        from rensa import RMinHashLSH

        self._buckets = RMinHashLSH(threshold, n_perm, _n_bands(threshold, n_perm))
        self._signatures = np.empty((_FIRST_CAPACITY, n_perm), dtype=np.uint32)
        self._numbers: list[int] = []

    def add(self, number: int, signature: RMinHash) -> None:
        row = len(self._numbers)
        if row == len(self._signatures):
            more = np.empty_like(self._signatures, shape=(row // 2, self._signatures.shape[1]))
            self._signatures = np.concatenate([self._signatures, more])
        self._signatures[row] = signature.digest()
        self._buckets.insert(row, signature)
        self._numbers.append(number)

    def nearest(self, signature: RMinHash) -> tuple[float, int]:
        """Return the highest similarity to any candidate, and the number of the earliest text with it; -1 for none."""
        candidates = np.sort(np.asarray(self._buckets.query(signature), dtype=np.int64))
        if not len(candidates):
            return 0.0, -1
        wanted = np.asarray(signature.digest(), dtype=np.uint32)
        similarities = (self._signatures[candidates] == wanted).mean(axis=1)
        best = int(similarities.argmax())
        return float(similarities[best]), self._numbers[int(candidates[best])]


def _n_bands(threshold: float, n_perm: int) -> int:
    """Return the fewest bands that make a pair at the threshold a candidate surely enough: fewer take less memory."""
    n_bands = 1
    while n_bands < n_perm and 1 - (1 - threshold ** (n_perm // n_bands)) ** n_bands < _MIN_RECALL:
        n_bands *= 2
    return n_bands


def cosine_duplicates(vectors: ArrayLike, threshold: float, *, block: int = 1024) -> dict[int, int]:
    """Find the rows that repeat an earlier row that is kept: row number -> number of the kept row most like it.

    Rows are taken in order, and only a row that is kept can make a later one a duplicate, so a chain of neighbours
    does not vanish behind its first. At most `block` x `block` similarities are held at once.

    Args:
        vectors: shape (rows, dimensions); a row of zeros is like no other.
        threshold: from which cosine on a row is a duplicate.
        block: rows compared at once.

    Raises:
        DataError: not a matrix of finite numbers.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise DataError("are not a matrix of finite numbers", where="vectors", hint="Give one row of numbers a text")
    found: dict[int, int] = {}
    kept = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), block):
        here = unit_rows(rows[start : start + block])
        best, nearest = _best_before(rows, kept, here, start, block)
        own = here @ here.T
        for at in range(len(here)):
            earlier = np.flatnonzero(kept[start : start + at])
            if len(earlier):
                closest = earlier[own[at, earlier].argmax()]
                if own[at, closest] > best[at]:
                    best[at], nearest[at] = own[at, closest], start + closest
            if best[at] >= threshold:
                found[start + at] = int(nearest[at])
            else:
                kept[start + at] = True
    return found


def unit_rows(vectors: ArrayLike) -> NDArray[np.float32]:
    """Return vectors at length 1, so that products of two are cosines; a row of zeros stays one."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return np.asarray(rows / lengths, dtype=np.float32)


def _best_before(
    rows: NDArray[np.float32], kept: NDArray[np.bool_], here: NDArray[np.float32], start: int, block: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For each row of `here`: the highest cosine with a kept row before `start`, and that row's number."""
    best = np.full(len(here), -np.inf, dtype=np.float32)
    nearest = np.zeros(len(here), dtype=np.int64)
    for first in range(0, start, block):
        numbers = first + np.flatnonzero(kept[first : first + block])
        if len(numbers):
            cosines = here @ unit_rows(rows[numbers]).T
            tops = cosines.argmax(axis=1)
            values = cosines[np.arange(len(here)), tops]
            better = values > best
            best[better], nearest[better] = values[better], numbers[tops[better]]
    return best, nearest
