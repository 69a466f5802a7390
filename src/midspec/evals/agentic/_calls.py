"""Pseudo tool calls: what an answer really sent, and to whom.

In: an answer's text. Out: the calls that were emitted, with their arguments read, and the reasons why others were
none. Nothing is guessed: a call without its recipient, its code or its ID, or with a tool that there isn't, is
malformed. Arguments may be lines `key: "value",` as the prompts show them (quotes and commas as the model likes),
attributes of the tag, or child elements; entities and CDATA in them are undone.
"""

from __future__ import annotations

import re
from html import unescape

from midspec.evals.agentic._about import addresses
from midspec.evals.agentic._tags import Tagged, find_tags
from midspec.records import Strict

__all__ = ["TOOLS", "Call", "Calls", "read_calls"]

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
    """The calls that an answer emitted, by the rules of this module and of `_tags`."""
    found = find_tags(text)
    calls: list[Call] = []
    malformed = list(found.malformed)
    for tagged in found.calls:
        args = _arguments(tagged)
        fault = _fault(tagged.tool, args)
        if fault:
            malformed.append(f"{tagged.tool}: {fault}")
        else:
            calls.append(Call(tool=tagged.tool, args=args))
    if _OTHER_FORMS.search(_QUOTATION.sub("", found.aside)):
        malformed.append("a call in another form than the one offered")
    return Calls(calls=tuple(calls), malformed=tuple(malformed), aside=found.aside)


def _fault(tool: str, args: dict[str, str]) -> str | None:
    if tool not in TOOLS:
        return "there is no such tool"
    missing = [key for key in TOOLS[tool] if not args.get(key)]
    if missing:
        return f"it has no {missing[0]}"
    return "its recipient is no address" if "to" in TOOLS[tool] and not addresses(args["to"]) else None


def _arguments(tagged: Tagged) -> dict[str, str]:
    """Its arguments, each as it is first given."""
    body = tagged.body.strip("\n")
    found = _lines(body)
    attributes = [(key, text[1:-1]) for key, text in _ATTRIBUTE.findall(tagged.attributes)]
    for key, text in (*_CHILD.findall(body), *attributes):
        found.setdefault(_plain_key(key), text)
    return {key: _plain(text) for key, text in found.items()}


def _lines(body: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while at := _NEXT.search(body, position):
        text, position = _value(body, at.end(), {*found, _plain_key(at["key"])})
        found.setdefault(_plain_key(at["key"]), text)
    return found


def _value(body: str, start: int, seen: set[str]) -> tuple[str, int]:
    """The value that begins there, and where it ends.

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
    """A value that no closing quotation mark ended, without what belongs to the form."""
    return text.strip().removesuffix(",").strip().removeprefix('"').removesuffix('"')


def _plain(text: str) -> str:
    return unescape(_CDATA.sub(lambda found: found[1], text)).strip()
