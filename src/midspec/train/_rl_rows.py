"""Pairs of replies to prefer between, and prompts to reply to, read from JSONL line by line.

They are read here and not by a data set library, which guesses a file's columns from its first rows: values of later
rows of another type come back as text, and keys that the first row lacks are gone (seen with datasets 5.2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue, ValidationError

from midspec.core.chat_rows import BadRowError, complete_messages
from midspec.core.errors import DataError, MissingError, first_fault
from midspec.core.records import Message

_FIX = "Fix or remove that line"


class Pair(NamedTuple):
    """A conversation that ends with the user's turn, two replies to it, and the place it was read from."""

    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    where: str


class Prompt(NamedTuple):
    """A conversation that ends with the user's turn; the line's other keys, for rewards; and the place."""

    messages: tuple[Message, ...]
    row: Mapping[str, JsonValue]
    where: str


def read_pairs(paths: Sequence[str]) -> list[Pair]:
    """Read preference pairs, in TRL's conversational forms.

    `prompt` is messages or the user's text; `chosen` and `rejected` are the reply as text, as one assistant message in
    a list, or the whole conversation (then `prompt` may be left out). Other keys are left alone.

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
                    yield _parse_line(line, f"{path}:{number}"), f"{path}:{number}"
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
    if row.get("tools"):
        raise DataError("tools, which pairs and prompts are not read with", where=where, hint=_FIX)
    return row


def _parse_pair(row: Mapping[str, JsonValue], where: str) -> Pair:
    missing = [key for key in ("chosen", "rejected") if key not in row]
    if missing:
        raise DataError(f"a pair without {' and '.join(missing)}", where=where, hint=_FIX)
    prompt = _messages(row["prompt"], "prompt", where) if "prompt" in row else None
    before, chosen = _reply(row["chosen"], "chosen", where)
    before_rejected, rejected = _reply(row["rejected"], "rejected", where)
    if before != before_rejected:
        raise DataError("chosen and rejected answer different conversations", where=where, hint=_FIX)
    if prompt is not None and before and before[-len(prompt) :] != prompt:
        raise DataError("chosen does not begin with the prompt", where=where, hint=_FIX)
    prompt = before or prompt
    if not prompt:
        raise DataError("a pair without a prompt", where=where, hint=_FIX)
    prompt = _whole_prompt(prompt, row, where)
    if chosen == rejected:
        raise DataError("chosen and rejected are the same reply", where=where, hint=_FIX)
    return Pair(prompt, chosen, rejected, where)


def _parse_prompt(row: Mapping[str, JsonValue], where: str) -> Prompt:
    if "prompt" in row:
        messages = _messages(row["prompt"], "prompt", where)
    elif "messages" in row:
        messages = _messages(row["messages"], "messages", where)
        if messages and messages[-1].role == "assistant":
            messages = messages[:-1]
    else:
        raise DataError("neither a prompt (prompt) nor a chat (messages)", where=where, hint=_FIX)
    messages = _whole_prompt(messages, row, where)
    return Prompt(messages, {key: value for key, value in row.items() if key not in ("prompt", "messages")}, where)


def _whole_prompt(messages: Sequence[Message], row: Mapping[str, JsonValue], where: str) -> tuple[Message, ...]:
    """Return the prompt with the system text that its row keeps beside it; refuses one that no user's turn ends."""
    try:
        found = complete_messages(messages, row)
    except BadRowError as error:
        raise DataError(str(error), where=where, hint=_FIX) from error
    if not messages or found[-1].role != "user":
        raise DataError("the prompt does not end with the user's turn", where=where, hint=_FIX)
    return found


def _reply(value: JsonValue, name: str, where: str) -> tuple[tuple[Message, ...], Message]:
    """Return the turns before the reply, if it comes with them, and the reply."""
    if isinstance(value, str):
        messages: tuple[Message, ...] = (Message(role="assistant", content=value),)
    else:
        messages = _messages(value, name, where)
    if not messages or messages[-1].role != "assistant":
        raise DataError(f"{name} does not end with the assistant's turn", where=where, hint=_FIX)
    reply = messages[-1]
    # A call of a tool may come without words.
    if not reply.content.strip() and reply == Message(role="assistant", content=reply.content):
        raise DataError(f"{name} is empty", where=where, hint=_FIX)
    return messages[:-1], reply


def _messages(value: JsonValue, name: str, where: str) -> tuple[Message, ...]:
    if isinstance(value, str):
        if not value.strip():
            raise DataError(f"{name} is empty", where=where, hint=_FIX)
        return (Message(role="user", content=value),)
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise DataError(f"{name} is neither text nor a list of messages", where=where, hint=_FIX)
    try:
        return tuple(Message.model_validate(turn) for turn in value)
    except ValidationError as error:
        field, what = first_fault(error)
        raise DataError(f"{name} holds a message whose {field} does not fit: {what}", where=where, hint=_FIX) from error
