"""Rows that show the frame they were written in: the author model's own words, gaps, plans, refusals, tags."""

from __future__ import annotations

import re

from midspec.core.records import Document
from midspec.curate._rows import Row, said
from midspec.curate.filters._word_lists import load_phrases, whole_words

_EDGE_CHARS = 240
_QUOTES = str.maketrans({"\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'"})
_CODE = re.compile(r"(?ms)^(```|~~~).*?^\1|`[^`\n]*`|^(?: {4}|\t)[^\n]*$")
_LEAST_WORDS_CUT = 12
_LIST_LINE = re.compile(r"\s*(?:#{1,6}\s|[-*\u2022+]\s|\(?\d{1,2}[.)]\s|[A-Za-z][.)]\s|\*\*[^*]+\*\*:?\s*$)")
_LONG_LINE_CHARS = 80
# A plan of a document has little running text; a document has mostly that.
_MOST_PROSE_IN_A_PLAN = 0.3


class FrameLeaks:
    """Rejects what shows the frame of its writing. Pure: the same row always gets the same answer.

    Of a chat only the assistant's turns are looked at, and only for what no reply may hold: an assistant may well hope
    that this helps, or decline.

    Args:
        lists: the shipped lists (`english`), or a YAML file's path.
        spec_text: the spec; what stands in it word for word is quoted and no leak.

    Raises:
        MissingError, ConfigError: there are no such lists, or they are malformed.
    """

    name = "frame leak"

    def __init__(self, lists: str = "english", *, spec_text: str = "") -> None:
        self._spec = spec_text.translate(_QUOTES)
        phrases = load_phrases(lists)
        self._anywhere = whole_words(phrases.anywhere)
        self._start, self._end = whole_words(phrases.start), whole_words(phrases.end)
        self._refusals = whole_words(phrases.refusals)
        plans = "|".join(map(re.escape, phrases.plans)) or "(?!)"
        self._plan = re.compile(rf"\W*(?:{plans})\b[^\n]{{0,60}}(?:\n|:)", re.IGNORECASE)
        self._gap = re.compile("|".join(f"(?:{form})" for form in phrases.placeholders) or "(?!)", re.IGNORECASE)
        self._tag = _tag(phrases.tags)
        self._reply_tag = _tag(tuple(tag for tag in phrases.tags if tag != "think"))

    def reason(self, row: Row) -> str | None:
        """What leaks, with the words that show it."""
        text = said(row).translate(_QUOTES)
        if not isinstance(row, Document):
            return self._anywhere_in(text, self._reply_tag)
        return self._anywhere_in(text, self._tag) or self._at_edges(text) or self._whole(text)

    def _anywhere_in(self, text: str, tag: re.Pattern[str]) -> str | None:
        prose = _CODE.sub(" ", text)
        for what, form, where in (
            ("speaks as its author model", self._anywhere, text),
            ("placeholder", self._gap, prose),
            ("leftover tag", tag, prose),
        ):
            for found in form.finditer(where):
                if found[0] not in self._spec:
                    return f"{what}: {_shown(found[0])}"
        return None

    def _at_edges(self, text: str) -> str | None:
        if (found := self._refusals.search(_beginning(text))) is not None:
            return f"refusal: {_shown(found[0])}"
        if found := self._start.match(text.lstrip(" \t\n*#>\"'")):
            return f"prompt echo: {_shown(found[0])}"
        if found := self._end.search(text[-_EDGE_CHARS:]):
            return f"speaks to whoever asked: {_shown(found[0])}"
        return None

    def _whole(self, text: str) -> str | None:
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            return "empty"
        if self._plan.match(text.lstrip()):
            prose = sum(len(line) for line in lines[1:] if not _LIST_LINE.match(line) and len(line) >= _LONG_LINE_CHARS)
            if prose < _MOST_PROSE_IN_A_PLAN * sum(map(len, lines)):
                return "a bare plan"
        last = lines[-1].rstrip()
        is_cut = re.search(r"\s[A-Za-z]+,?$", last) is not None and len(last.split()) >= _LEAST_WORDS_CUT
        if is_cut and len(last) >= _LONG_LINE_CHARS and not _LIST_LINE.match(last):
            return f"ends in the middle of a sentence: ...{last[-30:]}"
        return None


def _beginning(text: str) -> str:
    """What a text begins with, up to the end of its first line, or to where somebody speaks."""
    return re.split(r'[\n:"\u201c]', text.strip()[:_EDGE_CHARS], maxsplit=1)[0]


def _tag(names: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(map(re.escape, names)) or "(?!)"
    return re.compile(rf"</?(?:{either})(?:\s[^<>\n]*)?/?>", re.IGNORECASE)


def _shown(found: str, limit: int = 60) -> str:
    line = " ".join(found.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
