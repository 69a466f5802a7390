"""Cuts lines of Markdown or plain text into blocks: headings, paragraphs, list items, table rows, code, turns in tags.

The common ground of Markdown dialects, in one pass over the lines. Of CommonMark this leaves out indented code (read
as a paragraph) and setext headings of more than one line (a rule under a long paragraph is a rule).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from midspec.spec._examples import (
    Turn,
    mark_of_heading,
    read_label,
    read_row,
    title_of,
)
from midspec.spec._tags import WRAPPERS, opens_turns, read_code, wraps_alone

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
FENCE = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)$")
_ITEM = re.compile(r"(?P<indent>[ \t]*)(?:[-*+•‣◦]|(?P<number>\d{1,9})[.)])[ \t]+(?P<text>\S.*)$")
_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_QUOTE = re.compile(r"^(?: {0,3}>[ \t]?)+")
_CHECKBOX = re.compile(r"\[[ xX]\][ \t]+(?=\S)")
_CLOSING = re.compile(r"</([A-Za-z][\w-]*)[ \t]*>")
_MAX_SETEXT = 120
BOLD = re.compile(
    r"(?P<sign>[^\w\s*_`#>~<\[({|+\\-][^\w\s*_`]?[ \t]+)?"
    r"(?:(\*\*\*|___|\*\*|__)(?=\S)((?:(?!\2).)+)(?<=\S)\2|【([^【】]+)】)[ \t]*"
)


@dataclass(frozen=True)
class Block:
    """A piece of the text, and the lines it came from (`first` to before `end`).

    `level` is a heading's, or an item's: in how many lists it stands, but one.
    """

    kind: Literal["heading", "paragraph", "item", "row", "code", "example"]
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
        self.closing: dict[str, list[int]] = {}
        self.no_turns_before = 0
        # The lists that are open, outermost first: the indentation of each, and whether it has numbers.
        self.lists: list[tuple[int, bool]] = []
        self.level = 0
        for at, line in enumerate(lines):
            for name in _CLOSING.findall(line) if "</" in line else ():
                self.closing.setdefault(name, []).append(at)

    def step(self) -> None:
        raw = self.lines[self.at]
        line = _QUOTE.sub("", raw)
        if not line.strip():
            # An indented line after a blank one goes on with the list item.
            following = self.lines[self.at + 1] if self.at + 1 < len(self.lines) else ""
            goes_on = self.kind == "item" and following[:2] in ("  ", "\t") and following.strip()
            if not (self.open and goes_on and not _ITEM.match(following) and not is_label(following.strip())):
                self.flush()
            self.at += 1
        elif fence := FENCE.match(line):
            self._code(fence["mark"])
        elif self._heading(line) or self._rule(line) or self._table(line) or self._turns():
            pass
        elif (item := _ITEM.match(line)) and (
            # A number other than 1 inside a paragraph is the paragraph's own (a wrapped line, say).
            not self.open or self.kind != "paragraph" or item["number"] in (None, "1")
        ):
            self.flush()
            self._nest(len(item["indent"].expandtabs(4)), is_numbered=item["number"] is not None)
            self._begin("item", _CHECKBOX.sub("", item["text"]))
        elif self.open:
            self.open.append(line.strip())
            self.at += 1
        else:
            self.lists = self.lists if line[0].isspace() else []
            self._begin("paragraph", line.strip())
        self.blank = not line.strip()

    def flush(self) -> None:
        """Close the open paragraph or item."""
        if self.open:
            # Wrapped lines as one: with a space, or with none between two characters of a script without spaces.
            text = self.open[0]
            for line in self.open[1:]:
                text = text.removesuffix("\\").rstrip() if text.endswith("\\") and not text.endswith("\\\\") else text
                text += line if _is_wide(text[-1:]) and _is_wide(line[:1]) else f" {line}"
            level = self.level if self.kind == "item" else 0
            self.blocks.append(Block(self.kind, text, self.first, self.at, level, self.open_after_blank))
            self.open = []

    def _nest(self, indent: int, *, is_numbered: bool) -> None:
        """Find in how many lists an item stands: by its indentation, or as a dash under a number that leads to it."""
        while self.lists and indent <= self.lists[-1][0] - 2:
            self.lists.pop()
        here = (indent, is_numbered)
        if not self.lists or indent >= self.lists[-1][0] + 2:
            self.lists.append(here)
        elif self.lists[-1][1] != is_numbered:
            before = self.blocks[-1]
            if len(self.lists) > 1 and self.lists[-2][1] == is_numbered and indent <= self.lists[-2][0] + 1:
                self.lists.pop()
            elif not is_numbered and before.kind == "item" and before.text.rstrip("*_ ").endswith((":", "：")):
                self.lists.append(here)
            else:
                self.lists[-1] = here
        self.level = len(self.lists) - 1

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
        self.lists = []
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
        closing = re.compile(rf"[ \t]*(?:>[ \t]*)?{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
        self.at += 1
        while self.at < len(self.lines):
            body.append(self.lines[self.at])
            self.at += 1
            if closing.match(body[-1]):
                break
        self.blocks.append(Block("code", "\n".join(body).strip("\n"), first, self.at, after_blank=self.blank))

    def _turns(self) -> bool:
        """Take turns in tags outside a fence: from a tag to the line that closes it, and what of the kind follows.

        An example in a tag ends with it. A tag around several examples is passed over, and so is its end.
        """
        if wraps_alone(self.lines[self.at]) and self._holds_examples():
            self.flush()
            self.at += 1
            return True
        end = self.at
        while self.at >= self.no_turns_before and end < len(self.lines) and (name := opens_turns(self.lines[end])):
            is_whole = name.lower() in WRAPPERS
            closing = self.closing.get(name, [])
            if (place := bisect_left(closing, end)) == len(closing) or (is_whole and end > self.at):
                break
            end = closing[place] + 1
            if is_whole:
                break
            following = next((at for at in range(end, len(self.lines)) if self.lines[at].strip()), end)
            if following > end and opens_turns(self.lines[following]) and not wraps_alone(self.lines[following]):
                end = following
        text = "\n".join(self.lines[self.at : end])
        if not text or not read_code(text):
            self.no_turns_before = max(end, self.no_turns_before)
            return False
        self.flush()
        self.blocks.append(Block("code", text.strip("\n"), self.at, end, after_blank=self.blank))
        self.at = end
        return True

    def _holds_examples(self) -> bool:
        """Return whether the tag of this line ends one around examples, or begins one: the next line opens another."""
        line = self.lines[self.at].strip()
        if line.startswith("</"):
            return True
        following = next((one for one in self.lines[self.at + 1 : self.at + 4] if one.strip()), "")
        return opens_turns(following).lower() in WRAPPERS

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
            if example := read_row(padded, cells):
                self.blocks.append(Block("example", example, self.at, self.at + 1, after_blank=blank))
            elif named:
                self.blocks.append(Block("row", "; ".join(named), self.at, self.at + 1, after_blank=blank))
            self.at += 1
        return True


def _cells(line: str) -> list[str]:
    bare = line.strip().removeprefix("|")
    bare = bare[:-1] if bare.endswith("|") and not bare.endswith("\\|") else bare
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", bare)]


def _is_wide(char: str) -> bool:
    return bool(char) and ("\u3000" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef")


# Labels ---------------------------------------------------------------------------------------------------------------
def heading_label(words: str) -> list[Turn]:
    """Return the turn that a heading, or a line in bold, is the label of."""
    turn = read_label(f"**{words.strip('*_ :：')}:**") if mark_of_heading(words) else None
    return [] if turn is None else [turn]


def label_of(text: str) -> Turn | None:
    """Read a paragraph's label, with a colon or in bold."""
    return read_label(text) or next(iter(heading_label(text) if BOLD.fullmatch(text) else []), None)


def is_label(text: str) -> bool:
    """Return whether a text is the label of an example or of a turn."""
    return title_of(text) is not None or label_of(text) is not None
