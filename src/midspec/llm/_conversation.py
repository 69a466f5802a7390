"""What is done about each kind of outcome: the policy, as a conversation that can be replayed from the store."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.core.records import Message
from midspec.llm._store import Store
from midspec.llm._types import Client, Outcome, Request

_Kind = TypeVar("_Kind", bound=BaseModel)
_FENCED = re.compile(r"^```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n```[ \t]*$", re.S | re.M)
_FENCE = re.compile(r"^```", re.M)
_MOST_FAULTS = 5


class UnreadableReplyError(ValueError):
    """A reply that does not have the form it was asked for; the message says what is wrong, for the model to mend."""


def parse_tags(text: str, *names: str) -> tuple[str, ...]:
    """What stands inside each of the tags `names`, stripped; other text around the tags is left out.

    Raises:
        Unreadable: a tag is missing, there twice, not closed (a reply that was cut), inside or before another of
            `names`, or without a single word in it (an echo of the template).
    """
    found, at = [], 0
    for name in names:
        begin, end = f"<{name}>", f"</{name}>"
        for tag in (begin, end):
            if (n := text.count(tag)) != 1:
                raise UnreadableReplyError(f"{tag} must be there exactly once; it is there {n} times")
        start, stop = text.index(begin), text.index(end)
        if start < at or stop < start:
            raise UnreadableReplyError(
                f"{begin}...{end} must be one whole block, in the order asked for and outside other tags"
            )
        inside = text[start + len(begin) : stop].strip()
        if not any(char.isalnum() for char in inside):
            raise UnreadableReplyError(f"{begin}...{end} is empty")
        found.append(inside)
        at = stop + len(end)
    return tuple(found)


def parse_json_reply(text: str, kind: type[_Kind]) -> _Kind:
    """The reply as a `kind`: bare JSON, or JSON in the one ```json fence or the one pair of <json> tags that it has.

    Values are not converted (`"3"` is no number). JSON that was cut is refused, never completed.

    Raises:
        Unreadable: there is no JSON, or more than one block of it, or it is cut or not of this form.
    """
    inside = _json_in(text)
    if inside[:1] not in ("{", "["):
        raise UnreadableReplyError("the reply must be one JSON object or array and nothing else")
    try:
        return kind.model_validate_json(inside, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        shown = [f"{'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}" for fault in faults[:_MOST_FAULTS]]
        more = f" (and {len(faults) - _MOST_FAULTS} more)" if len(faults) > _MOST_FAULTS else ""
        raise UnreadableReplyError("; ".join(shown) + more) from error


def _json_in(text: str) -> str:
    bare = text.strip()
    if bare[:1] in ("{", "["):
        return bare
    if "<json>" in bare:
        return parse_tags(bare, "json")[0]
    fenced = _FENCED.findall(bare)
    if len(fenced) == 1 and len(_FENCE.findall(bare)) == 2:
        return str(fenced[0]).strip()
    return bare


def response_schema(kind: type[BaseModel]) -> dict[str, JsonValue]:
    """The JSON schema of `kind` as providers' strict modes want it: every field required, no other one allowed."""
    return copy.deepcopy(_schema_of(kind))


@lru_cache(maxsize=64)
def _schema_of(kind: type[BaseModel]) -> dict[str, JsonValue]:
    schema: dict[str, JsonValue] = _closed(kind.model_json_schema())
    return schema


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    # The description of an object is its class's docstring, which is for readers of the code.
    left_out = ("title", "default", "description") if "properties" in schema else ("title", "default")
    kept = {key: value for key, value in schema.items() if key not in left_out}
    for key, value in kept.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: _closed(entry) for name, entry in value.items()}
        elif key not in ("enum", "const", "required"):
            kept[key] = _closed(value)
    if "properties" in kept:
        kept["required"] = list(kept["properties"])
        kept["additionalProperties"] = False
    return kept


T = TypeVar("T")
_CAP_GROWTH = 8


@dataclass(frozen=True)
class ParsedReply(Generic[T]):
    """What a model said in the end: the value that was read from its reply, or `None` exactly where it is not `ok`."""

    value: T | None
    outcome: Outcome


async def converse(
    client: Client,
    store: Store,
    request: Request,
    parse: Callable[[str], T],
    *,
    rephrase: Callable[[Request], Request] | None = None,
    cap_tokens: int | None = None,
) -> ParsedReply[T]:
    """Ask until there is a value, or a recorded reason why there is none.

    A truncated reply is asked again with a doubled cap, up to `cap_tokens`. A refusal is rephrased once. A reply that
    `parse` can't read is sent back once with what was wrong. Anything else ends the conversation, and so does each of
    these the next time: a failure that would only repeat itself is not paid for again. Each step is a turn of its own
    in the store, so a run that was killed replays what was answered and goes on where it stopped.

    Args:
        client: answers from the store first (`open_client` gives such a one).
        store: where the verdict of `parse` is recorded.
        request: turn 0.
        parse: reads the value out of a reply's text; raises `UnreadableReplyError` where it can't.
        rephrase: the request in other words, its stage and task the same; without it a refusal is final.
        cap_tokens: the highest cap of a reply; 8 times the first one when not given.

    Raises:
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    cap = cap_tokens or _CAP_GROWTH * request.max_tokens
    first, rephrased, repaired = request, False, False
    while True:
        outcome = await client.ask(request)
        if outcome.kind == "truncated" and request.max_tokens < cap:
            changed: dict[str, object] = {"max_tokens": min(cap, 2 * request.max_tokens)}
        elif outcome.kind == "refused" and rephrase is not None and not rephrased:
            rephrased = True
            changed = _asking(rephrase(first), request.max_tokens)
        elif outcome.kind in ("ok", "unparsable"):
            read = _read(store, request, outcome, parse)
            if isinstance(read, ParsedReply):
                return read
            if repaired:
                return ParsedReply(None, outcome.model_copy(update={"kind": "unparsable", "note": read}))
            repaired = True
            changed = {"turns": (*request.turns, *_repair(outcome.text, read))}
        else:
            return ParsedReply(None, outcome)
        # Built from validated parts; validating 20 kB of prompt again at each turn would be waste.
        request = request.model_copy(update={**changed, "turn": request.turn + 1})


def _asking(other: Request, max_tokens: int) -> dict[str, object]:
    """What a rephrased request changes: the words, never the task that it answers."""
    words = {name: getattr(other, name) for name in ("prompt", "prefix", "turns", "form")}
    return {**words, "max_tokens": max(max_tokens, other.max_tokens)}


def _read(store: Store, request: Request, outcome: Outcome, parse: Callable[[str], T]) -> ParsedReply[T] | str:
    """The value, or what is wrong. The text is what is kept; the verdict is made anew at each replay."""
    try:
        value = parse(outcome.text)
    except UnreadableReplyError as error:
        wrong = str(error)
        if outcome.kind == "ok":
            store.mark(request.task, request.turn, "unparsable", wrong)
        return wrong
    if outcome.kind != "ok":
        store.mark(request.task, request.turn, "ok", "")
        outcome = outcome.model_copy(update={"kind": "ok", "note": ""})
    return ParsedReply(value, outcome)


def _repair(text: str, wrong: str) -> tuple[Message, Message]:
    words = (
        "That reply can't be used as it stands.\n\n"
        f"What is wrong: {wrong}.\n\n"
        "Send all of it again, complete and in exactly the form that was asked for, with nothing before or after it."
    )
    # A provider refuses an assistant turn without text.
    return Message(role="assistant", content=text or "(nothing)"), Message(role="user", content=words)
