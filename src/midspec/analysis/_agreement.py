"""Agreement of judges beyond chance: Cohen's kappa for two, Fleiss' kappa for any number, with intervals.

Answers of one cell (a scenario, a category) are not independent draws, so intervals are those of the delete-one
jackknife over whole clusters, with Student t over the clusters; each answer is its own cluster where none is named. An
answer without a judge's verdict is left out of the kappas that need it, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._power import t_quantile
from midspec.core.errors import DataError
from midspec.core.records import Agreement, Judgement

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Label = Hashable
AnswerT = TypeVar("AnswerT", bound=Hashable)
_ONE_VERDICT = "all verdicts are the same: nothing can be told of agreement beyond chance"
_NOTHING_SHARED = "no answer has verdicts of two judges"
_ONE_CLUSTER = "one cluster: nothing can be told of how far others would agree"
_RARE = "one cluster holds all that differs: no interval can be given"


def judge_agreements(judgements: Sequence[Judgement], measure: str, *, level: float = 0.95) -> list[Agreement]:
    """Return the judges' agreement on one measure: Fleiss' kappa of all of them, then Cohen's of each pair.

    Answers of one domain are one cluster.

    Args:
        judgements: each judge's verdict on each answer; all of one rubric.
        measure: which of the rubric's measures, one with few values (a verdict, not a score from 1 to 10).
        level: of the intervals, 0-1.

    Returns:
        An empty list where there are fewer than two judges.

    Raises:
        DataError: a judge has two judgements of one answer.
    """
    judges = list(dict.fromkeys(each.judge for each in judgements))
    if len(judges) < 2:
        return []
    cells = {(each.set, each.item): (each.set, each.domain) for each in judgements}
    verdicts = {((each.set, each.item), each.judge): each.values.get(measure) for each in judgements}
    if len(verdicts) < len(judgements):
        raise DataError("a judge has two judgements of one answer", where=measure, hint="Give one log of each run")
    return all_kappas(verdicts, cells, judges, measure, level)


def all_kappas(
    verdicts: Mapping[tuple[AnswerT, str], Label | None],
    cells: Mapping[AnswerT, Hashable],
    judges: Sequence[str],
    measure: str,
    level: float,
) -> list[Agreement]:
    """Return Fleiss' kappa of all judges, then Cohen's of each pair.

    Args:
        verdicts: (answer, judge) -> verdict.
        cells: answer -> its cluster.
        judges: their names.
        measure: the name of what was judged.
        level: of the intervals, 0-1.
    """
    table = [[verdicts.get((answer, judge)) for judge in judges] for answer in cells]
    clusters = list(cells.values())
    found = [fleiss_kappa(table, clusters=clusters, level=level)]
    for one, other in combinations(range(len(judges)), 2):
        first, second = ([row[at] for row in table] for at in (one, other))
        found.append(cohen_kappa(first, second, clusters=clusters, level=level))
    names = [tuple(judges), *combinations(judges, 2)]
    return [
        each.model_copy(update={"judges": pair, "measure": measure}) for each, pair in zip(found, names, strict=True)
    ]


def cohen_kappa(
    first: Sequence[Label | None],
    second: Sequence[Label | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Agreement:
    """Return Cohen's kappa (1960) of two judges over the same answers.

    Args:
        first: one judge's verdict on each answer, `None` for none.
        second: the other's, in the same order.
        clusters: the cluster of each answer; each is its own where not given.
        level: of the interval, 0-1.

    Returns:
        The kappa; `None`, with a note, where no answer has both verdicts or all verdicts are the same.

    Raises:
        DataError: the two are not of one length.
    """
    _check(len(first), len(second), clusters)
    both = [at for at in range(len(first)) if first[at] is not None and second[at] is not None]
    labels = _codes([first[at] for at in both] + [second[at] for at in both])
    n_labels = int(labels.max()) + 1 if len(labels) else 0
    tables = np.zeros((len(both), n_labels, n_labels))
    tables[np.arange(len(both)), labels[: len(both)], labels[len(both) :]] = 1.0

    def agreement(tables: Floats) -> tuple[Floats, Floats]:
        # Observed and chance agreement of tables of counts, shape (..., labels, labels).
        shares = tables / tables.sum(axis=(-2, -1), keepdims=True)
        observed = np.trace(shares, axis1=-2, axis2=-1)
        return observed, (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)

    return _kappa(tables, agreement, _cluster_codes(clusters, both), "cohen", (len(first), 2, level))


def fleiss_kappa(
    verdicts: Sequence[Sequence[Label | None]], *, clusters: Sequence[Hashable] | None = None, level: float = 0.95
) -> Agreement:
    """Return Fleiss' kappa (1971) of any number of judges over the same answers.

    Answers may have verdicts of different numbers of judges; each has the same weight, by the share of its pairs of
    judges that agree. Those with fewer than two verdicts are left out.

    Args:
        verdicts: a row for each answer, with a verdict or `None` for each judge.
        clusters: the cluster of each answer; each is its own where not given.
        level: of the interval, 0-1.

    Returns:
        The kappa; `None`, with a note, where no answer has two verdicts or all verdicts are the same.

    Raises:
        DataError: rows of different lengths.
    """
    n_judges = len(verdicts[0]) if verdicts else 0
    for row in verdicts:
        _check(n_judges, len(row), None)
    _check(len(verdicts), len(verdicts), clusters)
    rated = [at for at, row in enumerate(verdicts) if sum(one is not None for one in row) >= 2]
    given = [(row, one) for row, at in enumerate(rated) for one in verdicts[at] if one is not None]
    labels = _codes([one for _, one in given])
    counts = np.zeros((len(rated), int(labels.max()) + 1 if len(labels) else 0))
    np.add.at(counts, (np.array([row for row, _ in given], dtype=np.int64), labels), 1.0)
    n_given = counts.sum(axis=1)
    agreeing = (counts * (counts - 1)).sum(axis=1) / np.maximum(1.0, n_given * (n_given - 1))
    sums = np.column_stack([np.ones(len(rated)), agreeing, counts])

    def agreement(sums: Floats) -> tuple[Floats, Floats]:
        # The same from sums over answers, shape (..., 2 + labels): number, agreement, verdicts by label.
        shares = sums[..., 2:] / sums[..., 2:].sum(axis=-1, keepdims=True)
        return sums[..., 1] / sums[..., 0], (shares**2).sum(axis=-1)

    return _kappa(sums, agreement, _cluster_codes(clusters, rated), "fleiss", (len(verdicts), n_judges, level))


def _kappa(
    parts: Floats,
    agreement: Callable[[Floats], tuple[Floats, Floats]],
    clusters: Codes,
    kind: str,
    design: tuple[int, int, float],
) -> Agreement:
    """Return the kappa of the sum of all answers' `parts`, with its jackknife interval.

    Args:
        parts: one summand a rated answer, shape (answers, ...).
        agreement: observed and chance agreement of a sum of parts.
        clusters: the cluster of each rated answer, shape (answers,).
        kind: `cohen` or `fleiss`.
        design: number of answers, of judges, and the level of the interval.
    """
    n_asked, n_judges, level = design
    plain = {"kind": kind, "n_asked": n_asked, "n_answers": len(parts), "n_judges": n_judges, "level": level}
    nothing = {"value": None, "low": None, "high": None, "observed": None, "method": "none"}
    if not len(parts):
        return Agreement.model_validate({**plain, **nothing, "note": _NOTHING_SHARED})
    whole = parts.sum(axis=0)
    observed, chance = (float(share) for share in agreement(whole))
    if math.isclose(chance, 1.0):
        return Agreement.model_validate({**plain, **nothing, "observed": observed, "note": _ONE_VERDICT})
    value = (observed - chance) / (1 - chance)
    n_clusters = int(clusters.max()) + 1
    # The kappa without each cluster in turn; NaN where there is none.
    left_out: Floats = np.full(n_clusters, np.nan)
    if n_clusters > 1:
        by_cluster = np.zeros((n_clusters, *whole.shape))
        np.add.at(by_cluster, clusters, parts)
        observed_without, chance_without = agreement(whole - by_cluster)
        room = 1 - chance_without
        np.divide(observed_without - chance_without, room, out=left_out, where=room > 1e-12)
    low, high, method, note = _interval(left_out, (value, chance), len(parts), level)
    numbers = {"value": value, "low": low, "high": high, "observed": observed, "method": method, "note": note}
    return Agreement.model_validate({**plain, **numbers})


def _interval(
    left_out: Floats, found: tuple[float, float], n_answers: int, level: float
) -> tuple[float | None, float | None, str, str]:
    """Return low, high, method and note, from the kappas without each cluster."""
    value, chance = found
    n = len(left_out)
    if math.isclose(value, 1.0):
        # Nothing varies; a share of answers up to this may still be judged differently.
        share = 1 - ((1 - level) / 2) ** (1 / n)
        note = f"the judges never differ: a bound, as at 0 of {n}"
        return max(-1.0, 1 - share / (1 - chance)), 1.0, f"Clopper-Pearson bound over {n} clusters", note
    if n < 2 or not np.isfinite(left_out).all():
        return None, None, "none", _ONE_CLUSTER if n < 2 else _RARE
    se = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    half = t_quantile((1 + level) / 2, n - 1) * se
    over = f"{n} answers" if n == n_answers else f"{n} clusters of {n_answers} answers"
    return max(-1.0, value - half), min(1.0, value + half), f"jackknife t interval over {over}", ""


def _codes(labels: Sequence[Label]) -> Codes:
    """Number the labels by first appearance."""
    seen: dict[Label, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


def _cluster_codes(clusters: Sequence[Hashable] | None, rows: Sequence[int]) -> Codes:
    return np.arange(len(rows)) if clusters is None else _codes([clusters[at] for at in rows])


def _check(n_first: int, n_second: int, clusters: Sequence[Hashable] | None) -> None:
    if n_first != n_second or (clusters is not None and len(clusters) != n_first):
        what = "verdicts of different numbers of answers"
        raise DataError(what, where="agreement", hint="Give each judge a verdict or None for every answer")
