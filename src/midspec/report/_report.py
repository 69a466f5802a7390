"""Write a study's report: the page, its figures as files, and its data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built, write_json, write_text
from midspec.core.errors import DataError, plural
from midspec.core.records import Estimate
from midspec.report._data import EXECUTION_FIELDS, Panel, ReportData
from midspec.report._estimate_files import FILES, write_estimates
from midspec.report._evidence import (
    all_parsed,
    base_arm,
    cost_rows,
    published_rows,
    raw_tables,
    seam_lines,
    seam_tables,
    side_effect_strips,
)
from midspec.report._figures import Drawn, characters, draw_bars, draw_grid, glyph_warning
from midspec.report._forest_figure import draw_forest, has_forest
from midspec.report._format import answer_sentences, holds, is_share, main_contrasts, saving_sentence
from midspec.report._html import looks, render
from midspec.report._path_figure import draw_paths
from midspec.report._tables import RatesTable, path_groups, path_table, rates_table, tables_of_task
from midspec.report._task_page import is_of_task, reason_tables, task_table, task_views
from midspec.report._transcripts import Links, TranscriptPage, write_transcripts

_WIDE_IN, _NARROW_IN = 9.8, 3.8
_FOREST_WIDTH, _FOREST_MARGIN = 200.0, 6.0  # in units of the drawing


def write_report(data: ReportData, folder: Path, *, transcripts: Iterable[TranscriptPage] = ()) -> Built:
    """Write `report.html`, its figures, `report_data.json`, every estimate as CSV and Parquet, and transcripts.

    The page holds its figures and needs no other file, no script and no network; its numbers link to pages of
    transcripts beside it. All files are the same bytes for the same data (where names need fonts that matplotlib does
    not bring: on one machine); only `report.html` also shows `seconds`, `bills` and `costs`.

    Args:
        data: what the report shows.
        folder: where to write.
        transcripts: what arms said on sets, a page each.

    Raises:
        DataError: a panel names an arm, or `main_contrasts` a contrast, that is not in the data.
    """
    _check_names(data)
    figures = _figures(data)
    links = write_transcripts(transcripts, data, folder)
    data = data.model_copy(update={"transcripts": (*data.transcripts, *links)})
    if warning := glyph_warning(characters(data)):
        data = data.model_copy(update={"warnings": (*data.warnings, warning)})
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    outputs = ["report.html", "report_data.json", *write_estimates(data, folder), *(link.file for link in links)]
    for name, drawn in figures.items():
        (folder / "figures" / f"{name}.png").write_bytes(drawn.png)
        write_text(folder / "figures" / f"{name}.svg", drawn.svg)
        outputs += [f"figures/{name}.png", f"figures/{name}.svg"]
    heat_colours = any(eval_task.grid for eval_task in data.eval_tasks)
    content = _content(data, {name: drawn.inline for name, drawn in figures.items()})
    html = render("report.html.j2", content, data, heat_colours=heat_colours, exclude=EXECUTION_FIELDS)
    write_text(folder / "report.html", html)
    write_json(folder / "report_data.json", data.model_dump(mode="json", exclude=EXECUTION_FIELDS))
    summary: dict[str, JsonValue] = {
        "n_arms": len(data.arms),
        "n_estimates": len(data.estimates),
        "n_contrasts": len(data.contrasts),
        "n_unanswered": sum(one.estimate.value is None for one in data.contrasts),
        # The key is in the records of runs that exist.
        **({"n_exams": len(data.eval_tasks)} if data.eval_tasks else {}),
        "gates_failed": sum(not gate.passed for gate in data.gates),
    }
    return Built(outputs=tuple(outputs), summary=summary)


def _check_names(data: ReportData) -> None:
    known = {
        "panels": ({arm for panel in data.panels for arm in panel.arms}, {arm.name for arm in data.arms}),
        "main_contrasts": (set(data.main_contrasts), {one.estimate.name for one in data.contrasts}),
    }
    for field, (named, there) in known.items():
        if missing := sorted(named - there):
            what = f"names {', '.join(map(repr, missing))}, which the study does not have"
            raise DataError(what, where=field, hint=f"Use one of {', '.join(sorted(there)) or 'none'}")


def _figures(data: ReportData) -> dict[str, Drawn]:
    """Draw the forest of contrasts, each task's grid, the main figure and, where that leaves arms out, one of all arms.

    Each is drawn once wide and once a panel, for narrow screens.
    """
    drawn = {}
    if has_forest(data):
        drawn["forest"] = draw_forest(data, "forest", _WIDE_IN)
        drawn["forest_1"] = draw_forest(data, "forest_1", _NARROW_IN)
    for eval_task in data.eval_tasks:
        if eval_task.grid is not None:
            name, arms = f"grid_{eval_task.name}", eval_task.grid.arms
            drawn[name] = draw_grid(eval_task.grid, arms, name, _WIDE_IN)
            for index, arm in enumerate(arms, start=1):
                drawn[f"{name}_{index}"] = draw_grid(eval_task.grid, (arm,), f"{name}_{index}", _NARROW_IN)
    all_arms = tuple(arm.name for arm in data.arms)
    full = tuple(panel.model_copy(update={"arms": all_arms}) for panel in data.panels)
    wanted: dict[str, tuple[Panel, ...]] = {"main": data.panels, "all_arms": full if full != data.panels else ()}
    for name, panels in wanted.items():
        if panels:
            drawn[name] = draw_bars(data, panels, name, _WIDE_IN)
        for index, panel in enumerate(panels, start=1):
            drawn[f"{name}_{index}"] = draw_bars(data, (panel,), f"{name}_{index}", _NARROW_IN)
    for number, group in enumerate(path_groups(data), start=1):
        drawn[f"path_{number}"] = draw_paths(data, group, data.panels, f"path_{number}", _WIDE_IN)
        for index, panel in enumerate(data.panels, start=1):
            name = f"path_{number}_{index}"
            drawn[name] = draw_paths(data, group, (panel,), name, _NARROW_IN)
    return drawn


def _content(data: ReportData, figures: Mapping[str, str]) -> dict[str, Any]:
    """Lay `data` out for the template; `figures` are SVG elements by name, `main_1`, ... for narrow screens."""
    scale = _forest_scale(data)
    # One table a measure, the main one first; evaluation tasks have tables of their own.
    pairs = [one for one in data.estimates if not is_of_task(data, one)]
    measures = dict.fromkeys([data.main_measure, *(one.measure for one in pairs)])
    without = {one.estimate.name: one for one in data.robust}
    seams, raw, published, links = seam_tables(data), raw_tables(data), published_rows(data), Links.of(data)
    methods = Counter(one.method for one in (*data.estimates, *(contrast.estimate for contrast in data.contrasts)))
    return {
        "data": data,
        "answer": answer_sentences(data),
        "savings": [saving_sentence(each) for each in data.savings],
        "first": next(iter(main_contrasts(data)), None),
        "facts": _facts(data),
        "figures": [_figure(figures, "main"), _figure(figures, "all_arms")],
        "forest": _figure(figures, "forest"),
        "to": links.to,
        "seams": seams,
        "strips": side_effect_strips(data),
        "base": base_arm(data),
        "raw": raw,
        "all_parsed": all_parsed(raw),
        "published": published,
        "costs": cost_rows(data),
        "files": (*FILES, "report_data.json"),
        "shown": [arm for arm in data.arms if any(arm.name in panel.arms for panel in data.panels)],
        "main_set": next((one for one in data.sets if one.name == data.main_set), None),
        "titles": {one.name: one.title for one in data.sets},
        "looks": looks(data.arms),
        "contrasts": [
            (one, _forest_marks(one.estimate, scale), [each for each, ours in published if ours is one.estimate])
            for one in data.contrasts
        ],
        "reach": scale,
        "compared": [(one, without[one.estimate.name]) for one in data.contrasts if one.estimate.name in without],
        "tables": [rates_table(data, measure, pairs) for measure in measures],
        "task_table": task_table(data),
        "task_views": task_views(data),
        "reason_tables": reason_tables(data),
        "task_tables": [tables_of_task(data, eval_task.name) for eval_task in data.eval_tasks],
        "grids": [_figure(figures, f"grid_{eval_task.name}") for eval_task in data.eval_tasks],
        "paths": _paths(data, figures),
        "seam_lines": seam_lines(data.seam_probes, data.estimates, (data.main_set, data.main_measure)),
        "n_near_ends": sum(count for method, count in methods.items() if "profile likelihood" in method),
        "methods": sorted(methods.items(), key=lambda entry: (-entry[1], entry[0])),
    }


def _facts(data: ReportData) -> tuple[str, ...]:
    """Return what the study is made of, for the line under its title."""
    seeds = {one.seed for estimate in data.estimates for one in estimate.by_seed}
    main = [one for one in data.estimates if (one.set, one.measure) == (data.main_set, data.main_measure)]
    n_items = max((one.n_items for one in main), default=0)
    title = next((one.title for one in data.sets if one.name == data.main_set), data.main_set)
    counted = (plural(len(data.arms), "arm"), plural(len(seeds), "seed"), f"{plural(n_items, 'item')} on “{title}”")
    return (*counted, f"commit {data.commit[:10]}") if data.commit else counted


class _Figure(NamedTuple):
    """A figure as one wide drawing, and as one drawing a panel for narrow screens."""

    wide: str
    narrow: tuple[str, ...]


def _figure(figures: Mapping[str, str], name: str) -> _Figure | None:
    if name not in figures:
        return None
    numbered = [f"{name}_{index}" for index in range(1, len(figures) + 1)]
    return _Figure(figures[name], tuple(figures[one] for one in numbered if one in figures))


class _Path(NamedTuple):
    """Arms with points of the same names: their figure, and a table under the title of each panel."""

    figure: _Figure | None
    tables: tuple[tuple[str, RatesTable], ...]


def _paths(data: ReportData, figures: Mapping[str, str]) -> list[_Path]:
    return [
        _Path(
            _figure(figures, f"path_{number}"),
            tuple((panel.title, path_table(data, group, panel.set, panel.measure)) for panel in data.panels),
        )
        for number, group in enumerate(path_groups(data), start=1)
    ]


def _forest_scale(data: ReportData) -> float:
    """Return how far from 0 any contrast of shares goes, intervals and seeds included, rounded up to 10 points."""
    shares = [one.estimate for one in data.contrasts if is_share(one.estimate.measure)]
    values = [x for one in shares for x in (one.value, one.low, one.high, *(each.value for each in one.by_seed))]
    return math.ceil(10 * max((abs(x) for x in values if x is not None), default=1.0)) / 10 or 0.1


class _ForestMarks(NamedTuple):
    """A contrast drawn in its table row: positions along a line of `_FOREST_WIDTH` with 0 in its middle."""

    low: float | None
    high: float | None
    value: float
    seeds: tuple[float, ...]
    sure: bool
    missed: tuple[float, float] | None


def _forest_marks(estimate: Estimate, scale: float) -> _ForestMarks | None:
    """Place a contrast's value, interval and seeds on the common scale; `None` where it is not of a share."""
    if estimate.value is None or not is_share(estimate.measure):
        return None

    def place(value: float) -> float:
        return round((value / scale + 1) / 2 * (_FOREST_WIDTH - 2 * _FOREST_MARGIN) + _FOREST_MARGIN, 1)

    low, high = (None if value is None else place(value) for value in (estimate.low, estimate.high))
    seeds = tuple(place(one.value) for one in estimate.by_seed if one.value is not None)
    mde = None if estimate.mde is None else min(estimate.mde, scale)
    missed = None if mde is None else (place(-mde), place(mde))
    return _ForestMarks(low, high, place(estimate.value), seeds, holds(estimate), missed)
