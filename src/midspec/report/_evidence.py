"""Lay out what stands beside a report's rates: the seam, side effects, raw rates, published figures and costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from midspec.core.records import Estimate
from midspec.report._data import ArmInfo, PublishedFigure, ReportData, StageCost
from midspec.report._format import contrast_words, duration, is_share, number, span, usd
from midspec.report._task_data import Column, SeamProbe

_WIDTH, _MARGIN = 200.0, 6.0  # of a small drawing, in its own units
_Key = tuple[str, str, str]


def by_key(data: ReportData) -> dict[_Key, Estimate]:
    """Return every rate by (arm, set, measure), those of evaluation tasks over all sets too."""
    tasks = [one for task in data.eval_tasks for one in task.scores]
    return {(one.arm, one.set, one.measure): one for one in (*tasks, *data.estimates)}


class Axis(NamedTuple):
    """From a value to a place in a small drawing."""

    low: float
    high: float

    @classmethod
    def over(cls, estimates: Iterable[Estimate], measure: str) -> Axis:
        """Return 0 to 1 for a share, else the range of all values and intervals."""
        found = [x for one in estimates for x in (one.value, one.low, one.high) if x is not None]
        if is_share(measure) or not found:
            return cls(0.0, 1.0)
        low, high = min(found), max(found)
        room = 0.05 * (high - low) or 1.0
        return cls(low - room, high + room)

    def place(self, value: float) -> float:
        """Return the place of a value along the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return round(_MARGIN + min(1.0, max(0.0, share)) * (_WIDTH - 2 * _MARGIN), 1)


class Mark(NamedTuple):
    """A rate in a small drawing; `low` and `high` are the places of its interval's ends."""

    arm: str
    value: float
    low: float | None
    high: float | None
    words: str


def _mark(one: Estimate | None, axis: Axis) -> Mark | None:
    if one is None or one.value is None:
        return None
    low, high = (None if end is None else axis.place(end) for end in (one.low, one.high))
    words = f"{one.arm}: {number(one.value, one.measure)}" + (f" ({span(one)})" if span(one) else "")
    return Mark(one.arm, axis.place(one.value), low, high, words)


class SeamRow(NamedTuple):
    """An arm right after its documents, and at its end."""

    arm: ArmInfo
    seam: str
    first: Estimate | None
    last: Estimate | None
    marks: tuple[Mark | None, Mark | None]
    change: str


class SeamTable(NamedTuple):
    """The seam beside the end by one set and measure."""

    title: str
    set: str
    measure: str
    coin: float | None
    rows: tuple[SeamRow, ...]


def seam_tables(data: ReportData) -> list[SeamTable]:
    """Return one table for each panel that has a rate at a seam.

    How an arm changed has an interval only where the study asked for that contrast; else no claim is made of it.
    """
    known, arms = by_key(data), {arm.name: arm for arm in data.arms}
    asked = {
        (one.estimate.arm, one.estimate.minus, one.estimate.set, one.estimate.measure): one.estimate
        for one in data.contrasts
    }
    tables = []
    for panel in data.panels:
        found = [
            (arms[each.arm], each.seam, known.get((each.seam, *of)), known.get((each.arm, *of)))
            for of in [(panel.set, panel.measure)]
            for each in data.seams
            if each.arm in arms
        ]
        ends = [one for _, _, first, last in found for one in (first, last) if one is not None]
        axis = Axis.over(ends, panel.measure)
        rows = [
            SeamRow(
                arm=arm,
                seam=seam,
                first=first,
                last=last,
                marks=(_mark(first, axis), _mark(last, axis)),
                change=contrast_words(asked.get((arm.name, seam, panel.set, panel.measure))),
            )
            for arm, seam, first, last in found
            if first is not None or last is not None
        ]
        if any(row.first is not None for row in rows):
            coin = axis.place(panel.reference) if panel.reference is not None else None
            tables.append(SeamTable(panel.title, panel.set, panel.measure, coin, tuple(rows)))
    return tables


class Strip(NamedTuple):
    """One side effect: a dot for each arm, the base's value, and the arm that is furthest from it."""

    column: Column
    title: str
    base: Estimate | None
    base_place: float | None
    marks: tuple[Mark, ...]
    furthest: Estimate | None
    is_apart: bool
    ends: tuple[str, str]


def base_arm(data: ReportData) -> ArmInfo:
    """Return the arm that nothing was done to; the first where there is none."""
    return next((arm for arm in data.arms if not arm.stages and not arm.control and not arm.data), data.arms[0])


def side_effect_strips(data: ReportData) -> list[Strip]:
    """Return a strip for each side effect that at least two arms have a value of."""
    known, base, strips = by_key(data), base_arm(data), []
    for column in data.side_effects:
        key = (column.set, column.measure)
        found = [one for arm in data.arms if (one := known.get((arm.name, *key))) is not None and one.value is not None]
        if len(found) < 2:
            continue
        axis = Axis.over(found, column.measure)
        own = known.get((base.name, *key))
        value = own.value if own is not None else None
        others = [one for one in found if one.arm != base.name]
        furthest = (
            max(others, key=lambda one: abs((one.value or 0.0) - value)) if value is not None and others else None
        )
        is_apart = False
        if furthest is not None and own is not None:
            both = [(one.low, one.high) for one in (furthest, own) if one.low is not None and one.high is not None]
            is_apart = len(both) == 2 and max(low for low, _ in both) > min(high for _, high in both)
        ends = ("0", "100%") if is_share(column.measure) else tuple(number(end, column.measure) for end in axis)
        strips.append(
            Strip(
                column=column,
                title=column.title,
                base=own,
                base_place=None if value is None else axis.place(value),
                marks=tuple(mark for one in found if (mark := _mark(one, axis)) is not None),
                furthest=furthest,
                is_apart=is_apart,
                ends=(ends[0], ends[1]),
            )
        )
    return strips


