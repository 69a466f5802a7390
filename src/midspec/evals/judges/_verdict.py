"""Escape what a judge is shown, and read its verdict strictly: one verdict or number, or one of the reasons `UNREAD`.

How a reply is read:

1. It must have ended by itself. One that was cut, refused or failed is unread, whatever stands in it.
2. Reasoning is set aside: the blocks of it that the reply begins with (`<think>`, `[THINK]`, channels of gpt-oss), to
   the end where one never closes. Such tags further on may be repeated from what is judged, so they set nothing aside;
   but where one closes that did not open (a server swallowed the opening), the verdict must stand after it.
3. What is left must hold whole `<tag>...</tag>` blocks, in any case, around nothing but one of the allowed words.
   Markdown fences around a block, emphasis, quotation marks, brackets and a closing sign inside it don't matter, nor do
   signs that nobody sees. Entities are not undone: `&lt;tag>` is how the judged text looks to the judge,
   so it is a quotation and no verdict.
4. A block that stands in quotation marks or backticks which open and close on its line, or on a line that begins with
   `>`, is a quotation too, unless it is the whole reply. Quotations are left out.
5. All blocks that remain must say the same. Blocks that say the same twice are one verdict; there is no "last one
   wins", because a text can be written so that the judge repeats it. Whatever a judge repeats before or after its own
   verdict, the outcome is that verdict or none, unless the reply begins with a reasoning tag: what stands from there to
   its closing tag is no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

from midspec.core.reasoning import UNSEEN_SIGNS
from midspec.evals._types import JudgeResponse, Rubric, Unscored, Value
from midspec.llm import UnreadableReplyError

CUT = "the judge's reply was cut off"
FILTERED = "the judge refused, or its reply was filtered"
NO_REPLY = "the judge gave no reply"
EMPTY = "the judge's reply is empty"
ONLY_REASONING = "the judge's verdict stands in its reasoning only"
ONLY_QUOTED = "the judge's reply holds a verdict as a quotation only"
NO_VERDICT = "the judge's reply holds no verdict"
ILL_FORMED = "the judge's verdict is not one closed tag"
NOT_ALLOWED = "the judge's verdict is none of those it may give"
DISAGREE = "the judge gave verdicts that disagree"
# A reply that says something, in another form than was asked for: worth asking again with what was wrong.
_REPAIRABLE = (DISAGREE, ILL_FORMED, NOT_ALLOWED, NO_VERDICT, ONLY_QUOTED, ONLY_REASONING)
UNREAD = (*_REPAIRABLE, CUT, EMPTY, FILTERED, NO_REPLY)
ReadT = TypeVar("ReadT")
_ENDINGS = {"max_tokens": CUT, "model_length": CUT, "content_filter": FILTERED}
# Besides the two themselves, those that Unicode's compatibility forms turn into them.
_ANGLES = "<>\ufe64\ufe65\uff1c\uff1e\u226e\u226f"
_NAMED = {"<": "&lt;", ">": "&gt;"}
_WRITTEN = {angle: _NAMED.get(angle, f"&#x{ord(angle):X};") for angle in _ANGLES}
_READ = {written: angle for angle, written in _WRITTEN.items()} | {"&amp;": "&"}
_ANGLE = re.compile(f"[{''.join(_WRITTEN)}]")
_ENTITY = re.compile("|".join(re.escape(written) for written in _READ))
_THINKING = r"(?:think|thinking|thoughts?|reasoning|scratchpad|analysis|seed:think)"
_THOUGHT = re.compile(
    rf"\s*(?:<{_THINKING}\s*>.*?(?:</{_THINKING}\s*>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)|◁think▷.*?(?:◁/think▷|\Z)"
    r"|<\|(?:START_THINKING|begin_of_thought|thinking|inner_prefix)\|>.*?"
    r"(?:<\|(?:END_THINKING|end_of_thought|/thinking|inner_suffix)\|>|\Z)"
    r"|<unused94>.*?(?:<unused95>|\Z)|<\|channel>.*?(?:<channel\|>|\Z)"
    r"|(?:<\|start\|>assistant)?<\|channel\|>\s*(?:analysis|commentary)\b.*?(?:(?=<\|channel\|>\s*final\b)|\Z))",
    re.S | re.I,
)
_THOUGHT_ENDS = re.compile(rf"</{_THINKING}\s*>", re.I)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)\w*[ \t]*$", re.M)
_PAIRS = (('"', '"'), ("`", "`"), ("\u201c", "\u201d"), ("\u201e", "\u201c"), ("\u00ab", "\u00bb"))
# Single marks are apostrophes too, so they quote only what they touch.
_CLOSE_BY = ("''", "\u2018\u2019")
_QUOTES = "".join(dict.fromkeys("".join(map("".join, (*_PAIRS, *_CLOSE_BY)))))
_QUOTED_LINE = re.compile(r"[ \t]*>")
_DRESS = " \t\r\n*_`"
_WORN = _DRESS + "\u00a0\"'\u2018\u2019\u201c\u201d()[]"
_UNSEEN = re.compile(f"[{UNSEEN_SIGNS}]")
_NUMBER = re.compile(r"\+?(-?[0-9]+(?:\.[0-9]+)?)(?:[ \t]*(?:/|(?:out )?of)[ \t]*([0-9]+))?", re.IGNORECASE)


def check_verdict(rubric: Rubric, text: str) -> None:
    """Raise `UnreadableReplyError` where a judge that is told what is wrong with its reply may well do better.

    Args:
        rubric: what it was asked.
        text: its whole reply.
    """
    reply = JudgeResponse(judge="", rubric="", text=text, stop_reason="stop")
    try:
        values = rubric.read(reply)
    except Exception:  # noqa: BLE001 - a fault of the rubric's own code, which is told where the reply is read
        return
    reasons = {value.reason if isinstance(value, Unscored) else "" for value in values.values()}
    if reasons and reasons <= set(_REPAIRABLE):
        raise UnreadableReplyError(" and ".join(sorted(reasons)))


class WordRubric(Rubric):
    """A rubric whose verdict is one word in `<verdict>`.

    Attributes:
        words: each word that may be given -> every measure's value.
    """

    words: ClassVar[Mapping[str, Mapping[str, Value]]]

    def read(self, reply: JudgeResponse) -> dict[str, Value]:
        """Return the word's values; `Unscored` in every measure where the reply holds no one word that is allowed."""
        found = read_tag(reply, "verdict", tuple(self.words))
        return dict.fromkeys(self.measures, found) if isinstance(found, Unscored) else dict(self.words[found])


