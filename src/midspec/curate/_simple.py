"""Filters by length and by language, and by a twin that is missing or spoilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from midspec.curate._rows import Row, n_words, row_id, said
from midspec.errors import ConfigError
from midspec.records import Document

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = ["UNCLEAR", "LanguageFilter", "LengthFilter", "TwinFilter", "language_of"]

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
                f"min_words {min_words} is more than max_words {max_words}", where="length", mend="Swap them"
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
            raise ConfigError(f"{min(unknown)!r} is no known language", where="languages", mend="Give ISO 639-1 codes")
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
