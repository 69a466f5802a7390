"""Finds the blocks that are examples: a label, the user's turn, and replies with their marks become one block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from midspec.spec._blocks import FENCE, Block, heading_label, is_label, label_of
from midspec.spec._examples import (
    QUOTE_MARKS,
    Turn,
    example_of,
    is_example,
    is_quoted_talk,
    mark_of_heading,
    read_label,
    read_lines,
    spread,
    title_of,
)
from midspec.spec._tags import read_code

_MAX_REPLY_BLOCKS, _MAX_QUOTED_BLOCKS = 8, 16
# A text of nothing but labels is looked at from each of them: so many blocks at most are one example.
_MAX_BLOCKS = 60


def gather_examples(blocks: list[Block], lines: list[str], clean: Callable[[str], str]) -> list[Block]:
    """Make one block of each example: its label, the user's turn, and replies with their marks.

    Args:
        blocks: all blocks of a text.
        lines: the text's lines.
        clean: takes marks out of the words of a title or a turn that is no code.
    """
    out: list[Block] = []
    at = 0
    while at < len(blocks):
        title = title_of(out[-1].text) if out and out[-1].kind in ("paragraph", "item") else None
        words, end = _example_at(blocks, at, lines, clean, title)
        if not words:
            if blocks[at].kind == "example":
                out.append(replace(blocks[at], text="\n".join(map(clean, blocks[at].text.split("\n")))))
            else:
                out.append(blocks[at])
            at += 1
            continue
        first = blocks[at].first if title is None else out.pop().first
        out.append(Block("example", words, first, blocks[end - 1].end, after_blank=blocks[at].after_blank))
        at = end
    return out


def _example_at(
    blocks: list[Block], at: int, lines: list[str], clean: Callable[[str], str], title: str | None
) -> tuple[str, int]:
    """Return the example that begins at a block, and where it ends; no words where none begins."""
    if blocks[at].kind == "code":
        turns = [turn._replace(why=clean(turn.why)) for turn in read_code(blocks[at].text)]
        return (example_of(clean(title) if title else None, turns), at + 1) if turns else ("", at)
    found: list[Turn] = []
    end = at
    is_list = blocks[at].kind == "item"
    own_title: str | None = None
    is_of_rules = False
    while end < len(blocks) and end - at < _MAX_BLOCKS:
        block = blocks[end]
        own, turns = _turns_of(blocks, end, lines, found)
        own_title = own if end == at and turns else own_title
        turns = [] if own is not None and end > at else turns
        if not turns or (not title and not own_title and _begins_next(blocks, end, turns, found)):
            break
        end += 1
        marks = {turn.mark for turn in (*found, *turns)} - {""}
        limit = _next_reply(blocks, end, marks)
        if not turns[-1].body or limit > end:
            begin, label = end, turns.pop()
            texts, end = _body(blocks, end, lines, to_heading=block.kind == "heading", limit=limit)
            is_of_rules |= _is_over_rules(label, blocks[begin:end])
            if label.is_many and not label.body and all(_is_apart(block, lines) for block in blocks[begin:end]):
                turns += [label._replace(body=text) for text in texts] or [label]
            else:
                turns.append(label._replace(body=" ".join([label.body, *texts]).strip()))
        if turns[-1].body and (rest := _rest_of_quotation(blocks, end, turns[-1].body)):
            turns[-1] = turns[-1]._replace(body=" ".join([turns[-1].body, *rest]))
            end += len(rest)
        found += [turn._replace(body=clean(" ".join(turn.body.split()))) for turn in turns]
    found = spread(found)
    is_talk = title is not None or own_title is not None or end == at + 1 or is_quoted_talk(found)
    is_of_rules &= all(turn.role != "User" for turn in found)
    if not found or is_of_rules or not any(turn.body for turn in found):
        return "", at
    if not is_example(found, is_talk=is_talk, is_list=is_list):
        return "", at
    whole = next((clean(one) for one in (own_title, title) if one), None)
    return example_of(whole, found), end


def _rest_of_quotation(blocks: list[Block], at: int, body: str) -> list[str]:
    """Return the paragraphs and items that a reply in quotation marks goes on with; none where nothing ends it."""
    closing = {'"': '"', "“": "”", "„": "“”", "«": "»"}.get(body[0], "")
    if not closing or any(mark in body[1:] for mark in closing):
        return []
    texts: list[str] = []
    for block in blocks[at : at + _MAX_QUOTED_BLOCKS]:
        if block.kind not in ("paragraph", "item") or is_label(block.text):
            break
        texts.append(block.text)
        if any(mark in block.text for mark in closing):
            return texts
    return []


def _begins_next(blocks: list[Block], at: int, turns: Sequence[Turn], found: Sequence[Turn]) -> bool:
    """Return whether an example is complete and the next begins: a pair of replies, or a user with both."""
    marks = [turn.mark for turn in found]
    if turns[0].role == "User" and {"GOOD", "BAD"} <= set(marks):
        return bool(found[-1].body) and "User" in {turn.role for turn in found}
    if sorted(marks) != ["BAD", "GOOD"] or not blocks[at].after_blank or turns[0].mark != marks[0]:
        return False
    following = label_of(blocks[at + 1].text) if at + 1 < len(blocks) else None
    return marks[1] in {turn.mark for turn in (*turns, *([following] if following else []))}


def _turns_of(blocks: list[Block], at: int, lines: list[str], found: Sequence[Turn]) -> tuple[str | None, list[Turn]]:
    """Return an example's title, if a block is one, and the turns whose labels it holds; `found` are those before."""
    block = blocks[at]
    if block.kind == "heading":
        if turns := heading_label(block.text):
            return None, turns
        said = read_label(f"**{block.text}:**")
        return None, [said] if said and said.role == "User" and _is_marked_next(blocks, at) else []
    if block.kind in ("paragraph", "item"):
        own, turns = read_lines(lines[block.first : block.end])
        return own, turns or [label for label in [label_of(block.text)] if label]
    if block.kind == "code" and found and found[-1].mark and not found[-1].body:
        return None, read_code(block.text)  # a talk under `Bad:`
    return None, []


