"""Finds the blocks that are examples: a label, the user's turn, and replies with their marks become one block."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

from midspec.spec._blocks import FENCE, Block, heading_label, is_label, label_of
from midspec.spec._examples import (
    QUOTE_MARKS,
    Turn,
    example_of,
    is_example,
    is_named_talk,
    is_quoted_talk,
    mark_of_heading,
    read_label,
    read_lines,
    spread,
    title_of,
    with_reason,
)
from midspec.spec._label_words import MARK_OF, PERMISSION_OF
from midspec.spec._tags import read_code

_MAX_REPLY_BLOCKS, _MAX_QUOTED_BLOCKS = 8, 16
# A text of nothing but labels is looked at from each of them: so many blocks at most are one example.
_MAX_BLOCKS = 60
# `**Late arrival:**` over a fence.
_NAME_OF_FENCE = re.compile(r"[*_]{0,3}(?P<name>[^*_:\n]{1,60}[*_]{0,3}):?[*_]{0,3}")
_PAIRED = re.compile(
    r"[*_]{0,3}(?P<mark>[A-Za-z-]{2,20})[ \t]+(?P<rest>[^\W\d_][^:：*_\n]{1,50}?)[*_]{0,3}[ \t]*[:：]"
    r"[*_]{0,3}[ \t]*(?P<body>.*)",
    re.DOTALL,
)
# Under `Safe commands:` or `Valid format:` stand things, which nobody says.
_OF_THINGS = re.compile(
    r"(?:.*\s)?(?:[^\W\d_]+(?<![sui])s|(?:.*\s)?(?:command|format|topic|word|code|file|input|value|tone))",
    re.IGNORECASE,
)
_ENDS_SENTENCE = re.compile(r"[.!?…。！？][\"”’»)*_]*\Z")
_MIN_SENTENCE_WORDS = 3
_CLOSES = {'"': '"', "“": "”", "„": "“”", "«": "»", "»": "«", "‘": "’", "'": "'", "「": "」", "『": "』"}
# Rules between a user's words and a line of `Name:` are none of the user's.
_RULES_ON = re.compile(
    r"(?:\A|[.!?]\s+)\W*(?:never(?! mind)|always|do not|don[’']t|must)\b(?! (?:worry|you)\b)", re.IGNORECASE
)
_NO_TITLES = ("pattern", "phrasing", "wording", "answer", "reply", "response", "form", "style", "example")


def gather_examples(blocks: list[Block], lines: list[str], clean: Callable[[str], str]) -> list[Block]:
    """Make one block of each example: its label, the user's turn, and replies with their marks.

    Args:
        blocks: all blocks of a text.
        lines: the text's lines.
        clean: takes marks out of the words of a title or a turn that is no code.
    """
    out: list[Block] = []
    at = 0
    blocks, lines = _with_pairs(blocks, lines)
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


def _with_pairs(blocks: list[Block], lines: list[str]) -> tuple[list[Block], list[str]]:
    """Write labels that differ in their mark alone (`Good brief:`, `Bad brief:`) as those of replies that are said.

    Under `Good habits:` and `Bad habits:` there may be rules; in quotation marks, a fence or a quotation there is none.
    """
    seen: dict[str, tuple[int, str]] = {}
    found: dict[int, str] = {}
    for at, block in enumerate(blocks):
        if block.kind == "heading":
            seen.clear()
        label = _PAIRED.fullmatch(block.text[:4000]) if block.kind in ("paragraph", "item") else None
        mark = MARK_OF.get(label["mark"].lower()) or PERMISSION_OF.get(label["mark"].lower()) if label else None
        if label is None or mark is None or not _is_said(label, blocks, at, lines):
            continue
        rest = " ".join(label["rest"].lower().split())
        before, other = seen.get(rest, (-1, mark))
        if other != mark and at - before <= _MAX_REPLY_BLOCKS:
            found |= {before: other, at: mark}
        seen[rest] = (at, mark)
    if not found:
        return blocks, lines
    blocks, lines = list(blocks), list(lines)
    for at, mark in found.items():
        block, label = blocks[at], _PAIRED.fullmatch(blocks[at].text[:4000])
        if label is not None:
            rest = "" if label["rest"].lower() in _NO_TITLES else f" ({label['rest']})"
            text = f"**{mark.title()} reply{rest}:** {label['body']}{block.text[4000:]}".strip()
            blocks[at] = replace(block, text=text)
            lines[block.first : block.end] = [text, *[""] * (block.end - block.first - 1)]
    return blocks, lines


def _is_said(label: re.Match[str], blocks: list[Block], at: int, lines: list[str]) -> bool:
    """Return whether what stands behind a label, or under it, is one quotation in whole, or a sentence in a fence."""
    if _OF_THINGS.fullmatch(label["rest"].strip()):
        return False
    if label["body"].strip():
        return _is_one_quotation(label["body"])
    under = blocks[at + 1 : at + 3]
    if not under or [block.kind for block in under] == ["item", "item"]:
        return False
    following = under[0]
    if following.kind == "code":
        words = _words_of(following).strip()
        return len(words.split()) >= _MIN_SENTENCE_WORDS and _ENDS_SENTENCE.search(words) is not None
    return _is_one_quotation(following.text) or _is_quotation(following, lines)


def _is_one_quotation(text: str) -> bool:
    """Return whether a text is in quotation marks from its begin to its end."""
    words = text.strip("*_ \n\t").rstrip(".")
    closing = _CLOSES.get(words[:1], "")
    if not closing or len(words) < 3 or words[-1] not in closing:
        return False
    return words[0] == "'" or not any(mark in words[1:-1] for mark in closing)


def _is_quotation(block: Block, lines: list[str]) -> bool:
    return lines[block.first].lstrip().startswith(">")


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
        own, turns = _turns_of(blocks, end, lines, found)
        own_title = own if end == at and turns else own_title
        turns = [] if own is not None and end > at else turns
        if not turns and own is None and (more := _rest_of_talk(blocks, end, lines, found)):
            parts = [f"\n{block.text}" if block.kind == "code" else f" {clean(block.text)}" for block in more]
            found[-1] = found[-1]._replace(body="".join([found[-1].body, *parts]))
            end += len(more)
            continue
        if not turns or (not title and not own_title and _begins_next(blocks, end, turns, found)):
            break
        end += 1
        marks = {turn.mark for turn in (*found, *turns)} - {""}
        is_plain = turns[-1].role == "Assistant" and not turns[-1].mark
        limit = end if is_plain else _next_reply(blocks, end, marks)
        if not turns[-1].body or limit > end:
            label = turns.pop()
            under, after = _under(label, blocks, end, lines, limit)
            is_of_rules |= _is_over_rules(label, blocks[end:after])
            turns, end = turns + under, after
        if turns[-1].body and (rest := _rest_of_quotation(blocks, end, turns[-1].body)):
            turns[-1] = turns[-1]._replace(body=" ".join([turns[-1].body, *rest]))
            end += len(rest)
        turns = [with_reason(turn) for turn in turns]
        found += [turn._replace(body=clean(" ".join(turn.body.split())), why=clean(turn.why)) for turn in turns]
    found = spread(found)
    is_talk = title is not None or own_title is not None or end == at + 1 or is_quoted_talk(found)
    is_talk |= is_named_talk(found)
    is_of_rules &= all(turn.role != "User" for turn in found)
    if not found or is_of_rules or not any(turn.body for turn in found):
        return "", at
    # Under `- **Example**:`, what a tick and a cross mark in quotation marks is said.
    is_list &= title is None or not is_quoted_talk(found)
    if not is_example(found, is_talk=is_talk, is_list=is_list):
        return "", at
    whole = next((clean(one) for one in (own_title, title) if one), None)
    return example_of(whole, found), end


def _under(label: Turn, blocks: list[Block], at: int, lines: list[str], limit: int) -> tuple[list[Turn], int]:
    """Return the turns that stand under a label, and where they end; see `_body` for the limit."""
    texts, end = _body(blocks, at, lines, to_heading=blocks[at - 1].kind == "heading", limit=limit)
    body = blocks[at:end]
    if label.is_many and not label.body and all(_is_apart(block, lines) for block in body):
        return [label._replace(body=text) for text in texts] or [label], end
    each = _fenced_replies(body, label) if label.is_many and not label.body else []
    return each or [label._replace(body="\n".join([label.body, *texts]).strip())], end


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


def _rest_of_talk(blocks: list[Block], at: int, lines: list[str], found: Sequence[Turn]) -> list[Block]:
    """Return the blocks that a turn of a talk with a named speaker goes on with: a user's up to the answer."""
    if not found or not (found[-1].name or found[-1].role == "User") or blocks[at].kind == "heading":
        return []
    if found[-1].name:
        if not found[-1].body.endswith((":", "：")):
            return []
        items = list(takewhile(lambda block: block.kind == "item", blocks[at : at + _MAX_BLOCKS]))
        return items or [block for block in blocks[at : at + 1] if block.kind != "row"]
    for end in range(at, min(at + _MAX_REPLY_BLOCKS, len(blocks))):
        block = blocks[end]
        if block.kind == "heading" or (block.kind != "code" and is_label(block.text)):
            break
        turns = read_lines(lines[block.first : block.end], found)[1] if block.kind == "paragraph" else []
        if turns and turns[0].name:
            named = re.compile(rf"\b{re.escape(turns[0].name)}\b")
            return [] if any(named.search(each.text) for each in blocks[at:end]) else blocks[at:end]
        if block.kind != "code" and _RULES_ON.search(block.text):
            break
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
        own, turns = read_lines(lines[block.first : block.end], found)
        return own, turns or [label for label in [label_of(block.text)] if label]
    if block.kind == "code" and found and found[-1].mark and not found[-1].body:
        return None, read_code(block.text)  # a talk under `Bad:`
    return None, []


