"""Draw the contrasts as a forest plot: value, interval, seeds, and the smallest difference that would have been found.

Shares stand together on one axis of points; measures in other units have a plot each below it. On a wide page the
names stand at the left of the lines, on a narrow one above them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from midspec.report._data import ContrastResult, PublishedFigure, ReportData
from midspec.report._figures import Drawn, annotate, characters, fonts_for, render_figure
from midspec.report._format import corrected_p, holds, is_share, main_contrasts, signed, span, unit
from midspec.report._html import INK, MUTED, PAPER, RULE

# In inches.
_NAMES, _NUMBERS, _MARGIN = 3.3, 1.8, 0.12
_ROW, _ROW_STACKED, _AXIS, _HEAD = 0.5, 0.86, 0.42, 0.3
_NARROW = 5.0
_LETTER, _BOLD_LETTER, _SMALL_LETTER = 0.067, 0.075, 0.057
_POINTS_A_STEP = 10


class _Row(NamedTuple):
    contrast: ContrastResult
    y: float
    title: str
    about: str
    is_main: bool
    published: tuple[PublishedFigure, ...]


def draw_forest(data: ReportData, name: str, width_in: float) -> Drawn:
    """Draw every contrast that has a value, the main ones in bold.

    Args:
        data: the contrasts, and published figures beside them.
        name: of the figure; makes the ids inside its SVG unique.
        width_in: in inches; below 5 the names stand above the lines.
    """
    letters = characters(data) | frozenset("".join(one.estimate.name for one in data.contrasts))
    return render_figure(name, lambda: _figure(data, width_in), fonts_for(letters)[0])


def has_forest(data: ReportData) -> bool:
    """Return whether there is a contrast to draw."""
    return any(one.estimate.value is not None for one in data.contrasts)


def _figure(data: ReportData, width: float) -> Figure:
    is_stacked = width < _NARROW
    row_height = _ROW_STACKED if is_stacked else _ROW
    groups: dict[str, list[ContrastResult]] = {}
    for one in data.contrasts:
        if one.estimate.value is not None:
            groups.setdefault(unit(one.estimate.measure), []).append(one)
    height = sum(_HEAD + len(group) * row_height + _AXIS for group in groups.values())
    left, right = (_MARGIN, _MARGIN) if is_stacked else (_NAMES, _NUMBERS)
    figure, top = Figure(figsize=(width, height)), height
    for units, group in groups.items():
        body = len(group) * row_height
        top -= _HEAD + body
        axes = figure.add_axes((left / width, top / height, (width - left - right) / width, body / height))
        axes.set_ylim(-body, 0)
        rows = _rows(data, group, row_height, width, is_stacked=is_stacked)
        reach = _reach(rows)
        _style(axes, units, reach)
        for row in rows:
            _draw_row(axes, row, reach, is_stacked=is_stacked)
        top -= _AXIS
    return figure


def _rows(
    data: ReportData, group: Sequence[ContrastResult], height: float, width: float, *, is_stacked: bool
) -> list[_Row]:
    """Place the contrasts from the top down, and wrap their names.

    Args:
        data: titles of sets, and published figures.
        group: contrasts in one unit.
        height: of a row, in inches.
        width: of the figure, in inches.
        is_stacked: whether names stand above the lines.
    """
    titles = {one.name: one.title for one in data.sets}
    main = {one.estimate.name for one in main_contrasts(data)}
    room = width - 0.9 if is_stacked else _NAMES - 0.25
    rows = []
    for index, one in enumerate(group):
        estimate = one.estimate
        is_main = estimate.name in main
        pair = f"{estimate.arm} − {estimate.minus}"
        where = f", {titles.get(estimate.set, estimate.set)}" if estimate.set != data.main_set else ""
        title = _cut(estimate.name, room / (_BOLD_LETTER if is_main else _LETTER))
        about = _cut(pair + where, room / _SMALL_LETTER)
        key = (estimate.arm, estimate.minus, estimate.set, estimate.measure)
        published = tuple(each for each in data.published if (each.arm, each.minus, each.set, each.measure) == key)
        y = -(index + 0.5) * height - (0.24 if is_stacked else 0.0)
        rows.append(_Row(one, y, title, about, is_main, published))
    return rows


def _cut(text: str, n_letters: float) -> str:
    return text if len(text) <= n_letters else f"{text[: int(n_letters) - 1].rstrip()}…"


def _scale(row: _Row) -> float:
    return 100.0 if is_share(row.contrast.estimate.measure) else 1.0


def _reach(rows: Sequence[_Row]) -> tuple[float, float]:
    """Return the ends of the axis: all values, intervals, seeds and published figures, and 0."""
    values = [0.0]
    for row in rows:
        one = row.contrast.estimate
        found = [one.value, one.low, one.high, *(seed.value for seed in one.by_seed)]
        found += [each.value for each in row.published]
        values += [value * _scale(row) for value in found if value is not None]
    low, high = min(values), max(values)
    step = _POINTS_A_STEP if _scale(rows[0]) > 1 else max(0.1, (high - low) / 10)
    return math.floor(low / step) * step - 0.35 * step, math.ceil(high / step) * step + 0.35 * step


def _style(axes: Axes, units: str, reach: tuple[float, float]) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.set_xlim(*reach)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=2.5, color=RULE, labelsize=8, pad=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    axes.grid(visible=True, axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1.5)
    axes.set_xlabel({"points": "percentage points"}.get(units, units), fontsize=8, color=MUTED, labelpad=2, loc="left")


def _draw_row(axes: Axes, row: _Row, reach: tuple[float, float], *, is_stacked: bool) -> None:
    """Draw one contrast: the band of differences that would be missed, its interval, value and seeds, and its words."""
    one, scale, y = row.contrast.estimate, _scale(row), row.y
    if one.mde is not None:
        low, high = max(reach[0], -one.mde * scale), min(reach[1], one.mde * scale)
        axes.add_patch(
            Rectangle((low, y - 0.1), high - low, 0.2, facecolor=RULE, edgecolor="none", alpha=0.75, zorder=1)
        )
    if one.low is not None and one.high is not None:
        axes.plot([one.low * scale, one.high * scale], [y, y], color=INK, lw=1.7, zorder=3, solid_capstyle="butt")
    assert one.value is not None
    fill = INK if holds(one) else PAPER
    axes.plot([one.value * scale], [y], "o", ms=7, mfc=fill, mec=INK, mew=1.5, zorder=5)
    seeds = [seed.value * scale for seed in one.by_seed if seed.value is not None]
    if len(seeds) > 1:
        axes.plot(seeds, [y - 0.15] * len(seeds), "o", ms=3, mfc=PAPER, mec=MUTED, mew=0.8, zorder=4, clip_on=False)
    for each in row.published:
        axes.plot([each.value * scale], [y + 0.14], "D", ms=5, mfc="none", mec=INK, mew=1.1, zorder=6)
    _write(axes, row, is_stacked=is_stacked)


def _write(axes: Axes, row: _Row, *, is_stacked: bool) -> None:
    one, y = row.contrast.estimate, row.y
    assert one.value is not None
    bold: Mapping[str, Any] = {"weight": "bold"} if row.is_main else {}
    p = corrected_p(one).partition(" after")[0]
    value, ends = signed(one.value, one.measure), "; ".join(filter(None, (span(one), p)))
    if is_stacked:
        annotate(axes, row.title, ((0, "axes fraction"), (y + 0.46, "data")), (0, 0), size=9, color=INK, **bold)
        annotate(axes, value, ((1, "axes fraction"), (y + 0.46, "data")), (0, 0), size=9, color=INK, ha="right", **bold)
        annotate(axes, ends, ((0, "axes fraction"), (y + 0.27, "data")), (0, 0), size=8, color=MUTED)
        return
    left, right = -72 * (_NAMES - _MARGIN), 10
    annotate(axes, row.title, ((0, "axes fraction"), (y, "data")), (left, 2), size=9, color=INK, **bold)
    annotate(axes, row.about, ((0, "axes fraction"), (y, "data")), (left, -9.5), size=7.5, color=MUTED)
    annotate(axes, value, ((1, "axes fraction"), (y, "data")), (right, 2), size=9, color=INK, **bold)
    annotate(axes, ends, ((1, "axes fraction"), (y, "data")), (right, -9.5), size=7.5, color=MUTED)
