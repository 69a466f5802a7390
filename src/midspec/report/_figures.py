"""Figures: bars with intervals and a dot for each seed, one panel for each set, arms in order from the top.

Bars lie down so that the names of twenty arms stay readable and a panel fits a phone. Drawn with matplotlib into SVG
and PNG, the same bytes each time: no dates, ids salted with the figure's name, no random jitter.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from midspec.core.records import Estimate
from midspec.report._data import Panel, ReportData
from midspec.report._palette import INK, MUTED, PAPER, RULE, Look, looks, with_variables
from midspec.report._words import is_share, number

PANEL = "axes fraction"
_At = tuple[tuple[float, str], tuple[float, str]]
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "hatch.linewidth": 0.7,
    "text.parse_math": False,
}


class Drawn(NamedTuple):
    """One figure: the bytes of its PNG file, the text of its SVG file, and that SVG to be set into the page."""

    png: bytes
    svg: str
    inline: str


def printed(name: str, make: Callable[[], Figure]) -> Drawn:
    """A figure as PNG, as SVG, and as an SVG element with ids of its own.

    Args:
        name: of the figure; makes the ids inside its SVG its own.
        make: draws it; called in our style.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = make()
        png, svg = io.BytesIO(), io.StringIO()
        FigureCanvasAgg(figure).print_figure(png, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None})
        FigureCanvasSVG(figure).print_figure(
            svg, format="svg", facecolor="none", metadata={"Date": None, "Creator": None}
        )
    return Drawn(png.getvalue(), svg.getvalue(), _inline(svg.getvalue(), name))


def note(axes: Axes, text: str, at: _At, shift: tuple[float, float], **style: Any) -> None:
    """Text at a place (a share of the panel or a number of its axes, for x and y), moved by points."""
    (x, x_in), (y, y_in) = at
    axes.annotate(
        text, (x, y), shift, xycoords=(x_in, y_in), textcoords="offset points", annotation_clip=False, **style
    )


def _inline(svg: str, name: str) -> str:
    """The SVG element alone, with ids of its own, the page's fonts and the page's colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family:[^;\"]*", "font-family: inherit", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return with_variables(body)


# All in inches.
_ROW, _GAP = 0.265, 0.11  # a bar with its place; between groups
_HEAD, _LINE, _AXIS = 0.12, 0.155, 0.36  # above a panel's title, a line of it, below a panel
_VALUE, _BETWEEN = 0.42, 0.18  # the column of numbers, between panels
_LETTER, _BOLD = 0.068, 0.083  # a letter of a label, of a title
_WRAP = 30  # letters


class _Bar(NamedTuple):
    label: str
    y: float
    look: Look
    estimate: Estimate | None


class _Cell(NamedTuple):
    """One panel to be drawn; a line of its heading comes with whether it is bold."""

    panel: Panel
    bars: tuple[_Bar, ...]
    heading: tuple[tuple[str, bool], ...]
    height: float


def draw(data: ReportData, panels: Sequence[Panel], name: str, width: float, *, columns: int = 4) -> Drawn:
    """Draw panels side by side, `columns` in a row, with the arms' names once a row.

    Args:
        data: the estimates and arms.
        panels: what to draw; arms without an estimate keep their place and say that there is none.
        name: of the figure; makes the ids inside its SVG its own.
        width: in inches.
        columns: the most panels in a row.
    """
    return printed(name, lambda: _figure(data, panels, width, columns))


def _figure(data: ReportData, panels: Sequence[Panel], width: float, columns: int) -> Figure:
    left = _label_width(panels)
    n_columns = min(columns, len(panels))
    each = (width - left - n_columns * _VALUE - (n_columns - 1) * _BETWEEN) / n_columns
    cells = [_cell(data, panel, each) for panel in panels]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [(max(len(one.heading) for one in row) * _LINE + _HEAD, max(one.height for one in row)) for row in rows]
    total = sum(head + body + _AXIS for head, body in heights)
    figure = Figure(figsize=(width, total))
    top = total
    for row, (head, body) in zip(rows, heights, strict=True):
        top -= head + body
        for column, cell in enumerate(row):
            x = left + column * (each + _VALUE + _BETWEEN)
            axes = figure.add_axes((x / width, top / total, each / width, body / total))
            axes.set_ylim(-body, 0)
            _draw_heading(axes, cell.heading, max(len(one.heading) for one in row))
            _draw_cell(axes, cell, named=column == 0 or cell.panel.arms != row[0].panel.arms)
        top -= _AXIS
    return figure


def _label_width(panels: Sequence[Panel]) -> float:
    """The room for the arms' names, in inches, by the widest of them."""
    lines = {line for panel in panels for arm in panel.arms for line in _label(arm).split("\n")}
    font = FontProperties(family=STYLE["font.sans-serif"], size=8.5)
    return 0.14 + max((TextPath((0, 0), line, prop=font).get_extents().x1 for line in lines), default=0) / 72


def _label(arm: str) -> str:
    """An arm's name on at most the two lines that a bar has room for."""
    return textwrap.fill(arm, _WRAP, max_lines=2, placeholder=" …")