def _is_over_rules(label: Turn, body: Sequence[Block]) -> bool:
    """Return whether a label such as `Don't:` is over a list that is not in quotation marks: of rules, not replies."""
    is_bare = bool(body) and all(block.kind == "item" and block.text[:1] not in QUOTE_MARKS for block in body)
    return label.may_head_rules and not label.body and is_bare


def _is_apart(block: Block, lines: list[str]) -> bool:
    """Return whether a block is a reply by itself under a label over several."""
    return block.kind == "item" or lines[block.first].lstrip().startswith(">")


def _fenced_replies(body: Sequence[Block], label: Turn) -> list[Turn]:
    """Return a reply for each fence under a label over several, with its name as reason; words beside are notes.

    None where nothing names the fences.
    """
    turns: list[Turn] = []
    name, names = "", 0
    for block, following in pairwise([*body, None]):
        if block is None or block.kind != "code":
            named = _NAME_OF_FENCE.fullmatch(block.text) if block and following and following.kind == "code" else None
            name = named["name"].strip("*_ ") if named else ""
            turns += [Turn("Note", "", "", block.text)] if block and not named else []
            continue
        names += bool(name)
        said = read_label(_words_of(block).strip())
        words = said.body if said is not None and said.mark == label.mark else _words_of(block).strip()
        turns.append(label._replace(why=name, body=words))
        name = ""
    return turns if names else []


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
        texts.append(_words_of(block))
        at += 1
    return texts, at


def _words_of(block: Block) -> str:
    """Return the text of a block, of code without its fence."""
    if block.kind != "code":
        return block.text
    return "\n".join(line for line in block.text.split("\n") if not FENCE.match(line))
