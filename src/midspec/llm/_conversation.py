"""Read replies, and ask again where that helps: a policy for each kind of outcome, replayable from the store."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from midspec.core.errors import MidspecError
from midspec.core.records import Message
from midspec.llm._reasoning import Visible, set_reasoning_aside
from midspec.llm._runaway import CapGrowth, ReplyCaps
from midspec.llm._store import Store
from midspec.llm._types import Client, Outcome, Request

_Kind = TypeVar("_Kind", bound=BaseModel)
_FENCED = re.compile(r"^```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n```[ \t]*$", re.S | re.M)
_FENCE = re.compile(r"^```", re.M)
# Byte order marks and zero-width signs, which servers and models put around replies, are no white space for `strip`.
_EDGES = re.compile(r"\A[\s\ufeff\u200b-\u200d\u2060]+|[\s\ufeff\u200b-\u200d\u2060]+\Z")
_MAX_FAULTS = 5
_NUL, _NUL_IN_JSON = re.compile(r"\0"), re.compile(r"(?<!\\)(?:\\\\)*\\u0000|\0")


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
    inside = _EDGES.sub("", text)
    if inside[:1] not in ("{", "["):
        fenced = _FENCED.findall(inside)
        if "<json>" in inside:
            (inside,) = parse_tags(inside, "json")
        elif len(fenced) == 1 and len(_FENCE.findall(inside)) == 2:
            inside = str(fenced[0]).strip()
    if inside[:1] not in ("{", "["):
        raise UnreadableReplyError("the reply must be one JSON object or array and nothing else")
    _refuse_nul(inside, _NUL_IN_JSON)
    try:
        return kind.model_validate_json(inside, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        shown = [f"{'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}" for fault in faults[:_MAX_FAULTS]]
        more = f" (and {len(faults) - _MAX_FAULTS} more)" if len(faults) > _MAX_FAULTS else ""
        raise UnreadableReplyError("; ".join(shown) + more) from error


def _refuse_nul(text: str, written: re.Pattern[str]) -> None:
    """Raise where a text holds a character that ends it for databases and for some tokenizers."""
    if written.search(text):
        raise UnreadableReplyError("there must be no NUL character (\\u0000) in it")


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
# A run stops after so many conversations without a value: of models that give one in five, in 11% of runs.
_MAX_EMPTY, _MAX_UNUSABLE = 5, 10
_EMPTY = ("no text", "an empty reply")
_UNUSABLE = ("unparsable", "truncated", "refused", "filtered")
_N_REASONS, _SHOWN_CHARS = 3, 160
# A number in a reason; the status that a server answered (`400: `) is none.
_NUMBER = re.compile(r"(?<![\d.])(?!\d{3}: )\d+(?:\.\d+)?")
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


class UsableReplies:
    """Ends a run of which no reply at all can be used, or none of those that rows are made of, and says why.

    Args:
        store: where such replies are opened again.
        where: the model's name, for messages.

    Attributes:
        reasons: why replies can't be used, with numbers.
    """

    def __init__(self, store: Store, *, where: str) -> None:
        self._store, self._where = store, where
        self._good: set[str] = set()
        self._bad: dict[str, list[tuple[str, str]]] = {}
        self.reasons: Counter[str] = Counter()

    def count(self, request: Request, reply: ParsedReply[Any], *, makes_row: bool = False) -> None:
        """Count what came of one conversation.

        Args:
            request: what was asked.
            reply: what came of it.
            makes_row: it is a document or an answer, and no list on the way to them.

        Raises:
            MidspecError: none of the first ten (of empty ones: five) gave anything.
        """
        outcome = reply.outcome
        # A stage of rows is looked at by itself: a model may write lists well, and no document.
        groups = ("", request.stage) if makes_row else ("",)
        if reply.value is not None:
            self._good.update(groups)
        # A cap that only documents have, say, is refused for every one of them, while the lists went well.
        is_unusable = outcome.kind in _UNUSABLE or (makes_row and outcome.kind == "failed")
        if reply.value is not None or not is_unusable:
            return
        note = outcome.note or outcome.stop_reason or "no reply"
        if not outcome.text.strip() and outcome.kind == "unparsable" and not any(said in note for said in _EMPTY):
            note = f"{_EMPTY[1]} ({note})"
        self.reasons[reason := f"{outcome.kind}: {note}"] += 1
        for group in groups:
            if group not in self._good:
                bad = self._bad.setdefault(group, [])
                bad.append((request.task, reason))
                is_empty = all(any(said in one for said in _EMPTY) for _, one in bad)
                if len(bad) >= (_MAX_EMPTY if is_empty else _MAX_UNUSABLE):
                    self._stop(bad, f" of {group}" if group else "")

    def check_end(self) -> None:
        """Raise, at the end of a run, if all its replies were of no use, however few they were.

        Raises:
            MidspecError: they were.
        """
        if "" not in self._good and (bad := self._bad.get("")):
            self._stop(bad, "")

    def _stop(self, bad: list[tuple[str, str]], stage: str) -> None:
        for task, _ in bad:
            self._store.reopen(task)
        words = _commonest(Counter(reason for _, reason in bad))
        raise MidspecError(
            f"none of the first {len(bad)} requests{stage} gave a reply that can be used ({words})",
            where=self._where,
            hint="Check the model and the server's settings (chat template, reasoning, context, caps); the same"
            " command asks again",
        )

    def words(self) -> str:
        """Return the commonest reasons with their numbers, in one line."""
        return _commonest(self.reasons)


def _commonest(reasons: Counter[str]) -> str:
    """Return the commonest reasons with how often each was met; those that differ in numbers alone are one."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for reason in reasons:
        alike.setdefault(tuple(_NUMBER.split(reason)), []).append(reason)
    n_met = Counter({key: sum(reasons[reason] for reason in group) for key, group in alike.items()})
    return "; ".join(f"{n} {_as_one(alike[key])[:_SHOWN_CHARS]}" for key, n in n_met.most_common(_N_REASONS))


