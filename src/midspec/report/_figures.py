"""Draw figures with matplotlib into SVG and PNG: bars with intervals by arm, and heat maps of a task's grid.

Bars lie down so that the names of twenty arms stay readable and a panel fits a phone; arms are in order from the top.
A heat map has goals down and scenarios across. The same data give the same bytes: no dates, ids salted with the
figure's name, no random jitter.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from midspec.core.records import Estimate
from midspec.report._data import Panel, ReportData
from midspec.report._format import is_share, number
from midspec.report._html import INK, MUTED, PAPER, RULE, Look, heat, looks, with_variables
from midspec.report._task_data import Grid, GridCell

_PANEL = "axes fraction"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
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
_HOLLOW: dict[str, Any] = {"mfc": "none", "mec": INK, "mew": 1.0, "zorder": 7, "clip_on": False}
_HALO: dict[str, Any] = {**_HOLLOW, "mec": PAPER, "mew": 3.0, "zorder": 6}
_Position = tuple[tuple[float, str], tuple[float, str]]
# All in inches.
_LINE = 0.155  # a line of a panel's heading
_BAR_ROW, _GROUP_GAP = 0.265, 0.11  # a bar with its place; between groups of arms
_BAR_HEAD, _AXIS = 0.12, 0.36  # above a panel's title, below a panel
_VALUE, _BAR_BETWEEN = 0.42, 0.18  # the column of numbers, between panels
_LETTER, _BOLD_LETTER = 0.068, 0.083  # of a label, of a title
_CELL_HEIGHT, _USUAL_CELL, _MIN_CELL, _MAX_CELL = 0.36, 0.7, 0.5, 1.1
_GRID_HEAD, _GRID_BETWEEN, _SMALL_LETTER = 0.30, 0.2, 0.057
# In letters.
_ARM_LETTERS, _GOAL_LETTERS, _MIN_HEADING_LETTERS = 30, 16, 12
_BARS_IN_A_ROW = 4  # the most panels


class Drawn(NamedTuple):
    """One figure: the bytes of its PNG file, the text of its SVG file, and that SVG as an element for the page."""

    png: bytes
    svg: str
    inline: str


# The font that matplotlib brings, and fonts that have glyphs for no letters or for all of them the same one.
_FONT = "DejaVu Sans"
_SHOWN_GLYPHS = 12
_NO_LETTERS = ("cm", "STIX", "Last Resort", "DejaVu")


def characters(data: ReportData) -> frozenset[str]:
    """Return the characters of all that figures name: arms, sets, panels, points, goals and scenarios."""
    names = [arm.name for arm in data.arms]
    names += [text for one in data.sets for text in (one.title, one.target)]
    names += [text or "" for panel in data.panels for text in (panel.title, panel.target)]
    names += [point.title for path in data.paths for point in path.points]
    names += [
        text for task in data.eval_tasks if task.grid for text in (*task.grid.arms, *task.grid.rows, *task.grid.columns)
    ]
    return frozenset("".join(names))


@lru_cache(maxsize=32)
def fonts_for(characters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Return the fonts to draw these characters with, the first of them ours, and those that no installed font has."""
    left = {one for one in characters if not one.isspace() and one.isprintable()} - _characters_of(findfont(_FONT))
    families = [_FONT]
    files = {font.name: font.fname for font in fontManager.ttflist if not font.name.startswith(_NO_LETTERS)}
    for name in sorted(files) if left else ():
        if found := left & _characters_of(files[name]):
            families.append(name)
            left -= found
    return tuple(families), "".join(sorted(left))


def glyph_warning(characters: frozenset[str]) -> str:
    """Say which of these characters PNG figures can't show, and what helps; empty where they show all."""
    if not (missing := fonts_for(characters)[1]):
        return ""
    shown = f"{missing[:_SHOWN_GLYPHS]}{' and others' if len(missing) > _SHOWN_GLYPHS else ''}"
    return (
        f"No font of this machine has {shown}: PNG files of figures show boxes (the page and SVG files do not). "
        "Install a font that has them, such as Noto Sans CJK, and write the report again."
    )


