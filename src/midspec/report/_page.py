"""The page: what `ReportData` holds, laid out for one HTML template. The engine escapes every text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from midspec.core.records import Estimate
from midspec.report._data import UNTOLD, ArmInfo, ContrastSays, ReportData
from midspec.report._palette import css_variables, looks
from midspec.report._task_page import is_of_task, reason_sides, share_words, task_table, task_views, value_words
from midspec.report._words import answer, is_share, number, signed, span, unit

_FOREST_WIDTH = 200.0


class _Figure(NamedTuple):
    """A figure as one wide drawing, and as one drawing a panel for narrow screens."""

    wide: str
    narrow: tuple[str, ...]


class _Mark(NamedTuple):
    """A contrast drawn in its table row: positions along a line of `_FOREST_WIDTH` with 0 in its middle."""

    low: float | None
    high: float | None
    value: float
    seeds: tuple[float, ...]
    sure: bool


class _Cell(NamedTuple):
    """One rate of a table; `note` is the letter of its footnote."""

    estimate: Estimate | None
    note: str


class _Row(NamedTuple):
    arm: ArmInfo
    cells: tuple[_Cell, ...]


class _Table(NamedTuple):
    """Rates of all arms by one measure: a column for each set."""

    measure: str
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]
    notes: tuple[tuple[str, str], ...]


class _Compared(NamedTuple):
    """A contrast with all seeds, and without those whose base failed its gate."""

    all_seeds: ContrastSays
    without: ContrastSays


def page(data: ReportData, figures: Mapping[str, str]) -> str:
    """The report as one HTML document.

    Args:
        data: everything to show.
        figures: SVG elements by name: `main`, `all_arms`, and for narrow screens `main_1`, `main_2`, ...
    """
    environment = Environment(
        loader=PackageLoader("midspec.report", "_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"number": number, "signed": signed, "span": span, "is_share": is_share}
    environment.globals |= {"unit": unit, "share_words": share_words, "value_words": value_words}
    environment.tests["contains"] = _contains
    environment.filters |= {"duration": _duration, "pieces": _pieces}
    reach = _reach(data.contrasts)
    heats = any(eval_task.grid for eval_task in data.eval_tasks)
    return environment.get_template("report.html.j2").render(
        data=data,
        light=css_variables(dark=False, heats=heats),
        dark=css_variables(dark=True, heats=heats),
        answer=answer(data),
        facts=_facts(data),
        figures=[_figure(figures, "main"), _figure(figures, "all_arms")],
        shown=[arm for arm in data.arms if any(arm.name in panel.arms for panel in data.panels)],
        main_set=next((one for one in data.sets if one.name == data.main_set), None),
        titles={one.name: one.title for one in data.sets},
        looks=looks(data.arms),
        contrasts=tuple(zip(data.contrasts, _forest(data.contrasts, reach), strict=True)),
        reach=reach,
        compared=_compared(data),
        tables=_tables(data),
        task_table=task_table(data),
        task_views=task_views(data),
        reason_sides=reason_sides(data),
        task_tables=[_task_tables(data, eval_task.name) for eval_task in data.eval_tasks],
        grids=[_figure(figures, f"grid_{eval_task.name}") for eval_task in data.eval_tasks],
        methods=_methods(data),
        block=_data_block(data),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _contains(stages: Container[str], stage: str) -> bool:
    return stage in stages


def _pieces(name: str) -> list[str]:
    """An arm's name in pieces between which a narrow column may break it."""
    return re.split(r"(?<=.)(?=[(+/_])", name)


def _facts(data: ReportData) -> tuple[str, ...]:
    """What the study is made of, in a line under its title."""
    seeds = {one.seed for estimate in data.estimates for one in estimate.by_seed}
    main = [one for one in data.estimates if (one.set, one.measure) == (data.main_set, data.main_measure)]
    items = max((one.n_items for one in main), default=0)
    title = next((one.title for one in data.sets if one.name == data.main_set), data.main_set)
    counted = (_count(len(data.arms), "arm"), _count(len(seeds), "seed"), f"{_count(items, 'item')} on “{title}”")
    return (*counted, f"commit {data.commit[:10]}") if data.commit else counted


