"""Estimate rates and paired contrasts with intervals from score rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._intervals import SHARE, UNBOUNDED, Interval, Scale, interval, scale_of
from midspec.analysis._power import t_quantile
from midspec.core.errors import DataError
from midspec.core.records import ArmScore, Contrast, CorrectionName, Estimate, SeedValue


class _Key(NamedTuple):
    """The names of a cell."""

    arm: str
    set: str
    measure: str


class _Cell(NamedTuple):
    """All scores of a cell, one a (seed, item), sorted by these, shape (n,). `values` may be NaN: no score."""

    seeds: NDArray[np.int64]
    items: NDArray[np.int64]
    values: NDArray[np.float64]


def _cells(scores: Sequence[ArmScore], level: float) -> dict[_Key, _Cell]:
    """Group scores by cell, in the order in which cells first appear. An item has the same number in all cells.

    Raises:
        DataError: two scores of one arm, seed, item, set and measure, or `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise DataError(f"a level of {level} is not between 0 and 1", where="level", hint="Use 0.95, say")
    if not scores:
        return {}
    keys: dict[_Key, int] = {}
    names: dict[str, int] = {}
    rows = [
        (
            keys.setdefault(_Key(score.arm, score.set, score.measure), len(keys)),
            score.seed,
            names.setdefault(score.item, len(names)),
        )
        for score in scores
    ]
    values = np.array([np.nan if score.value is None else score.value for score in scores], dtype=np.float64)
    table = np.array(rows, dtype=np.int64)
    order = np.lexsort((table[:, 2], table[:, 1], table[:, 0]))
    table, values = table[order], values[order]
    same = np.flatnonzero((table[1:] == table[:-1]).all(axis=1))
    if len(same):
        row = scores[int(order[same[0]])]
        raise DataError(
            f"two scores of arm {row.arm!r}, seed {row.seed}, item {row.item!r}, measure {row.measure!r}",
            where=f"set {row.set!r}",
            hint="Give each item of a set an id of its own",
        )
    starts = np.searchsorted(table[:, 0], np.arange(len(keys) + 1))
    return {
        key: _Cell(table[start:stop, 1], table[start:stop, 2], values[start:stop])
        for key, start, stop in zip(keys, starts[:-1], starts[1:], strict=True)
    }


def _scales(table: dict[_Key, _Cell]) -> dict[str, Scale]:
    """Return the scale of each measure: by its name, or a share's where no value lies outside 0-1."""
    found: dict[str, Scale] = {}
    for key, cell in table.items():
        outside = bool(((cell.values < 0) | (cell.values > 1)).any())  # NaN compares as False
        known = scale_of(key.measure) or (UNBOUNDED if outside else SHARE)
        if found.setdefault(key.measure, known) == SHARE:
            found[key.measure] = known
    return found


def _of_differences(scale: Scale) -> Scale:
    if scale.low is None or scale.high is None:
        return UNBOUNDED
    return Scale(scale.low - scale.high, scale.high - scale.low)


_HALVINGS = 60


def p_value(found: Interval) -> float | None:
    """Return the two-sided p against no difference: the level at which the interval would just touch 0.

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


def corrected(p_values: Sequence[float | None], how: CorrectionName = "holm") -> list[float | None]:
    """Correct p values for there being several; one without a p still counts as one of the tests.

    Args:
        p_values: of all tests of the family.
        how: `holm` (1979, step down) controls the chance of any false finding, `bh` (Benjamini and Hochberg 1995) the
            expected share of false ones among the findings, `none` nothing.
    """
    n = len(p_values)
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * n
    if how == "bh":
        least = 1.0
        for rank in range(len(known), 0, -1):
            p, index = known[rank - 1]
            least = min(least, p * n / rank)
            found[index] = least
        return found
    most = 0.0
    for rank, (p, index) in enumerate(known):
        most = max(most, min(1.0, p * (n - rank))) if how == "holm" else p
        found[index] = most
    return found


_NOTHING = _Cell(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def rates(scores: Sequence[ArmScore], *, level: float = 0.95, bases: Mapping[int, int] | None = None) -> list[Estimate]:
    """Estimate the rate of every (arm, set, measure), in the order in which they first appear.

    A rate is the mean of the seed means, so that every seed has the same weight; a score that is `None` is counted in
    `n_asked` only. The interval is that of the design in the data (see `Estimate.method`).

    Args:
        scores: one row for each arm, seed, item, set and measure.
        level: of the intervals, 0-1.
        bases: where several seeds are trained from one base, the number of the base, by seed: these are no independent
            draws, so their mean counts as one seed of that number.

    Raises:
        DataError: a score occurs twice, or `level` is not between 0 and 1.
    """
    table = _cells(scores, level)
    scales = _scales(table)
    found = []
    for key, cell in table.items():
        scale = scales[key.measure]
        n_lost = int(np.isnan(cell.values).sum())
        note = f"{n_lost} of {len(cell.values)} unscored" if n_lost else ""
        name = f"{key.arm} | {key.set} | {key.measure}"
        found.append(_estimate(key, cell, bases or {}, scale, level, kind="rate", name=name, note=note)[0])
    return found


def contrasts(
    scores: Sequence[ArmScore],
    asked: Sequence[Contrast],
    *,
    level: float = 0.95,
    bases: Mapping[int, int] | None = None,
) -> list[Estimate]:
    """Estimate contrasts, in order: `plus` minus `minus`, paired by seed and item where both are scored.

    Pairs without both scores are counted in `n_asked` and named in the note. The note also gives the two-sided p,
    alone and after Holm's correction for all the contrasts given here.

    Args:
        scores: one row for each arm, seed, item, set and measure.
        asked: the contrasts, fixed before the run.
        level: of the intervals, 0-1.
        bases: as in `rates`.

    Raises:
        DataError: a score occurs twice, or `level` is not between 0 and 1.
    """
    table = _cells(scores, level)
    scales = _scales(table)
    scale = {one.measure: _of_differences(scales.get(one.measure, SHARE)) for one in asked}
    found = [_contrast(one, table, bases or {}, scale[one.measure], level) for one in asked]
    p_values = [None if mean is None else p_value(mean) for _, mean in found]
    among = f"after Holm's correction for {len(p_values)} contrasts" if len(p_values) > 1 else ""
    estimates = []
    for (estimate, mean), p, of_all in zip(found, p_values, corrected(p_values), strict=True):
        note = "no p: nothing varies"
        if p is not None and of_all is not None:
            note = f"p {format_p(p)}" + (f" alone, {format_p(of_all)} {among}" if among else "")
        note = estimate.note if mean is None else _join_notes(estimate.note, note)
        estimates.append(estimate.model_copy(update={"note": note}))
    return estimates


def _contrast(
    asked: Contrast, table: dict[_Key, _Cell], bases: Mapping[int, int], scale: Scale, level: float
) -> tuple[Estimate, Interval | None]:
    arms = [asked.plus, asked.minus, *([asked.less.plus, asked.less.minus] if asked.less else [])]
    keys = [_Key(arm, asked.set, asked.measure) for arm in arms]
    cells = [table.get(key, _NOTHING) for key in keys]
    pairs, plus, minus = _differences(*cells[:2]), asked.plus, asked.minus
    if asked.less:
        pairs, scale = _differences(pairs, _differences(*cells[2:])), _of_differences(scale)
        plus, minus = (f"({one} minus {other})" for one, other in zip(arms[::2], arms[1::2], strict=True))
    absent = [key.arm for key in keys if key not in table]
    sets = list(dict.fromkeys(key.set for key in table))
    n_lost = int(np.isnan(pairs.values).sum())
    note = (
        f"{n_lost} of {len(pairs.values)} pairs lost: not scored in {'both' if len(arms) == 2 else 'all'} arms"
        if n_lost
        else ""
    )
    if absent and asked.set not in sets:
        known = f"the sets are {', '.join(sets)}" if sets else "there are no scores"
        note = f"no item of the set {asked.set!r} exists ({known})"
    elif absent:
        note = f"no scores at all of {' and '.join(absent)} by {asked.measure}"
    names = {"kind": "contrast", "name": asked.name, "minus": minus, "note": note}
    return _estimate(keys[0]._replace(arm=plus), pairs, bases, scale, level, **names)


def _differences(plus: _Cell, minus: _Cell) -> _Cell:
    """Return differences by (seed, item); NaN where either is missing or unscored."""
    most = 1 + max([0, *plus.items.tolist(), *minus.items.tolist()])
    left, right = plus.seeds * most + plus.items, minus.seeds * most + minus.items
    every = np.union1d(left, right)
    values = np.full((2, len(every)), np.nan)
    values[0, np.searchsorted(every, left)] = plus.values
    values[1, np.searchsorted(every, right)] = minus.values
    return _Cell(every // most, every % most, values[0] - values[1])


def _estimate(
    key: _Key, cell: _Cell, bases: Mapping[int, int], scale: Scale, level: float, *, note: str, **names: Any
) -> tuple[Estimate, Interval | None]:
    """Return the estimate of a cell, and its interval, which is `None` where no item is scored.

    Args:
        key: of the cell; of a contrast, that of `plus`.
        cell: its values, or differences.
        bases: by seed, where several share one.
        scale: the bounds of the mean.
        level: of the interval, 0-1.
        note: what to say first in the estimate's note.
        names: `kind`, `name` and, of a contrast, `minus`.
    """
    scored = ~np.isnan(cell.values)
    of_base = np.array([bases.get(seed, seed) for seed in cell.seeds.tolist()], np.int64)
    own = _Cell(of_base[scored], cell.items[scored], cell.values[scored])
    pooled, within_sd = _pooled(own, cell.seeds[scored])
    found = interval(pooled.values, pooled.seeds, pooled.items, scale, level) if scored.any() else None
    means = dict(zip(np.unique(pooled.seeds).tolist(), found.seed_means.tolist(), strict=True)) if found else {}
    n_each = len(np.unique(cell.seeds)) / max(1, len(np.unique(of_base)))
    method = found.method if found else "none"
    estimate = Estimate(
        **names,
        **key._asdict(),
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        level=level,
        n_asked=len(cell.values),
        n_scored=int(scored.sum()),
        n_items=len(np.unique(pooled.items)),
        n_seeds=len(means),
        by_seed=tuple(SeedValue(seed=seed, value=means.get(seed)) for seed in np.unique(of_base).tolist()),
        seed_sd=float(found.seed_means.std(ddof=1)) if found and len(means) > 1 else None,
        within_sd=within_sd,
        mde=found.mde if found else None,
        method=f"{method}; a seed is the mean of {n_each:g} midtrainings of one base" if n_each > 1 else method,
        note=_join_notes(note, found.note if found else "no scored item: there is no value"),
    )
    return estimate, found


_SMALLEST_P = 0.0001
_USUAL_LEVELS = (0.2, 0.1, 0.05, 0.01, 0.005, 0.001)
_NOTED_P = re.compile(r"\bp (< )?([0-9.e-]+)(?: alone, (< )?([0-9.e-]+) after Holm's correction for (\d+) contrasts)?")


def _pooled(cell: _Cell, seeds: NDArray[np.int64]) -> tuple[_Cell, float | None]:
    """Average what one base and item have several of; return also the standard deviation of seed means about a base's.

    Args:
        cell: scored values; its `seeds` are those of the bases.
        seeds: the training seed of each value, shape (n,).
    """
    means: dict[int, list[float]] = {}
    for seed in np.unique(seeds).tolist():
        own = seeds == seed
        means.setdefault(int(cell.seeds[own][0]), []).append(float(cell.values[own].mean()))
    several = [np.array(each) for each in means.values() if len(each) > 1]
    if not several:
        return cell, None
    most = 1 + int(cell.items.max())
    keys, at = np.unique(cell.seeds * most + cell.items, return_inverse=True)
    values = np.bincount(at, cell.values) / np.bincount(at)
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in several)
    return _Cell(keys // most, keys % most, values), math.sqrt(squares / sum(len(each) - 1 for each in several))


def format_p(p: float) -> str:
    """Format a p to two digits, to more where these say a usual level that p is above: what is written counts."""
    shown = f"{p:.2g}"
    if float(shown) in _USUAL_LEVELS and p > float(shown):
        shown = next((more for digits in (3, 4, 6) if float(more := f"{p:.{digits}g}") != float(shown)), shown)
    return f"< {_SMALLEST_P}" if p < _SMALLEST_P else shown


class PValues(NamedTuple):
    """The two-sided p of a contrast, alone and after Holm's correction; of `< 0.0001`, that bound.

    Attributes:
        alone: without a correction.
        corrected: the same as `alone` where one contrast was asked.
        n_contrasts: that the correction is for.
        shown: the corrected p as it is written: `0.096`, `< 0.0001`.
    """

    alone: float
    corrected: float
    n_contrasts: int
    shown: str


def p_values(estimate: Estimate) -> PValues | None:
    """Read the p values that `contrasts` writes into a contrast's note; `None` where there are none."""
    # Without a value the note names arms, which may be called `top p 0.9`.
    if estimate.kind != "contrast" or estimate.value is None or (found := _NOTED_P.search(estimate.note)) is None:
        return None
    below, alone, below_corrected, corrected, n = found.groups()
    if corrected is None:
        below_corrected, corrected, n = below, alone, "1"
    return PValues(float(alone), float(corrected), int(n), f"{below_corrected or ''}{corrected}")


def _join_notes(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
