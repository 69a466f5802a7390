"""The heat map of a grid: goals down, scenarios across, one panel an arm, with the rate and its n in each cell.

Enters: a `Grid`. Leaves: a figure. The colour runs from nothing to all in eleven steps and carries no more than the
number that stands on it; a cell without a scored sample is hatched grey and says so, one that was not asked is empty.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from midspec.report._figures import PANEL, STYLE, Drawn, note, printed
from midspec.report._palette import INK, MUTED, PAPER, RULE, heat
from midspec.report._task_data import Grid, GridCell

# All in inches, but for letters.
_ROW, _COLUMN, _LEAST_COLUMN, _WIDEST_COLUMN = 0.36, 0.7, 0.5, 1.1
_HEAD, _LINE, _BETWEEN = 0.30, 0.155, 0.2
_LETTER, _BOLD = 0.057, 0.083
_WRAP = 16

_Found = Mapping[tuple[str, str, str], GridCell]


def draw_grid(grid: Grid, arms: Sequence[str], name: str, width: float) -> Drawn:
    """Draw a panel for each of `arms`, as many side by side as have room.

    Args:
        grid: the cells.
        arms: whose panels, in order.
        name: of the figure; makes the ids inside its SVG its own.
        width: in inches.
    """
    return printed(name, lambda: _figure(grid, arms, width))


def _figure(grid: Grid, arms: Sequence[str], width: float) -> Figure:
    left = _label_width(grid.rows)
    n_across = max(1, min(len(arms), int((width - left + _BETWEEN) / (len(grid.columns) * _COLUMN + _BETWEEN))))
    room = (width - left - (n_across - 1) * _BETWEEN) / n_across / len(grid.columns)
    column = min(_WIDEST_COLUMN, max(_LEAST_COLUMN, room))
    panel = column * len(grid.columns)
    rows = [arms[start : start + n_across] for start in range(0, len(arms), n_across)]
    titles = [[textwrap.wrap(arm, max(12, int(panel / _BOLD))) for arm in row] for row in rows]
    heads = [_HEAD + _LINE * max(len(one) for one in row) for row in titles]
    body = _ROW * len(grid.rows)
    total = sum(heads) + len(rows) * (body + _BETWEEN)
    figure, top = Figure(figsize=(width, total)), total
    found = {(cell.arm, cell.row, cell.column): cell for cell in grid.cells}
    for row, head, lines in zip(rows, heads, titles, strict=True):
        top -= head + body
        for index, arm in enumerate(row):
            x = left + index * (panel + _BETWEEN)
            axes = figure.add_axes((x / width, top / total, panel / width, body / total))
            _dress(axes, grid, named=index == 0, column=column)
            _title(axes, lines[index], max(len(one) for one in lines))
            _draw_cells(axes, grid, arm, found)
        top -= _BETWEEN
    return figure


def _label_width(rows: Sequence[str]) -> float:
    font = FontProperties(family=STYLE["font.sans-serif"], size=8.5)
    lines = {line for row in rows for line in _label(row).split("\n")}
    return 0.12 + max((TextPath((0, 0), line, prop=font).get_extents().x1 for line in lines), default=0) / 72


def _label(name: str) -> str:
    return textwrap.fill(name, _WRAP, max_lines=2, placeholder=" …")


def _dress(axes: Axes, grid: Grid, *, named: bool, column: float) -> None:
    """Names of goals at the left of the first panel, of scenarios above each; no lines but what cells draw."""
    axes.set_xlim(0, len(grid.columns))
    axes.set_ylim(len(grid.rows), 0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    places = [index + 0.5 for index in range(len(grid.rows))]
    axes.set_yticks(places, [_label(row) for row in grid.rows] if named else [""] * len(places))
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, pad=4, labelsize=8.5)
    room = max(6, int(column / _LETTER))
    for index, name in enumerate(grid.columns):
        short = name if len(name) <= room else name[: room - 1] + "…"
        note(axes, short, ((index + 0.5, "data"), (1, PANEL)), (0, 4), ha="center", size=7.5, color=MUTED)


def _title(axes: Axes, lines: Sequence[str], n_lines: int) -> None:
    for index, line in enumerate(lines):
        shift = (0, 18 + 72 * _LINE * (n_lines - 1 - index))
        note(axes, line, ((0, PANEL), (1, PANEL)), shift, weight="bold", size=9.5, color=INK)


def _draw_cells(axes: Axes, grid: Grid, arm: str, found: _Found) -> None:
    for y, row in enumerate(grid.rows):
        for x, column in enumerate(grid.columns):
            cell = found.get((arm, row, column))
            if cell is not None:
                _draw_cell(axes, x, y, cell)


def _draw_cell(axes: Axes, x: int, y: int, cell: GridCell) -> None:
    """The rate over its n; `28/30` where two of thirty samples have no score."""
    corner, across, down = (x + 0.02, y + 0.03), 0.96, 0.94
    middle = ((x + 0.5, "data"), (y + 0.5, "data"))
    counted = f"n {cell.n_scored}" if cell.n_scored == cell.n_asked else f"n {cell.n_scored}/{cell.n_asked}"
    if cell.value is None:
        axes.add_patch(Rectangle(corner, across, down, facecolor=PAPER, edgecolor=MUTED, linewidth=0.5, hatch="//////"))
        axes.add_patch(Rectangle((x + 0.1, y + 0.14), 0.8, 0.72, facecolor=PAPER, edgecolor="none"))
        note(axes, "no score", middle, (0, 1.5), ha="center", size=7, color=MUTED)
        note(axes, counted, middle, (0, -8), ha="center", size=6.5, color=MUTED)
        return
    axes.add_patch(Rectangle(corner, across, down, facecolor=heat(cell.value), edgecolor=RULE, linewidth=0.5))
    note(axes, f"{100 * cell.value:.0f}", middle, (0, -0.5), ha="center", size=9, color=INK)
    note(axes, counted, middle, (0, -9), ha="center", size=6.5, color=INK)
