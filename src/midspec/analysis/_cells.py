"""Score rows as number columns, grouped into cells: all scores of one arm on one set by one measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.errors import DataError
from midspec.records import ArmScore

__all__ = ["Cell", "Key", "cells", "unbounded"]


class Key(NamedTuple):
    """What names a cell."""

    arm: str
    set: str
    measure: str


class Cell(NamedTuple):
    """All scores of a cell, one a (seed, item), sorted by these. `values` is NaN where there is no score."""

    seeds: NDArray[np.int64]
    items: NDArray[np.int64]
    values: NDArray[np.float64]


def cells(scores: Sequence[ArmScore]) -> dict[Key, Cell]:
    """Scores by cell, in the order in which cells first appear. Items have one number in all cells.

    Raises:
        DataError: two scores of one arm, seed, item, set and measure: one of them would be counted twice.
    """
    if not scores:
        return {}
    keys: dict[Key, int] = {}
    names: dict[str, int] = {}
    rows = [
        (
            keys.setdefault(Key(score.arm, score.set, score.measure), len(keys)),
            score.seed,
            names.setdefault(score.item, len(names)),
        )
        for score in scores
    ]
    values = np.array([np.nan if score.value is None else score.value for score in scores], dtype=np.float64)
    table = np.array(rows, dtype=np.int64)
    order = np.lexsort((table[:, 2], table[:, 1], table[:, 0]))
    table, values = table[order], values[order]
    _check_unique(table, order, scores)
    starts = np.searchsorted(table[:, 0], np.arange(len(keys) + 1))
    return {
        key: Cell(table[start:stop, 1], table[start:stop, 2], values[start:stop])
        for key, start, stop in zip(keys, starts[:-1], starts[1:], strict=True)
    }


def _check_unique(table: NDArray[np.int64], order: NDArray[np.int64], scores: Sequence[ArmScore]) -> None:
    same = np.flatnonzero((table[1:] == table[:-1]).all(axis=1))
    if len(same):
        row = scores[int(order[same[0]])]
        raise DataError(
            f"two scores of arm {row.arm!r}, seed {row.seed}, item {row.item!r}, measure {row.measure!r}",
            where=f"set {row.set!r}",
            mend="Give each item of a set an id of its own",
        )


def unbounded(table: dict[Key, Cell]) -> frozenset[str]:
    """The measures that are no shares: a value of theirs lies outside 0-1 somewhere."""
    return frozenset(
        key.measure
        for key, cell in table.items()
        if bool(((cell.values < 0) | (cell.values > 1)).any())  # NaN compares as False
    )