def _as_one(alike: list[str]) -> str:
    """Return reasons that differ in numbers alone as one, with the least and the greatest of a number that differs."""
    numbers = [sorted(found, key=float) for found in zip(*map(_NUMBER.findall, alike), strict=True)]
    spans = iter(found[0] if found[0] == found[-1] else f"{found[0]} to {found[-1]}" for found in numbers)
    return _NUMBER.sub(lambda _: next(spans), alike[0])


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
    reads_reasoning: bool = False,
) -> ParsedReply[T]:
    """Ask until there is a value, or a recorded reason why there is none.

    Reasoning that the server left before the reply is set aside; where it never ends, the reply was cut. A truncated
    reply is asked again with a doubled cap, up to `cap_tokens`; one that was cut while it repeated itself, once as it
    was. A refusal is rephrased once. A reply that `parse` can't read is sent back once with what was wrong. Anything
    else ends the conversation, and so does each of these the next time: a failure that would only repeat itself is not
    paid for again. Each step is a turn of its own in the store, so a run that was killed replays what was answered and
    goes on where it stopped.

    Args:
        client: answers from the store first (`open_client` gives such a one).
        store: where the verdict of `parse` is recorded.
        request: turn 0.
        parse: reads the value out of a reply's text; raises `UnreadableReplyError` where it can't.
        rephrase: the request in other words, its stage and task the same; without it a refusal is final.
        cap_tokens: the highest cap of a reply; 8 times the first one when not given.
        caps: what is known of the author's caps.
        n_expected: how many tokens the reply is to have, where that is known; with `caps` the first cap fits it.
        reads_reasoning: `parse` sets reasoning aside itself, and gets the reply as it came.

    Raises:
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    growth = CapGrowth(request.max_tokens, cap_tokens or _CAP_GROWTH * request.max_tokens)
    caps = caps or ReplyCaps()
    if n_expected is not None:
        request = caps.fit(request, n_expected, store)
    first, rephrased, repaired = request, False, False
    while True:
        outcome = await client.ask(request)
        said = Visible(outcome.text) if reads_reasoning else set_reasoning_aside(outcome.text, request.prompt)
        if said.is_cut and outcome.kind in ("ok", "unparsable"):
            outcome = outcome.model_copy(update={"kind": "truncated", "note": "its reasoning never ended"})
            store.mark(request.task, request.turn, "truncated", outcome.note)
        caps.saw(outcome)
        if (grown := growth.next(request.max_tokens, outcome)) is not None:
            changed: dict[str, object] = {"max_tokens": grown}
            if first.cap_setting:
                changed["cap_setting"] = f"{first.cap_setting}, raised because the reply was cut"
        elif outcome.kind == "refused" and rephrase is not None and not rephrased:
            rephrased = True
            other = rephrase(first)
            changed = {name: getattr(other, name) for name in ("prompt", "prefix", "turns", "form")}
            changed["max_tokens"] = max(request.max_tokens, other.max_tokens)
        elif outcome.kind in ("ok", "unparsable"):
            parsed = _parse(store, request, outcome, said, parse)
            if isinstance(parsed, ParsedReply):
                return parsed
            if repaired:
                why = f"{outcome.note} ({parsed})" if "stopped for" in outcome.note else parsed
                return ParsedReply(None, outcome.model_copy(update={"kind": "unparsable", "note": why}))
            repaired = True
            # Providers refuse an assistant's turn without text, and one of white space alone.
            reply = Message(role="assistant", content=said.text.replace("\0", "") if said.text.strip() else "(nothing)")
            repair = Message(role="user", content=_REPAIR.format(fault=parsed))
            changed = {"turns": (*request.turns, reply, repair)}
        else:
            return ParsedReply(None, outcome)
        # Built from validated parts; validating 20 kB of prompt again at each turn would be waste.
        request = request.model_copy(update={**changed, "turn": request.turn + 1})


def _parse(
    store: Store, request: Request, outcome: Outcome, said: Visible, parse: Callable[[str], T]
) -> ParsedReply[T] | str:
    """Return the value, or what is wrong. The store keeps the text; the verdict is made anew at each replay."""
    try:
        _refuse_nul(said.text, _NUL)
        value = parse(said.text)
    except UnreadableReplyError as error:
        fault = str(error)
        if not said.text.strip() and (said.has_reasoning or "reasoning" in outcome.note):
            # What the client saw beside the text says more; of a plainly empty reply the words are as they were.
            fault = f"{'no text after its reasoning' if said.has_reasoning else outcome.note} ({error})"
        if outcome.kind == "ok":
            store.mark(request.task, request.turn, "unparsable", fault)
        return fault
    if outcome.kind != "ok":
        store.mark(request.task, request.turn, "ok", "")
        outcome = outcome.model_copy(update={"kind": "ok", "note": ""})
    return ParsedReply(value, outcome)
