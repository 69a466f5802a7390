"""Rates and paired contrasts: score rows in, estimates out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._intervals import DIFFERENCE, SHARE, UNBOUNDED, Interval, Scale, interval
from midspec.analysis._power import t_quantile
from midspec.core.errors import DataError
from midspec.core.records import ArmScore, Contrast, Estimate, SeedValue


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
            hint="Give each item of a set an id of its own",
        )


def unbounded(table: dict[Key, Cell]) -> frozenset[str]:
    """The measures that are no shares: a value of theirs lies outside 0-1 somewhere."""
    return frozenset(
        key.measure
        for key, cell in table.items()
        if bool(((cell.values < 0) | (cell.values > 1)).any())  # NaN compares as False
    )


_HALVINGS = 60


def p_value(found: Interval) -> float | None:
    """The two-sided p against no difference: the level at which the interval would just touch 0.

    `None` where nothing varied, because an interval that is only a bound has no p.
    """
    if not found.parts:
        return None
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        half = math.hypot(*(t_quantile(middle / 2, part.df) * math.sqrt(part.variance) for part in found.parts))
        low, high = (low, middle) if half <= abs(found.value) else (middle, high)
    return high


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction, which holds the chance of any false finding among all that were asked.

    A contrast without a p still counts as one that was asked.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    most = 0.0
    for rank, (p, index) in enumerate(known):
        most = max(most, min(1.0, p * (len(p_values) - rank)))
        corrected[index] = most
    return corrected


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
        raise DataError(f"a level of {level} is not between 0 and 1", where="level", hint="Use 0.95, say")
