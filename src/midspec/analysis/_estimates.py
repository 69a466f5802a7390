"""Rates and paired contrasts: score rows in, estimates out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from midspec.analysis._cells import Cell, Key, cells, unbounded
from midspec.analysis._intervals import DIFFERENCE, SHARE, UNBOUNDED, Interval, Scale, interval
from midspec.analysis._tests import holm, p_value
from midspec.errors import DataError
from midspec.records import ArmScore, Contrast, Estimate, SeedValue

__all__ = ["contrasts", "rates"]

_NOTHING = Cell(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def rates(scores: Sequence[ArmScore], *, level: float = 0.95) -> list[Estimate]:
    """The rate of every (arm, set, measure), in the order in which they first appear.

    A rate is the mean of the seed means, so that every seed counts the same; a score that is `None` is counted in
    `n_asked` and nowhere else. The interval is that of the design in the data (see `Estimate.method`).

    Args:
        scores: one row for each arm, seed, item, set and measure.
        level: of the intervals, 0-1.

    Raises:
        DataError: a score occurs twice, or `level` is not between 0 and 1.
    """
    _check_level(level)
    table = cells(scores)
    free = unbounded(table)
    return [_rate(key, cell, UNBOUNDED if key.measure in free else SHARE, level) for key, cell in table.items()]


def contrasts(scores: Sequence[ArmScore], asked: Sequence[Contrast], *, level: float = 0.95) -> list[Estimate]:
    """Every contrast that was asked, in order: `plus` minus `minus`, paired by seed and item where both are scored.

    Pairs without both scores are counted in `n_asked` and named in the note. The note also gives the two-sided p
    and the same after Holm's correction for all the contrasts asked here.

    Args:
        scores: one row for each arm, seed, item, set and measure.
        asked: the contrasts, fixed before the run.
        level: of the intervals, 0-1.

    Raises:
        DataError: a score occurs twice, or `level` is not between 0 and 1.
    """
    _check_level(level)
    table = cells(scores)
    free = unbounded(table)
    found = [_contrast(one, table, UNBOUNDED if one.measure in free else DIFFERENCE, level) for one in asked]
    notes = _p_notes([None if result is None else p_value(result) for _, result in found])
    return [
        estimate if result is None else estimate.model_copy(update={"note": _joined(estimate.note, note)})
        for (estimate, result), note in zip(found, notes, strict=True)
    ]


def _rate(key: Key, cell: Cell, scale: Scale, level: float) -> Estimate:
    name = f"{key.arm} | {key.set} | {key.measure}"
    plain = _plain("rate", name, key, cell, level)
    return _estimate(plain, cell, _interval(cell, scale, level), _unscored_note(cell))


def _contrast(asked: Contrast, table: dict[Key, Cell], scale: Scale, level: float) -> tuple[Estimate, Interval | None]:
    plus, minus = (Key(arm, asked.set, asked.measure) for arm in (asked.plus, asked.minus))
    pairs = _pairs(table.get(plus, _NOTHING), table.get(minus, _NOTHING))
    absent = [key.arm for key in (plus, minus) if key not in table]
    note = _absent_note(asked, absent, table) if absent else _lost_note(pairs)
    found = _interval(pairs, scale, level)
    plain = _plain("contrast", asked.name, plus, pairs, level).model_copy(update={"minus": asked.minus})
    return _estimate(plain, pairs, found, note), found


def _absent_note(asked: Contrast, absent: Sequence[str], table: dict[Key, Cell]) -> str:
    """Why a contrast has no pairs: no item of its set exists, or an arm has no score."""
    sets = list(dict.fromkeys(key.set for key in table))
    if asked.set not in sets:
        there_are = f"the sets are {', '.join(sets)}" if sets else "there are no scores"
        return f"no item of the set {asked.set!r} exists ({there_are})"
    return f"no scores at all of {' and '.join(absent)} by {asked.measure}"


def _pairs(plus: Cell, minus: Cell) -> Cell:
    """Differences by (seed, item); NaN where either is missing or unscored."""
    most = 1 + max([0, *plus.items.tolist(), *minus.items.tolist()])
    left, right = plus.seeds * most + plus.items, minus.seeds * most + minus.items
    every = np.union1d(left, right)
    values = np.full((2, len(every)), np.nan)
    values[0, np.searchsorted(every, left)] = plus.values
    values[1, np.searchsorted(every, right)] = minus.values
    return Cell(every // most, every % most, values[0] - values[1])


def _interval(cell: Cell, scale: Scale, level: float) -> Interval | None:
    scored = ~np.isnan(cell.values)
    if not scored.any():
        return None
    return interval(cell.values[scored], cell.seeds[scored], cell.items[scored], scale, level)


def _plain(kind: Literal["rate", "contrast"], name: str, key: Key, cell: Cell, level: float) -> Estimate:
    """An estimate with its names and counts, and no numbers yet."""
    scored = ~np.isnan(cell.values)
    return Estimate(
        kind=kind,
        name=name,
        arm=key.arm,
        set=key.set,
        measure=key.measure,
        value=None,
        low=None,
        high=None,
        level=level,
        n_asked=len(cell.values),
        n_scored=int(scored.sum()),
        n_items=len(np.unique(cell.items[scored])),
        n_seeds=len(np.unique(cell.seeds[scored])),
        by_seed=tuple(SeedValue(seed=int(seed), value=None) for seed in np.unique(cell.seeds)),
        seed_sd=None,
        mde=None,
        method="none",
    )


def _estimate(plain: Estimate, cell: Cell, found: Interval | None, note: str) -> Estimate:
    """`plain` with its numbers, if there are any."""
    if found is None:
        return plain.model_copy(update={"note": _joined(note, "no scored item: there is no value")})
    scored_seeds = np.unique(cell.seeds[~np.isnan(cell.values)])
    means = dict(zip(scored_seeds.tolist(), found.seed_means.tolist(), strict=True))
    numbers = {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "by_seed": tuple(SeedValue(seed=one.seed, value=means.get(one.seed)) for one in plain.by_seed),
        "seed_sd": float(found.seed_means.std(ddof=1)) if len(means) > 1 else None,
        "mde": found.mde,
        "method": found.method,
        "note": _joined(note, found.note),
    }
    return plain.model_copy(update=numbers)


def _unscored_note(cell: Cell) -> str:
    n_lost = int(np.isnan(cell.values).sum())
    return f"{n_lost} of {len(cell.values)} unscored" if n_lost else ""


def _lost_note(pairs: Cell) -> str:
    n_lost = int(np.isnan(pairs.values).sum())
    return f"{n_lost} of {len(pairs.values)} pairs lost: not scored in both arms" if n_lost else ""


def _p_notes(p_values: Sequence[float | None]) -> list[str]:
    """One note for each contrast on its p, alone and among all that were asked."""
    among = f"after Holm's correction for {len(p_values)} contrasts" if len(p_values) > 1 else ""
    corrected = holm(p_values)
    return [
        "no p: nothing varies"
        if p is None or both is None
        else f"p {_shown(p)}" + (f" alone, {_shown(both)} {among}" if among else "")
        for p, both in zip(p_values, corrected, strict=True)
    ]


def _shown(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise DataError(f"a level of {level} is not between 0 and 1", where="level", mend="Use 0.95, say")