def _cell(data: ReportData, panel: Panel, width: float) -> _Cell:
    """A panel with its bars from the top down, with a gap where the group changes, and the lines of its heading."""
    found = {(one.arm, one.set, one.measure): one for one in data.estimates}
    look, groups = looks(data.arms), {arm.name: arm.group for arm in data.arms}
    bars: list[_Bar] = []
    y = 0.0
    for before, arm in zip((None, *panel.arms), panel.arms, strict=False):
        y -= _GAP if before is not None and groups[arm] != groups[before] else 0
        bars.append(_Bar(_label(arm), y - _ROW / 2, look[arm], found.get((arm, panel.set, panel.measure))))
        y -= _ROW
    title = textwrap.wrap(panel.title, max(12, int((width + _VALUE) / _BOLD)))
    heading = [*((line, True) for line in title)]
    heading += [(line, False) for line in textwrap.wrap(_target(data, panel), max(12, int((width + _VALUE) / _LETTER)))]
    return _Cell(panel, tuple(bars), tuple(heading), _ROW / 4 - y)


def _target(data: ReportData, panel: Panel) -> str:
    if panel.target is not None or panel.measure != data.main_measure:
        return panel.target or ""
    return next((one.target for one in data.sets if one.name == panel.set), "")


def _draw_heading(axes: Axes, heading: Sequence[tuple[str, bool]], n_lines: int) -> None:
    """The panel's title and what its rate is the rate of, from the top of the room that its row has for them."""
    for index, (line, bold) in enumerate(heading):
        style = {"weight": "bold", "size": 9.5, "color": INK} if bold else {"size": 8.5, "color": MUTED}
        note(axes, line, ((0, PANEL), (1, PANEL)), (0, 5 + 72 * _LINE * (n_lines - 1 - index)), **style)


def _draw_cell(axes: Axes, cell: _Cell, *, named: bool) -> None:
    scale = 100.0 if is_share(cell.panel.measure) else 1.0
    _dress(axes, cell, scale, named=named)
    for bar in cell.bars:
        _draw_bar(axes, bar, scale)


def _dress(axes: Axes, cell: _Cell, scale: float, *, named: bool) -> None:
    """Axis, grid and reference line: as little as carries the numbers."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.set_yticks([bar.y for bar in cell.bars], [bar.label for bar in cell.bars] if named else [])
    axes.tick_params(axis="y", length=0, pad=4, labelsize=8.5)
    axes.tick_params(axis="x", length=2.5, color=RULE, labelsize=8, pad=2)
    if is_share(cell.panel.measure):
        axes.set_xlim(0, 100)
        axes.set_xticks([0, 25, 50, 75, 100], ["0", "", "50", "", "100%"])
    else:
        axes.margins(x=0.08)
    axes.grid(visible=True, axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    if cell.panel.reference is not None:
        axes.axvline(cell.panel.reference * scale, color=MUTED, linewidth=1.0, linestyle=(0, (3, 2)), zorder=1.5)


def _draw_bar(axes: Axes, bar: _Bar, scale: float) -> None:
    """One arm: its mean as a bar, a dot for each seed, the interval over them, and the number at the right."""
    one = bar.estimate
    if one is None or one.value is None:
        text = "not asked" if one is None else "no score"
        note(axes, text, ((0, PANEL), (bar.y, "data")), (3, -3), color=MUTED, size=7.5)
        return
    look, width, height = bar.look, one.value * scale, 0.8 * _ROW
    axes.barh(bar.y, width, height, color=look.fill, edgecolor=look.edge, linewidth=0.7)
    if look.hatched:
        lines = PAPER if look.fill == look.edge else look.edge
        axes.barh(bar.y, width, height, color="none", edgecolor=lines, linewidth=0, hatch="/////")
    seeds = [seed.value * scale for seed in one.by_seed if seed.value is not None]
    if len(seeds) > 1:
        places = [bar.y - _ROW * (0.13 + 0.12 * (index % 2)) for index in range(len(seeds))]
        axes.plot(seeds, places, "o", ms=2.9, mfc=PAPER, mec=INK, mew=0.6, zorder=3)
    if one.low is not None and one.high is not None:
        _draw_interval(axes, one.low * scale, one.high * scale, bar.y + 0.14 * _ROW)
    shown = f"{one.value * 100:.0f}" if scale > 1 else number(one.value, one.measure)
    note(axes, shown, ((1, PANEL), (bar.y, "data")), (8, -3.2), color=INK, size=8.5)


def _draw_interval(axes: Axes, low: float, high: float, y: float) -> None:
    """A line with ends, on a halo that lifts it off a dark bar."""
    for colour, extra, layer in ((PAPER, 1.3, 4), (INK, 0.0, 5)):
        axes.plot([low, high], [y, y], color=colour, lw=1.4 + extra, zorder=layer, solid_capstyle="butt")
        axes.plot([low, high], [y, y], "|", color=colour, ms=4.6 + extra / 2, mew=1.3 + extra, zorder=layer)
