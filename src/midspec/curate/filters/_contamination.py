"""What rows share with an evaluation's items: runs of equal words, names as whole words, passages of like meaning."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from midspec.core.near_duplicates import unit_rows
from midspec.core.records import Contamination, Item, Leak, Strict
from midspec.curate._config import CurateConfig, OverlapMethod
from midspec.curate._filter import Embed, Evaluation, Filter, FilterContext
from midspec.curate._rows import Row, row_id

# A word is a run of letters, digits and underscores; any other visible character stands for itself.
_TOKEN = re.compile(r"\w+|[^\w\s]")
_CONTEXT_CHARS = 40

# First token -> the terms that begin with it, each as its tokens and as it is written.
Terms: TypeAlias = dict[str, list[tuple[tuple[str, ...], str]]]


class Occurrence(Strict):
    """One place where a held-out term stands: the row's number from 0, the term, and the text around it."""

    row: int
    term: str
    excerpt: str


class Overlap(Strict):
    """What held-out items and rows have in common, word for word.

    Attributes:
        n_rows: rows searched.
        n_rows_hit: rows in which any term occurs.
        n_terms: distinct terms looked for (options and domain names).
        hits: each term that occurs, and how often, the most frequent first.
        rows_hit: each term that occurs, and in how many rows, the most frequent first.
        examples: the first occurrences of each term.
    """

    n_rows: int
    n_rows_hit: int
    n_terms: int
    hits: dict[str, int]
    rows_hit: dict[str, int]
    examples: tuple[Occurrence, ...]


def overlap(texts: Iterable[str], items: Sequence[Item], *, n_examples: int = 3) -> Overlap:
    """Find every whole-word occurrence of the items' options and domains in the texts.

    Case and the width of white space do not matter; underscores belong to words, so `brie` is not in `brie_pie`.
    The time is linear in the texts, however many items there are.

    Args:
        texts: the rows' texts (for a chat, its turns joined).
        items: held-out items; what they share is looked for once.
        n_examples: how many occurrences to show of each term.
    """
    terms = _terms_of(items)
    hits: Counter[str] = Counter()
    rows_hit: Counter[str] = Counter()
    examples: list[Occurrence] = []
    n_rows = n_rows_hit = 0
    for row, raw in enumerate(texts):
        text = unicodedata.normalize("NFC", raw)
        found: set[str] = set()
        for term, start, end in _find_terms(text, terms):
            found.add(term)
            hits[term] += 1
            if hits[term] <= n_examples:
                examples.append(Occurrence(row=row, term=term, excerpt=_excerpt(text, start, end)))
        rows_hit.update(found)
        n_rows += 1
        n_rows_hit += bool(found)
    return Overlap(
        n_rows=n_rows,
        n_rows_hit=n_rows_hit,
        n_terms=sum(map(len, terms.values())),
        hits=by_count(hits),
        rows_hit=by_count(rows_hit),
        examples=tuple(examples),
    )


def _terms_of(items: Sequence[Item]) -> Terms:
    """Index each distinct term of the items by its first token; a term without a word can't be found."""
    terms: dict[tuple[str, ...], str] = {}
    for item in items:
        for term in (*item.options, item.domain):
            tokens = tuple(token.casefold() for token in _TOKEN.findall(unicodedata.normalize("NFC", term)))
            if any(re.match(r"\w", token) for token in tokens):
                terms.setdefault(tokens, term)
    by_first: Terms = {}
    for tokens, term in terms.items():
        by_first.setdefault(tokens[0], []).append((tokens, term))
    return by_first


def _find_terms(text: str, terms: Terms) -> Iterator[tuple[str, int, int]]:
    """Find each occurrence of a term in `text`: the term, and where it begins and ends."""
    places = list(_TOKEN.finditer(text))
    words = [place[0].casefold() for place in places]
    for at, word in enumerate(words):
        for wanted, term in terms.get(word, ()):
            end = at + len(wanted)
            if tuple(words[at:end]) == wanted:
                yield term, places[at].start(), places[end - 1].end()