def escape(text: str) -> str:
    """Escape all that opens or closes a tag in `text`: `<tag>` becomes `&lt;tag&gt;`; `unescape` undoes it.

    Angle brackets of other widths are written as numbers. `&` is escaped only where it would read as one of these
    entities, so that what the judge reads stays close to the original.
    """
    text = _ENTITY.sub(lambda found: "&amp;" + found[0][1:], text)
    return _ANGLE.sub(lambda found: _WRITTEN[found[0]], text)


def unescape(text: str) -> str:
    """Undo `escape`."""
    return _ENTITY.sub(lambda found: _READ[found[0]], text)


def read_tag(reply: JudgeResponse, tag: str, allowed: Sequence[str]) -> str | Unscored:
    """Return the one verdict that stands in `<tag>` in a judge's reply, by the rules of this module.

    Args:
        reply: the reply.
        tag: the name of the tag, without brackets.
        allowed: the verdicts that there are; they are told apart without case.

    Returns:
        The verdict as it is spelled in `allowed`, or `Unscored` with one of `UNREAD`.
    """
    spelled = {word.casefold(): word for word in allowed}
    return _read(reply, tag, lambda inside: spelled.get(_bare(inside).casefold()))


def read_number(reply: JudgeResponse, tag: str, low: float, high: float) -> float | Unscored:
    """Return the one number that stands in `<tag>` in a judge's reply, by the rules of this module.

    Digits with or without a decimal point, `8` or `7.5`; `8/10` and `8 out of 10` count where 10 is `high`. A range
    (`7-8`), a word or a number outside of `low` to `high` is not a verdict.

    Args:
        reply: the reply.
        tag: the name of the tag, without brackets.
        low: the least number that may be given.
        high: the greatest.

    Returns:
        The number, or `Unscored` with one of `UNREAD`.
    """

    def number(inside: str) -> float | None:
        found = _NUMBER.fullmatch(_bare(inside))
        if found is None or (found[2] is not None and float(found[2]) != high):
            return None
        return float(found[1]) if low <= float(found[1]) <= high else None

    return _read(reply, tag, number)


def _read(reply: JudgeResponse, tag: str, value: Callable[[str], ReadT | None]) -> ReadT | Unscored:
    """Return what all unquoted blocks after the reasoning say, where they agree."""
    if reply.stop_reason != "stop":
        return Unscored(_ENDINGS.get(reply.stop_reason, NO_REPLY))
    if not reply.text.strip():
        return Unscored(EMPTY)
    spoken = reply.text
    while thought := _THOUGHT.match(spoken):
        spoken = spoken[thought.end() :]
    marks = re.compile(rf"<\s*(/?)\s*{re.escape(tag)}\s*>", re.I)
    found = list(marks.finditer(spoken))
    if not found:
        return Unscored(ONLY_REASONING if marks.search(reply.text) else NO_VERDICT)
    if [bool(mark[1]) for mark in found] != [False, True] * (len(found) // 2):
        return Unscored(ILL_FORMED)
    pairs = list(zip(found[::2], found[1::2], strict=True))
    own = [(begin, end) for begin, end in pairs if not _is_quoted(spoken, begin.start(), end.end())]
    if not own:
        return Unscored(ONLY_QUOTED)
    if own[-1][0].start() < max((mark.end() for mark in _THOUGHT_ENDS.finditer(spoken)), default=0):
        return Unscored(ONLY_REASONING)
    values = [value(spoken[begin.end() : end.start()]) for begin, end in own]
    if len(set(values)) > 1:
        return Unscored(DISAGREE)
    return Unscored(NOT_ALLOWED) if values[0] is None else values[0]


def _bare(inside: str) -> str:
    """Return what stands in a tag without what is around the word, or the number, itself."""
    plain = _UNSEEN.sub("", inside).strip(_WORN)
    return plain[: len(plain) - (plain[-1:] in tuple(".!,;:"))].strip(_WORN)


def _is_quoted(text: str, start: int, stop: int) -> bool:
    """Return whether the block from `start` to `stop` is quoted on its line, and is not the whole reply."""
    before, after = text[:start], text[stop:]
    if not any(_FENCE.sub("", side).strip(_DRESS + _QUOTES + ">") for side in (before, after)):
        return False
    before, after = before[before.rfind("\n") + 1 :], after.partition("\n")[0]
    if _QUOTED_LINE.match(before) or (before[-1:] + after[:1]) in _CLOSE_BY:
        return True
    return any(
        close in after and (before.count(begin) % 2 if begin == close else before.rfind(begin) > before.rfind(close))
        for begin, close in _PAIRS
    )
