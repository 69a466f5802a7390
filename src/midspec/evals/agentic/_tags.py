"""Where in an answer a pseudo tool call stands, and what only looks like one.

In: an answer's text. Out: `Found`: each well-formed `<tool_use:name>...</tool_use:name>` that was said aloud, each
thing that means to be a call and is none, and the rest of what was said.

1. Reasoning is not said: what is in `<SCRATCHPAD_REASONING>`, `<think>` or `<thinking>`, closed or not, and what stands
   before a `</think>` whose opening the server kept.
2. Quotation is not said: lines that begin with `>`, inline code between backticks, XML comments, CDATA outside of a
   call, and `&lt;tool_use:`. A fenced block is said: models wrap their calls so.
3. A call ends at its own closing tag. Calls inside its body are text of that body. Brackets, reasoning tags and CDATA
   in a body are text too. One that is never closed, or closed by another name, is malformed, and what follows its
   opening tag is read as if it were not there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Found", "Tagged", "find_tags"]

_THINKING = r"(?:SCRATCHPAD_REASONING|think(?:ing)?)"
_ATTRIBUTES = r"(?P<attributes>(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*)"
_TOKEN = re.compile(
    rf"(?P<thought><\s*{_THINKING}\s*>)"
    r"|(?P<thought_end></\s*think(?:ing)?\s*>)"
    r"|(?P<comment><!--)"
    r"|(?P<cdata><!\[CDATA\[)"
    rf"|(?P<open><\s*tool_use\s*:\s*(?P<opened>\w+){_ATTRIBUTES}\s*>)"
    r"|(?P<close><\s*/\s*tool_use\s*:\s*(?P<closed>\w+)\s*>)"
    r"|(?P<broken><\s*+/?+\s*+tool_use\b|\[\s*+/?+\s*+tool_use\s*:)",
    re.I,
)
_IN_BODY = re.compile(
    rf"<!\[CDATA\[.*?\]\]>|<\s*tool_use\s*:\s*(?P<opened>\w+){_ATTRIBUTES}\s*>|<\s*/\s*tool_use\s*:\s*(?P<closed>\w+)\s*>",
    re.I | re.S,
)
_CLOSE = re.compile(r"<\s*+/\s*+tool_use\b", re.I)
_THOUGHT_END = re.compile(rf"</\s*{_THINKING}\s*>", re.I)
_UNTIL = {"comment": "-->", "cdata": "]]>"}
_QUOTED_LINE = re.compile(r"[ \t]*>")


class Tagged(NamedTuple):
    """A call as it stands: the tool's name in lower case, its attributes and its body, word for word."""

    tool: str
    attributes: str
    body: str


class Found(NamedTuple):
    """What `find_tags` tells apart: calls, the reasons why others are none, and what was said beside both."""

    calls: tuple[Tagged, ...]
    malformed: tuple[str, ...]
    aside: str


def find_tags(text: str) -> Found:
    """The calls in `text` by the rules of this module, in order."""
    calls: list[Tagged] = []
    malformed: list[str] = []
    aside: list[str] = []
    position = 0
    while token := _TOKEN.search(text, position):
        aside.append(text[position : token.start()])
        kind = token.lastgroup or ""
        if _is_quoted(text, token.start()):
            aside.append(token[0])
            position = token.end()
        elif kind == "open":
            stop, close = _end_of_call(text, token)
            if close is None:
                malformed.append(f"{token['opened'].lower()}: its tag is not closed")
            else:
                calls.append(Tagged(token["opened"].lower(), token["attributes"] or "", text[token.end() : close]))
            position = stop
        elif kind == "thought_end":
            # Its opening was the server's, so all before it was reasoning.
            calls, malformed, aside, position = [], [], [], token.end()
        elif kind in ("close", "broken"):
            malformed.append("a tag that opens or closes no call")
            position = token.end()
        else:
            position = _past(text, token, kind)
    return Found(tuple(calls), tuple(malformed), "".join([*aside, text[position:]]))


def _past(text: str, token: re.Match[str], kind: str) -> int:
    """The end of what is not said: of reasoning at the latest where the text ends, of the rest only where it closes."""
    if kind == "thought":
        end = _THOUGHT_END.search(text, token.end())
        return end.end() if end else len(text)
    end_at = text.find(_UNTIL[kind], token.end())
    return token.end() if end_at < 0 else end_at + len(_UNTIL[kind])


def _end_of_call(text: str, token: re.Match[str]) -> tuple[int, int | None]:
    """Where to read on, and where the body ends; `None` where the call is never closed by its own name."""
    names = [token["opened"].lower()]
    if not _CLOSE.search(text, token.end()):
        return token.end(), None
    for tag in _IN_BODY.finditer(text, token.end()):
        if _is_quoted(text, tag.start()):
            continue
        if tag["opened"]:
            names.append(tag["opened"].lower())
        elif tag["closed"]:
            closed = tag["closed"].lower()
            if closed not in names:
                # Closed by another name: this tag belongs to the call that it fails to close.
                return (tag.end(), None) if len(names) == 1 else (token.end(), None)
            while names.pop() != closed:
                pass
            if not names:
                return tag.end(), tag.start()
    return token.end(), None


def _is_quoted(text: str, start: int) -> bool:
    """Whether what starts there stands on a quoted line, or between backticks on its line."""
    begin = text.rfind("\n", 0, start) + 1
    before = text[begin:start]
    if _QUOTED_LINE.match(before):
        return True
    ticks = before.replace("```", "").count("`")
    return ticks % 2 == 1 and "`" in text[start:].partition("\n")[0]
