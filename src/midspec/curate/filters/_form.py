"""Filters by length and by language, and by a twin that is missing or spoilt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from midspec.core.errors import ConfigError
from midspec.core.records import Document
from midspec.curate._rows import Row, n_words, row_id, said

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNCLEAR = "unclear"

_LOOKED_AT_CHARS = 800
_LEAST_WORDS = 8
_SURE = 0.8
_THINK, _END = "<think>", "</think>"


class LengthFilter:
    """Rejects rows that are too short or too long, in words of what they teach to write. Pure."""

    name = "length"

    def __init__(self, min_words: int, max_words: int) -> None:
        if min_words > max_words:
            raise ConfigError(
                f"min_words {min_words} is more than max_words {max_words}", where="length", hint="Swap them"
            )
        self._min, self._max = min_words, max_words

    def reason(self, row: Row) -> str | None:
        """How many words there are, when they are too few or too many. A chat may be as short as one word."""
        n = n_words(said(row))
        least = self._min if isinstance(row, Document) else 1
        if n < least:
            return f"too short: {n} words of at least {least}"
        return f"too long: {n} words of at most {self._max}" if n > self._max else None


class LanguageFilter:
    """Rejects rows that are clearly in another language. Pure. A short or unclear row is kept.

    Args:
        languages: ISO 639-1 codes to keep.

    Raises:
        ConfigError: a code that the identifier does not know.
    """

    name = "language"

    def __init__(self, languages: tuple[str, ...]) -> None:
        unknown = set(languages) - set(_identifier().labels)
        if unknown:
            raise ConfigError(f"{min(unknown)!r} is no known language", where="languages", hint="Give ISO 639-1 codes")
        self._languages = frozenset(languages)

    def reason(self, row: Row) -> str | None:
        """The language that the row is in, when it is not one of those asked for."""
        found = language_of(said(row))
        return None if found == UNCLEAR or found in self._languages else f"in another language: {found}"


def language_of(text: str) -> str:
    """The ISO 639-1 code of the language that a text begins in, or `unclear` where it is too short or too mixed."""
    start = text[:_LOOKED_AT_CHARS]
    if n_words(start) < _LEAST_WORDS:
        return UNCLEAR
    code, confidence = _identifier().classify(start)
    return str(code) if confidence >= _SURE else UNCLEAR


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


class TwinFilter:
    """Rejects a chat whose own reasoning is cut, or whose twin without reasoning is missing or spoilt. Pure.

    Both sets then keep equal ids: what is rejected here leaves both.

    Args:
        faults: for each id of the twins: what is wrong with it, or `None`.
    """

    name = "twins"

    def __init__(self, faults: Mapping[str, str | None]) -> None:
        self._faults = faults

    def reason(self, row: Row) -> str | None:
        """What is wrong with the chat or its twin."""
        if isinstance(row, Document):
            return None
        fault = _reasoning_fault([turn.content for turn in row.messages if turn.role == "assistant"])
        return fault or self._faults.get(row_id(row), "has no twin without reasoning")


def _reasoning_fault(replies: Sequence[str]) -> str | None:
    """What is wrong with replies that must each be one closed `<think>` and then a reply."""
    for reply in replies:
        head, opened, rest = reply.partition(_THINK)
        _, closed, said_after = rest.partition(_END)
        if not opened or not closed or head.strip() or (reply.count(_THINK), reply.count(_END)) != (1, 1):
            return "its reasoning is not one closed <think> at the start"
        if not said_after.strip():
            return "it has reasoning and no reply"
    return None


_CITED = re.compile(
    r"\b(?:rule|clause|principle|policy|provision)s?\s+(?:no\.\s*|number\s+|#)?"
    r"((?:[A-Z]{1,3}-?)?\d+(?:\.\d+)*)(?![\d%]|\.\d|\s*(?:percent|years|months|weeks|days|hours|minutes))",
    re.IGNORECASE,
)
_AT_LINE_START = re.compile(r"(?m)^\W*((?:[A-Z]{1,3}-?)?\d+(?:\.\d+)*)[.):\s]")
_JSON_ID = re.compile(r"\"id\"\s*:\s*\"?([^\",\s}]+)")


class CitationFilter:
    """Rejects rows that cite a rule by a number that is not in the spec. Pure.

    A spec without numbers gives nothing to hold citations against; every row then passes. Sections are no rules: a
    document may well refer to its own.

    Args:
        spec_text: the spec; its numbers are those at the start of lines, in JSON ids, and those that it cites itself.
    """

    name = "citation"

    def __init__(self, spec_text: str) -> None:
        forms = (_CITED, _AT_LINE_START, _JSON_ID)
        self._known = frozenset(_plain(number) for form in forms for number in form.findall(spec_text))

    def reason(self, row: Row) -> str | None:
        """The first number cited that the spec does not have."""
        if not self._known:
            return None
        for found in _CITED.finditer(said(row)):
            if _plain(found[1]) not in self._known:
                return f"cites what the spec does not have: {' '.join(found[0].split())}"
        return None


def _plain(number: str) -> str:
    return number.casefold().replace("-", "")
