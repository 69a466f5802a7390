"""Messages from the rows of others: roles, contents in parts, reasoning, calls of tools, weights.

What a field means here, it means in training, in import and in export; a field that means something which we can't
keep is an error, and one that means nothing to a model is passed over and counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import JsonValue

from midspec.core.records import Message, Role

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
    "tool_response": "tool",
}
CHAT_KEYS = ("messages", "conversations", "conversation")

_REASONING = ("reasoning_content", "reasoning", "thinking")
# The names under which trainers keep whether a turn is in the loss: OpenAI's and TRL's, axolotl's, ms-swift's, verl's,
# tinker's; torchtune says the opposite.
_WEIGHTS = ("weight", "train", "training", "loss", "loss_mask", "trainable")
_NO_WEIGHT = "masked"
_KEPT = {"role", "content", "from", "value", "tool_calls", "tool_call_id", "name", *_REASONING, *_WEIGHTS, _NO_WEIGHT}
_N_PLAIN_KEYS = 2  # role and content
_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
_TEXT_PARTS = ("text", "input_text", "output_text")
_NOT_TEXT = ("function_call", "refusal", *_MEDIA)

# Verdicts on the answer beside it, as trainers of KTO and collections of answers keep them.
_FOR = {"label", "kto_tag", "is_chosen", "desirable", "is_desirable", "accepted", "is_accepted", "thumbs_up"}
_FOR |= {"chosen", "correct", "is_correct", "is_safe", "is_response_safe"}
_AGAINST = {"rejected", "is_rejected", "undesirable", "is_undesirable", "thumbs_down"}
_RATINGS = {*_FOR, "rating", "score", "votes", "vote", "feedback", "verdict"}
_VERDICTS = _RATINGS | _AGAINST
_VOTES = {"label", "score", "votes", "vote"}  # below 0 on any scale of votes
# Of a row of turns: those that can be of its answer alone, and ms-swift's `label` where it is a truth.
_OF_TURNS = {"kto_tag", "chosen", "is_chosen", "rejected", "is_rejected", "thumbs_up", "thumbs_down"}
_BAD_WORDS = {"bad", "rejected", "undesirable", "thumbs_down", "thumbs down", "dislike", "disliked", "downvoted"}


class BadRowError(ValueError):
    """A row that can't be read; says why, without a full stop. The caller knows where the row stands."""


def parse_message(turn: Mapping[str, Any], where: str, *, may_be_empty: bool = False) -> tuple[Message, list[str]]:
    """Make a message of a turn with `role` and `content` (or `from` and `value`), and list the keys passed over.

    Args:
        turn: its keys and values; a null is as good as a key that is not there.
        where: the turn's place in its row (`messages[0]`), for errors.
        may_be_empty: whether a turn without text is taken.

    Raises:
        BadRowError: it has no role of ours or no text, or a field that we can't keep.
    """
    if len(turn) == _N_PLAIN_KEYS and (plain := _plain_message(turn, where)) is not None:
        return plain, []
    given = {key: value for key, value in turn.items() if value is not None}
    role_key, content_key = ("role", "content") if "role" in given else ("from", "value")
    if role_key not in given:
        raise BadRowError(f"`{where}` has neither role and content nor from and value")
    for key in _NOT_TEXT:
        if given.get(key):
            raise BadRowError(f"`{where}` has `{key}`, which can't be trained on")
    role = given[role_key]
    if not isinstance(role, str) or (known := ROLES.get(role.strip().rstrip(": ").lower())) is None:
        raise BadRowError(f"`{where}` has the role {role!r}, which is not system, user, assistant or tool")
    fields: dict[str, Any] = {
        "reasoning_content": _reasoning(given, where),
        "tool_calls": parse_tool_calls(given.get("tool_calls"), where),
        "tool_call_id": _text_field(given, "tool_call_id", where),
        "name": _text_field(given, "name", where),
        "weight": _weight(given, where),
    }
    # A call of a tool, or an answer of one, may say nothing.
    may_be_empty = may_be_empty or bool(fields["tool_calls"]) or known == "tool"
    content = parse_content(given.get(content_key, ""), where, may_be_empty=may_be_empty)
    message = Message(role=known, content=content, **fields)
    if message.role != "assistant":
        if message.reasoning_content is not None or message.tool_calls:
            raise BadRowError(f"`{where}` has reasoning or calls of tools, and is no assistant's")
        if any(given.get(key) for key in _WEIGHTS[1:]):
            raise BadRowError(f"`{where}` asks to be trained on, and only an assistant's turn can be")
    return message, [key for key in given if key not in _KEPT]


