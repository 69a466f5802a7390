"""Which rows name what an evaluation holds out: its options and its domains, as whole words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from midspec.records import Item, Strict

__all__ = ["Occurrence", "Overlap", "Terms", "excerpt", "find_terms", "overlap", "terms_of"]

# A word is a run of letters, digits and underscores; any other visible character stands for itself.
_TOKEN = re.compile(r"\w+|[^\w\s]")
_CONTEXT_CHARS = 40

Terms = dict[str, list[tuple[tuple[str, ...], str]]]


class Occurrence(Strict):
    """One place where a held-out term stands: the row's number from 0, the term, and the text around it."""

    row: int
    term: str
    excerpt: str


class Overlap(Strict):
    """What held-out items and rows have in common, word for word.

    `n_terms` counts the distinct terms looked for (options and domain names). `hits` maps each term that occurs to
    the number of its occurrences, `rows_hit` to the number of rows it occurs in, both the most frequent first.
    `examples` shows the first occurrences of each term.
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
    terms = terms_of(items)
    hits: Counter[str] = Counter()
    rows_hit: Counter[str] = Counter()
    examples: list[Occurrence] = []
    n_rows = n_rows_hit = 0
    for row, raw in enumerate(texts):
        text = unicodedata.normalize("NFC", raw)
        found: set[str] = set()
        for term, start, end in find_terms(text, terms):
            found.add(term)
            hits[term] += 1
            if hits[term] <= n_examples:
                examples.append(Occurrence(row=row, term=term, excerpt=excerpt(text, start, end)))
        rows_hit.update(found)
        n_rows += 1
        n_rows_hit += bool(found)
    return Overlap(
        n_rows=n_rows,
        n_rows_hit=n_rows_hit,
        n_terms=sum(map(len, terms.values())),
        hits=_by_count(hits),
        rows_hit=_by_count(rows_hit),
        examples=tuple(examples),
    )


def terms_of(items: Sequence[Item]) -> Terms:
    """Each distinct term as its tokens, under its first token; a term without a word has nothing to be found by."""
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


def find_terms(text: str, terms: Terms) -> Iterator[tuple[str, int, int]]:
    """Each occurrence of a term in `text`: the term, and where it begins and ends."""
    places = list(_TOKEN.finditer(text))
    words = [place[0].casefold() for place in places]
    for at, word in enumerate(words):
        for wanted, term in terms.get(word, ()):
            end = at + len(wanted)
            if tuple(words[at:end]) == wanted:
                yield term, places[at].start(), places[end - 1].end()


def excerpt(text: str, start: int, end: int) -> str:
    """The text from `start` to `end` with a little of what stands around it, on one line."""
    return " ".join(text[max(0, start - _CONTEXT_CHARS) : end + _CONTEXT_CHARS].split())


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