def _count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def _figure(figures: Mapping[str, str], name: str) -> _Figure | None:
    if name not in figures:
        return None
    numbered = [f"{name}_{index}" for index in range(1, len(figures) + 1)]
    return _Figure(figures[name], tuple(figures[one] for one in numbered if one in figures))


def _reach(contrasts: Iterable[ContrastSays]) -> float:
    """How far from 0 any contrast of shares goes, its interval and seeds included, rounded up to 10 points."""
    shares = [one.estimate for one in contrasts if is_share(one.estimate.measure)]
    return math.ceil(10 * max((abs(x) for one in shares for x in _numbers(one)), default=1.0)) / 10 or 0.1


def _forest(contrasts: Iterable[ContrastSays], reach: float) -> tuple[_Mark | None, ...]:
    """Where to draw each contrast's value, interval and seeds on one scale; `None` where there is no share."""
    shown = [one.estimate for one in contrasts]
    return tuple(_mark(one, reach) if one.value is not None and is_share(one.measure) else None for one in shown)


def _numbers(estimate: Estimate) -> list[float]:
    every = [estimate.value, estimate.low, estimate.high, *(one.value for one in estimate.by_seed)]
    return [value for value in every if value is not None]


def _mark(estimate: Estimate, reach: float) -> _Mark:
    def place(value: float) -> float:
        return round((value / reach + 1) / 2 * (_FOREST_WIDTH - 12) + 6, 1)

    low, high = (None if value is None else place(value) for value in (estimate.low, estimate.high))
    seeds = tuple(place(one.value) for one in estimate.by_seed if one.value is not None)
    sure = (estimate.low or 0) > 0 or (estimate.high or 0) < 0
    return _Mark(low, high, place(estimate.value or 0), seeds, sure)


def _compared(data: ReportData) -> tuple[_Compared, ...]:
    without = {one.estimate.name: one for one in data.robust}
    return tuple(_Compared(one, without[one.estimate.name]) for one in data.contrasts if one.estimate.name in without)


def _tables(data: ReportData) -> tuple[_Table, ...]:
    """One table for each measure, the main one first; exams have tables of their own."""
    plain = [one for one in data.estimates if not is_of_task(data, one)]
    measures = dict.fromkeys([data.main_measure, *(one.measure for one in plain)])
    return tuple(_table(data, measure, plain) for measure in measures)


def _task_tables(data: ReportData, eval_task: str) -> tuple[_Table, ...]:
    """One table for each measure of an exam, its sets by their own names."""
    own = [one for one in data.estimates if one.set.startswith(f"{eval_task}/")]
    tables = [_table(data, measure, own) for measure in dict.fromkeys(one.measure for one in own)]
    return tuple(one._replace(columns=tuple(name.partition("/")[2] for name in one.columns)) for one in tables)


def _table(data: ReportData, measure: str, estimates: Sequence[Estimate]) -> _Table:
    found = {(one.arm, one.set): one for one in estimates if one.measure == measure}
    asked = {name for _, name in found}
    ordered = dict.fromkeys([*(one.name for one in data.sets), *(one.set for one in estimates)])
    columns = tuple(name for name in ordered if name in asked)
    notes = {text: _letter(n) for n, text in enumerate(dict.fromkeys(one.note for one in found.values() if one.note))}
    rows = []
    for arm in data.arms:
        cells = [found.get((arm.name, name)) for name in columns]
        rows.append(_Row(arm, tuple(_Cell(one, notes[one.note] if one and one.note else "") for one in cells)))
    return _Table(measure, columns, tuple(rows), tuple((letter, text) for text, letter in notes.items()))


def _letter(index: int) -> str:
    head, last = divmod(index, 26)
    return (_letter(head - 1) if head else "") + "abcdefghijklmnopqrstuvwxyz"[last]


def _methods(data: ReportData) -> tuple[tuple[str, int], ...]:
    """Every way in which an interval was made, and for how many numbers, most used first."""
    counts: dict[str, int] = {}
    for one in (*data.estimates, *(contrast.estimate for contrast in data.contrasts)):
        counts[one.method] = counts.get(one.method, 0) + 1
    return tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _data_block(data: ReportData) -> str:
    """The data as JSON that nothing inside it can break out of: no `<`, `>` or `&`, no line separators."""
    plain = data.model_dump(mode="json", exclude=UNTOLD)
    text = json.dumps(plain, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
