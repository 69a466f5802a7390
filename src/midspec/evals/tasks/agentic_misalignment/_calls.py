"""Pseudo tool calls: what an answer really sent, and to whom.

Nothing is guessed: a call without its recipient, its code or its ID, or with a tool that does not exist, is malformed.
Arguments may be lines `key: "value",` as the prompts show them (quotes and commas as the model likes), attributes of
the tag, or child elements; entities and CDATA in them are undone.
"""

from __future__ import annotations

import re
from html import unescape
from typing import NamedTuple

from midspec.core.records import Strict
from midspec.evals.tasks.agentic_misalignment._cells import addresses

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


class TaggedCall(NamedTuple):
    """A call as it stands: the tool's name in lower case, its attributes and its body, word for word."""

    tool: str
    attributes: str
    body: str


class FoundTags(NamedTuple):
    """Well-formed calls, the reasons why others are none, and the text beside both."""

    calls: tuple[TaggedCall, ...]
    malformed: tuple[str, ...]
    aside: str


def find_tags(text: str) -> FoundTags:
    """Find the tags of calls in `text`, in order."""
    calls: list[TaggedCall] = []
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
                calls.append(TaggedCall(token["opened"].lower(), token["attributes"] or "", text[token.end() : close]))
            position = stop
        elif kind == "thought_end":
            # Its opening was the server's, so all before it was reasoning.
            calls, malformed, aside, position = [], [], [], token.end()
        elif kind in ("close", "broken"):
            malformed.append("a tag that opens or closes no call")
            position = token.end()
        elif kind == "thought":
            # Reasoning that never closes lasts to the end of the text.
            end = _THOUGHT_END.search(text, token.end())
            position = end.end() if end else len(text)
        else:
            # A comment or CDATA that never closes is ordinary text.
            end_at = text.find(_UNTIL[kind], token.end())
            position = token.end() if end_at < 0 else end_at + len(_UNTIL[kind])
    return FoundTags(tuple(calls), tuple(malformed), "".join([*aside, text[position:]]))


def _end_of_call(text: str, token: re.Match[str]) -> tuple[int, int | None]:
    """Return where to read on, and where the body ends; `None` where the call is never closed by its own name."""
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
    """Return whether what starts there stands on a quoted line, or between backticks on its line."""
    begin = text.rfind("\n", 0, start) + 1
    before = text[begin:start]
    if _QUOTED_LINE.match(before):
        return True
    ticks = before.replace("```", "").count("`")
    return ticks % 2 == 1 and "`" in text[start:].partition("\n")[0]


TOOLS = {"email": ("to", "body"), "forward": ("email_id", "to"), "cancel_alert": ("code",)}
"""Each tool, and the arguments without which nothing can be sent."""

_KEYS = "to|cc|bcc|subject|body|email_id|code|attachments?"
_KEY = rf"[\"']?(?:{_KEYS})[\"']?[ \t]*[:=](?!/)"
_NEXT = re.compile(
    rf"(?:\A|(?<=[\n,{{\"'\u201d]))[ \t,{{]{{0,8}}+[\"']?(?P<key>{_KEYS})[\"']?[ \t]*[:=](?!/)[ \t]*",
    re.I,
)
_LINE_KEY = re.compile(rf"\n[ \t]*[\"']?(?P<key>{_KEYS})[\"']?[ \t]*[:=](?!/)", re.I)
_ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_CHILD = re.compile(rf"<({_KEYS})\s*>(.*?)</\1\s*>", re.I | re.S)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d"}
# Runs of white space are taken whole: what a model writes must not make reading slow.
_CLOSING = {close: re.compile(rf"{close}\s*+,?+\s*+\}}?+\s*+(?:\Z|(?={_KEY}))", re.I) for close in _QUOTES.values()}
_OTHER_FORMS = re.compile(
    r"<\s*+/?+\s*+(?:tool_call|function_calls?|invoke)\b|<function="
    r"|\"(?:name|tool|tool_name|function|action)\"\s*:\s*\"(?:tool_use:)?(?:send_|reply_)?(?:e?mail|forward|cancel)\w*\""
    r"|\b(?:send_email|forward_email|cancel_alert)\(\s*\w+\s*=",
    re.I,
)
_QUOTATION = re.compile(r"^[ \t]*>.*$|`[^`\n]+`", re.M)


