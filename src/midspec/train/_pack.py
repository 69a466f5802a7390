"""Tokens packed into rows of one length in which no document sees another.

A packed row is a run of pieces. Each piece has positions of its own, counted from 0, and no attention mask is given:
transformers then keeps the pieces apart. Padding at the tail is pieces of its own, so nothing sees it. Models that
can't keep pieces apart (`train/_checks.py` measures it) get one piece a row instead, padded.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

IGNORED = -100


class Piece(NamedTuple):
    """Tokens that see each other, and which of them are trained on; the first never is, as nothing predicts it."""

    ids: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]


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
        lengths = [len(piece.ids) for piece in row]
        at = sum(lengths)
        if row:
            ids[number, :at] = np.concatenate([piece.ids for piece in row])
            supervised = np.concatenate([piece.supervised for piece in row])
            labels[number, :at] = np.where(supervised, ids[number, :at], IGNORED)
            ends = np.cumsum(lengths)
            positions[number, :at] = np.arange(at) - np.repeat(ends - lengths, lengths)
        # No position is higher than the longest piece's: a row may be wider than the model's positions reach.
        positions[number, at:] = np.arange(width - at) % max(lengths, default=1)
    return {
        "input_ids": torch.from_numpy(ids),
        "position_ids": torch.from_numpy(positions),
        "labels": torch.from_numpy(labels),
    }


def in_parts(batch: Mapping[str, torch.Tensor], most_tokens: int) -> list[dict[str, torch.Tensor]]:
    """Divide a packed batch into parts, a row of whole documents each; what nothing is learnt from is left out.

    Documents of like length come together. The losses of the parts, and their gradients, add up to the batch's.

    Args:
        batch: as `collate` makes it of packed rows.
        most_tokens: of a part; a longer document is a part by itself.
    """
    positions, labels = batch["position_ids"].flatten(), batch["labels"].flatten()
    starts = (positions == 0).nonzero().flatten()
    learnt = torch.cat([labels.new_zeros(1), (labels != IGNORED).cumsum(0)])
    bounds = torch.cat([starts, starts.new_tensor([len(positions)])])
    documents = [
        slice(begin, end)
        for begin, end, n in zip(bounds[:-1].tolist(), bounds[1:].tolist(), learnt[bounds].diff().tolist(), strict=True)
        if n
    ]
    documents.sort(key=lambda document: document.start - document.stop)
    parts: list[list[slice]] = []
    room = 0
    for document in documents or [slice(0, int(bounds[1]))]:
        n_tokens = document.stop - document.start
        if n_tokens > room:
            parts.append([])
            room = max(most_tokens, n_tokens)
        parts[-1].append(document)
        room -= n_tokens
    tables = {name: value.flatten() for name, value in batch.items()}
    return [
        {name: torch.cat([table[document] for document in part]).unsqueeze(0) for name, table in tables.items()}
        for part in parts
    ]


def _collate_apart(pieces: Sequence[Piece], pad_id: int) -> dict[str, torch.Tensor]:
    """Make inputs of pieces with a row each, padded on the right, where no token before sees the padding."""
    # A batch of no piece, which fills another process's update up, is a token that nothing is learnt from.
    shape = (max(len(pieces), 1), max((len(piece.ids) for piece in pieces), default=1))
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
