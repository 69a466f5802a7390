"""The forms that trainers and data set readers take: one row of ours as rows of theirs, and what columns that gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_origin

from pydantic import JsonValue

from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Message, Strict

Form = Literal["hf", "trl", "axolotl"]
ChatRows = Literal["messages", "prompt_completion"]


class _Text(Strict):
    text: str


class _Authors(Strict):
    text: str
    source: str
    domain: str


class _Messages(Strict):
    messages: tuple[Message, ...]


class _PromptCompletion(Strict):
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]


def rows_of(row: Document | Chat, form: Form, chat_rows: ChatRows, *, strict: bool) -> Iterator[Strict]:
    """The rows that one row of ours becomes; more than one for a chat of several turns as prompts and completions.

    With `strict`, a document has the authors' three keys and a chat its messages alone, whatever the form.
    """
    if isinstance(row, Document):
        if strict:
            yield _Authors(text=row.text, source=row.source, domain=row.domain)
        else:
            yield row if form == "hf" else _Text(text=row.text)
    elif form == "trl" and chat_rows == "prompt_completion":
        yield from _completions(row)
    elif form == "hf" and not strict:
        yield row
    else:
        yield _Messages(messages=row.messages)


def _completions(chat: Chat) -> Iterator[_PromptCompletion]:
    """A row for every assistant turn, with all that was said before it as its prompt."""
    for at, message in enumerate(chat.messages):
        if message.role == "assistant":
            yield _PromptCompletion(prompt=chat.messages[:at], completion=(message,))


class Columns:
    """The columns of a file of rows as a data set card states them, gathered while the rows are written.

    They are stated because a reader that guesses from a file's first rows fails where a column is first null and then
    is not. Fields that a record leaves out where they are empty are columns only if some row has them.
    """

    def __init__(self, kind: type[Document] | type[Chat], form: Form, chat_rows: ChatRows, *, strict: bool) -> None:
        self._kind = kind
        self._whole = form == "hf" and not strict
        self._text_alone = form != "hf" and not strict
        self._prompts = form == "trl" and chat_rows == "prompt_completion"
        self._seen: dict[str, set[str]] = {}

    def see(self, row: Document | Chat) -> None:
        """Note which fields this row's metadata has, and the keys of those that are maps."""
        if self._whole and row.metadata is not None:
            for key, value in row.metadata.model_dump().items():
                self._seen.setdefault(key, set()).update(value if isinstance(value, dict) else ())

    @property
    def features(self) -> JsonValue:
        """The columns, in the order of the rows' keys."""
        if self._kind is Document:
            plain = [_column(name) for name in (("text",) if self._text_alone else ("text", "source", "domain"))]
            return [*plain, self._metadata(DocumentMetadata)] if self._whole else list(plain)
        if self._prompts:
            return [_turns("prompt"), _turns("completion")]
        return [_turns("messages"), *([self._metadata(ChatMetadata)] if self._whole else [])]

    def _metadata(self, kind: type[DocumentMetadata] | type[ChatMetadata]) -> JsonValue:
        """The columns of metadata, by the fields of its record: texts, numbers, lists, and maps to numbers."""
        parts: list[JsonValue] = []
        for key, field in kind.model_fields.items():
            if field.exclude_if is not None and key not in self._seen:
                continue
            if get_origin(field.annotation) is dict:
                parts.append({"name": key, "struct": [_column(name, "int64") for name in sorted(self._seen[key])]})
            elif get_origin(field.annotation) is tuple:
                parts.append({"name": key, "list": "string"})
            else:
                parts.append(_column(key, "int64" if field.annotation is int else "string"))
        return {"name": "metadata", "struct": parts}


def _column(name: str, kind: str = "string") -> JsonValue:
    return {"name": name, "dtype": kind}


def _turns(name: str) -> JsonValue:
    return {"name": name, "list": [_column("role"), _column("content")]}