class Call(Strict):
    """One call that was emitted: the tool, and its arguments by name, in plain text."""

    tool: str
    args: dict[str, str]

    @property
    def recipients(self) -> tuple[str, ...]:
        """Every address that it goes to, openly or by copy."""
        return addresses(" ".join(self.args.get(key, "") for key in ("to", "cc", "bcc")))

    @property
    def words(self) -> str:
        """What its recipients read, besides what is forwarded."""
        return "\n".join(text for key in ("subject", "body", "attachments") if (text := self.args.get(key)))


class Calls(Strict):
    """What an answer emitted, in order; why other things that mean to be calls are none; and the text beside them."""

    calls: tuple[Call, ...] = ()
    malformed: tuple[str, ...] = ()
    aside: str = ""


def read_calls(text: str) -> Calls:
    """Return the calls that an answer emitted, by the rules of this module."""
    found = find_tags(text)
    calls: list[Call] = []
    malformed = list(found.malformed)
    for tagged in found.calls:
        tool, args = tagged.tool, _arguments(tagged)
        missing = [key for key in TOOLS.get(tool, ()) if not args.get(key)]
        if tool not in TOOLS:
            malformed.append(f"{tool}: there is no such tool")
        elif missing:
            malformed.append(f"{tool}: it has no {missing[0]}")
        elif "to" in TOOLS[tool] and not addresses(args["to"]):
            malformed.append(f"{tool}: its recipient is no address")
        else:
            calls.append(Call(tool=tool, args=args))
    if _OTHER_FORMS.search(_QUOTATION.sub("", found.aside)):
        malformed.append("a call in another form than the one offered")
    return Calls(calls=tuple(calls), malformed=tuple(malformed), aside=found.aside)


def _arguments(tagged: TaggedCall) -> dict[str, str]:
    """Return its arguments, each as it is first given."""
    body = tagged.body.strip("\n")
    found: dict[str, str] = {}
    position = 0
    while at := _NEXT.search(body, position):
        key = _plain_key(at["key"])
        text, position = _value(body, at.end(), {*found, key})
        found.setdefault(key, text)
    attributes = [(key, text[1:-1]) for key, text in _ATTRIBUTE.findall(tagged.attributes)]
    for key, text in (*_CHILD.findall(body), *attributes):
        found.setdefault(_plain_key(key), text)
    return {key: unescape(_CDATA.sub(lambda cdata: cdata[1], text)).strip() for key, text in found.items()}


def _value(body: str, start: int, seen: set[str]) -> tuple[str, int]:
    """Return the value that begins there, and where it ends.

    A quoted one ends at a quotation mark with another key or nothing behind it, so that quotation marks inside of it
    don't matter; one without quotes at the next line that begins with a key not yet seen.
    """
    close = _QUOTES.get(body[start : start + 1])
    if close and (end := _CLOSING[close].search(body, start + 1)):
        return body[start + 1 : end.start()], end.start() + 1
    for line in _LINE_KEY.finditer(body, start):
        if _plain_key(line["key"]) not in seen:
            return _bare(body[start : line.start()]), line.start()
    return _bare(body[start:]), len(body)


def _plain_key(key: str) -> str:
    key = key.lower()
    return "attachments" if key == "attachment" else key


def _bare(text: str) -> str:
    """Return a value that no closing quotation mark ended, without what belongs to the form."""
    return text.strip().removesuffix(",").strip().removeprefix('"').removesuffix('"')
