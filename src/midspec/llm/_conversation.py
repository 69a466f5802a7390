"""Read replies, and ask again where that helps: a policy for each kind of outcome, replayable from the store."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from midspec.core.records import Message
from midspec.llm._runaway import CapGrowth, ReplyCaps
from midspec.llm._store import Store
from midspec.llm._types import Client, Outcome, Request

_Kind = TypeVar("_Kind", bound=BaseModel)
_FENCED = re.compile(r"^```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n```[ \t]*$", re.S | re.M)
_FENCE = re.compile(r"^```", re.M)
_MOST_FAULTS = 5


class UnreadableReplyError(ValueError):
    """A reply without the form it was asked for; the message, which is sent to the model, says what is wrong."""


def parse_tags(text: str, *names: str) -> tuple[str, ...]:
    """Return what stands inside each of the tags `names`, stripped; other text around the tags is left out.

    Raises:
        UnreadableReplyError: a tag is missing, there twice, not closed (a reply that was cut), inside or before
            another of `names`, or without a single word in it (an echo of the template).
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
    """Return the reply as a `kind`: bare JSON, or JSON in its one ```json fence or its one pair of <json> tags.

    Values are not converted (`"3"` is no number). JSON that was cut is refused, never completed.

    Raises:
        UnreadableReplyError: there is no JSON, or more than one block of it, or it is cut or not of this form.
    """
    inside = text.strip()
    if inside[:1] not in ("{", "["):
        fenced = _FENCED.findall(inside)
        if "<json>" in inside:
            (inside,) = parse_tags(inside, "json")
        elif len(fenced) == 1 and len(_FENCE.findall(inside)) == 2:
            inside = str(fenced[0]).strip()
    if inside[:1] not in ("{", "["):
        raise UnreadableReplyError("the reply must be one JSON object or array and nothing else")
    try:
        return kind.model_validate_json(inside, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        shown = [f"{'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}" for fault in faults[:_MOST_FAULTS]]
        more = f" (and {len(faults) - _MOST_FAULTS} more)" if len(faults) > _MOST_FAULTS else ""
        raise UnreadableReplyError("; ".join(shown) + more) from error


def response_schema(kind: type[BaseModel]) -> dict[str, JsonValue]:
    """Return the JSON schema of `kind` as providers' strict modes want it: every field required, no other one allowed.

    A nested model stands in `$defs` under its class's name, which enters hashes of requests. A class that is renamed
    keeps it with `schema_name: ClassVar[str] = "OldName"`.
    """
    return copy.deepcopy(_schema_of(kind))


@lru_cache(maxsize=64)
def _schema_of(kind: type[BaseModel]) -> dict[str, JsonValue]:
    schema = kind.model_json_schema(schema_generator=_NamingSchemas)
    names = {name: definition.pop(_NAME_KEY, name) for name, definition in schema.get("$defs", {}).items()}
    schema.pop(_NAME_KEY, None)
    closed: dict[str, JsonValue] = _closed(schema, {f"#/$defs/{name}": f"#/$defs/{to}" for name, to in names.items()})
    if isinstance(definitions := closed.get("$defs"), dict):
        closed["$defs"] = dict(sorted((names[name], definition) for name, definition in definitions.items()))
    return closed


_NAME_KEY = "x-schema-name"


class _NamingSchemas(GenerateJsonSchema):
    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        name = vars(schema["cls"]).get("schema_name")
        return made if name is None else {**made, _NAME_KEY: name}


def _closed(schema: Any, references: Mapping[str, str]) -> Any:
    if isinstance(schema, list):
        return [_closed(entry, references) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    # The description of an object is its class's docstring, which is for readers of the code.
    left_out = ("title", "default", "description") if "properties" in schema else ("title", "default")
    kept = {key: value for key, value in schema.items() if key not in left_out}
    for key, value in kept.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: _closed(entry, references) for name, entry in value.items()}
        elif key == "$ref":
            kept[key] = references.get(value, value)
        elif key not in ("enum", "const", "required"):
            kept[key] = _closed(value, references)
    if "properties" in kept:
        kept["required"] = list(kept["properties"])
        kept["additionalProperties"] = False
    return kept


T = TypeVar("T")
_CAP_GROWTH = 8
_REPAIR = (
    "That reply can't be used as it stands.\n\n"
    "What is wrong: {fault}.\n\n"
    "Send all of it again, complete and in exactly the form that was asked for, with nothing before or after it."
)


@dataclass(frozen=True)
class ParsedReply(Generic[T]):
    """The final outcome, and the value that was read from it: `None` exactly where it is not `ok`."""

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
    caps: ReplyCaps | None = None,
    n_expected: int | None = None,
) -> ParsedReply[T]:
    """Ask until there is a value, or a recorded reason why there is none.

    A truncated reply is asked again with a doubled cap, up to `cap_tokens`; one that was cut while it repeated itself,
    once, with the same. A refusal is rephrased once. A reply that `parse` can't read is sent back once with what was
    wrong. Anything else ends the conversation, and so does each of these the next time: a failure that would only
    repeat itself is not paid for again. Each step is a turn of its own in the store, so a run that was killed replays
    what was answered and goes on where it stopped.

    Args:
        client: answers from the store first (`open_client` gives such a one).
        store: where the verdict of `parse` is recorded.
        request: turn 0.
        parse: reads the value out of a reply's text; raises `UnreadableReplyError` where it can't.
        rephrase: the request in other words, its stage and task the same; without it a refusal is final.
        cap_tokens: the highest cap of a reply; 8 times the first one when not given.
        caps: what is known of the author's caps.
        n_expected: how many tokens the reply is to have, where that is known; with `caps` the first cap fits it.

    Raises:
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    growth = CapGrowth(request.max_tokens, cap_tokens or _CAP_GROWTH * request.max_tokens)
    if caps is not None and n_expected is not None:
        request = caps.fit(request, n_expected, store)
    first, rephrased, repaired = request, False, False
    while True:
        outcome = await client.ask(request)
        if caps is not None:
            caps.saw(outcome)
        if (grown := growth.next(request.max_tokens, outcome)) is not None:
            changed: dict[str, object] = {"max_tokens": grown}
        elif outcome.kind == "refused" and rephrase is not None and not rephrased:
            rephrased = True
            other = rephrase(first)
            changed = {name: getattr(other, name) for name in ("prompt", "prefix", "turns", "form")}
            changed["max_tokens"] = max(request.max_tokens, other.max_tokens)
        elif outcome.kind in ("ok", "unparsable"):
            parsed = _parse(store, request, outcome, parse)
            if isinstance(parsed, ParsedReply):
                return parsed
            if repaired:
                return ParsedReply(None, outcome.model_copy(update={"kind": "unparsable", "note": parsed}))
            repaired = True
            # A provider refuses an assistant turn without text.
            reply = Message(role="assistant", content=outcome.text or "(nothing)")
            repair = Message(role="user", content=_REPAIR.format(fault=parsed))
            changed = {"turns": (*request.turns, reply, repair)}
        else:
            return ParsedReply(None, outcome)
        # Built from validated parts; validating 20 kB of prompt again at each turn would be waste.
        request = request.model_copy(update={**changed, "turn": request.turn + 1})


def _parse(store: Store, request: Request, outcome: Outcome, parse: Callable[[str], T]) -> ParsedReply[T] | str:
    """Return the value, or what is wrong. The store keeps the text; the verdict is made anew at each replay."""
    try:
        value = parse(outcome.text)
    except UnreadableReplyError as error:
        fault = str(error)
        if outcome.kind == "ok":
            store.mark(request.task, request.turn, "unparsable", fault)
        return fault
    if outcome.kind != "ok":
        store.mark(request.task, request.turn, "ok", "")
        outcome = outcome.model_copy(update={"kind": "ok", "note": ""})
    return ParsedReply(value, outcome)