def complete_messages(messages: Sequence[Message], row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the messages of a row with the system text that it keeps beside them (`system`) as the first of them.

    Args:
        messages: of the row.
        row: its keys and values.

    Raises:
        BadRowError: the row has images, sound or `functions`, which mean something and can't be kept, or a system text
            other than its messages have.
    """
    for key in ("functions", *_MEDIA):
        if row.get(key):
            raise BadRowError(f"has `{key}` beside its messages, which can't be trained on")
    text = row.get("system")
    if not isinstance(text, str) or not text.strip():
        return tuple(messages)
    if not messages or messages[0].role != "system":
        return (Message(role="system", content=check_text(text, "system")), *messages)
    if messages[0].content.strip() != text.strip():
        raise BadRowError("has one system text in `system`, and another in its messages")
    return tuple(messages)


def _plain_message(turn: Mapping[str, Any], where: str) -> Message | None:
    """Make a message of a turn of role and text alone, as nearly all are; `None` if it is none."""
    role, content = turn.get("role"), turn.get("content")
    if not isinstance(role, str) or role not in ROLES or not isinstance(content, str) or not content.strip():
        return None
    return Message(role=ROLES[role], content=check_text(content, where))


def parse_content(value: object, where: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a turn, which may come as a list of parts of type text.

    Raises:
        BadRowError: there is none, a part is no text, or it holds half of a surrogate pair.
    """
    if isinstance(value, list):
        value = "".join(_part(part, where) for part in value)
    if not isinstance(value, str) or not (may_be_empty or value.strip()):
        raise BadRowError(f"`{where}` has no text")
    return check_text(value, where)


def check_text(text: str, where: str) -> str:
    """Return the text, unless it holds half of a surrogate pair, which is no text that a file or a tokenizer takes.

    Raises:
        BadRowError: it does.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRowError(f"`{where}` holds half of a surrogate pair") from error
    return text


def parse_tool_calls(value: object, where: str) -> tuple[dict[str, JsonValue], ...]:
    """Return calls of tools with their arguments as objects, which is what chat templates read.

    Raises:
        BadRowError: it is no list of calls, or a call has no name.
    """
    calls = _objects(value, f"{where}.tool_calls")
    for call in calls:
        function = call.get("function", call)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRowError(f"`{where}.tool_calls` has a call without a name")
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):  # OpenAI's form: JSON in a text, of a call without any an empty one
            arguments = _decoded(arguments) if arguments.strip() else {}
        if "arguments" in function:
            function["arguments"] = {} if arguments is None else arguments
    return tuple(calls)


def parse_tools(row: Mapping[str, Any]) -> tuple[dict[str, JsonValue], ...]:
    """Return the tools of a row: a list of JSON schemas, or that list as JSON text.

    They stand in `tools`, or in `tool_defs` (verifiers' rollouts) without the frame that templates read.

    A null in a schema is no schema: it comes of a table, in which each tool has the keys of all. It is left out, but as
    a value that may be one (`default`, `const`, in lists of values).

    Raises:
        BadRowError: it is neither, or both are there and differ.
    """
    given, bare = ([_without_nulls(tool) for tool in _objects(row.get(key), key)] for key in ("tools", "tool_defs"))
    bare = [_framed(tool) for tool in bare]
    if given and bare and [_framed(tool) for tool in given] != bare:
        raise BadRowError("has different tools in `tools` and `tool_defs`")
    return tuple(given or bare)


def without_padding(messages: Sequence[Message], tools: Sequence[Mapping[str, JsonValue]]) -> tuple[Message, ...]:
    """Take nulls out of calls of tools that the tool has no parameter for.

    A table gives each call the arguments of all; a null for a parameter that the tool has is an argument.

    Args:
        messages: of a row.
        tools: of the row.
    """
    known = dict(filter(None, map(_parameters, tools)))
    if not known or not any(message.tool_calls for message in messages):
        return tuple(messages)
    found = []
    for message in messages:
        calls = tuple(_without_unknown_nulls(call, known) for call in message.tool_calls)
        found.append(message.model_copy(update={"tool_calls": calls}) if calls else message)
    return tuple(found)


def _without_unknown_nulls(call: dict[str, Any], known: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    holder = call.get("function", call)
    arguments, names = holder.get("arguments"), known.get(holder["name"])
    if not isinstance(arguments, dict) or names is None:
        return call
    kept = {key: value for key, value in arguments.items() if value is not None or key in names}
    changed = {**holder, "arguments": kept}
    return {**call, "function": changed} if "function" in call else changed


def _parameters(tool: Mapping[str, Any]) -> tuple[str, frozenset[str]] | None:
    """Return a tool's name and the names of its parameters; `None` where it takes others, or does not say which."""
    function = tool.get("function", tool)
    name, schema = (function.get("name"), function.get("parameters")) if isinstance(function, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return None
    is_closed = schema.get("additionalProperties", False) is False and not any(map(schema.get, _OTHERS))
    return (name, frozenset(schema["properties"])) if is_closed else None


# Keys of a JSON schema: with which an object has parameters beside `properties`; whose value may be a null; whose value
# is a list of such; below which the keys are names.
_OTHERS = ("patternProperties", "anyOf", "oneOf", "allOf", "if", "$ref", "dependentSchemas")
_VALUES, _LISTS = ("default", "const", "example"), ("enum", "examples")
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "parameter_definitions")


def _without_nulls(value: Any, *, is_named: bool = False) -> Any:
    if isinstance(value, dict):
        kept = () if is_named else _VALUES
        as_is = () if is_named else (*_VALUES, *_LISTS)
        return {
            key: item if key in as_is else _without_nulls(item, is_named=not is_named and key in _NAMED)
            for key, item in value.items()
            if item is not None or key in kept
        }
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _framed(tool: dict[str, Any]) -> dict[str, Any]:
    return tool if "function" in tool or "name" not in tool else {"type": "function", "function": tool}


def _objects(value: object, where: str) -> list[dict[str, Any]]:
    """Return a list of objects, copied; it or each of them may come as JSON text, as parquet keeps them."""
    if not value:
        return []
    listed = _decoded(value) if isinstance(value, str) else value
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise BadRowError(f"`{where}` is not a list of objects")
    found = [_decoded(one) if isinstance(one, str) else one for one in listed]
    if not all(isinstance(one, dict) for one in found):
        raise BadRowError(f"`{where}` is not a list of objects")
    try:
        copied: list[dict[str, Any]] = json.loads(check_text(json.dumps(found, ensure_ascii=False), where))
    except TypeError as error:
        raise BadRowError(f"`{where}` holds a value that is not JSON") from error
    return copied


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    # Bedrock and Gemini give a part of text no type.
    kind = (
        part.get("type", "text" if set(part) == {"text"} else None) if isinstance(part, dict) else type(part).__name__
    )
    if not isinstance(part, dict) or kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
        raise BadRowError(f"`{where}` has a part that is no text ({kind})")
    return str(part["text"])


def _text_field(given: Mapping[str, Any], key: str, where: str) -> str | None:
    value = given.get(key)
    if value is None or isinstance(value, str):
        return None if value is None else check_text(value, where)
    raise BadRowError(f"`{where}.{key}` is no text")


def _reasoning(given: Mapping[str, Any], where: str) -> str | None:
    found = {key: _text_field(given, key, where) for key in _REASONING if given.get(key)}
    if len(set(found.values())) > 1:
        raise BadRowError(f"`{where}` has different texts in {' and '.join(found)}")
    return next(iter(found.values()), None)


def _weight(given: Mapping[str, Any], where: str) -> Literal[0, 1]:
    weights = {key: given[key] for key in (*_WEIGHTS, _NO_WEIGHT) if key in given}
    for key, value in weights.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise BadRowError(f"`{where}.{key}` is {value!r}; only 0 and 1 can be trained with")
    meant = {bool(value) != (key == _NO_WEIGHT) for key, value in weights.items()}
    if len(meant) > 1:
        raise BadRowError(f"`{where}` has different values in {' and '.join(weights)}")
    return 0 if False in meant else 1


def refuse_unwanted(found: Mapping[str, Any]) -> None:
    """Refuse an answer that the row itself calls bad: it is there to be learned from, and not to be learned.

    A bare number is no verdict where its scale is not known: it may be a class, or a place among choices. Beside turns
    a `label` that is no truth, or a `score`, may be of the conversation's topic.

    Raises:
        BadRowError: it does.
    """
    is_kto, has_turns = {"prompt", "completion"} <= set(found), any(found.get(key) for key in CHAT_KEYS)
    for key, value in found.items():
        of_topic = has_turns and key not in _OF_TURNS and not (key == "label" and isinstance(value, bool))
        if key not in _VERDICTS or of_topic:
            continue
        word = value.strip().lower() if isinstance(value, str) else value
        # In a table of classes a label of 0 is a class; beside TRL's own two keys it is KTO's.
        is_zero = key == "label" and is_kto and not isinstance(word, bool) and word in (0, "0")
        is_bad = key in _FOR and (word is False or word == "false" or is_zero)
        is_bad = is_bad or (key in _AGAINST and (word is True or word == "true"))
        is_voted_down = isinstance(word, int) and not isinstance(word, bool) and word < 0 and key in _VOTES
        is_word = isinstance(word, str) and word in _BAD_WORDS
        if is_bad or (key in _RATINGS and (is_voted_down or is_word)):
            raise BadRowError(f"`{key}` is {value!a}: an answer that is not wanted is not learned")