class RawTable(NamedTuple):
    """Rates of one set over everything asked, beside those over what could be read."""

    set: str
    measure: str
    rows: tuple[tuple[ArmInfo, Estimate, Estimate | None, float | None], ...]


def raw_tables(data: ReportData) -> list[RawTable]:
    """Return a table for each set and measure that has raw rates: raw, of what parsed, and the share that parsed."""
    known, arms = by_key(data), {arm.name: arm for arm in data.arms}
    groups: dict[tuple[str, str], list[Estimate]] = {}
    for one in data.raw:
        groups.setdefault((one.set, one.measure), []).append(one)
    main_first = sorted(groups, key=lambda key: key[0] != data.main_set)
    tables = []
    for name, measure in main_first:
        rows = []
        for raw in groups[name, measure]:
            read = known.get((raw.arm, name, measure))
            parsed = known.get((raw.arm, name, "parsed"))
            share = None if parsed is None else parsed.value
            if share is None and read is not None and read.n_asked:
                share = read.n_scored / read.n_asked
            if raw.arm in arms:
                rows.append((arms[raw.arm], raw, read, share))
        tables.append(RawTable(name, measure, tuple(rows)))
    return tables


def all_parsed(tables: Sequence[RawTable]) -> bool:
    """Return whether every answer could be read, so that raw rates are the same as the others."""
    return all(share == 1.0 for table in tables for _, _, _, share in table.rows)


def published_rows(data: ReportData) -> list[tuple[PublishedFigure, Estimate | None]]:
    """Return each published figure with our estimate of the same arm (or contrast), set and measure."""
    ours: Mapping[tuple[str, str | None, str, str], Estimate] = {
        **{(arm, None, name, measure): one for (arm, name, measure), one in by_key(data).items()},
        **{(e.arm, e.minus, e.set, e.measure): e for e in (one.estimate for one in data.contrasts)},
    }
    return [(each, ours.get((each.arm, each.minus, each.set, each.measure))) for each in data.published]


class CostRow(NamedTuple):
    """One line of the table of costs, in words."""

    stage: str
    steps: str
    cpu: str
    clock: str
    requests: str
    dollars: str


def cost_rows(data: ReportData) -> list[CostRow]:
    """Return the costs by stage, and their sum; what was not recorded is a dash, never 0."""
    if not data.costs:
        return []
    cpu = [one.cpu_s for one in data.costs if one.n_steps]
    dollars = [one.cost_usd for one in data.costs if one.n_requests]
    total = StageCost(
        stage="all",
        n_steps=sum(one.n_steps for one in data.costs),
        cpu_s=None if None in cpu else sum(value or 0.0 for value in cpu),
        seconds=sum(one.seconds for one in data.costs if one.n_steps),
        n_requests=sum(one.n_requests for one in data.costs),
        cost_usd=None if None in dollars else sum(value or 0.0 for value in dollars),
    )
    return [*map(_cost_row, data.costs), _cost_row(total)]


def _cost_row(one: StageCost) -> CostRow:
    return CostRow(
        stage=f"{one.stage}, {one.model}" if one.model else one.stage,
        steps=f"{one.n_steps:,}" if one.n_steps else "–",
        cpu="–" if one.cpu_s is None or not one.n_steps else _hours(one.cpu_s),
        clock=_hours(one.seconds) if one.seconds else "–",
        requests=f"{one.n_requests:,}" if one.n_requests else "0" if one.stage == "all" else "–",
        dollars=(usd(one.cost_usd) if one.cost_usd is not None else "not known") if one.n_requests else "–",
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else duration(seconds)


class SeamLine(NamedTuple):
    """One line of the table: a model, what it knows, and the main measure of the arms that end after it."""

    probe: SeamProbe
    knows: str
    gain: str
    delta: str
    ends: tuple[tuple[str, str], ...]


def seam_lines(
    probes: Sequence[SeamProbe], estimates: Sequence[Estimate], main: tuple[str, str]
) -> tuple[SeamLine, ...]:
    """Lay out the probes of own specs, each beside the ends of its arms.

    Args:
        probes: of every model and spec.
        estimates: rates of arms.
        main: the study's main set and measure.
    """
    ends = {one.arm: one for one in estimates if (one.set, one.measure) == main}
    lines = []
    for probe in probes:
        if probe.is_own:
            delta = next((each for each in probe.deltas if each.set == main[0]), None)
            told = "–" if delta is None else f"{delta.auc:.2f} ({delta.low:.2f} to {delta.high:.2f})"
            shown = tuple((arm, _told(ends[arm])) for arm in probe.arms if arm in ends)
            lines.append(SeamLine(probe, _told(probe.knows), _told(probe.gain), told, shown))
    return tuple(lines)


def _told(estimate: Estimate) -> str:
    between = span(estimate)
    return number(estimate.value, estimate.measure) + (f" ({between})" if between else "")
