"""The rows of every update, planned and counted before anything is trained; refuses what would teach nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from midspec.core.errors import PreflightError
from midspec.core.records import Strict
from midspec.train._job import TrainJob
from midspec.train._pack import Encoded, Piece, encode, pack, read_training_rows


class MetricsRow(Strict):
    """One update: mean loss over its trained-on tokens, rate, gradient norm before clipping, real tokens so far."""

    update: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int


class Progress(NamedTuple):
    """How far a run has come; `seconds` since this process began its first update."""

    update: int
    n_updates: int
    loss: float
    tokens: int
    seconds: float


class Preflight(Strict):
    """What a run will do, counted over all its updates (all epochs) unless said otherwise.

    `n_documents` and `n_chats` were read; `n_split` documents are longer than a row and continue in the next,
    `n_cut` and `n_dropped` chats were too long. `n_rows` is packed rows in one epoch, each `row_width` tokens wide;
    `n_rows_unused` were left over by `n_updates`. `example` is the first row, the trained-on stretches in «».
    """

    stage: str
    n_documents: int
    n_chats: int
    n_split: int
    n_cut: int
    n_dropped: int
    n_rows: int
    n_rows_unused: int
    row_width: int
    real_tokens: int
    padded_tokens: int
    supervised_tokens: int
    n_updates: int
    warmup_updates: int
    rows_per_update: int
    floor: int
    floor_lowered: bool
    example: str

    def lines(self) -> list[str]:
        """The same for a person to read, one fact a line."""
        kinds = f"{self.n_documents:,} documents, {self.n_chats:,} chats"
        losses = f"{self.n_split:,} split, {self.n_cut:,} cut, {self.n_dropped:,} dropped"
        floor = f"; floor {self.floor:,}{' (lowered)' if self.floor_lowered else ''}"
        return [
            f"{self.stage}: {kinds} ({losses})",
            f"rows: {self.n_rows:,} of {self.row_width:,} tokens, {self.n_rows_unused:,} unused",
            f"tokens: {self.real_tokens:,} real, {self.padded_tokens:,} padding, {self.supervised_tokens:,} trained on",
            f"updates: {self.n_updates:,} of {self.rows_per_update} rows, warm-up {self.warmup_updates:,}{floor}",
            f"example, trained on in «»: {self.example}",
        ]


_EXAMPLE_TOKENS = 160


class Plan(NamedTuple):
    """The rows of every update, in order, and what was counted on the way."""

    updates: list[list[list[Piece]]]
    preflight: Preflight


def plan_training(job: TrainJob, tokenizer: Any) -> Plan:
    """Read, tokenize, pack and count; refuse what would teach nothing.

    Raises:
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used; see `encode`.
        PreflightError: fewer updates than the floor, or than `n_updates` asks for, or nothing to train on.
    """
    recipe = job.recipe
    encoded = encode(tokenizer, read_training_rows(job.data, seed=job.seed), recipe)
    rows = pack(encoded.pieces, recipe.row_tokens, seed=job.seed)
    schedule = _schedule(rows, recipe.n_epochs, job.seed)
    n_updates = math.ceil(len(schedule) / recipe.rows_per_update)
    where = f"{job.stage} on {', '.join(job.data)}"
    if recipe.n_updates is not None:
        _refuse_too_few(len(schedule) // recipe.rows_per_update, recipe.n_updates, where)
        n_updates = recipe.n_updates
    used = schedule[: n_updates * recipe.rows_per_update]
    updates = [used[at : at + recipe.rows_per_update] for at in range(0, len(used), recipe.rows_per_update)]
    _refuse_under_floor(n_updates, job.floor, where)
    for number, update in enumerate(updates, start=1):
        if not any(piece.supervised.any() for row in update for piece in row):
            raise PreflightError(f"update {number} has no token to train on", where=where, hint="Check the rows")
    return Plan(updates, _count(job, encoded, rows, updates, len(schedule) - len(used), tokenizer))


def _schedule(rows: list[list[Piece]], n_epochs: int, seed: int) -> list[list[Piece]]:
    """The rows of all epochs, each epoch after the first in an order of its own."""
    schedule = list(rows)
    for epoch in range(1, n_epochs):
        again = list(rows)
        random.Random(f"{seed}/{epoch}").shuffle(again)
        schedule += again
    return schedule


def _refuse_too_few(possible: int, asked: int, where: str) -> None:
    if possible < asked:
        raise PreflightError(
            f"the rows make {possible} full updates, and n_updates asks for {asked}",
            where=where,
            hint="Give more data or epochs, fewer rows_per_update, or a smaller n_updates",
        )


def _refuse_under_floor(n_updates: int, floor: int, where: str) -> None:
    if n_updates < floor:
        raise PreflightError(
            f"{n_updates} updates are under the floor of {floor}: so few have been seen to teach nothing",
            where=where,
            hint="Lower rows_per_update or row_tokens, give more data or epochs, or set recipe.min_updates",
        )


def warmup_updates(job: TrainJob, n_updates: int) -> int:
    """How many of the first updates raise the learning rate; never all of them."""
    recipe = job.recipe
    asked = recipe.warmup_updates
    return min(round(recipe.warmup_fraction * n_updates) if asked is None else asked, n_updates - 1)


def _count(
    job: TrainJob,
    encoded: Encoded,
    rows: Sequence[Sequence[Piece]],
    updates: Sequence[Sequence[Sequence[Piece]]],
    n_unused: int,
    tokenizer: Any,
) -> Preflight:
    width = max(sum(len(piece.ids) for piece in row) for row in rows)
    used = [row for update in updates for row in update]
    real = sum(len(piece.ids) for row in used for piece in row)
    return Preflight(
        stage=job.stage,
        n_documents=encoded.n_documents,
        n_chats=encoded.n_chats,
        n_split=encoded.n_split,
        n_cut=encoded.n_cut,
        n_dropped=encoded.n_dropped,
        n_rows=len(rows),
        n_rows_unused=n_unused,
        row_width=width,
        real_tokens=real,
        padded_tokens=len(used) * width - real,
        supervised_tokens=sum(int(piece.supervised.sum()) for row in used for piece in row),
        n_updates=len(updates),
        warmup_updates=warmup_updates(job, len(updates)),
        rows_per_update=job.recipe.rows_per_update,
        floor=job.floor,
        floor_lowered=job.floor < job.default_floor,
        example=_example(used[0], tokenizer),
    )


def _example(row: Sequence[Piece], tokenizer: Any) -> str:
    """A row as text, cut after some tokens: what is trained on in «», documents apart by ‖."""
    shown, room = [], _EXAMPLE_TOKENS
    for piece in row:
        if room > 0:
            shown.append(_shown(piece, room, tokenizer))
            room -= len(piece.ids)
    return " ‖ ".join(shown) + (" …" if room < 0 else "")


def _shown(piece: Piece, room: int, tokenizer: Any) -> str:
    ids, marks = piece.ids[:room].tolist(), piece.supervised[:room].tolist()
    text, start = "", 0
    for at in range(1, len(ids) + 1):
        if at == len(ids) or marks[at] != marks[start]:
            part = tokenizer.decode(ids[start:at])
            text += f"«{part}»" if marks[start] else part
            start = at
    return text