def _excerpt(text: str, start: int, end: int) -> str:
    """Return `text[start:end]` with 40 characters around it, on one line."""
    return " ".join(text[max(0, start - _CONTEXT_CHARS) : end + _CONTEXT_CHARS].split())


def by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """Sort counts: the most frequent first, equals by name."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


_WORD = re.compile(r"\w+")
# Fewer words than this recur by chance; they are looked for as names instead.
_MIN_RUN_WORDS = 5
_PASSAGE_WORDS = 100
_N_EXAMPLES = 20


class _Hit(NamedTuple):
    """What is shared, how that was seen, and where in the row's text it begins and ends."""

    method: OverlapMethod
    what: str
    at: tuple[int, int]


class ContaminationFilter:
    """Looks in every row for one evaluation's items, counts what it finds, and rejects by the methods asked for.

    Texts of items (options, reasons, system message) are compared by runs of `ngram_words` equal words; one that is
    shorter, but has at least 5 words, as a whole. Options and domains of fewer words are looked for as whole words.
    With `embed`, passages of 100 words are compared with the longer ones by cosine. Counts are of the rows shown to it.

    Args:
        name: the evaluation's.
        evaluation: its items and texts.
        config: `ngram_words`, `embedding_threshold`, `reject_contaminated`.
        embed: gives a vector for each text; without it likeness in meaning is not looked for.
    """

    name = "contamination"
    is_shipped, order, compares_rows = True, 60, True

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make one for each evaluation."""
        for name, evaluation in context.evaluations.items():
            yield cls(name, evaluation, context.config, embed=context.embed)

    def __init__(self, name: str, evaluation: Evaluation, config: CurateConfig, *, embed: Embed | None = None) -> None:
        self.name = f"contamination: {name}"
        self._evaluation, self._n_items = name, len(evaluation.items) + len(evaluation.texts)
        self._rejects = frozenset(config.reject_contaminated)
        self._grams = _grams([*map(_item_texts, evaluation.items), *((text,) for text in evaluation.texts)], config)
        self._n_gram_words = config.ngram_words
        self._terms = _short_terms(_terms_of(evaluation.items))
        # Nearly all terms begin with a word, so that a row without any of these words needs no further look.
        self._has_odd_term = any(_WORD.match(first) is None for first in self._terms)
        all_texts = [*(text for item in evaluation.items for text in _item_texts(item)), *evaluation.texts]
        # Embeddings of single words are near to too much.
        texts = [text for text in all_texts if len(text.split()) >= _MIN_RUN_WORDS]
        self._passages = _PassageIndex(texts, embed, config.embedding_threshold) if embed and texts else None
        self._n_rows = self._n_rows_hit = 0
        self._rows_hit: Counter[str] = Counter()
        self._items_hit: set[int] = set()
        self._terms_hit: Counter[str] = Counter()
        self._examples: list[Leak] = []

    def reason(self, row: Row) -> str | None:
        """Count what the row shares with the evaluation, and return it when that is a ground to reject it."""
        text = unicodedata.normalize("NFC", row.text)
        hits = list(self._find_hits(text))
        self._n_rows += 1
        self._n_rows_hit += bool(hits)
        self._rows_hit.update({hit.method for hit in hits})
        self._terms_hit.update({hit.what for hit in hits if hit.method == "entity"})
        for hit in hits[: _N_EXAMPLES - len(self._examples)]:
            shown = _excerpt(text, *hit.at)
            self._examples.append(Leak(row_id=row_id(row), how=hit.method, what=hit.what, excerpt=shown))
        ground = next((hit for hit in hits if hit.method in self._rejects), None)
        return None if ground is None else f"shares with {self._evaluation} by {ground.method}: {ground.what}"

    def report(self) -> Contamination:
        """Return the counts so far."""
        methods = ("n-gram", "entity", *(("embedding",) if self._passages is not None else ()))
        return Contamination(
            evaluation=self._evaluation,
            n_rows=self._n_rows,
            n_items=self._n_items,
            n_gram_words=self._n_gram_words,
            rows_hit={method: self._rows_hit[method] for method in methods},
            n_rows_hit=self._n_rows_hit,
            items_hit=len(self._items_hit),
            terms_hit=by_count(self._terms_hit),
            rejected=bool(self._rejects),
            examples=tuple(self._examples),
        )

    def _find_hits(self, text: str) -> Iterator[_Hit]:
        places = list(_WORD.finditer(text))
        words = [place[0].casefold() for place in places]
        for length, grams in self._grams.items():
            runs = list(map(" ".join, zip(*(words[at:] for at in range(length)), strict=False)))
            shared = grams.keys() & set(runs)
            for gram in shared:
                self._items_hit |= grams[gram]
            if shared:
                at = next(number for number, run in enumerate(runs) if run in shared)
                yield _Hit("n-gram", runs[at], (places[at].start(), places[at + length - 1].end()))
        if self._has_odd_term or not self._terms.keys().isdisjoint(words):
            seen: set[str] = set()
            for term, start, end in _find_terms(text, self._terms):
                if term not in seen:
                    seen.add(term)
                    yield _Hit("entity", term, (start, end))
        if self._passages is not None and (nearest := self._passages.nearest(text)) is not None:
            yield _Hit("embedding", nearest[0], nearest[1])


def _item_texts(item: Item) -> tuple[str, ...]:
    return (*item.options, *(item.reasons or ()), *((item.system,) if item.system else ()))


def _grams(texts: Sequence[Sequence[str]], config: CurateConfig) -> dict[int, dict[str, set[int]]]:
    """Index the texts of each item by runs: length in words -> run -> numbers of the items that it stands in."""
    index: dict[int, dict[str, set[int]]] = {}
    for number, parts in enumerate(texts):
        for part in parts:
            words = _WORD.findall(unicodedata.normalize("NFC", part).casefold())
            length = min(len(words), config.ngram_words)
            if length >= min(_MIN_RUN_WORDS, config.ngram_words):
                for at in range(len(words) - length + 1):
                    gram = " ".join(words[at : at + length])
                    index.setdefault(length, {}).setdefault(gram, set()).add(number)
    return index


def _short_terms(terms: Terms) -> Terms:
    """Return the terms that are too short to be compared by runs of words."""
    kept = {
        first: [
            entry for entry in entries if sum(_WORD.match(token) is not None for token in entry[0]) < _MIN_RUN_WORDS
        ]
        for first, entries in terms.items()
    }
    return {first: entries for first, entries in kept.items() if entries}


class _PassageIndex:
    """The embeddings of an evaluation's texts, to compare passages of rows with."""

    def __init__(self, texts: Sequence[str], embed: Embed, threshold: float) -> None:
        self._texts, self._embed, self._threshold = texts, embed, threshold
        self._vectors = unit_rows(embed(texts))

    def nearest(self, text: str) -> tuple[str, tuple[int, int]] | None:
        """Return the text nearest to a passage of `text`, and the passage's span, if near enough."""
        places = [(found.start(), found.end()) for found in re.finditer(r"\S+", text)]
        spans = [
            (places[at][0], places[min(at + _PASSAGE_WORDS, len(places)) - 1][1])
            for at in range(0, len(places), _PASSAGE_WORDS)
        ]
        if not spans:
            return None
        cosines = unit_rows(self._embed([text[start:end] for start, end in spans])) @ self._vectors.T
        passage, item = divmod(int(cosines.argmax()), cosines.shape[1])
        if cosines[passage, item] < self._threshold:
            return None
        return self._texts[item], spans[passage]


FILTERS = ContaminationFilter