def _is_over_rules(label: Turn, body: Sequence[Block]) -> bool:
    """Return whether a label such as `Don't:` is over a list that is not in quotation marks: of rules, not replies."""
    is_bare = bool(body) and all(block.kind == "item" and block.text[:1] not in QUOTE_MARKS for block in body)
    return label.is_duty and not label.body and is_bare


def _is_apart(block: Block, lines: list[str]) -> bool:
    """Return whether a block is a reply by itself under a label over several."""
    return block.kind == "item" or lines[block.first].lstrip().startswith(">")


def _is_marked_next(blocks: list[Block], at: int) -> bool:
    """Return whether the heading after this one marks a reply."""
    following = next((block for block in blocks[at + 1 : at + 1 + _MAX_REPLY_BLOCKS] if block.kind == "heading"), None)
    return following is not None and bool(mark_of_heading(following.text))


def _next_reply(blocks: list[Block], at: int, marks: set[str]) -> int:
    """Return where the next reply with another mark begins, if nothing but a turn's blocks can stand before it.

    Args:
        blocks: all blocks.
        at: the first under a turn's label.
        marks: of the replies so far; none under the user's turn.
    """
    for index in range(at, min(at + _MAX_REPLY_BLOCKS, len(blocks))):
        block = blocks[index]
        if block.kind == "heading" or title_of(block.text) is not None:
            break
        if block.kind in ("paragraph", "item") and (turn := label_of(block.text)) is not None:
            return index if len(marks) < 2 and turn.mark and turn.mark not in marks else at
    return at


def _body(blocks: list[Block], at: int, lines: list[str], *, to_heading: bool, limit: int) -> tuple[list[str], int]:
    """Return the texts of what stands under a label, and where it ends.

    Args:
        blocks: all blocks.
        at: the first under the label.
        lines: the text's lines.
        to_heading: take all up to the next heading or label, else the next that are one.
        limit: take all up to here.
    """
    texts: list[str] = []
    first = at
    while at < len(blocks) and blocks[at].kind != "heading":
        block = blocks[at]
        if label_of(block.text) is not None or (block.kind == "code" and read_code(block.text)):
            break
        is_quoted = lines[block.first].lstrip().startswith(">")
        was_quoted = at > first and lines[blocks[at - 1].first].lstrip().startswith(">")
        goes_on = (is_quoted and was_quoted) or (block.kind == "item" and blocks[at - 1].kind == "item")
        if not to_heading and at >= limit and at > first and not goes_on:
            break
        text = block.text
        if block.kind == "code":
            text = "\n".join(line for line in text.split("\n") if not FENCE.match(line))
        texts.append(text)
        at += 1
    return texts, at
