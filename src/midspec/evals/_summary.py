"""How an evaluation went: score rows enter; counts, reasons and rates leave."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from pydantic import JsonValue

from midspec.errors import CheckpointError
from midspec.records import ScoreRow

__all__ = ["counts", "mean_of", "rates", "refuse_nothing"]

_FAULT = re.compile(r"(?:Checkpoint|Data)Error\(['\"](.*)['\"]\)")


def counts(scores: Sequence[ScoreRow], n_items: int) -> dict[str, JsonValue]:
    """What was asked, and what came of it: scored plus unscored by reason is all of it."""
    reasons = Counter(row.unscored for row in scores if row.unscored is not None)
    n_scored = sum(row.value is not None for row in scores)
    return {
        "n_items": n_items,
        "n_score_rows": len(scores),
        "n_scored": n_scored,
        "n_unscored": len(scores) - n_scored,
        "unscored": dict(reasons),
    }


def rates(scores: Sequence[ScoreRow], measures: Sequence[str]) -> dict[str, JsonValue]:
    """Each set's mean of each measure, over the items that have one."""
    by_set: dict[str, list[ScoreRow]] = {}
    for row in scores:
        by_set.setdefault(row.set, []).append(row)
    return {name: {each: mean_of(rows, each) for each in measures} for name, rows in by_set.items()}


def mean_of(scores: Sequence[ScoreRow], measure: str) -> float | None:
    """The mean of a measure over the rows that have a value; `None` where none has."""
    values = [row.value for row in scores if row.measure == measure and row.value is not None]
    return round(fmean(values), 6) if values else None


def refuse_nothing(scores: Sequence[ScoreRow], model: str) -> None:
    """Raise `CheckpointError` where nothing is scored, always for one fault of the checkpoint or of its template."""
    reasons = {row.unscored or "" for row in scores}
    if len(reasons) == 1 and (found := _FAULT.fullmatch(reasons.pop())):
        raise CheckpointError(found[1], where=model, mend="No item could be asked: mend that")
