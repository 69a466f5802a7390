"""What a run says of itself: its geometry before, a row for every update, and how far it has come."""

from __future__ import annotations

from typing import NamedTuple

from midspec.records import Strict

__all__ = ["MetricsRow", "Preflight", "Progress"]


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
