"""How far judges agree beyond chance: Cohen's kappa for two, Fleiss' kappa for any number, with intervals.

Enter: what several judges said of the same answers. Leave: `Agreement` rows. Answers of one cell (a scenario, a
category) are not independent draws, so intervals come from leaving out one whole cluster after the other (the
delete-one jackknife), Student t over the clusters; each answer is its own cluster where none is named. An answer that a
judge gave no verdict on is left out of what needs it, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._power import t_quantile
from midspec.core.errors import DataError
from midspec.core.records import Agreement, Judgement

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Label = Hashable
_ONE_VERDICT = "all verdicts are the same: nothing can be told of agreement beyond chance"
_NOTHING_SHARED = "no answer has verdicts of two judges"
_ONE_CLUSTER = "one cluster: nothing can be told of how far others would agree"
_RARE = "one cluster holds all that differs: no interval can be given"


def agreements(judgements: Sequence[Judgement], measure: str, *, level: float = 0.95) -> list[Agreement]:
    """How far judges agree on one measure: Fleiss' kappa of all of them, then Cohen's of each pair.

    Answers of one domain are one cluster.

    Args:
        judgements: what each judge said of each answer; all of one rubric.
        measure: which of the rubric's measures, one with few values (a verdict, no score from 1 to 10).
        level: of the intervals, 0-1.

    Returns:
        Nothing where there are fewer than two judges.

    Raises:
        DataError: a judge has two judgements of one answer.
    """
    judges = list(dict.fromkeys(each.judge for each in judgements))
    answers = list(dict.fromkeys((each.set, each.item) for each in judgements))
    if len(judges) < 2:
        return []
    domains = {(each.set, each.item): (each.set, each.domain) for each in judgements}
    said = {(each.set, each.item, each.judge): each.values.get(measure) for each in judgements}
    if len(said) < len(judgements):
        raise DataError("a judge has two judgements of one answer", where=measure, hint="Give one log of each run")
    table = [[said.get((*answer, judge)) for judge in judges] for answer in answers]
    clusters = [domains[answer] for answer in answers]
    found = [fleiss_kappa(table, clusters=clusters, level=level)]
    for one, other in combinations(range(len(judges)), 2):
        columns = [[row[at] for row in table] for at in (one, other)]
        found.append(cohen_kappa(columns[0], columns[1], clusters=clusters, level=level))
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
    """Cohen's kappa (1960) of two judges over the same answers.

    Args:
        first: the verdict of one judge on each answer, `None` for none.
        second: that of the other, in the same order.
        clusters: which answers are not independent; each is by itself where not given.
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
    return _kappa(tables, _cohen, _in(clusters, both), "cohen", (len(first), 2, level))


def fleiss_kappa(
    verdicts: Sequence[Sequence[Label | None]], *, clusters: Sequence[Hashable] | None = None, level: float = 0.95
) -> Agreement:
    """Fleiss' kappa (1971) of any number of judges over the same answers.

    Answers may have verdicts of different numbers of judges; each counts once, by the share of its pairs of judges that
    agree. Those with fewer than two verdicts are left out.

    Args:
        verdicts: a row for each answer, with a verdict or `None` for each judge.
        clusters: which answers are not independent; each is by itself where not given.
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
    said = [(place, one) for place, at in enumerate(rated) for one in verdicts[at] if one is not None]
    labels = _codes([one for _, one in said])
    counts = np.zeros((len(rated), int(labels.max()) + 1 if len(labels) else 0))
    np.add.at(counts, (np.array([place for place, _ in said], dtype=np.int64), labels), 1.0)
    n_said = counts.sum(axis=1)
    agreeing = (counts * (counts - 1)).sum(axis=1) / np.maximum(1.0, n_said * (n_said - 1))
    sums = np.column_stack([np.ones(len(rated)), agreeing, counts])
    return _kappa(sums, _fleiss, _in(clusters, rated), "fleiss", (len(verdicts), n_judges, level))


def _cohen(tables: Floats) -> tuple[Floats, Floats]:
    """Shares of observed and of chance agreement, from tables of counts, shape (..., labels, labels)."""
    shares = tables / tables.sum(axis=(-2, -1), keepdims=True)
    observed = np.trace(shares, axis1=-2, axis2=-1)
    return observed, (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)


def _fleiss(sums: Floats) -> tuple[Floats, Floats]:
    """The same from sums over answers, shape (..., 2 + labels): how many, their agreement, verdicts by label."""
    counts = sums[..., 2:]
    shares = counts / counts.sum(axis=-1, keepdims=True)
    return sums[..., 1] / sums[..., 0], (shares**2).sum(axis=-1)


def _kappa(
    parts: Floats,
    shares: Callable[[Floats], tuple[Floats, Floats]],
    clusters: Codes,
    kind: str,
    asked: tuple[int, int, float],
) -> Agreement:
    """The kappa of the sum of all answers' `parts`, and its interval."""
    n_asked, n_judges, level = asked
    plain = {"kind": kind, "n_asked": n_asked, "n_answers": len(parts), "n_judges": n_judges, "level": level}
    nothing = {"value": None, "low": None, "high": None, "observed": None, "method": "none"}
    if not len(parts):
        return Agreement.model_validate({**plain, **nothing, "note": _NOTHING_SHARED})
    whole = parts.sum(axis=0)
    observed, chance = (float(share) for share in shares(whole))
    if math.isclose(chance, 1.0):
        return Agreement.model_validate({**plain, **nothing, "observed": observed, "note": _ONE_VERDICT})
    value = (observed - chance) / (1 - chance)
    low, high, method, note = _interval(_left_out(parts, whole, clusters, shares), (value, chance), len(parts), level)
    numbers = {"value": value, "low": low, "high": high, "observed": observed, "method": method, "note": note}
    return Agreement.model_validate({**plain, **numbers})


def _left_out(
    parts: Floats, whole: Floats, clusters: Codes, shares: Callable[[Floats], tuple[Floats, Floats]]
) -> Floats:
    """The kappa without each cluster in turn; NaN where there is none."""
    n_clusters = int(clusters.max()) + 1
    if n_clusters == 1:
        return np.full(1, np.nan)
    by_cluster = np.zeros((n_clusters, *whole.shape))
    np.add.at(by_cluster, clusters, parts)
    observed, chance = shares(whole - by_cluster)
    room = 1 - chance
    kappas: Floats = np.full(n_clusters, np.nan)
    np.divide(observed - chance, room, out=kappas, where=room > 1e-12)
    return kappas


def _interval(
    left_out: Floats, found: tuple[float, float], n_answers: int, level: float
) -> tuple[float | None, float | None, str, str]:
    """Low, high, method and note, from the kappas without each cluster."""
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
    """A number for each label, by first appearance."""
    seen: dict[Label, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


def _in(clusters: Sequence[Hashable] | None, kept: Sequence[int]) -> Codes:
    return np.arange(len(kept)) if clusters is None else _codes([clusters[at] for at in kept])


def _check(n_first: int, n_second: int, clusters: Sequence[Hashable] | None) -> None:
    if n_first != n_second or (clusters is not None and len(clusters) != n_first):
        what = "verdicts of different numbers of answers"
        raise DataError(what, where="agreement", hint="Give each judge a verdict or None for every answer")