def _characters_of(file: str) -> set[str]:
    try:
        return {chr(code) for code in FT2Font(file).get_charmap()}
    except (RuntimeError, OSError):  # fonts of coloured pictures can't be opened
        return set()


def draw_bars(data: ReportData, panels: Sequence[Panel], name: str, width_in: float) -> Drawn:
    """Draw panels of bars side by side, four in a row, with the arms' names once a row.

    Args:
        data: the estimates and arms.
        panels: what to draw; arms without an estimate keep their place and say that there is none.
        name: of the figure; makes the ids inside its SVG unique.
        width_in: in inches.
    """
    return render_figure(name, lambda: _bar_figure(data, panels, width_in), fonts_for(characters(data))[0])


def draw_grid(grid: Grid, arms: Sequence[str], name: str, width_in: float) -> Drawn:
    """Draw a heat map for each of `arms`, as many side by side as have room, with the rate and its n in each cell.

    A cell without a scored sample is hatched grey and says so; one that was not asked is empty.

    Args:
        grid: the cells.
        arms: whose panels, in order.
        name: of the figure; makes the ids inside its SVG unique.
        width_in: in inches.
    """
    letters = frozenset("".join((*arms, *grid.rows, *grid.columns)))
    return render_figure(name, lambda: _grid_figure(grid, arms, width_in), fonts_for(letters)[0])


