"""Cuts lines of Markdown or plain text into blocks: headings, paragraphs, list items, table rows, code.

The common ground of Markdown dialects, in one pass over the lines. Of CommonMark this leaves out indented code (read
as a paragraph) and setext headings of more than one line (a rule under a long paragraph is a rule).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_FENCE = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)$")
_ITEM = re.compile(r"(?P<indent>[ \t]*)(?:[-*+•‣◦]|(?P<number>\d{1,9})[.)])[ \t]+(?P<text>\S.*)$")
_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_QUOTE = re.compile(r"^(?: {0,3}>[ \t]?)+")
_MAX_SETEXT = 120


@dataclass(frozen=True)
class Block:
    """A piece of the text, and the lines it came from (`first` to before `end`); `level` is of headings."""

    kind: Literal["heading", "paragraph", "item", "row", "code"]
    text: str
    first: int
    end: int
    level: int = 0
    after_blank: bool = False


def scan_blocks(lines: list[str]) -> list[Block]:
    """Cut the lines of a text into blocks, in order."""
    scanner = _Scanner(lines)
    while scanner.at < len(lines):
        scanner.step()
    scanner.flush()
    return scanner.blocks


class _Scanner:
    """One pass over the lines, with the paragraph or list item that is still open."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.blocks: list[Block] = []
        self.kind: Literal["paragraph", "item"] = "paragraph"
        self.open: list[str] = []
        self.first = 0
        self.blank = True
        self.open_after_blank = True

    def step(self) -> None:
        raw = self.lines[self.at]
        line = _QUOTE.sub("", raw)
        if not line.strip():
            # An indented line after a blank one goes on with the list item.
            following = self.lines[self.at + 1] if self.at + 1 < len(self.lines) else ""
            goes_on = self.kind == "item" and following[:2] in ("  ", "\t") and following.strip()
            if not (self.open and goes_on and not _ITEM.match(following)):
                self.flush()
            self.at += 1
        elif fence := _FENCE.match(line):
            self._code(fence["mark"])
        elif self._heading(line) or self._rule(line) or self._table(line):
            pass
        elif (item := _ITEM.match(line)) and (
            # A number other than 1 inside a paragraph is the paragraph's own (a wrapped line, say).
            not self.open or self.kind != "paragraph" or item["number"] in (None, "1")
        ):
            self.flush()
            self._begin("item", item["text"])
        elif self.open:
            self.open.append(line.strip())
            self.at += 1
        else:
            self._begin("paragraph", line.strip())
        self.blank = not line.strip()

    def flush(self) -> None:
        """Close the open paragraph or item."""
        if self.open:
            # Wrapped lines as one: with a space, or with none between two characters of a script without spaces.
            text = self.open[0]
            for line in self.open[1:]:
                text += line if _is_wide(text[-1:]) and _is_wide(line[:1]) else f" {line}"
            self.blocks.append(Block(self.kind, text, self.first, self.at, after_blank=self.open_after_blank))
            self.open = []

    def _begin(self, kind: Literal["paragraph", "item"], text: str) -> None:
        self.kind, self.open, self.first, self.open_after_blank = kind, [text], self.at, self.blank
        self.at += 1

    def _heading(self, line: str) -> bool:
        if match := _ATX.match(line):
            self.flush()
            self._add_heading(match[2] or "", len(match[1]), self.at)
            return True
        underline = _SETEXT.match(line)
        if underline and self.kind == "paragraph" and len(self.open) == 1 and len(self.open[0]) <= _MAX_SETEXT:
            title, self.open = self.open[0], []
            self._add_heading(title, 1 if underline[1][0] == "=" else 2, self.first)
            return True
        return False

    def _add_heading(self, title: str, level: int, first: int) -> None:
        self.at += 1
        self.blocks.append(Block("heading", title.strip(), first, self.at, level))

    def _rule(self, line: str) -> bool:
        if not (_RULE.match(line) or (_SETEXT.match(line) and not self.open)):
            return False
        self.flush()
        self.at += 1
        return True

    def _code(self, mark: str) -> None:
        self.flush()
        first, body = self.at, [self.lines[self.at]]
        closing = re.compile(rf"[ \t]*(?:>[ \t]?)?[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
        self.at += 1
        while self.at < len(self.lines):
            body.append(self.lines[self.at])
            self.at += 1
            if closing.match(body[-1]):
                break
        self.blocks.append(Block("code", "\n".join(body).strip("\n"), first, self.at, after_blank=self.blank))

    def _table(self, line: str) -> bool:
        following = self.lines[self.at + 1] if self.at + 1 < len(self.lines) else ""
        if "|" not in line or "|" not in following or not _DELIMITER.match(_QUOTE.sub("", following)):
            return False
        self.flush()
        headers = _cells(line)
        blank, self.at = self.blank, self.at + 2
        while self.at < len(self.lines) and "|" in (row := _QUOTE.sub("", self.lines[self.at])):
            # A row that can be read away from its table: `Header: cell; Header: cell`.
            cells = _cells(row)
            padded = headers + [""] * (len(cells) - len(headers))
            named = [f"{head}: {cell}" if head else cell for head, cell in zip(padded, cells, strict=False) if cell]
            if named:
                self.blocks.append(Block("row", "; ".join(named), self.at, self.at + 1, after_blank=blank))
            self.at += 1
        return True


def _cells(line: str) -> list[str]:
    bare = line.strip().removeprefix("|")
    bare = bare[:-1] if bare.endswith("|") and not bare.endswith("\\|") else bare
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", bare)]


def _is_wide(char: str) -> bool:
    return bool(char) and ("\u3000" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef")


_CLOSERS = "\"'”’»)\\]*_`"
_CANDIDATE = re.compile(
    rf"(?P<wide>[。！？｡।॥؟۔።]+[」』”’）】\"')\]*_]*\s*)|(?P<stop>[.!?…]+)(?P<close>[{_CLOSERS}]*)\s+"
)
_PROTECTED = re.compile(
    r"`[^`]{1,300}`|\([^()]{1,300}\)|“[^“”]{1,300}”|(?<![\w\"])\"[^\"]{1,300}\"(?!\w)|「[^「」]{1,300}」|『[^『』]{1,300}』"
)
# A rule's number and name (`SP2: Sanctioned limits.`) are no sentence yet: they belong to the one after them.
_RULE_LABEL = re.compile(r"[*_]*[A-Z]{1,5}-?\d+(?:\.\d+)*[a-z]?[*_]*[.:)]?\s+\S+(?: \S+){0,3}\Z|[*_]*[A-Z]{1,5}-?\d+\Z")
_LAST_WORD = re.compile(r"[\w.&-]*\Z")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEVER_LAST = _words(
    "mr mrs ms dr prof rev hon gov sen rep gen capt lt sgt st vs v cf viz e.g i.e eg ie approx resp incl esp"
)
_BEFORE_NUMBER = _words("no nos fig figs sec secs art arts ch chap vol p pp par para eq ex")
_SELDOM_LAST = _words("etc al u.s u.k u.n e.u a.m p.m ph.d inc ltd co corp jr sr dept est ed eds")
_STARTERS = _words(
    "A An And As At But Each Every For He Her His How I If In It Its No Not Of On Or Our She So Some That The Their "
    "Then There These They This Those To We What When Where Which While Who Why With You Your"
)


def split_sentences(text: str) -> list[str]:
    """Cut one paragraph into sentences, trimmed, in order; together they hold every character that is no space."""
    spans = [(match.start(), match.end()) for match in _PROTECTED.finditer(text)]
    starts = [start for start, _ in spans]
    sentences, begin = [], 0
    for match in _CANDIDATE.finditer(text):
        index = bisect_right(starts, match.start()) - 1
        inside = index >= 0 and match.end() <= spans[index][1]
        if not inside and _ends(text, begin, match):
            sentences.append(text[begin : match.end()].strip())
            begin = match.end()
    sentences.append(text[begin:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends(text: str, begin: int, match: re.Match[str]) -> bool:
    """Whether the candidate stop ends the sentence that began at `begin`."""
    if match["wide"] is not None:
        return True
    follows = text[match.end() : match.end() + 24]
    if not follows or not text[begin : match.start()].strip():
        return bool(follows) and text[begin : match.start()] != "" and match["stop"] != "."
    if len(match["stop"]) == 1 and text[match.start() - 1].isspace():
        return True
    if match["stop"] == "." and _RULE_LABEL.match(text[begin : match.start()][:120]):
        return False
    if match["stop"] == "." and _abbreviates(text, begin, match, follows):
        return False
    # What begins in lower case may go on so.
    begins = next((char for char in text[begin : begin + 8] if char.isalpha()), "")
    return not follows[0].islower() or begins.islower()


def _abbreviates(text: str, begin: int, match: re.Match[str], follows: str) -> bool:
    found = _LAST_WORD.search(text[max(begin, match.start() - 24) : match.start()])
    word = found[0] if found else ""
    lower = word.lower()
    if lower in _NEVER_LAST or (lower in _BEFORE_NUMBER and follows[0].isdigit()):
        return True
    if lower in _SELDOM_LAST:
        return follows.split()[0].rstrip(",") not in _STARTERS
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    is_number = text[begin : match.start()].strip() == word and (word.isdigit() or is_initial)
    return is_number or (is_initial and follows[0].isupper() and follows.split()[0] not in _STARTERS)
