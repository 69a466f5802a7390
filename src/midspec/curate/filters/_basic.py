"""Filters that need no word lists: length, language, rule numbers, chats with reasoning, duplicates."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from midspec.core.errors import ConfigError
from midspec.core.records import Document
from midspec.core.text import n_words
from midspec.curate._filter import Filter, FilterContext
from midspec.curate._rows import END_THINK, THINK, Row, row_id, target_text

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNCLEAR = "unclear"

_IDENTIFIED_CHARS = 800
_MIN_WORDS_TO_IDENTIFY = 8
_MIN_CONFIDENCE = 0.8
# Thai, Lao, Tibetan, Burmese and Khmer part sentences by spaces and not words, which have about five signs each.
_UNPARTED = re.compile("[\u0e00-\u109f\u1780-\u17ff]")
_SIGNS_PER_WORD = 5


def _n_words(text: str) -> int:
    n_signs = 0 if text.isascii() else len(_UNPARTED.findall(text))
    return n_words(text) + n_signs // _SIGNS_PER_WORD


class LengthFilter:
    """Rejects rows whose target text has too few or too many words. Pure."""

    name = "length"
    is_shipped, order = True, 35

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it always."""
        yield cls(context.config.min_words, context.config.max_words)

    def __init__(self, min_words: int, max_words: int) -> None:
        if min_words > max_words:
            raise ConfigError(
                f"min_words {min_words} is more than max_words {max_words}", where="length", hint="Swap them"
            )
        self._min, self._max = min_words, max_words

    def reason(self, row: Row) -> str | None:
        """Return how many words there are, when they are too few or too many. A chat may be as short as one word."""
        n = _n_words(target_text(row))
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
    is_shipped, order = True, 40

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it where languages are named."""
        if context.config.languages:
            yield cls(context.config.languages)

    def __init__(self, languages: tuple[str, ...]) -> None:
        unknown = set(languages) - set(_identifier().labels)
        if unknown:
            raise ConfigError(f"{min(unknown)!r} is no known language", where="languages", hint="Give ISO 639-1 codes")
        self._languages = frozenset(languages)

    def reason(self, row: Row) -> str | None:
        """Return the language that the row is in, when it is none of those to keep."""
        language = identify_language(target_text(row))
        return None if language == UNCLEAR or language in self._languages else f"in another language: {language}"


def identify_language(text: str) -> str:
    """Return the ISO 639-1 code of the language that a text begins in; `unclear` where it is too short or mixed."""
    start = text[:_IDENTIFIED_CHARS]
    if _n_words(start) < _MIN_WORDS_TO_IDENTIFY:
        return UNCLEAR
    code, confidence = _identifier().classify(start)
    return str(code) if confidence >= _MIN_CONFIDENCE else UNCLEAR


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
    is_shipped, order, compares_rows = True, 0, True

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it where there are twins."""
        if context.twin_faults is not None:
            yield cls(context.twin_faults)

    def __init__(self, faults: Mapping[str, str | None]) -> None:
        self._faults = faults

    def reason(self, row: Row) -> str | None:
        """Return what is wrong with the chat or its twin."""
        if isinstance(row, Document):
            return None
        for reply in [turn.content for turn in row.messages if turn.role == "assistant"]:
            head, opened, rest = reply.partition(THINK)
            _, closed, answer = rest.partition(END_THINK)
            if not opened or not closed or head.strip() or (reply.count(THINK), reply.count(END_THINK)) != (1, 1):
                return "its reasoning is not one closed <think> at the start"
            if not answer.strip():
                return "it has reasoning and no reply"
        return self._faults.get(row_id(row), "has no twin without reasoning")


_CITED = re.compile(
    r"\b(?:rule|clause|principle|policy|provision)s?\s+(?:no\.\s*|number\s+|#)?"
    r"((?:[A-Z]{1,3}-?)?\d+(?:\.\d+)*)(?![\d%]|\.\d|\s*(?:percent|years|months|weeks|days|hours|minutes))",
    re.IGNORECASE,
)
_AT_LINE_START = re.compile(r"(?m)^\W*((?:[A-Z]{1,3}-?)?\d+(?:\.\d+)*)[.):\s]")
_JSON_ID = re.compile(r"\"id\"\s*:\s*\"?([^\",\s}]+)")


class CitationFilter:
    """Rejects rows that cite a rule by a number that is not in the spec. Pure.

    A spec without numbers gives nothing to check citations against; every row then passes. Numbers of sections are
    not checked: a document may well refer to its own.

    Args:
        spec_text: the spec; its numbers are those at the start of lines, in JSON ids, and those that it cites itself.
    """

    name = "citation"
    is_shipped, order = True, 30

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it where the spec is known."""
        if context.spec_text:
            yield cls(context.spec_text)

    def __init__(self, spec_text: str) -> None:
        forms = (_CITED, _AT_LINE_START, _JSON_ID)
        self._known = frozenset(_plain(number) for form in forms for number in form.findall(spec_text))

    def reason(self, row: Row) -> str | None:
        """Return the first number cited that the spec does not have."""
        if not self._known:
            return None
        for match in _CITED.finditer(target_text(row)):
            if _plain(match[1]) not in self._known:
                return f"cites what the spec does not have: {' '.join(match[0].split())}"
        return None


def _plain(number: str) -> str:
    return number.casefold().replace("-", "")


class ExactDuplicateFilter:
    """Rejects a row whose text was let pass before, whatever the case and the white space. It remembers 16 bytes a row.

    What it says of a row depends on the rows before it, so each row is shown to it once and in order.
    """

    name = "exact duplicate"
    is_shipped, order, compares_rows = True, 90, True

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:  # noqa: ARG003
        """Make it always."""
        yield cls()

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}

    def reason(self, row: Row) -> str | None:
        """Return the id of the row that this one repeats."""
        text = " ".join(row.text.casefold().split())
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if (earlier := self._seen.get(digest)) is not None:
            return f"repeats: {earlier}"
        self._seen[digest] = row_id(row)
        return None


class NearDuplicateFilter:
    """Rejects a row that nearly repeats one let pass before; of a chat its questions count. It remembers 2 kB a row.

    What it says of a row depends on the rows before it, so each row is shown to it once and in order.

    Args:
        threshold: see `midspec.core.near_duplicates.NearIndex`.
        seed: decides the hash functions.
    """

    name = "near duplicate"
    is_shipped, order, compares_rows = True, 91, True

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it where there is a threshold for this kind of rows."""
        config, is_documents = context.config, context.kind == "documents"
        threshold = config.near_threshold if is_documents else config.chat_near_threshold
        if threshold is not None:
            yield cls(threshold, seed=config.seed)

    def __init__(self, threshold: float, *, seed: int = 0) -> None:
        from midspec.core.near_duplicates import NearIndex

        self._index = NearIndex(threshold=threshold, seed=seed)

    def reason(self, row: Row) -> str | None:
        """Return the id of the row that this one nearly repeats."""
        if isinstance(row, Document):
            text = row.text
        else:
            text = "\n".join(turn.content for turn in row.messages if turn.role == "user")
        earlier = self._index.find_or_add(row_id(row), text)
        return None if earlier is None else f"nearly repeats: {earlier}"


FILTERS = (TwinFilter, CitationFilter, LengthFilter, LanguageFilter, ExactDuplicateFilter, NearDuplicateFilter)
