"""The rows of training files: read, and tokenized into pieces that fit a packed row."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from midspec.core.call_turns import with_calls
from midspec.core.chat_rows import (
    BadRowError,
    check_text,
    complete_messages,
    parse_message,
    parse_tools,
    refuse_unwanted,
    without_padding,
)
from midspec.core.errors import CheckpointError, DataError, MissingError, PreflightError
from midspec.core.records import Chat, Message
from midspec.models import ChatTemplate, Tokens, check_prompt, default_system_text, has_default_system, named_assistant
from midspec.train._job import Recipe
from midspec.train._pack import Piece
from midspec.train._rl_rows import refuse_meant_keys

_CHUNK = 1000
_SHOWN = 200
_N_LOOKED_AT = 200  # rows, shuffled before, whose characters are looked for; of 3,000 characters each: 0.5 s of CPU
_MOST_UNKNOWN = 0.5  # of the tokens: above it rows are in another language than the tokenizer's
_MASKS = ("loss_mask", "loss_masks", "weights", "trainable")  # of all messages of a row, in order
_FIX = "Fix or remove that line"
_OTHER_FORM = "Fix or remove that line; of files in other forms midspec import makes such lines"


class Row(NamedTuple):
    """One document's text, or one chat; the place it was read from; and the keys of its messages that are not read."""

    content: str | Chat
    where: str
    unread: tuple[str, ...] = ()


def read_training_rows(paths: Sequence[str], *, seed: int) -> list[Row]:
    """Read the rows of all files and shuffle them together: same rows and same seed, same order.

    A row is a chat if it has `messages`, else a document with `text` or `content`; a null is as good as a key that is
    not there. Of a chat's other keys `tools` and `system` are read, of a document's none; a row with another that
    would change what is trained (`documents`, `system_prompt`, a `weight` of 0) is refused.

    Raises:
        MissingError: there is no such file.
        DataError: a line is neither, or has a message that can't be trained on; names file and line.
    """
    rows = [row for path in paths for row in _read_file(Path(path))]
    if not rows:
        raise DataError("there is no row to train on", where=", ".join(paths), hint="Give files with rows")
    random.Random(seed).shuffle(rows)
    return rows


