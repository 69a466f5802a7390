"""Pairs of replies to prefer between, and prompts to reply to, read from JSONL line by line.

They are read here and not by a data set library, which guesses a file's columns from its first rows: values of later
rows of another type come back as text, and keys that the first row lacks are gone (seen with datasets 5.2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from midspec.core.chat_rows import BadRowError, complete_messages, parse_message, parse_tools, without_padding
from midspec.core.errors import DataError, MissingError
from midspec.core.records import Message

_FIX = "Fix or remove that line"
_SWITCHES = ("enable_thinking", "thinking", "reasoning_effort", "tool_choice")  # of a template or a request


class Pair(NamedTuple):
    """A conversation that ends with a user's or a tool's turn, and two replies.

    Attributes:
        prompt: the conversation.
        chosen: the better reply.
        rejected: the other.
        where: its place.
        unread: keys of messages not read.
        tools: of the conversation.
    """

    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    where: str
    unread: tuple[str, ...] = ()
    tools: tuple[dict[str, JsonValue], ...] = ()


class Prompt(NamedTuple):
    """A conversation that ends with the user's turn; the line's other keys, for rewards; the place; keys not read."""

    messages: tuple[Message, ...]
    row: Mapping[str, JsonValue]
    where: str
    unread: tuple[str, ...] = ()


def refuse_meant_keys(row: Mapping[str, Any], messages: Sequence[Message]) -> list[str]:
    """Refuse keys of a row, beside its messages, that would change what is trained and are not read.

    Args:
        row: its keys and values.
        messages: of the row; a system text that they begin with may stand beside them too.

    Returns:
        Keys that may be meant so, and are not read: a weight that is no 0, documents without texts.

    Raises:
        BadRowError: it has one.
    """
    if row.get("chat_template_kwargs"):
        raise BadRowError("chat_template_kwargs of a row can't be trained with; recipe.template_args are for all rows")
    unread: list[str] = []
    documents = row.get("documents")
    given = [one for one in documents if isinstance(one, dict)] if isinstance(documents, list) else []
    texts = [one.get(name) for one in given for name in ("text", "content")]
    if any(isinstance(text, str) and text.strip() for text in texts):
        raise BadRowError("has `documents` beside its messages, which are not put into the prompt: write them into it")
    own = messages[0].content if messages and messages[0].role == "system" else row.get("system")
    for name in ("system_prompt", "system_message"):
        if isinstance(text := row.get(name), str) and text.strip() not in ("", str(own).strip()):
            raise BadRowError(f"has `{name}` beside its messages, which is not read: name it `system`")
    unread += [name for name in _SWITCHES if row.get(name) is not None]
    if isinstance(documents, list | dict) and documents:
        unread.append("documents")
    if isinstance(weight := row.get("weight"), int | float) and weight != 1:
        if weight == 0:
            raise BadRowError(f"has the weight {weight!r}, and rows are not weighted: only its messages can have one")
        unread.append("weight")
    return unread


def read_pairs(paths: Sequence[str]) -> list[Pair]:
    """Read preference pairs, in TRL's conversational forms.

    `prompt` is messages or the user's text; `chosen` and `rejected` are the reply as text, as one assistant message
    (also in a list), or the whole conversation (then `prompt` may be left out). Messages and `tools` are read as in
    fine-tuning; a null is as good as a key that is not there. Other keys are left alone.

    Raises:
        MissingError: there is no such file.
        DataError: a line is no pair, or its replies are the same; names file and line.
    """
    return [_parse_pair(row, where) for row, where in _read(paths, "pair")]


def read_prompts(paths: Sequence[str]) -> list[Prompt]:
    """Read prompts: `prompt` as messages or as the user's text, or the turns before the last reply of `messages`.

    Raises:
        MissingError: there is no such file.
        DataError: a line is no prompt; names file and line.
    """
    return [_parse_prompt(row, where) for row, where in _read(paths, "prompt")]


def _read(paths: Sequence[str], kind: str) -> Iterator[tuple[dict[str, JsonValue], str]]:
    n_rows = 0
    for path in map(Path, paths):
        if not path.is_file():
            raise MissingError("there is no such file", where=str(path), hint="Check the path")
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    n_rows += 1
                    row = _parse_line(line, f"{path}:{number}")
                    if kind == "prompt" and (row.get("tools") or row.get("tool_defs")):
                        what = "tools, which prompts are not read with"
                        raise DataError(what, where=f"{path}:{number}", hint=_FIX)
                    yield row, f"{path}:{number}"
    if not n_rows:
        raise DataError(f"there is no {kind}", where=", ".join(paths), hint="Give files with rows")


def _parse_line(line: bytes, where: str) -> dict[str, JsonValue]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError("half of a surrogate pair, which is no text", where=where, hint=_FIX) from error
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", where=where, hint=_FIX) from error
    if not isinstance(row, dict):
        raise DataError("not an object with keys", where=where, hint=_FIX)
    return row


def _parse_pair(row: Mapping[str, JsonValue], where: str) -> Pair:
    given = {key: value for key, value in row.items() if value is not None}
    unread: list[str] = []
    missing = [key for key in ("chosen", "rejected") if key not in given]
    if missing:
        raise DataError(f"a pair without {' and '.join(missing)}", where=where, hint=_FIX)
    prompt = _messages(given["prompt"], "prompt", where, unread) if "prompt" in given else None
    before, chosen = _reply(given["chosen"], "chosen", where, unread)
    before_rejected, rejected = _reply(given["rejected"], "rejected", where, unread)
    if before != before_rejected:
        raise DataError("chosen and rejected answer different conversations", where=where, hint=_FIX)
    if prompt is not None and before and before[-len(prompt) :] != prompt:
        raise DataError("chosen does not begin with the prompt", where=where, hint=_FIX)
    prompt = before or prompt
    if not prompt:
        raise DataError("a pair without a prompt", where=where, hint=_FIX)
    prompt = _whole_prompt(prompt, given, where, unread, ends=("user", "tool"))
    try:
        tools = parse_tools(given)
    except BadRowError as error:
        raise DataError(str(error), where=where, hint=_FIX) from error
    *turns, chosen, rejected = without_padding((*prompt, chosen, rejected), tools)
    if chosen == rejected:
        raise DataError("chosen and rejected are the same reply", where=where, hint=_FIX)
    return Pair(tuple(turns), chosen, rejected, where, tuple(unread), tools)


def _parse_prompt(row: Mapping[str, JsonValue], where: str) -> Prompt:
    given = {key: value for key, value in row.items() if value is not None}
    unread: list[str] = []
    if "prompt" in given:
        messages = _messages(given["prompt"], "prompt", where, unread)
    elif "messages" in given:
        messages = _messages(given["messages"], "messages", where, unread)
        if messages and messages[-1].role == "assistant":
            messages = messages[:-1]
    else:
        raise DataError("neither a prompt (prompt) nor a chat (messages)", where=where, hint=_FIX)
    # A reward may be given documents, and weights.
    messages = _whole_prompt(messages, {**given, "documents": None, "weight": None}, where, unread)
    others = {key: value for key, value in row.items() if key not in ("prompt", "messages")}
    return Prompt(messages, others, where, tuple(unread))


def _whole_prompt(
    messages: Sequence[Message],
    row: Mapping[str, JsonValue],
    where: str,
    unread: list[str],
    *,
    ends: tuple[str, ...] = ("user",),
) -> tuple[Message, ...]:
    """Return the prompt with the system text that its row keeps beside it; refuses one that no user's turn ends."""
    try:
        unread += refuse_meant_keys(row, messages)
        found = complete_messages(messages, row)
    except BadRowError as error:
        raise DataError(str(error), where=where, hint=_FIX) from error
    if not messages or found[-1].role not in ends:
        raise DataError("the prompt does not end with the user's turn", where=where, hint=_FIX)
    return found


