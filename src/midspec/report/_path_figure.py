"""Draw the rates of arms over the stages of their training: a line for each arm, a point for each evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from midspec.report._data import ArmPath, Panel, ReportData
from midspec.report._figures import Drawn, characters, fonts_for, render_figure
from midspec.report._format import is_share
from midspec.report._html import INK, MUTED, PAPER, RULE, Look, looks
from midspec.report._tables import PathGroup

# In inches.
_LEFT, _RIGHT, _BETWEEN = 0.5, 0.15, 0.55
_HEAD, _BODY, _LEGEND_LINE = 0.34, 1.9, 0.19
_FOOT, _FOOT_PER_LETTER = 0.36, 0.03  # below a panel; and for each letter of titles that are turned
_MIN_PANEL = 2.6
_LETTER = 0.075
_MARKERS = "osD^vP"
# Arms stand a little beside each other, so that intervals at one point don't cover each other.
_SPREAD = 0.05
_MANY_POINTS, _LONG_TITLE = 5, 10


def draw_paths(data: ReportData, group: PathGroup, panels: Sequence[Panel], name: str, width_in: float) -> Drawn:
    """Draw one panel for each set and measure, as many side by side as have room, with all arms of the group.

    Args:
        data: the estimates and arms.
        group: arms with points of the same names.
        panels: which sets and measures.
        name: of the figure; makes the ids inside its SVG unique.
        width_in: in inches.
    """
    return render_figure(name, lambda: _figure(data, group, panels, width_in), fonts_for(characters(data))[0])


def _figure(data: ReportData, group: PathGroup, panels: Sequence[Panel], width: float) -> Figure:
    n_columns = max(1, min(len(panels), int((width - _RIGHT) / (_LEFT + _MIN_PANEL))))
    n_rows = -(-len(panels) // n_columns)
    each = (width - _LEFT - _RIGHT - (n_columns - 1) * _BETWEEN) / n_columns
    look = looks(data.arms)
    markers = {path.arm: _MARKERS[index % len(_MARKERS)] for index, path in enumerate(group.paths)}
    per_line = max(1, int((width - _LEFT) / (_LETTER * max(len(arm) for arm in markers) + 0.5)))
    legend = _LEGEND_LINE * -(-len(markers) // per_line) + 0.1
    foot = _FOOT + (_FOOT_PER_LETTER * max(map(len, group.titles)) if _is_turned(group.titles) else 0)
    height = n_rows * (_HEAD + _BODY + foot) + legend
    figure = Figure(figsize=(width, height))
    for index, panel in enumerate(panels):
        row, column = divmod(index, n_columns)
        left = _LEFT + column * (each + _BETWEEN)
        bottom = height - row * (_HEAD + _BODY + foot) - _HEAD - _BODY
        axes = figure.add_axes((left / width, bottom / height, each / width, _BODY / height))
        _style(axes, panel, group.titles)
        for number, path in enumerate(group.paths):
            shift = (number - (len(group.paths) - 1) / 2) * _SPREAD
            _draw_arm(axes, data, panel, path, look[path.arm], markers[path.arm], shift)
    handles = [Line2D([], [], **_line(look[arm], marker)) for arm, marker in markers.items()]
    figure.legend(
        handles,
        list(markers),
        loc="lower left",
        bbox_to_anchor=(_LEFT / width, 0),
        ncols=per_line,
        frameon=False,
        fontsize=8.5,
        borderpad=0,
        handlelength=2.2,
        labelcolor=INK,
    )
    return figure


def _line(look: Look, marker: str) -> dict[str, Any]:
    style = (0, (4, 2)) if look.hatched else "-"
    return {"color": look.edge, "linestyle": style, "linewidth": 1.5, "marker": marker, "ms": 4.5, "mfc": look.fill}


def _is_turned(titles: Sequence[str]) -> bool:
    return len(titles) >= _MANY_POINTS or max(map(len, titles)) > _LONG_TITLE


def _style(axes: Axes, panel: Panel, titles: Sequence[str]) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.set_title(panel.title, loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=8)
    turned: dict[str, Any] = {}
    if _is_turned(titles):
        turned = {"rotation": 28, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(titles)), titles, fontsize=8, color=INK, **turned)
    axes.set_xlim(-0.3, len(titles) - 0.7)
    axes.tick_params(axis="both", length=2.5, color=RULE, labelsize=8, pad=2)
    if is_share(panel.measure):
        axes.set_ylim(-2, 102)
        axes.set_yticks([0, 25, 50, 75, 100], ["0", "", "50", "", "100%"])
    axes.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    if panel.reference is not None:
        scale = 100.0 if is_share(panel.measure) else 1.0
        axes.axhline(panel.reference * scale, color=MUTED, linewidth=1.0, linestyle=(0, (3, 2)), zorder=1.5)


def _draw_arm(axes: Axes, data: ReportData, panel: Panel, path: ArmPath, look: Look, marker: str, shift: float) -> None:
    """Draw an arm's line; a point without a score is left out, and the line goes on over it."""
    found = {one.arm: one for one in data.estimates if (one.set, one.measure) == (panel.set, panel.measure)}
    scale = 100.0 if is_share(panel.measure) else 1.0
    xs: list[float] = []
    ys: list[float] = []
    for x, point in enumerate(path.points):
        one = found.get(point.name)
        if one is None or one.value is None:
            continue
        place = x + shift
        xs.append(place)
        ys.append(one.value * scale)
        if one.low is not None and one.high is not None:
            ends = [one.low * scale, one.high * scale]
            axes.plot([place, place], ends, color=look.edge, lw=1.0, zorder=2, solid_capstyle="butt")
        seeds = [seed.value * scale for seed in one.by_seed if seed.value is not None]
        if len(seeds) > 1:
            axes.plot([place] * len(seeds), seeds, "o", ms=2.2, mfc=PAPER, mec=look.edge, mew=0.6, zorder=3)
    axes.plot(xs, ys, zorder=4, **_line(look, marker))
