"""The rows of every update, planned and counted before anything is trained; refuses what would teach nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from midspec.core.errors import PreflightError
from midspec.train._job import Preflight, TrainJob
from midspec.train._pack import Piece, pack
from midspec.train._rows import Encoded, encode, named_twice, read_training_rows

_EXAMPLE_TOKENS = 160


class Plan(NamedTuple):
    """The rows of every update, in order, and what was counted on the way."""

    updates: list[list[list[Piece]]]
    preflight: Preflight

    def rows(self) -> list[list[Piece]]:
        """Return the rows of all updates, in order."""
        return [row for update in self.updates for row in update]

    def pieces(self) -> list[Piece]:
        """Return all that the model is given."""
        return [piece for row in self.rows() for piece in row]

    @property
    def longest_tokens(self) -> int:
        """The tokens of the longest piece."""
        return max(len(piece.ids) for piece in self.pieces())


def plan_training(job: TrainJob, tokenizer: Any) -> Plan:
    """Read, tokenize, pack and count; refuse what would teach nothing.

    Raises:
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used; see `encode`.
        PreflightError: fewer updates than the floor, or than `n_updates` asks for, or nothing to train on.
    """
    recipe = job.recipe
    encoded = encode(tokenizer, read_training_rows(job.data, seed=job.seed), recipe)
    encoded = encoded._replace(warnings=(*encoded.warnings, *named_twice(job.data)))
    rows = pack(encoded.pieces, recipe.row_tokens, seed=job.seed)
    schedule = list(rows)
    for epoch in range(1, recipe.n_epochs):
        # Each epoch after the first has an order of its own.
        again = list(rows)
        random.Random(f"{job.seed}/{epoch}").shuffle(again)
        schedule += again
    n_updates = math.ceil(len(schedule) / recipe.rows_per_update)
    where = f"{job.stage} on {', '.join(job.data)}"
    if recipe.n_updates is not None:
        if (possible := len(schedule) // recipe.rows_per_update) < recipe.n_updates:
            raise PreflightError(
                f"the rows make {possible} full updates, and n_updates asks for {recipe.n_updates}",
                where=where,
                hint="Give more data or epochs, fewer rows_per_update, or a smaller n_updates",
            )
        n_updates = recipe.n_updates
    used = schedule[: n_updates * recipe.rows_per_update]
    updates = [used[at : at + recipe.rows_per_update] for at in range(0, len(used), recipe.rows_per_update)]
    if n_updates < job.floor:
        raise PreflightError(
            f"{n_updates} updates are under the floor of {job.floor}: so few have been seen to teach nothing",
            where=where,
            hint="Lower rows_per_update or row_tokens, give more data or epochs, or set recipe.min_updates",
        )
    if (late := max(recipe.keep_updates, default=0)) >= n_updates:
        raise PreflightError(
            f"keep_updates names update {late}, and the stage ends after {n_updates}",
            where=where,
            hint="Name updates before the last, which is the result itself",
        )
    for number, update in enumerate(updates, start=1):
        if not any(piece.supervised.any() for row in update for piece in row):
            hint = next((f"Look: {warning}" for warning in encoded.warnings if encoded.n_untrained), "Check the rows")
            raise PreflightError(f"update {number} has no token to train on", where=where, hint=hint)
    plan = Plan(updates, _count(job, encoded, rows, updates, len(schedule) - len(used), tokenizer))
    return unpacked(plan) if recipe.pack == "never" else plan


def unpacked(plan: Plan) -> Plan:
    """Give every document a row of its own, for models that can't keep packed ones apart.

    Each update keeps its documents, so that it is the same update as packed. They are ordered by length and cut into
    as many groups as the update had rows; a group goes through the model as one batch, padded to its longest.
    """
    updates = [_groups_by_length([piece for row in update for piece in row], len(update)) for update in plan.updates]
    longest = [max(len(piece.ids) for piece in group) for update in updates for group in update]
    counts = [len(group) for update in updates for group in update]
    n_padded = sum(width * count for width, count in zip(longest, counts, strict=True)) - plan.preflight.real_tokens
    changes = {"packed": False, "row_width": max(longest), "padded_tokens": n_padded}
    return Plan(updates, plan.preflight.model_copy(update=changes))


def _groups_by_length(pieces: Sequence[Piece], n_groups: int) -> list[list[Piece]]:
    """Cut pieces, longest first, into `n_groups`, so that the largest group is as small as it can be when padded."""
    pieces = sorted(pieces, key=lambda piece: -len(piece.ids))
    low, high = len(pieces[0].ids), len(pieces[0].ids) * len(pieces)
    while low < high:
        middle = (low + high) // 2
        if len(_groups_up_to(pieces, middle)) <= n_groups:
            high = middle
        else:
            low = middle + 1
    groups = _groups_up_to(pieces, low)
    while len(groups) < n_groups:  # an update of a row a document has as many groups as documents
        at = max(range(len(groups)), key=lambda at: len(groups[at]))
        half = len(groups[at]) // 2
        groups[at : at + 1] = [groups[at][:half], groups[at][half:]]
    return groups


def _groups_up_to(pieces: Sequence[Piece], most: int) -> list[list[Piece]]:
    """Cut pieces, longest first, into groups of at most `most` tokens with padding."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        if groups and len(groups[-1][0].ids) * (len(groups[-1]) + 1) <= most:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


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
    n_updates, n_warmup = len(updates), job.recipe.warmup_updates
    # Never all of them: the last update trains at the full rate.
    n_warmup = round(job.recipe.warmup_fraction * n_updates) if n_warmup is None else n_warmup
    n_warmup = min(n_warmup, n_updates - 1)
    warnings = encoded.warnings
    asked = job.recipe.warmup_updates
    if job.recipe.n_updates is None and asked is not None and n_warmup > n_updates // 2:  # else `_usual.py` tells it
        told = f"warmup_updates is {asked:,}, and there are {n_updates:,} updates: the learning rate is hardly reached"
        warnings = (*warnings, told)
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
        n_updates=n_updates,
        warmup_updates=n_warmup,
        rows_per_update=job.recipe.rows_per_update,
        floor=job.floor,
        floor_lowered=job.floor < job.default_floor,
        example=_example(used[0], tokenizer),
        n_untrained=encoded.n_untrained,
        notes=encoded.notes,
        warnings=warnings,
        longest_tokens=max((len(piece.ids) for row in used for piece in row), default=0),
    )


def _example(row: Sequence[Piece], tokenizer: Any) -> str:
    """Show a row as text, cut after some tokens: what is trained on in «», documents apart by ‖."""
    shown, room = [], _EXAMPLE_TOKENS
    for piece in row:
        if room <= 0:
            break
        ids, supervised = piece.ids[:room].tolist(), piece.supervised[:room].tolist()
        text, start = "", 0
        for at in range(1, len(ids) + 1):
            if at == len(ids) or supervised[at] != supervised[start]:
                part = tokenizer.decode(ids[start:at])
                text += f"«{part}»" if supervised[start] else part
                start = at
        shown.append(text)
        room -= len(piece.ids)
    return " ‖ ".join(shown) + (" …" if room < 0 else "")