def _reply(value: JsonValue, name: str, where: str, unread: list[str]) -> tuple[tuple[Message, ...], Message]:
    """Return the turns before the reply, if it comes with them, and the reply."""
    if isinstance(value, str):
        messages: tuple[Message, ...] = (Message(role="assistant", content=value),)
    else:
        messages = _messages(value, name, where, unread)
    if not messages or messages[-1].role != "assistant":
        raise DataError(f"{name} does not end with the assistant's turn", where=where, hint=_FIX)
    reply = messages[-1]
    if not reply.weight:
        raise DataError(f"{name} has weight 0, and both replies of a pair are trained on", where=where, hint=_FIX)
    # A call of a tool may come without words.
    if not reply.content.strip() and reply == Message(role="assistant", content=reply.content):
        raise DataError(f"{name} is empty", where=where, hint=_FIX)
    return messages[:-1], reply


def _messages(value: JsonValue, name: str, where: str, unread: list[str]) -> tuple[Message, ...]:
    """Read messages, the user's text, or one message; keys of theirs that are passed over are added to `unread`."""
    if isinstance(value, str):
        if not value.strip():
            raise DataError(f"{name} is empty", where=where, hint=_FIX)
        return (Message(role="user", content=value),)
    turns: Any = [value] if isinstance(value, dict) else value
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise DataError(f"{name} is neither text nor a list of messages", where=where, hint=_FIX)
    found = []
    for at, turn in enumerate(turns):
        try:
            message, passed_over = parse_message(turn, f"{name}[{at}]", may_be_empty=True)
        except BadRowError as error:
            raise DataError(str(error), where=where, hint=_FIX) from error
        found.append(message)
        unread += passed_over
    return tuple(found)
