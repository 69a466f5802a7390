"""Rows as tokens, and tokens packed into rows of one length in which no document sees another.

A packed row is a run of pieces. Each piece has positions of its own, counted from 0, and no attention mask is given:
transformers then keeps the pieces apart. Padding at the tail is pieces of its own, so nothing sees it. Models that
can't keep pieces apart (`train/_checks.py` measures it) get one piece a row instead, padded.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from midspec.core.errors import CheckpointError, DataError, MissingError, PreflightError
from midspec.core.records import Chat, Message
from midspec.models import ChatTemplate
from midspec.train._job import Recipe


class Row(NamedTuple):
    """One document's text, or one chat; and the place it was read from."""

    content: str | Chat
    where: str


def read_training_rows(paths: Sequence[str], *, seed: int) -> list[Row]:
    """Read the rows of all files and shuffle them together: same rows and same seed, same order.

    A row is a chat if it has `messages`, else a document with `text` or `content`; other keys are left alone.

    Raises:
        MissingError: there is no such file.
        DataError: a line is neither; names file and line.
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
                yield _parse_row(line, f"{path}:{number}")


def _parse_row(line: bytes, where: str) -> Row:
    try:
        data = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError("not JSON", where=where, hint="Fix or remove that line") from error
    if isinstance(data, dict) and "messages" in data:
        return Row(_parse_chat(data["messages"], where), where)
    text = data.get("text", data.get("content")) if isinstance(data, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError("neither a document (text) nor a chat (messages)", where=where, hint="Fix or remove that line")
    return Row(text, where)


def _parse_chat(messages: object, where: str) -> Chat:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise DataError("messages is not a list of messages", where=where, hint="Fix or remove that line")
    try:
        chat = Chat(messages=tuple(Message(role=turn.get("role"), content=turn.get("content")) for turn in messages))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"not a chat: {field}: {first['msg']}", where=where, hint="Fix or remove that line") from error
    if all(message.role != "assistant" for message in chat.messages):
        raise DataError("a chat without an assistant turn", where=where, hint="Fix or remove that line")
    return chat


IGNORED = -100
_CHUNK = 1000


class Piece(NamedTuple):
    """Tokens that see each other, and which of them are trained on; the first never is, as nothing predicts it."""

    ids: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]


class Encoded(NamedTuple):
    """All pieces in the seed's order, and what happened on the way."""

    pieces: list[Piece]
    n_documents: int
    n_chats: int
    n_split: int
    n_cut: int
    n_dropped: int


def encode(tokenizer: Any, rows: Sequence[Row], recipe: Recipe) -> Encoded:
    """Tokenize rows into pieces of at most `recipe.row_tokens` tokens.

    A document is trained on whole, ends with EOS, and is cut into consecutive pieces when it is longer than a row.
    A chat is trained on where the assistant speaks. A chat longer than a row is refused, dropped or cut, as
    `recipe.overlong` says.

    Raises:
        CheckpointError: the tokenizer has no EOS, or no chat template where there are chats.
        DataError: the template refuses a chat; names its file and line.
        PreflightError: a chat is longer than a row and `recipe.overlong` is "refuse".
    """
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            "the tokenizer has no end-of-text token", where=str(tokenizer.name_or_path), hint="Set its eos_token"
        )
    whole = _tokenize(tokenizer, rows, recipe)
    pieces: list[Piece] = []
    n_split = n_cut = n_dropped = 0
    limit = recipe.row_tokens
    for row, piece in zip(rows, whole, strict=True):
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
        elif recipe.overlong == "drop":
            n_dropped += 1
        else:
            raise PreflightError(
                f"a chat of {len(piece.ids)} tokens does not fit a row of {limit}",
                where=row.where,
                hint="Raise recipe.row_tokens, or set recipe.overlong to drop or cut",
            )
    n_chats = sum(isinstance(row.content, Chat) for row in rows)
    return Encoded(pieces, len(rows) - n_chats, n_chats, n_split, n_cut, n_dropped)


def _tokenize(tokenizer: Any, rows: Sequence[Row], recipe: Recipe) -> list[Piece]:
    template = ChatTemplate(tokenizer, recipe.template_args)
    pieces: dict[int, Piece] = {}
    documents = [(at, row.content) for at, row in enumerate(rows) if isinstance(row.content, str)]
    for start in range(0, len(documents), _CHUNK):
        part = documents[start : start + _CHUNK]
        encoded = tokenizer([text for _, text in part], return_attention_mask=False)["input_ids"]
        for (at, _), ids in zip(part, encoded, strict=True):
            pieces[at] = _document_piece(ids, tokenizer.eos_token_id)
    chats = [(at, row.content) for at, row in enumerate(rows) if isinstance(row.content, Chat)]
    for start in range(0, len(chats), _CHUNK):
        pieces.update(_tokenize_chats(template, chats[start : start + _CHUNK], rows))
    return [pieces[at] for at in range(len(rows))]


