"""Shares of the reasons that drove the arms' choices, with intervals over cells, and the judges' agreement on them.

Transcripts of one cell (a scenario with a goal, a category) are not independent draws, so each cell is one row of the
data behind an interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from midspec.analysis._agreement import all_kappas
from midspec.analysis._estimates import rates
from midspec.core.errors import DataError
from midspec.core.records import Agreement, ArmScore, Estimate, ReasonCluster, ReasonLabel, ReasonShare, Side

_DRIVER = "driver"
_ANY: tuple[tuple[str, str, Side], ...] = (
    ("any-misaligned", "Any misaligned reason", "misaligned"),
    ("any-aligned", "Any aligned reason", "aligned"),
)
_SET = "reasons"
_ONE_CELL = "all transcripts are of one cell: each question is taken as a cell of its own"


def reason_shares(scores: Sequence[ArmScore], clusters: Sequence[ReasonCluster]) -> list[ReasonShare]:
    """Estimate the share of each arm's transcripts that each cluster drove: first any of a side, then each cluster.

    A cell is a task, set and domain; its share is that of its scored transcripts. An arm's share is the mean over
    cells (and over seeds, where there are several), so that every cell has the same weight, however many
    transcripts it has. Where all transcripts are of one cell, each question is one instead.

    Args:
        scores: one row a transcript and measure; a measure is a cluster's id, or `any-misaligned`, `any-aligned`.
        clusters: the measures, with names and sides.

    Raises:
        DataError: a score has a measure that is no cluster, or occurs twice.
    """
    known = [*_ANY, *((each.id, each.name, each.side) for each in clusters)]
    if unknown := sorted({row.measure for row in scores} - {name for name, _, _ in known}):
        what = f"scores by {unknown[0]!r}, which is no cluster"
        raise DataError(what, where="reasons", hint="Give the clusters that the scores were made with")
    counts = Counter((row.arm, row.seed, row.task, row.set, row.item, row.measure) for row in scores)
    if twice := next((key for key, n in counts.items() if n > 1), None):
        arm, seed, _, name, item, measure = twice
        what = f"two scores of arm {arm!r}, seed {seed}, item {item!r}, measure {measure!r}"
        raise DataError(what, where=f"set {name!r}", hint="Give each transcript once")
    by_question = len({(row.task, row.set, row.domain) for row in scores}) == 1
    cells = list(_pool_cells(scores, by_question))
    found = {(each.arm, each.measure): each for each in rates(cells)}
    groups: dict[tuple[str, str], list[ArmScore]] = {}
    for row in scores:
        groups.setdefault((row.arm, row.measure), []).append(row)
    note = _ONE_CELL if by_question else ""
    return [
        _share(found[arm, measure], (measure, name, side), groups[arm, measure], note)
        for measure, name, side in known
        for arm in dict.fromkeys(row.arm for row in scores)
        if (arm, measure) in found
    ]


def reason_agreements(labels: Sequence[ReasonLabel], *, level: float = 0.95) -> list[Agreement]:
    """Return the judges' agreement on reasons: over all clusters (measure `driver`), then cluster by cluster.

    For each, Fleiss' kappa of all judges, and Cohen's of each pair. All labels of one cell are one cluster of the
    interval.

    Returns:
        An empty list where there are fewer than two judges.

    Raises:
        DataError: a judge has two labels of one transcript and cluster.
    """
    judges = list(dict.fromkeys(each.judge for each in labels))
    if len(judges) < 2:
        return []
    found = _kappas(labels, judges, _DRIVER, level)
    for cluster in dict.fromkeys(each.cluster for each in labels):
        found += _kappas([each for each in labels if each.cluster == cluster], judges, cluster, level)
    return found


def _kappas(labels: Sequence[ReasonLabel], judges: Sequence[str], measure: str, level: float) -> list[Agreement]:
    keys = [(each.arm, each.seed, each.task, each.set, each.item, each.cluster) for each in labels]
    verdicts = {(key, each.judge): each.value for key, each in zip(keys, labels, strict=True)}
    if len(verdicts) < len(labels):
        raise DataError("a judge has two labels of one transcript", where=measure, hint="Give each label once")
    cells = {key: (each.task, each.set, each.domain) for key, each in zip(keys, labels, strict=True)}
    return all_kappas(verdicts, cells, judges, measure, level)


def _pool_cells(scores: Iterable[ArmScore], by_question: bool) -> Iterable[ArmScore]:
    """Yield one row a cell: the share of its scored transcripts, or the commonest reason why there is none."""
    groups: dict[tuple[str, int, str, str], list[ArmScore]] = {}
    for row in scores:
        last = row.item.partition("#")[0] if by_question else row.domain
        cell = " | ".join((row.task, row.set, last))
        groups.setdefault((row.arm, row.seed, row.measure, cell), []).append(row)
    for (_, _, _, cell), rows in groups.items():
        values = [row.value for row in rows if row.value is not None]
        reasons = Counter(row.unscored for row in rows if row.value is None)
        why = None if values else reasons.most_common(1)[0][0]
        value = fmean(values) if values else None
        yield rows[0].model_copy(update={"set": _SET, "item": cell, "value": value, "unscored": why})


def _share(rate: Estimate, measure: tuple[str, str, Side], rows: Sequence[ArmScore], note: str) -> ReasonShare:
    unscored = Counter(row.unscored or "no reason was given" for row in rows if row.value is None)
    key, name, side = measure
    return ReasonShare(
        **rate.model_dump(include={"arm", "value", "low", "high", "level", "method"}),
        cluster=key,
        name=name,
        side=side,
        n_transcripts=len(rows),
        n_yes=sum(row.value == 1 for row in rows),
        n_no=sum(row.value == 0 for row in rows),
        unscored=dict(sorted(unscored.items())),
        n_cells=rate.n_items,
        note="; ".join(filter(None, (note, rate.note))),
    )
