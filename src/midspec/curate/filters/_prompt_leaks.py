"""Rows that show how they were written: the author model's own words, placeholders, plans, refusals, tags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from midspec.core.records import Document, Strict
from midspec.core.text import CONTROL_TOKEN, MISREAD, whole_words
from midspec.core.yaml_files import Regex
from midspec.curate._filter import Filter, FilterContext, load_list
from midspec.curate._rows import Row, target_text

_EDGE_CHARS = 240
_QUOTES = str.maketrans({"\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'"})
_CODE = re.compile(r"(?ms)^(```|~~~).*?^\1|`[^`\n]*`|^(?: {4}|\t)[^\n]*$")
_LIST_LINE = re.compile(r"\s*(?:#{1,6}\s|[-*\u2022+]\s|\(?\d{1,2}[.)]\s|[A-Za-z][.)]\s|\*\*[^*]+\*\*:?\s*$)")
# A last line of fewer words may well be a title or a name, and ends without a full stop rightly.
_MIN_WORDS_CUT = 12
_LONG_LINE_CHARS = 80
# A plan of a document has little running text; a document has mostly that.
_MAX_PROSE_IN_A_PLAN = 0.3


class Phrases(Strict):
    """What shows that a text is not what it was meant to be; see the shipped file for what each list is for."""

    anywhere: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    placeholders: tuple[Regex, ...] = ()
    tags: tuple[str, ...] = ()


_load_phrases = lru_cache(maxsize=8)(lambda name: load_list(name, Phrases))


class PromptLeakFilter:
    """Rejects what shows how a row was written. Pure: the same row always gets the same answer.

    Of a chat only the assistant's turns are looked at, and only for what no reply may hold: an assistant may well hope
    that this helps, or decline.

    Args:
        lists: the shipped lists (`english`), or a YAML file's path.
        spec_text: the spec; what stands in it word for word is quoted and no leak.

    Raises:
        MissingError, ConfigError: there are no such lists, or they are malformed.
    """

    # Rejects that were written before bear this name, and reports count by it.
    name = "frame leak"
    is_shipped, order = True, 10

    @classmethod
    def make(cls, context: FilterContext) -> Iterator[Filter]:
        """Make it where `frame_leaks` is set."""
        if context.config.frame_leaks:
            yield cls(context.config.lists, spec_text=context.quotable)

    def __init__(self, lists: str = "english", *, spec_text: str = "") -> None:
        self._spec = spec_text.translate(_QUOTES)
        phrases = _load_phrases(lists)
        found = (phrases.anywhere, phrases.start, phrases.end, phrases.refusals)
        self._anywhere, self._start, self._end, self._refusals = (whole_words(each, joined=False) for each in found)
        plans = "|".join(map(re.escape, phrases.plans)) or "(?!)"
        self._plan = re.compile(rf"\W*(?:{plans})\b[^\n]{{0,60}}(?:\n|:)", re.IGNORECASE)
        self._placeholder = re.compile(
            "|".join(f"(?:{form})" for form in phrases.placeholders) or "(?!)", re.IGNORECASE
        )
        self._document_tag = _tag(phrases.tags)
        self._reply_tag = _tag(tuple(tag for tag in phrases.tags if tag != "think"))

    def reason(self, row: Row) -> str | None:
        """Return what leaks, with the words that show it."""
        text = target_text(row).translate(_QUOTES)
        if not isinstance(row, Document):
            return self._leak_anywhere(text, self._reply_tag)
        return self._leak_anywhere(text, self._document_tag) or self._leak_at_edges(text) or self._wrong_form(text)

    def _leak_anywhere(self, text: str, tag: re.Pattern[str]) -> str | None:
        prose = _CODE.sub(" ", text)
        for what, pattern, searched in (
            ("speaks as its author model", self._anywhere, text),
            ("placeholder", self._placeholder, prose),
            ("leftover tag", tag, prose),
            ("mark of a chat template", CONTROL_TOKEN, prose),
            ("wrongly decoded", MISREAD, text),
        ):
            for match in pattern.finditer(searched):
                if match[0] not in self._spec:
                    return f"{what}: {_excerpt(match[0])}"
        return None

    def _leak_at_edges(self, text: str) -> str | None:
        # Only before the first line ends or somebody is quoted: later in a document a refusal may be reported speech.
        beginning = re.split(r'[\n:"\u201c]', text.strip()[:_EDGE_CHARS], maxsplit=1)[0]
        if match := self._refusals.search(beginning):
            return f"refusal: {_excerpt(match[0])}"
        if match := self._start.match(text.lstrip(" \t\n*#>\"'")):
            return f"prompt echo: {_excerpt(match[0])}"
        if match := self._end.search(text[-_EDGE_CHARS:]):
            return f"speaks to whoever asked: {_excerpt(match[0])}"
        return None

    def _wrong_form(self, text: str) -> str | None:
        """Return why the whole is no document: empty, a plan of one, or cut off."""
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            return "empty"
        if self._plan.match(text.lstrip()):
            prose = sum(len(line) for line in lines[1:] if not _LIST_LINE.match(line) and len(line) >= _LONG_LINE_CHARS)
            if prose < _MAX_PROSE_IN_A_PLAN * sum(map(len, lines)):
                return "a bare plan"
        last = lines[-1].rstrip()
        is_cut = re.search(r"\s[A-Za-z]+,?$", last) is not None and len(last.split()) >= _MIN_WORDS_CUT
        if is_cut and len(last) >= _LONG_LINE_CHARS and not _LIST_LINE.match(last):
            return f"ends in the middle of a sentence: ...{last[-30:]}"
        return None


def _tag(names: tuple[str, ...]) -> re.Pattern[str]:
    any_name = "|".join(map(re.escape, names)) or "(?!)"
    return re.compile(rf"</?(?:{any_name})(?:\s[^<>\n]*)?/?>", re.IGNORECASE)


def _excerpt(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


FILTERS = PromptLeakFilter