def _document_piece(ids: list[int], eos: int) -> Piece:
    whole = ids if ids and ids[-1] == eos else [*ids, eos]
    return Piece(np.array(whole, dtype=np.int32), np.ones(len(whole), dtype=np.bool_))


def _tokenize_chats(
    template: ChatTemplate, part: Sequence[tuple[int, Chat]], rows: Sequence[Row]
) -> list[tuple[int, Piece]]:
    try:
        tokens = template.tokenize([chat for _, chat in part])
    except DataError:
        for at, chat in part:
            _raise_with_place(template, chat, rows[at].where)
        raise
    return [
        (at, Piece(np.array(ids, dtype=np.int32), np.array(supervised, dtype=np.bool_)))
        for (at, _), (ids, supervised) in zip(part, tokens, strict=True)
    ]


def _raise_with_place(template: ChatTemplate, chat: Chat, where: str) -> None:
    """Raise what is wrong with this chat, with its file and line."""
    try:
        template.tokenize([chat])
    except DataError as error:
        raise DataError(error.what, where=where, hint=error.hint) from error


def _first_unseen(piece: Piece) -> Piece:
    supervised = piece.supervised.copy()
    supervised[0] = False
    return Piece(piece.ids, supervised)


def pack(pieces: Sequence[Piece], row_tokens: int, *, seed: int) -> list[list[Piece]]:
    """Put every piece in exactly one row of at most `row_tokens` tokens, best fit; the rows in the seed's order.

    Args:
        pieces: in the seed's order, none longer than `row_tokens`.
        row_tokens: the length of a row.
        seed: of the order of the rows.
    """
    rows: list[list[Piece]] = []
    gaps: list[tuple[int, int]] = []  # free tokens and row, in order: the first that is big enough fits best
    for piece in pieces:
        at = bisect_left(gaps, (len(piece.ids), -1))
        if at == len(gaps):
            rows.append([piece])
            left, row = row_tokens - len(piece.ids), len(rows) - 1
        else:
            free, row = gaps.pop(at)
            rows[row].append(piece)
            left = free - len(piece.ids)
        if left > 0:
            insort(gaps, (left, row))
    random.Random(seed).shuffle(rows)
    return rows


def collate(
    rows: Sequence[Sequence[Piece]], *, width: int, pad_id: int, packed: bool = True
) -> dict[str, torch.Tensor]:
    """Make model inputs of rows.

    Args:
        rows: packed rows of at most `width` tokens, or groups of pieces that are to have a row each.
        width: of the tensors, where they are packed.
        pad_id: fills what is left of a row.
        packed: whether the pieces of a row share it.

    Returns:
        `input_ids`, `position_ids` and `labels`, each (rows, width); no attention mask. Not packed: `input_ids`,
        `attention_mask` and `labels`, each (pieces, longest piece).
    """
    if not packed:
        return _collate_apart([piece for row in rows for piece in row], pad_id)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
    positions = np.zeros((len(rows), width), dtype=np.int64)
    for number, row in enumerate(rows):
        at = 0
        for piece in row:
            end = at + len(piece.ids)
            ids[number, at:end] = piece.ids
            labels[number, at:end] = np.where(piece.supervised, piece.ids, IGNORED)
            positions[number, at:end] = np.arange(end - at)
            at = end
        # No position is higher than the longest piece's: a row may be wider than the model's positions reach.
        positions[number, at:] = np.arange(width - at) % max(len(piece.ids) for piece in row)
    return {
        "input_ids": torch.from_numpy(ids),
        "position_ids": torch.from_numpy(positions),
        "labels": torch.from_numpy(labels),
    }


def _collate_apart(pieces: Sequence[Piece], pad_id: int) -> dict[str, torch.Tensor]:
    """Make inputs of pieces with a row each, padded on the right, where no token before sees the padding."""
    shape = (len(pieces), max(len(piece.ids) for piece in pieces))
    ids = np.full(shape, pad_id, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    for number, piece in enumerate(pieces):
        end = len(piece.ids)
        ids[number, :end] = piece.ids
        labels[number, :end] = np.where(piece.supervised, piece.ids, IGNORED)
        mask[number, :end] = 1
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels),
    }