def render_figure(name: str, make: Callable[[], Figure], fonts: Sequence[str] = (_FONT,)) -> Drawn:
    """Render what `make` draws, called in our style, as PNG, as SVG, and as an SVG element with unique ids."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # whatever a matplotlibrc of the user's says: TeX, grids, other sizes
        mpl.rcParams.update({**_STYLE, "font.sans-serif": list(fonts), "svg.hashsalt": name})
        # Said once for the whole report, see `fonts_for`.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = make()
        png, out = io.BytesIO(), io.StringIO()
        FigureCanvasAgg(figure).print_figure(png, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None})
        metadata = {"Date": None, "Creator": None}
        FigureCanvasSVG(figure).print_figure(out, format="svg", facecolor="none", metadata=metadata)
    svg = out.getvalue()
    # The SVG element alone, with the page's fonts and the page's colours.
    inline = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    inline = re.sub(r'\bid="', f'id="{name}-', inline)
    inline = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", inline)
    inline = re.sub(r"font-family:[^;\"]*", "font-family: inherit", inline)
    inline = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", inline, count=1)
    inline = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", inline, count=1)
    return Drawn(png.getvalue(), svg, with_variables(inline))


def annotate(axes: Axes, text: str, at: _Position, shift_pt: tuple[float, float], **style: Any) -> None:
    """Write text at a position (a share of the panel or a number of its axes, for x and y), moved by points."""
    (x, x_in), (y, y_in) = at
    axes.annotate(
        text, (x, y), shift_pt, xycoords=(x_in, y_in), textcoords="offset points", annotation_clip=False, **style
    )


def labels_of(names: Iterable[str], letters: int) -> dict[str, str]:
    """Wrap names to at most the two lines that a row has room for; names that differ have labels that differ.

    A name that is too long loses its end. Where that is what it differs in, its second line is its end, or else what
    follows where it begins to differ, or its number.
    """
    names = list(dict.fromkeys(names))
    labels = {name: textwrap.fill(name, letters, max_lines=2, placeholder=" …") for name in names}
    for twins in [[name for name in names if labels[name] == label] for label in dict.fromkeys(labels.values())]:
        if len(twins) > 1:
            first = labels[twins[0]].split("\n")[0]
            same = (len(set(letters_there)) == 1 for letters_there in zip(*twins, strict=False))
            start = sum(takewhile(bool, same))
            ways = [
                {name: f"{first}\n…{name[1 - letters :].lstrip()}" for name in twins},
                {name: f"{first}\n…{name[max(0, start - 3) :][: letters - 1]}" for name in twins},
                {name: f"{first}\n({number})" for number, name in enumerate(twins, start=1)},
            ]
            others = {label for name, label in labels.items() if name not in twins}
            labels |= next((way for way in ways if len(set(way.values()) - others) == len(twins)), ways[-1])
    return labels


def _label_width_in(labels: Iterable[str]) -> float:
    """Measure the widest line of the labels, in inches."""
    font = FontProperties(family=mpl.rcParams["font.sans-serif"], size=8.5)
    lines = {line for label in labels for line in label.split("\n") if line.strip()}
    return max((TextPath((0, 0), line, prop=font).get_extents().x1 for line in lines), default=0.0) / 72


def _wrap_heading(text: str, width_in: float, letter_in: float) -> list[str]:
    return textwrap.wrap(text, max(_MIN_HEADING_LETTERS, int(width_in / letter_in)))


class _Bar(NamedTuple):
    label: str
    y: float
    look: Look
    estimate: Estimate | None
    published: tuple[float, ...] = ()


class _BarPanel(NamedTuple):
    """One panel to be drawn; a line of its heading comes with whether it is bold."""

    panel: Panel
    bars: tuple[_Bar, ...]
    heading: tuple[tuple[str, bool], ...]
    height: float


def _bar_figure(data: ReportData, panels: Sequence[Panel], width: float) -> Figure:
    labels = labels_of((arm for panel in panels for arm in panel.arms), _ARM_LETTERS)
    left = 0.14 + _label_width_in(labels.values())
    n_columns = min(_BARS_IN_A_ROW, len(panels))
    each = (width - left - n_columns * _VALUE - (n_columns - 1) * _BAR_BETWEEN) / n_columns
    laid_out = [_lay_out(data, panel, each, labels) for panel in panels]
    rows = [laid_out[start : start + n_columns] for start in range(0, len(laid_out), n_columns)]
    heads = [max(len(one.heading) for one in row) for row in rows]
    bodies = [max(one.height for one in row) for row in rows]
    total = sum(n * _LINE + _BAR_HEAD + body + _AXIS for n, body in zip(heads, bodies, strict=True))
    figure, top = Figure(figsize=(width, total)), total
    for row, n_lines, body in zip(rows, heads, bodies, strict=True):
        top -= (n_lines * _LINE + _BAR_HEAD) + body
        for column, panel in enumerate(row):
            x = left + column * (each + _VALUE + _BAR_BETWEEN)
            axes = figure.add_axes((x / width, top / total, each / width, body / total))
            axes.set_ylim(-body, 0)
            for index, (line, bold) in enumerate(panel.heading):
                style = {"weight": "bold", "size": 9.5, "color": INK} if bold else {"size": 8.5, "color": MUTED}
                annotate(axes, line, ((0, _PANEL), (1, _PANEL)), (0, 5 + 72 * _LINE * (n_lines - 1 - index)), **style)
            scale = 100.0 if is_share(panel.panel.measure) else 1.0
            _style_bar_axes(axes, panel, scale, named=column == 0 or panel.panel.arms != row[0].panel.arms)
            for bar in panel.bars:
                _draw_bar(axes, bar, scale)
        top -= _AXIS
    return figure


def _lay_out(data: ReportData, panel: Panel, width: float, labels: Mapping[str, str]) -> _BarPanel:
    """Place the bars from the top down, with a gap where the group changes, and wrap the heading.

    Args:
        data: the estimates and arms.
        panel: what is laid out.
        width: of its bars, in inches.
        labels: of the arms.
    """
    found = {(one.arm, one.set, one.measure): one for one in data.estimates}
    look, groups = looks(data.arms), {arm.name: arm.group for arm in data.arms}
    bars: list[_Bar] = []
    y = 0.0
    for before, arm in zip((None, *panel.arms), panel.arms, strict=False):
        y -= _GROUP_GAP if before is not None and groups[arm] != groups[before] else 0
        estimate = found.get((arm, panel.set, panel.measure))
        key = (arm, None, panel.set, panel.measure)
        theirs = tuple(one.value for one in data.published if (one.arm, one.minus, one.set, one.measure) == key)
        bars.append(_Bar(labels[arm], y - _BAR_ROW / 2, look[arm], estimate, theirs))
        y -= _BAR_ROW
    target = panel.target or ""
    if panel.target is None and panel.measure == data.main_measure:
        target = next((one.target for one in data.sets if one.name == panel.set), "")
    heading = [(line, True) for line in _wrap_heading(panel.title, width + _VALUE, _BOLD_LETTER)]
    heading += [(line, False) for line in _wrap_heading(target, width + _VALUE, _LETTER)]
    return _BarPanel(panel, tuple(bars), tuple(heading), _BAR_ROW / 4 - y)


def _style_bar_axes(axes: Axes, panel: _BarPanel, scale: float, *, named: bool) -> None:
    """Draw axis, grid and reference line: as little as carries the numbers."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.set_yticks([bar.y for bar in panel.bars], [bar.label for bar in panel.bars] if named else [])
    axes.tick_params(axis="y", length=0, pad=4, labelsize=8.5)
    axes.tick_params(axis="x", length=2.5, color=RULE, labelsize=8, pad=2)
    if is_share(panel.panel.measure):
        axes.set_xlim(0, 100)
        axes.set_xticks([0, 25, 50, 75, 100], ["0", "", "50", "", "100%"])
    else:
        axes.margins(x=0.08)
    axes.grid(visible=True, axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    if panel.panel.reference is not None:
        axes.axvline(panel.panel.reference * scale, color=MUTED, linewidth=1.0, linestyle=(0, (3, 2)), zorder=1.5)


def _draw_bar(axes: Axes, bar: _Bar, scale: float) -> None:
    """Draw one arm: its mean as a bar, a dot for each seed, the interval over them, and the number at the right."""
    one = bar.estimate
    for value in bar.published:
        axes.plot([value * scale], [bar.y], "D", ms=4.5, **_HALO)
        axes.plot([value * scale], [bar.y], "D", ms=4.5, **_HOLLOW)
    if one is None or one.value is None:
        text = "not asked" if one is None else "no score"
        annotate(axes, text, ((0, _PANEL), (bar.y, "data")), (3, -3), color=MUTED, size=7.5)
        return
    look, width, height = bar.look, one.value * scale, 0.8 * _BAR_ROW
    axes.barh(bar.y, width, height, color=look.fill, edgecolor=look.edge, linewidth=0.7)
    if look.hatched:
        lines = PAPER if look.fill == look.edge else look.edge
        axes.barh(bar.y, width, height, color="none", edgecolor=lines, linewidth=0, hatch="/////")
    seeds = [seed.value * scale for seed in one.by_seed if seed.value is not None]
    if len(seeds) > 1:
        places = [bar.y - _BAR_ROW * (0.13 + 0.12 * (index % 2)) for index in range(len(seeds))]
        axes.plot(seeds, places, "o", ms=2.9, mfc=PAPER, mec=INK, mew=0.6, zorder=3)
    if one.low is not None and one.high is not None:
        ends, y = [one.low * scale, one.high * scale], bar.y + 0.14 * _BAR_ROW
        # A line with ends, on a halo that lifts it off a dark bar.
        for colour, extra, layer in ((PAPER, 1.3, 4), (INK, 0.0, 5)):
            axes.plot(ends, [y, y], color=colour, lw=1.4 + extra, zorder=layer, solid_capstyle="butt")
            axes.plot(ends, [y, y], "|", color=colour, ms=4.6 + extra / 2, mew=1.3 + extra, zorder=layer)
    shown = f"{one.value * 100:.0f}" if scale > 1 else number(one.value, one.measure)
    annotate(axes, shown, ((1, _PANEL), (bar.y, "data")), (8, -3.2), color=INK, size=8.5)


def _grid_figure(grid: Grid, arms: Sequence[str], width: float) -> Figure:
    left = 0.12 + _label_width_in(labels_of(grid.rows, _GOAL_LETTERS).values())
    usual = len(grid.columns) * _USUAL_CELL + _GRID_BETWEEN
    n_across = max(1, min(len(arms), int((width - left + _GRID_BETWEEN) / usual)))
    room = (width - left - (n_across - 1) * _GRID_BETWEEN) / n_across / len(grid.columns)
    cell_width = min(_MAX_CELL, max(_MIN_CELL, room))
    panel = cell_width * len(grid.columns)
    rows = [arms[start : start + n_across] for start in range(0, len(arms), n_across)]
    titles = [[_wrap_heading(arm, panel, _BOLD_LETTER) for arm in row] for row in rows]
    heads = [_GRID_HEAD + _LINE * max(len(one) for one in row) for row in titles]
    body = _CELL_HEIGHT * len(grid.rows)
    total = sum(heads) + len(rows) * (body + _GRID_BETWEEN)
    figure, top = Figure(figsize=(width, total)), total
    cells = {(cell.arm, cell.row, cell.column): cell for cell in grid.cells}
    for row, head, lines in zip(rows, heads, titles, strict=True):
        top -= head + body
        for index, arm in enumerate(row):
            x = left + index * (panel + _GRID_BETWEEN)
            axes = figure.add_axes((x / width, top / total, panel / width, body / total))
            _style_grid_axes(axes, grid, named=index == 0, cell_width=cell_width)
            n_lines = max(len(one) for one in lines)
            for at, line in enumerate(lines[index]):
                shift = (0, 18 + 72 * _LINE * (n_lines - 1 - at))
                annotate(axes, line, ((0, _PANEL), (1, _PANEL)), shift, weight="bold", size=9.5, color=INK)
            for y, goal in enumerate(grid.rows):
                for at, scenario in enumerate(grid.columns):
                    if (cell := cells.get((arm, goal, scenario))) is not None:
                        _draw_cell(axes, at, y, cell)
        top -= _GRID_BETWEEN
    return figure


def _style_grid_axes(axes: Axes, grid: Grid, *, named: bool, cell_width: float) -> None:
    """Write goals at the left of the first panel, scenarios above each; no lines but what cells draw."""
    axes.set_xlim(0, len(grid.columns))
    axes.set_ylim(len(grid.rows), 0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    places = [index + 0.5 for index in range(len(grid.rows))]
    goals = labels_of(grid.rows, _GOAL_LETTERS)
    axes.set_yticks(places, [goals[row] for row in grid.rows] if named else [""] * len(places))
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, pad=4, labelsize=8.5)
    n_letters = max(6, int(cell_width / _SMALL_LETTER))
    shorts = [name if len(name) <= n_letters else name[: n_letters - 1] + "…" for name in grid.columns]
    if len(set(shorts)) < len(shorts):
        shorts = [name if len(name) <= n_letters else "…" + name[1 - n_letters :] for name in grid.columns]
    for index, short in enumerate(shorts):
        annotate(axes, short, ((index + 0.5, "data"), (1, _PANEL)), (0, 4), ha="center", size=7.5, color=MUTED)


def _draw_cell(axes: Axes, x: int, y: int, cell: GridCell) -> None:
    """Draw the rate over its n; `28/30` where two of thirty samples have no score."""
    corner, across, down = (x + 0.02, y + 0.03), 0.96, 0.94
    middle = ((x + 0.5, "data"), (y + 0.5, "data"))
    counted = f"n {cell.n_scored}" if cell.n_scored == cell.n_asked else f"n {cell.n_scored}/{cell.n_asked}"
    if cell.value is None:
        axes.add_patch(Rectangle(corner, across, down, facecolor=PAPER, edgecolor=MUTED, linewidth=0.5, hatch="//////"))
        axes.add_patch(Rectangle((x + 0.1, y + 0.14), 0.8, 0.72, facecolor=PAPER, edgecolor="none"))
        annotate(axes, "no score", middle, (0, 1.5), ha="center", size=7, color=MUTED)
        annotate(axes, counted, middle, (0, -8), ha="center", size=6.5, color=MUTED)
        return
    axes.add_patch(Rectangle(corner, across, down, facecolor=heat(cell.value), edgecolor=RULE, linewidth=0.5))
    annotate(axes, f"{100 * cell.value:.0f}", middle, (0, -0.5), ha="center", size=9, color=INK)
    annotate(axes, counted, middle, (0, -9), ha="center", size=6.5, color=INK)