def _read_file(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield _parse_row(line, f"{path}:{number}")
                except BadRowError as error:
                    raise DataError(str(error), where=f"{path}:{number}", hint=_FIX) from error


def _parse_row(line: bytes, where: str) -> Row:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:  # of ValueError: no JSON, no UTF-8, an integer of 5,000 digits
        raise DataError("not JSON", where=where, hint=_OTHER_FORM) from error
    given = {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else {}
    if "messages" in given:
        return _parse_chat(given, where)
    name = "text" if "text" in given else "content"
    text = given.get(name)
    if not isinstance(text, str) or not text.strip():
        raise DataError("neither a document (text) nor a chat (messages)", where=where, hint=_OTHER_FORM)
    return Row(check_text(text, name), where)


def _parse_chat(row: Mapping[str, Any], where: str) -> Row:
    messages = row["messages"]
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadRowError("messages is not a list of messages")
    refuse_unwanted(row)
    turns: list[Message] = []
    unread: list[str] = []
    for at, given in enumerate(with_calls(messages)):
        message, passed_over = parse_message(given, f"messages[{at}]", may_be_empty=True)
        says_nothing = given.get("content") is None and given.get("value") is None
        if says_nothing and message.weight and message == Message(role="assistant", content=""):
            raise BadRowError(f"`messages[{at}]` has neither a content nor calls of tools: nothing to train on")
        unread += passed_over
        turns.append(message)
    if not any(message.role == "assistant" and message.weight for message in turns):
        raise BadRowError("a chat without an assistant turn to train on")
    unread += [*refuse_meant_keys(row, turns), *_refuse_masks(row, turns)]
    tools = parse_tools(row)
    return Row(Chat(messages=without_padding(complete_messages(turns, row), tools), tools=tools), where, tuple(unread))


def _refuse_masks(row: Mapping[str, Any], turns: Sequence[Message]) -> list[str]:
    """Refuse a list beside the messages that says of each whether it is in the loss, where it is meant otherwise.

    Returns:
        Keys that may be meant so, and can't be read.
    """
    unread = []
    for name in _MASKS:
        if not isinstance(given := row.get(name), list):
            continue
        says_nothing = name == "weights" and all(one == 1 for one in given)  # of samples, or of all alike
        if says_nothing or len(given) != len(turns) or any(one not in (0, 1) for one in given):
            unread.append(name)
        elif any(one != (turn.role == "assistant" and turn.weight) for one, turn in zip(given, turns, strict=True)):
            raise BadRowError(f"has `{name}` beside its messages, which is not read: give each message its `weight`")
    return unread


class Encoded(NamedTuple):
    """All pieces in the seed's order, and what happened on the way.

    Attributes:
        pieces: in the seed's order.
        n_documents: documents that were read.
        n_chats: chats that were read.
        n_split: documents longer than a row.
        n_cut: chats' rows longer than a row that were cut.
        n_dropped: chats' rows longer than a row that were left out.
        n_untrained: rows of chats of which nothing is trained on, as they were cut before the assistant speaks.
        notes: what else was done with the rows, a sentence each.
        warnings: what is probably not wanted, a sentence each.
    """

    pieces: list[Piece]
    n_documents: int
    n_chats: int
    n_split: int
    n_cut: int
    n_dropped: int
    n_untrained: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def encode(tokenizer: Any, rows: Sequence[Row], recipe: Recipe) -> Encoded:
    """Tokenize rows into pieces of at most `recipe.row_tokens` tokens.

    A document is trained on whole, ends with EOS, and is cut into consecutive pieces when it is longer than a row.
    A chat is trained on where the assistant speaks. A chat longer than a row is refused, dropped or cut, as
    `recipe.overlong` says. A text that holds a control token is refused, escaped or kept, as `recipe.control_tokens`
    says.

    Raises:
        CheckpointError: the tokenizer has no EOS, or no chat template where there are chats.
        DataError: the template refuses a chat, or a text holds a control token; names its file and line.
        PreflightError: a chat is longer than a row and `recipe.overlong` is "refuse".
    """
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            "the tokenizer has no end-of-text token", where=str(tokenizer.name_or_path), hint="Set its eos_token"
        )
    template = ChatTemplate(tokenizer, recipe.template_args, control_tokens=recipe.control_tokens)
    if n_chats := sum(isinstance(row.content, Chat) for row in rows):
        check_prompt(str(tokenizer.name_or_path), template.render_turns)
    whole = _tokenize(template, rows, recipe)
    pieces: list[Piece] = []
    n_split = n_cut = n_dropped = 0
    untrained: list[str] = []
    limit = recipe.row_tokens
    for row, parts in zip(rows, whole, strict=True):
        for piece in parts:
            if len(piece.ids) <= limit:
                pieces.append(_first_unseen(piece))
            elif isinstance(row.content, str):
                n_split += 1
                pieces += [
                    _first_unseen(Piece(piece.ids[at : at + limit], piece.supervised[at : at + limit]))
                    for at in range(0, len(piece.ids), limit)
                ]
            elif recipe.overlong == "cut":
                n_cut += 1
                pieces.append(_first_unseen(Piece(piece.ids[:limit], piece.supervised[:limit])))
                untrained += [] if pieces[-1].supervised.any() else [row.where]
            elif recipe.overlong == "drop":
                n_dropped += 1
            else:
                raise PreflightError(
                    f"a chat of {len(piece.ids)} tokens does not fit a row of {limit}",
                    where=row.where,
                    hint="Raise recipe.row_tokens, or set recipe.overlong to drop or cut",
                )
    return Encoded(
        pieces,
        n_documents=len(rows) - n_chats,
        n_chats=n_chats,
        n_split=n_split,
        n_cut=n_cut,
        n_dropped=n_dropped,
        n_untrained=len(untrained),
        notes=tuple(notes_of(rows, template)),
        warnings=tuple(warnings_of(template, rows, untrained)),
    )


def notes_of(rows: Sequence[Row], template: ChatTemplate) -> list[str]:
    """Say what was done with rows that are tokenized, and which keys of theirs are not read."""
    notes = template.notes
    unread = Counter(key for row in rows for key in row.unread)
    if unread:
        listed = ", ".join(f"{key} {n:,}" for key, n in sorted(unread.items()))
        notes.append(f"keys of messages and rows that are not read: {listed}")
    if (n_escaped := template.seen["escaped_documents"]) > 0:
        notes.append(f"{n_escaped:,} documents hold control tokens, which are tokenized as text")
    return notes


def named_twice(paths: Sequence[str]) -> list[str]:
    """Say which files of data are named more than once."""
    times = Counter(Path(name).resolve() for name in paths)
    return [f"data names {path.name} {n} times: its rows are read as often" for path, n in times.items() if n > 1]


def warnings_of(template: ChatTemplate, rows: Sequence[Row], untrained: Sequence[str] = ()) -> list[str]:
    """Say what is probably not wanted, of the rows, the tokenizer and (where there are chats) the template.

    Args:
        template: of the tokenizer.
        rows: that were tokenized.
        untrained: the places of those that were cut before the assistant speaks.
    """
    warnings = []
    if untrained:
        warnings.append(
            f"{len(untrained):,} rows were cut before the assistant speaks, so that nothing of them is trained on "
            f"(the first: {untrained[0]})"
        )
    looked_at = [row.content for row in rows[:_N_LOOKED_AT]]
    texts = [
        text
        for one in looked_at
        for text in ([one] if isinstance(one, str) else [message.content for message in one.messages])
    ]
    left_out, unknown, n_tokens = template.control.coverage(texts)
    if unknown.total() > _MOST_UNKNOWN * n_tokens:
        shown = ", ".join(word for word, _ in unknown.most_common(10))
        warnings.append(
            f"the tokenizer does not know {unknown.total() / n_tokens:.0%} of the first {len(looked_at):,} rows "
            f"({shown}): each such word is one and the same unknown token, of which nothing is learnt"
        )
    if left_out:
        shown = " ".join(repr(character) for character, _ in left_out.most_common(10))
        warnings.append(
            f"the tokenizer has no token for {len(left_out):,} characters of the first {len(looked_at):,} rows and "
            f"leaves them out, {left_out.total():,} times in all ({shown}): use one that knows every character"
        )
    if any(isinstance(row.content, Chat) for row in rows):
        warnings += template.warnings
        text = "" if has_default_system(template.tokenizer) else " ".join(default_system_text(template).split())
        if (name := named_assistant(text)) is not None:
            shown = f"{text[:_SHOWN]} …" if len(text) > _SHOWN else text
            warnings.append(
                f"the chat template's own system text names {name} ({shown}); recipe.default_system replaces it"
            )
    return warnings


def _tokenize(template: ChatTemplate, rows: Sequence[Row], recipe: Recipe) -> list[list[Piece]]:
    """Tokenize rows; a chat may be several, one for each turn of its assistant."""
    pieces: dict[int, list[Piece]] = {}
    eos = template.tokenizer.eos_token_id
    documents = [(at, row.content) for at, row in enumerate(rows) if isinstance(row.content, str)]
    for start in range(0, len(documents), _CHUNK):
        part = documents[start : start + _CHUNK]
        texts = [_plain_document(template, text, rows[at].where, recipe) for at, text in part]
        for (at, _), ids in zip(part, template.control.encode_documents(texts), strict=True):
            whole = ids if ids and ids[-1] == eos else [*ids, eos]
            pieces[at] = [Piece(np.array(whole, dtype=np.int32), np.ones(len(whole), dtype=np.bool_))]
    chats = [(at, row.content) for at, row in enumerate(rows) if isinstance(row.content, Chat)]
    for start in range(0, len(chats), _CHUNK):
        pieces.update(_tokenize_chats(template, chats[start : start + _CHUNK], rows))
    return [pieces[at] for at in range(len(rows))]


def _plain_document(template: ChatTemplate, text: str, where: str, recipe: Recipe) -> str:
    """Return a document's text with its control tokens as the recipe wants them.

    BOS at its beginning and EOS at its end are left alone: corpora that were made for one model have them.
    """
    if recipe.control_tokens == "keep" or not (found := template.control.found(text)):
        return text
    tokenizer = template.tokenizer
    if text[slice(*found[-1])] == tokenizer.eos_token and not text[found[-1][1] :].strip():
        text = text[: found[-1][1]]
    start = found[0][1] if found[0][0] == 0 and text[: found[0][1]] == tokenizer.bos_token else 0
    end = found[-1][0] if found[-1][1] == len(text) and text[found[-1][0] :] == tokenizer.eos_token else len(text)
    inner = [span for span in found if span[0] >= start and span[1] <= end]
    if not inner:
        return text
    if recipe.control_tokens == "refuse":
        raise DataError(
            f"the text holds the control token {text[slice(*inner[0])]}",
            where=where,
            hint="Remove it, or set recipe.control_tokens to escape",
        )
    template.seen["escaped_documents"] += 1
    marked = text[:start] + str(template.control.mark(text[start:end])) + text[end:]
    try:
        template.encode([marked])
    except DataError as error:
        raise DataError(error.what, where=where, hint=error.hint) from error
    return marked


def _tokenize_chats(
    template: ChatTemplate, part: Sequence[tuple[int, Chat]], rows: Sequence[Row]
) -> list[tuple[int, list[Piece]]]:
    try:
        tokens = template.training_rows([chat for _, chat in part])
    except DataError:
        for at, chat in part:
            _raise_with_place(template, chat, rows[at].where)
        raise
    return [(at, [_piece(one) for one in parts]) for (at, _), parts in zip(part, tokens, strict=True)]


def _piece(tokens: Tokens) -> Piece:
    return Piece(np.array(tokens.ids, dtype=np.int32), np.array(tokens.supervised, dtype=np.bool_))


def _raise_with_place(template: ChatTemplate, chat: Chat, where: str) -> None:
    """Raise what is wrong with this chat, with its file and line."""
    try:
        template.training_rows([chat])
    except DataError as error:
        raise DataError(error.what, where=where, hint=error.hint) from error


def _first_unseen(piece: Piece) -> Piece:
    supervised = piece.supervised.copy()
    supervised[0] = False
    return Piece(piece.ids, supervised)
