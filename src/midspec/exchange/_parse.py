"""One row of the field's making as one of ours.

In: the plain object of a row. Out: a `Document` or a `Chat`, and the names of the keys that went nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import ValidationError

from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Message, Role

_CHAT_KEYS = ("messages", "conversations", "conversation")
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


class BadRowError(ValueError):
    """A row that can't be read; says why, without a full stop. Its reader knows where it stands."""


class ParsedDocument(NamedTuple):
    """A document, and the keys of its row that went nowhere."""

    document: Document
    ignored: tuple[str, ...]


class ParsedChat(NamedTuple):
    """A chat, and the keys of its row that went nowhere."""

    chat: Chat
    ignored: tuple[str, ...]


def is_chat(row: dict[str, Any]) -> bool:
    """Whether a row is a conversation, by its keys."""
    return any(key in row for key in _CHAT_KEYS) or {"prompt", "completion"} <= set(row)


# Documents -----------------------------------------------------------------------------------------------------
def document_of(row: dict[str, Any], *, strip_prefix: str = "") -> ParsedDocument:
    """A document from `text` (or its alias `content`), `source`, `domain` and `metadata`.

    Args:
        row: the row's keys and values; a null is as good as a key that is not there.
        strip_prefix: taken off the beginning of the text, with the white space after it (`<DOCTAG>`).

    Raises:
        BadRowError: there is no text, it is empty, or a value is not text.
    """
    given = {key: value for key, value in row.items() if value is not None}
    name = "text" if "text" in given else "content"
    if name not in given:
        raise BadRowError("has neither `text` nor `content`")
    text = _text(given, name)
    if strip_prefix and text.startswith(strip_prefix):
        text = text.removeprefix(strip_prefix).lstrip()
    if not text.strip():
        raise BadRowError(f"`{name}` is empty")
    metadata, ignored = _metadata(given, DocumentMetadata)
    ignored += [key for key in given if key not in (name, "source", "domain", "metadata")]
    document = Document(
        text=text,
        source=_text(given, "source"),
        domain=_text(given, "domain"),
        metadata=DocumentMetadata.model_validate(metadata) if metadata else None,
    )
    return ParsedDocument(document, tuple(ignored))


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        raise BadRowError(f"`{key}` is a {type(value).__name__}, not text")
    return _whole(value, key)


def _whole(text: str, where: str) -> str:
    """The text, unless it holds half of a surrogate pair, which no file can be written with."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRowError(f"`{where}` holds half of a surrogate pair") from error
    return text


def _metadata(
    row: dict[str, Any], kind: type[DocumentMetadata] | type[ChatMetadata]
) -> tuple[dict[str, Any] | None, list[str]]:
    """What of a row's `metadata` is ours, and the keys of it that go nowhere; nothing is ours without id and author."""
    found = row.get("metadata")
    if found is None:
        return None, []
    if not isinstance(found, dict):
        return None, ["metadata"]
    known = {key: _given(value) for key, value in found.items() if key in kind.model_fields and value is not None}
    try:
        kind.model_validate(known)
    except ValidationError:
        return None, [f"metadata.{key}" for key in found]
    return known, [f"metadata.{key}" for key in found if key not in kind.model_fields]


def _given(value: Any) -> Any:
    """A map without its nulls: a table has every row's keys in every row."""
    return {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else value


# Chats ---------------------------------------------------------------------------------------------------------
def chat_of(row: dict[str, Any]) -> ParsedChat:
    """A chat from `messages`, from `prompt` and `completion`, or from `conversations` (from and value, or bare texts).

    Raises:
        BadRowError: none of these is there, a turn has no text or a role that we do not have, or nobody answers.
    """
    given = {key: value for key, value in row.items() if value is not None}
    name = next((key for key in _CHAT_KEYS if key in given), None)
    if name is not None:
        messages, used = _turns(given[name], name), {name}
    elif {"prompt", "completion"} <= set(given):
        messages = _side(given["prompt"], "prompt", "user") + _side(given["completion"], "completion", "assistant")
        used = {"prompt", "completion"}
    else:
        raise BadRowError("has none of `messages`, `conversations`, or `prompt` with `completion`")
    if not any(message.role == "assistant" for message in messages):
        raise BadRowError("has no turn of an assistant")
    metadata, ignored = _metadata(given, ChatMetadata)
    ignored += [key for key in given if key not in used | {"metadata"}]
    chat = Chat(
        messages=tuple(messages), metadata=ChatMetadata.model_validate(metadata) if metadata is not None else None
    )
    return ParsedChat(chat, tuple(ignored))


def _side(value: Any, name: str, role: Role) -> list[Message]:
    return [Message(role=role, content=_content(value, name))] if isinstance(value, str) else _turns(value, name)


def _turns(value: Any, name: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadRowError(f"`{name}` is not a list of turns")
    if all(isinstance(turn, str) for turn in value):
        return [_message(("user", "assistant")[at % 2], turn, f"{name}[{at}]") for at, turn in enumerate(value)]
    return [_turn(turn, f"{name}[{at}]") for at, turn in enumerate(value)]


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise BadRowError(f"`{where}` is not a turn")
    keys = ("role", "content") if "role" in turn else ("from", "value")
    if any(key not in turn for key in keys):
        raise BadRowError(f"`{where}` has neither role and content nor from and value")
    return _message(turn[keys[0]], turn[keys[1]], where)


def _message(role: Any, content: Any, where: str) -> Message:
    ours = _ROLES.get(role) if isinstance(role, str) else None
    if ours is None:
        raise BadRowError(f"`{where}` has the role {role!r}, which is not system, user or assistant")
    return Message(role=ours, content=_content(content, where))


def _content(value: Any, where: str) -> str:
    """The text of a turn, which may come as a list of parts of type text."""
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        value = _joined(part.get("text") for part in value)
    if not isinstance(value, str) or not value.strip():
        raise BadRowError(f"`{where}` has no text")
    return _whole(value, where)


def _joined(parts: Iterable[Any]) -> str:
    return "".join(part for part in parts if isinstance(part, str))
