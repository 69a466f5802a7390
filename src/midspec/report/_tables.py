"""Tables of rates: by arm and set, by arm and a task's sets, and by arm and the points of its training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from midspec.core.records import Estimate
from midspec.report._data import ArmInfo, ArmPath, ReportData
from midspec.report._format import footnote_letter


class Cell(NamedTuple):
    """One rate of a table, `None` where it was not asked; `note` is the letter of its footnote."""

    estimate: Estimate | None
    note: str


def letters_of(estimates: Iterable[Estimate | None]) -> dict[str, str]:
    """Return the letter of each footnote, in the order of the estimates."""
    texts = dict.fromkeys(one.note for one in estimates if one is not None and one.note)
    return {text: footnote_letter(index) for index, text in enumerate(texts)}


class RatesTable(NamedTuple):
    """Rates of all arms by one measure: a column for each set."""

    measure: str
    columns: tuple[str, ...]
    rows: tuple[tuple[ArmInfo, tuple[Cell, ...]], ...]
    notes: tuple[tuple[str, str], ...]


def rates_table(data: ReportData, measure: str, estimates: Sequence[Estimate]) -> RatesTable:
    """Return the table of one measure over all arms and sets of `estimates`."""
    cells = {(one.arm, one.set): one for one in estimates if one.measure == measure}
    sets = {name for _, name in cells}
    ordered = dict.fromkeys([*(one.name for one in data.sets), *(one.set for one in estimates)])
    columns = tuple(name for name in ordered if name in sets)
    letters = letters_of(cells.values())
    rows = []
    for arm in data.arms:
        row = [cells.get((arm.name, name)) for name in columns]
        rows.append((arm, tuple(Cell(one, letters[one.note] if one and one.note else "") for one in row)))
    return RatesTable(measure, columns, tuple(rows), tuple((letter, text) for text, letter in letters.items()))


def tables_of_task(data: ReportData, eval_task: str) -> tuple[RatesTable, ...]:
    """Return one table for each measure of a task, its sets by their own names."""
    own = [one for one in data.estimates if one.set.startswith(f"{eval_task}/")]
    tables = [rates_table(data, measure, own) for measure in dict.fromkeys(one.measure for one in own)]
    return tuple(one._replace(columns=tuple(name.partition("/")[2] for name in one.columns)) for one in tables)


class PathGroup(NamedTuple):
    """Arms whose training has points of the same names, drawn and listed together."""

    titles: tuple[str, ...]
    paths: tuple[ArmPath, ...]


def path_groups(data: ReportData) -> tuple[PathGroup, ...]:
    """Return the arms that were evaluated on their way, those with the same points together."""
    groups: dict[tuple[str, ...], list[ArmPath]] = {}
    for path in data.paths:
        groups.setdefault(tuple(point.title for point in path.points), []).append(path)
    return tuple(PathGroup(titles, tuple(paths)) for titles, paths in groups.items())


def path_table(data: ReportData, group: PathGroup, name: str, measure: str) -> RatesTable:
    """Return the rates of one set and measure: a row for each arm, a column for each point of its training.

    Args:
        data: the estimates and arms.
        group: the arms.
        name: of the set.
        measure: of the rates.
    """
    found = {one.arm: one for one in data.estimates if (one.set, one.measure) == (name, measure)}
    arms = {arm.name: arm for arm in data.arms}
    cells = [[found.get(point.name) for point in path.points] for path in group.paths]
    letters = letters_of(one for row in cells for one in row)
    rows = tuple(
        (arms[path.arm], tuple(Cell(one, letters[one.note] if one and one.note else "") for one in row))
        for path, row in zip(group.paths, cells, strict=True)
    )
    return RatesTable(measure, group.titles, rows, tuple((letter, text) for text, letter in letters.items()))
