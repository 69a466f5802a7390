"""Training rows as they stand in JSONL files: documents and chats, in the seed's order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from midspec.errors import DataError, MissingError
from midspec.records import Chat, Message

__all__ = ["Row", "read_training_rows"]


class Row(NamedTuple):
    """One document's text, or one chat; and the place it was read from."""

    content: str | Chat
    where: str


def read_training_rows(paths: Sequence[str], *, seed: int) -> list[Row]:
    """The rows of all files, put together and shuffled: same rows and same seed, same order.

    A row is a chat if it has `messages`, else a document with `text` or `content`; other keys are left alone.

    Raises:
        MissingError: there is no such file.
        DataError: a line is neither; names file and line.
    """
    rows = [row for path in paths for row in _read(Path(path))]
    if not rows:
        raise DataError("there is no row to train on", where=", ".join(paths), mend="Give files with rows")
    random.Random(seed).shuffle(rows)
    return rows


def _read(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), mend="Check the path")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _row(line, f"{path}:{number}")


def _row(line: bytes, where: str) -> Row:
    try:
        data = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError("not JSON", where=where, mend="Mend or remove that line") from error
    if isinstance(data, dict) and "messages" in data:
        return Row(_chat(data["messages"], where), where)
    text = data.get("text", data.get("content")) if isinstance(data, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError("neither a document (text) nor a chat (messages)", where=where, mend="Mend or remove that line")
    return Row(text, where)


def _chat(messages: object, where: str) -> Chat:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise DataError("messages is not a list of messages", where=where, mend="Mend or remove that line")
    try:
        chat = Chat(messages=tuple(Message(role=turn.get("role"), content=turn.get("content")) for turn in messages))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"not a chat: {field}: {first['msg']}", where=where, mend="Mend or remove that line") from error
    if all(message.role != "assistant" for message in chat.messages):
        raise DataError("a chat without an assistant turn", where=where, mend="Mend or remove that line")
    return chat
