"""Openings and names that come back too often, counted as documents arrive, in bounded memory."""

from __future__ import annotations

import heapq
import re

from midspec.corpus._templates import template

__all__ = ["Overused"]

_NAME = re.compile(r"[a-z,;] ([A-Z][a-z]{2,14})\b")
_CAPITALISED = re.compile(r"\b[A-Z][a-z]{2,14}\b")
_OPENING_WORDS = 4
_SEEN_CHARS = 2000
_MOST_COUNTED = 2048
_MOST_SHOWN = 10
_LEAST_TIMES = 3
_FIRST_LOOK, _GROWTH = 32, 1.05


class Overused:
    """What further documents are asked not to use.

    Counts are halved when they become too many, so old habits fade and memory stays flat.

    Args:
        known: a text whose capitalised words are no names to avoid (the spec, with the names in it).
        share: an opening or a name is over-used when it is in more than this share of documents (three at least).
    """

    def __init__(self, known: str, share: float = 0.02) -> None:
        self._known = frozenset(_CAPITALISED.findall(known))
        self._share = share
        self._n = 0
        self._openings: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._line = ""
        self._next_look = _FIRST_LOOK

    def add(self, text: str) -> None:
        """Count a document's first words, and the capitalised words inside the sentences of its first part."""
        self._n += 1
        beginning = text[:_SEEN_CHARS]
        _count(self._openings, " ".join(beginning.split(None, _OPENING_WORDS)[:_OPENING_WORDS]))
        for name in set(_NAME.findall(beginning)) - self._known:
            _count(self._names, name)
        if self._n >= self._next_look:
            self._line = self._shown()
            self._next_look = max(self._n + _FIRST_LOOK, int(self._n * _GROWTH))

    def line(self) -> str:
        """The line of a prompt that says what to avoid; empty while nothing is over-used. Refreshed now and then."""
        return self._line

    def _shown(self) -> str:
        openings, names = self._most(self._openings), self._most(self._names)
        if not openings and not names:
            return ""
        values = {
            "openings": "First words: " + "; ".join(f'"{words} ..."' for words in openings) + ". " if openings else "",
            "names": "Names: " + ", ".join(names) + "." if names else "",
        }
        return template("avoid").fill(values).rstrip() + "\n"

    def _most(self, counts: dict[str, int]) -> list[str]:
        least = max(_LEAST_TIMES, self._share * self._n)
        found = heapq.nlargest(_MOST_SHOWN, counts.items(), key=lambda entry: (entry[1], entry[0]))
        return [key for key, n in found if n >= least]


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
    if len(counts) > _MOST_COUNTED:
        kept = {key: n // 2 for key, n in counts.items() if n > 1}
        counts.clear()
        counts.update(kept)
