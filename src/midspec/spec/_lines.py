"""Cuts what stands line by line: paragraphs whose lines are rules or fields of their own, and rules set as headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from midspec.spec._blocks import BOLD, Block

_FIELD = re.compile(r"[ \t]*(?:\*\*[^*\n]{1,40}:\*\*|\*\*[^*\n]{1,40}\*\*[ \t]*:|__[^_\n]{1,40}:__)[ \t]*\S")
_LEAD_ENDS = (":", "：")
_STOPS = tuple(".!?。！？")
_GOES_ON = tuple(",;:：，；-–—\\")
_MAX_LINE_CHARS = 120
_MIN_RULE_WORDS = 4


def apart(blocks: list[Block], lines: list[str]) -> list[Block]:
    """Return blocks where each line that is a rule or a field of its own is a block of its own.

    Three forms are known: lines that each begin with a field in bold (`**Tone:** calm`); lines without an end under a
    lead (`Ada never does this:`), as plain text has lists; a heading that is a whole sentence with nothing under it,
    which stays a heading with that sentence under it, or is an item where a lead stands before such headings.

    Args:
        blocks: all blocks of a text.
        lines: the text's lines.
    """
    out: list[Block] = []
    level, is_led = 0, False  # the level of the last heading, and whether a lead stands before the next
    for index, block in enumerate(blocks):
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        if block.kind == "heading" and _is_rule(block, following):
            if is_led and block.level > level:
                out.append(replace(block, kind="item", level=0))
                continue
            out += [block, replace(block, kind="paragraph", level=0)]
        elif block.kind == "paragraph" and block.end - block.first > 1:
            out += _lines_of(block, lines, out[-1] if out else None)
        else:
            out.append(block)
        level = block.level if block.kind == "heading" else level
        is_led = block.kind in ("paragraph", "item") and out[-1].text.rstrip("*_ ").endswith(_LEAD_ENDS)
    return out


def is_said_by_heading(head: Block, following: Block | None) -> bool:
    """Return whether a heading is a rule, which `apart` has put under it."""
    return following is not None and following.kind == "paragraph" and following.first == head.first


def _lines_of(block: Block, lines: list[str], before: Block | None) -> Iterator[Block]:
    """Yield a paragraph's lines as blocks, or the paragraph where its lines are none of their own."""
    own = lines[block.first : block.end]
    has_lead = own[0].rstrip("*_ ").endswith(_LEAD_ENDS)
    is_led = has_lead or (before is not None and before.text.rstrip("*_ ").endswith(_LEAD_ENDS))
    if is_led and not has_lead and BOLD.fullmatch(own[0].strip()) and not BOLD.fullmatch(own[1].strip()):
        yield replace(block, kind="item")  # a name in bold over what it means
        return
    if is_led and len(own) - has_lead > 1 and all(map(_is_bare, own[has_lead:])):
        kinds = ["paragraph"] * has_lead + ["item"] * (len(own) - has_lead)
    elif all(map(_FIELD.match, own)):
        kinds = ["paragraph"] * len(own)
    else:
        yield block
        return
    for first, (kind, line) in enumerate(zip(kinds, own, strict=True), block.first):
        words = line.strip().removesuffix("\\")
        yield Block("item" if kind == "item" else "paragraph", words, first, first + 1)


def _is_bare(line: str) -> bool:
    """Return whether a line is a short one that begins anew and has no end, as the lines of a list in plain text."""
    words = line.strip()
    begins = next((char for char in words if char.isalpha()), "a")
    return len(words) <= _MAX_LINE_CHARS and not begins.islower() and not words.endswith((*_STOPS, *_GOES_ON))


def _is_rule(block: Block, following: Block | None) -> bool:
    """Return whether a heading is a whole sentence that nothing stands under."""
    is_empty = following is None or (following.kind == "heading" and following.level <= block.level)
    is_sentence = block.text.rstrip("*_ ").endswith(_STOPS[:2] + _STOPS[3:5])
    return is_empty and is_sentence and len(block.text.split()) >= _MIN_RULE_WORDS
