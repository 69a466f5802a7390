"""The report's folder: the page, its figures as files, and its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core.artifact import Built, write_json, write_text
from midspec.core.errors import DataError
from midspec.report._data import UNTOLD, Panel, ReportData

if TYPE_CHECKING:
    from midspec.report._figures import Drawn

_WIDE, _NARROW = 9.8, 3.8  # inches


def write_report(data: ReportData, folder: Path) -> Built:
    """Write `report.html`, `figures/*.png`, `figures/*.svg` and `report_data.json` into `folder`.

    The page holds its figures and needs no other file, no script and no network. All files are the same bytes for
    the same data; only `report.html` also shows `seconds`.

    Raises:
        DataError: a panel names an arm, or `main_contrasts` a contrast, that is not in the data.
    """
    # matplotlib and Jinja2 take half a second to import, and `summary_lines` is wanted without them.
    from midspec.report._page import page

    _check_names(data)
    figures = _figures(data)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    outputs = ["report.html", "report_data.json"]
    for name, drawn in figures.items():
        (folder / "figures" / f"{name}.png").write_bytes(drawn.png)
        write_text(folder / "figures" / f"{name}.svg", drawn.svg)
        outputs += [f"figures/{name}.png", f"figures/{name}.svg"]
    write_text(folder / "report.html", page(data, {name: drawn.inline for name, drawn in figures.items()}))
    write_json(folder / "report_data.json", data.model_dump(mode="json", exclude=UNTOLD))
    return Built(outputs=tuple(outputs), summary=_summary(data))


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
    """The main figure and, where it leaves arms out, one of all arms; each once wide and once a panel for phones."""
    from midspec.report._figures import draw

    drawn = _grids(data)
    everyone = tuple(arm.name for arm in data.arms)
    full = tuple(panel.model_copy(update={"arms": everyone}) for panel in data.panels)
    wanted: dict[str, tuple[Panel, ...]] = {"main": data.panels, "all_arms": full if full != data.panels else ()}
    for name, panels in wanted.items():
        if panels:
            drawn[name] = draw(data, panels, name, _WIDE)
        for index, panel in enumerate(panels, start=1):
            drawn[f"{name}_{index}"] = draw(data, (panel,), f"{name}_{index}", _NARROW)
    return drawn


def _grids(data: ReportData) -> dict[str, Drawn]:
    """The heat map of each exam that has one, wide and a panel an arm."""
    from midspec.report._grid_figure import draw_grid

    drawn = {}
    for eval_task in data.eval_tasks:
        if eval_task.grid is not None:
            name, arms = f"grid_{eval_task.name}", eval_task.grid.arms
            drawn[name] = draw_grid(eval_task.grid, arms, name, _WIDE)
            for index, arm in enumerate(arms, start=1):
                drawn[f"{name}_{index}"] = draw_grid(eval_task.grid, (arm,), f"{name}_{index}", _NARROW)
    return drawn


def _summary(data: ReportData) -> dict[str, JsonValue]:
    return {
        "n_arms": len(data.arms),
        "n_estimates": len(data.estimates),
        "n_contrasts": len(data.contrasts),
        "n_unanswered": sum(one.estimate.value is None for one in data.contrasts),
        **({"n_exams": len(data.eval_tasks)} if data.eval_tasks else {}),
        "gates_failed": sum(not gate.passed for gate in data.gates),
    }
