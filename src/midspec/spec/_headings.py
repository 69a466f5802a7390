"""Finds the lines that are headings without a mark for it: short lines in bold, and lines of capitals."""

from __future__ import annotations

from collections.abc import Sequence

from midspec.spec._blocks import BOLD, Block
from midspec.spec._examples import title_of

_HEADING_ENDS = ".!?:;,…。！？：；，、"
_MAX_HEADING_WORDS, _MAX_HEADING_CHARS, _MAX_COLON_WORDS = 12, 100, 6


def as_headings(blocks: list[Block], lines: list[str]) -> list[Block]:
    """Read short lines in bold as headings under those of the text; where it has none, lines of capitals as well."""
    has_headings = any(block.kind == "heading" for block in blocks)
    level = 2 if not has_headings else 1
    out: list[Block] = []
    for index, block in enumerate(blocks):
        words = ""
        if block.kind == "heading":
            level = block.level + 1
        elif block.kind == "paragraph" and block.end - block.first == 1 and index + 1 < len(blocks):
            is_lead = blocks[index + 1].kind != "paragraph"
            words = _heading_words(block.text, lines, block, takes_capitals=not has_headings, is_lead=is_lead)
        out.append(Block("heading", words, block.first, block.end, min(level, 6)) if words else block)
    return out


def _heading_words(text: str, lines: Sequence[str], block: Block, *, takes_capitals: bool, is_lead: bool) -> str:
    """Return the words of a line that is a heading; in bold with a colon it is one, unless it leads to a list."""
    bold = BOLD.fullmatch(text)
    words = (
        f"{bold['sign'] or ''}{bold[3] or bold[4]}"
        if bold
        else text.strip()
        if takes_capitals and text.isupper()
        else ""
    )
    is_apart = block.end < len(lines) and not lines[block.end].strip() and block.after_blank
    words = words.strip()
    if bold and not is_lead and len(words.split()) <= _MAX_COLON_WORDS and title_of(text) is None:
        words = words.rstrip(":： ")
    if not words or (not bold and (not is_apart or sum(map(str.isalpha, words)) < 3)):
        return ""
    is_short = len(words.split()) <= _MAX_HEADING_WORDS and len(words) <= _MAX_HEADING_CHARS
    return words if is_short and words[-1] not in _HEADING_ENDS and title_of(text) is None else ""
