"""Documents and chats from rows in the forms that the field has.

In: rows of files, with keys of others. Out: `Document`s and `Chat`s, and the names of the keys that were ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from midspec.core.call_turns import with_calls
from midspec.core.chat_rows import (
    BadRowError,
    check_text,
    complete_messages,
    parse_content,
    parse_message,
    parse_tools,
    refuse_unwanted,
    without_padding,
)
from midspec.core.errors import DataError
from midspec.core.fingerprint import id_of
from midspec.core.records import Chat, ChatMetadata, Document, DocumentMetadata, Message, Reject, Role
from midspec.exchange._files import CUT_OFF, is_tree, raw_rows, tree_rows
from midspec.exchange._formats import RawRow
from midspec.exchange._row_forms import (
    ABOUT,
    TEXT_KEYS,
    abouts_of,
    answer_of,
    chat_key,
    given,
    one_text,
    pair_of,
    refuse_parts,
    refuse_rivals,
    shown_keys,
    system_of,
    transcript,
    turns_of,
    why_neither,
)

RowT = TypeVar("RowT")
_SYSTEM_ROLES = ("system", "developer")


class Parsed(NamedTuple, Generic[RowT]):
    """A row of ours, and the keys of the given row that were ignored."""

    row: RowT
    ignored: tuple[str, ...]


# Documents -----------------------------------------------------------------------------------------------------
def parse_document(row: dict[str, Any], *, strip_prefix: str = "", strict: bool = False) -> Parsed[Document]:
    """Make a document of `text` (or its alias `content`), `source`, `domain` and `metadata`.

    Args:
        row: the row's keys and values; a null is as good as a key that is not there.
        strip_prefix: taken off the beginning of the text, with the white space after it (`<DOCTAG>`).
        strict: whether a number as `source` or `domain` is a fault; else it is taken as text.

    Raises:
        BadRowError: there is no text, it is empty, or a value is not text.
    """
    found = given(row)
    names = [key for key in TEXT_KEYS if key in found]
    name = next((key for key in names if found[key]), names[0] if names else None)
    if name is None:
        raise BadRowError(why_neither(found) or f"has neither `text` nor `content`{shown_keys(found)}")
    refuse_parts(found)
    text = _text(found, name)
    if strip_prefix and text.startswith(strip_prefix):
        text = text.removeprefix(strip_prefix).lstrip()
    if not text.strip():
        raise BadRowError(f"`{name}` is empty")
    metadata, ignored = _metadata(found, DocumentMetadata)
    ignored += [key for key in found if key not in (name, "source", "domain", "metadata")]
    for key in ("source", "domain"):
        if isinstance(found.get(key), int | float) and not strict:
            found[key] = str(found[key])
    document = Document(
        text=text,
        source=_text(found, "source"),
        domain=_text(found, "domain"),
        metadata=DocumentMetadata.model_validate(metadata) if metadata else None,
    )
    return Parsed(document, tuple(ignored))


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        raise BadRowError(f"`{key}` is a {type(value).__name__}, not text")
    return check_text(value, key)


def _metadata(
    row: dict[str, Any], kind: type[DocumentMetadata] | type[ChatMetadata]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Split a row's `metadata` into what is ours (nothing without id and author) and the keys that are ignored."""
    found = row.get("metadata")
    if found is None:
        return None, []
    if not isinstance(found, dict):
        return None, ["metadata"]
    # A table has every row's keys in every row, with nulls where a row has none.
    known = {
        key: {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value
        for key, value in found.items()
        if key in kind.model_fields and value is not None
    }
    try:
        kind.model_validate(known)
    except ValidationError:
        return None, [f"metadata.{key}" for key in found]
    return known, [f"metadata.{key}" for key in found if key not in kind.model_fields]


# Chats ---------------------------------------------------------------------------------------------------------
def parse_chat(row: dict[str, Any], *, strict: bool = False) -> Parsed[Chat]:
    """Make a chat of `messages`, of `prompt` and `completion`, or of `conversations` (from and value, or bare texts).

    Or of a question and its answer in one row, as Alpaca and Dolly have them (`instruction`, `input`, `output`).
    Reasoning, calls of tools and weights of messages are kept, and the row's `tools` and `system`.

    Args:
        row: the row's keys and values; a null is as good as a key that is not there.
        strict: whether a system's turn that says nothing is a fault; else it is passed over.

    Raises:
        BadRowError: none of these is there, a turn has no text or a role that we do not have, or nobody answers.
    """
    found = given(row)
    refuse_unwanted(found)
    ignored: list[str] = []
    system, of_system = system_of(found)
    if (name := chat_key(found)) is not None:
        turns = turns_of(found[name], name)
        if not strict and isinstance(turns, list) and (spoken := [turn for turn in turns if not _is_silent(turn)]):
            ignored += [f"{name}.empty system turn"] * (len(turns) - len(spoken))
            turns = spoken
        messages, used = _turns(turns, name, ignored), {name}
    elif (pair := pair_of(found)) is not None:
        messages, used = _asked_and_answered(found, pair, ignored)
    else:
        raise BadRowError(
            why_neither(found) or "has none of `messages`, `conversations`, or `prompt` with `completion`"
        )
    if not any(message.role == "assistant" for message in messages):
        raise BadRowError(("rejected" in found and why_neither(found)) or "has no turn of an assistant")
    if system and messages[0].role == "system" and messages[0].content.strip() != system.strip():
        key = next(key for key, text in of_system.items() if text.strip())
        raise BadRowError(f"has one system text in `{key}`, and another in its messages")
    metadata, unknown = _metadata(found, ChatMetadata)
    used |= {"metadata", "tools", "tool_defs", *of_system}
    ignored += [*unknown, *(key for key in found if key not in used)]
    tools = parse_tools(found)
    whole = complete_messages(messages, {**found, "system": system} if of_system else found)
    chat = Chat(
        messages=without_padding(whole, tools),
        metadata=ChatMetadata.model_validate(metadata) if metadata is not None else None,
        tools=tools,
    )
    return Parsed(chat, tuple(ignored))


def _is_silent(turn: Any) -> bool:
    """Return whether a turn is a system's without any text: a template's place that nothing filled."""
    if not isinstance(turn, dict) or str(turn.get("role", turn.get("from"))).strip().lower() not in _SYSTEM_ROLES:
        return False
    content = turn.get("content", turn.get("value"))
    return content is None or (isinstance(content, str | list) and not str(content or "").strip())


def _asked_and_answered(
    row: dict[str, Any], pair: tuple[str, str], ignored: list[str]
) -> tuple[list[Message], set[str]]:
    """Make messages of a question and its answer; what the question is about stands behind it."""
    refuse_rivals(row, pair)
    asked, answer = pair
    used, question = {asked, answer}, row[asked]
    if pair != ("prompt", "completion"):
        if row.get("history"):
            raise BadRowError("has a `history`, which only a list of messages can keep")
        used |= {"history", *ABOUT} & set(row)
    is_turns = isinstance(question, list) and any(
        isinstance(one, dict) and {"role", "from"} & set(one) for one in question
    )
    if is_turns and pair != ("prompt", "completion"):
        if abouts_of(row):
            raise BadRowError("has a `context` beside turns, and no place for it among them")
    elif pair != ("prompt", "completion"):
        question = "\n\n".join([parse_content(one_text(question, asked), asked), *abouts_of(row)])
    # Of bare texts, which take turns, the last must be the user's.
    if not (isinstance(question, list) and len(question) % 2 and all(isinstance(turn, str) for turn in question)):
        question = one_text(question, asked)
    messages = _side(transcript(question), asked, "user", ignored)
    return [*messages, *_side(answer_of(row, answer), answer, "assistant", ignored)], used


def _side(value: Any, name: str, role: Role, ignored: list[str]) -> list[Message]:
    if isinstance(value, str):
        return [Message(role=role, content=parse_content(value, name))]
    return _turns(value, name, ignored)


def _turns(value: Any, name: str, ignored: list[str]) -> list[Message]:
    """Make messages of turns; keys of theirs that are passed over are added to `ignored` as `<name>.<key>`."""
    if not isinstance(value, list) or not value:
        raise BadRowError(f"`{name}` is not a list of turns")
    if all(isinstance(turn, str) for turn in value):
        roles: tuple[Role, Role] = ("user", "assistant")
        texts = [parse_content(turn, f"{name}[{at}]") for at, turn in enumerate(value)]
        return [Message(role=roles[at % 2], content=text) for at, text in enumerate(texts)]
    messages = []
    for at, turn in enumerate(with_calls(value)):
        if not isinstance(turn, dict):
            raise BadRowError(f"`{name}[{at}]` is not a turn")
        message, passed_over = parse_message(turn, f"{name}[{at}]")
        messages.append(message)
        ignored += [f"{name}.{key}" for key in passed_over]
    return messages


# Files -----------------------------------------------------------------------------------------------------------
_TWINS = ("chats_cot.jsonl", "chats_cot_stripped.jsonl")


@dataclass
class ReadStats:
    """What was not read as a row, filled while rows are read.

    Attributes:
        ignored: how often each key that we have no place for was seen; the keys of metadata as `metadata.<key>`.
        rejects: rows that `import_folder` could not read, and replies of a tree of text files that were cut off.
        n_rendered: how many documents of `import_folder` are chats as a template wrote them.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    n_rendered: int = 0


def read_documents(path: Path, *, strip_prefix: str = "", stats: ReadStats | None = None) -> Iterator[Document]:
    """Read the documents of a file or folder, one at a time: JSONL, JSON, parquet, a data set folder, a tree of texts.

    A row has `text` or `content`, and may have `source`, `domain` and our `metadata`. Other keys are passed over.

    Args:
        path: the file or folder. Of one that midspec made, `documents.jsonl` is read.
        strip_prefix: taken off the beginning of each text where it is there (a loss-masked `<DOCTAG>`, say).
        stats: counts the keys that were passed over, and takes replies that were cut off.

    Raises:
        MissingError: there is no such file, or no data file in the folder.
        DataError: a row is not a document; names file and line. Or, without a stats, a reply was cut off.
    """
    for raw in rows_at(path, "documents.jsonl"):
        if (document := document_of(raw, strip_prefix, stats)) is not None:
            yield document


def read_chats(path: Path, *, stats: ReadStats | None = None) -> Iterator[Chat]:
    """Read the chats of a file or folder, one at a time: JSONL, JSON, parquet, CSV, or a data set folder.

    A row has `messages` (role and content), or `prompt` with `completion` (texts or turns), or `conversations` (from
    and value), or one question with one answer. Our `metadata` is kept where it is there; other keys are passed over. A
    row whose answer is called bad, or that has several answers, is no chat to learn from.

    Args:
        path: the file or folder. Of one that midspec made, `chats.jsonl` is read; of twins, name the file.
        stats: counts the keys that were passed over.

    Raises:
        MissingError: there is no such file, or no data file in the folder.
        DataError: a row is not a chat; names file and line. Or the folder holds twins.
    """
    refuse_twins(path)
    for raw in rows_at(path, "chats.jsonl"):
        yield chat_of(raw, stats)


def refuse_twins(path: Path) -> None:
    """Refuse a folder in which every chat stands with and without chain of thought: reading both would train on both.

    Raises:
        DataError: it is one.
    """
    if all((path / name).is_file() for name in _TWINS):
        hint = f"Name {path / _TWINS[0]} or {path / _TWINS[1]}"
        raise DataError("holds each chat twice, with and without chain of thought", where=str(path), hint=hint)


def rows_at(path: Path, *ours: str) -> Iterator[RawRow]:
    """Read the rows of a path as they are; of a folder with files of our names, those of these files alone."""
    if files := [path / name for name in ours if (path / name).is_file()]:
        return (raw for file in files for raw in raw_rows(file))
    return tree_rows(path) if is_tree(path) else raw_rows(path)


def document_of(raw: RawRow, strip_prefix: str, stats: ReadStats | None) -> Document | None:
    """Return the document that a row is, or `None` where it is a reply that was cut off, which `stats` takes."""
    if raw.fault == CUT_OFF:
        if stats is None:
            raise DataError(CUT_OFF, where=raw.where, hint="Remove that file")
        reason, reply = "truncated: no </content>", raw.row["reply"]
        reject_id = id_of(raw.row["source"])
        stats.rejects.append(Reject(id=reject_id, by="import", reason=reason, text=reply))
        return None
    return _read_row(raw, stats, lambda row: parse_document(row, strip_prefix=strip_prefix))


def chat_of(raw: RawRow, stats: ReadStats | None) -> Chat:
    """Return the chat that a row is, and count the keys that were passed over in `stats`."""
    return _read_row(raw, stats, parse_chat)


def _read_row(raw: RawRow, stats: ReadStats | None, parse: Callable[[dict[str, Any]], Parsed[RowT]]) -> RowT:
    try:
        parsed = parse(raw.checked())
    except BadRowError as error:
        raise DataError(str(error), where=raw.where, hint="Fix or remove that row") from error
    if stats is not None:
        stats.ignored.update(parsed.ignored)
    return parsed.row
