"""Write every estimate of a report as CSV and as Parquet: one row each, which says by itself what it is of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from midspec.analysis import p_values
from midspec.core.artifact import write_text
from midspec.core.records import Estimate
from midspec.report._data import ReportData
from midspec.report._format import csv_text, is_share, unit

FILES = ("estimates.csv", "estimates.parquet")

_Value = str | float | int | None


class _Column(NamedTuple):
    name: str
    kind: type
    meaning: str


COLUMNS = (
    _Column("study", str, "title of the study"),
    _Column("kind", str, "rate, contrast (arm minus another), or published (a figure of others)"),
    _Column("of", str, "what the row is over: all seeds, seeds that passed the gate, or everything asked (raw)"),
    _Column("name", str, "of the estimate: a contrast's as the study file names it"),
    _Column("arm", str, "whose rate, or the first of a contrast"),
    _Column("minus", str, "the second arm of a contrast"),
    _Column("group", str, "spec or value that the arm belongs to"),
    _Column("set", str, "set of items or questions"),
    _Column("set_title", str, "the set in words"),
    _Column("target", str, "what a value of 1 means on this set by the main measure, in words"),
    _Column("measure", str, "what is averaged"),
    _Column("unit", str, "share: 0 to 1 (a contrast: -1 to 1); else the measure's own unit"),
    _Column("value", float, "the estimate; empty where nothing was scored"),
    _Column("low", float, "lower end of the interval"),
    _Column("high", float, "upper end of the interval"),
    _Column("level", float, "of the interval"),
    _Column("p", float, "two-sided, of a contrast, uncorrected; 0.0001 stands for anything below"),
    _Column("p_holm", float, "the same after Holm's correction for all contrasts asked"),
    _Column("mde", float, "smallest true difference that such a design finds with 80% power at two-sided 5%"),
    _Column("n_asked", int, "score rows asked for (of a contrast: pairs)"),
    _Column("n_scored", int, "of these, with a value"),
    _Column("n_items", int, "items"),
    _Column("n_seeds", int, "training seeds"),
    _Column("seed_sd", float, "standard deviation over seeds"),
    _Column("by_seed", str, "JSON: the value within each seed"),
    _Column("method", str, "how the interval was computed"),
    _Column("note", str, "what else a reader must know"),
    _Column("asked", str, "of a contrast: what the study said of it before the run"),
    _Column("source", str, "of a published figure"),
    _Column("commit", str, "of midspec's own code"),
)


def write_estimates(data: ReportData, folder: Path) -> tuple[str, ...]:
    """Write `estimates.csv` and `estimates.parquet` into `folder`; return their names.

    The same data give the same bytes. Each column of the Parquet file says what it means in its metadata.
    """
    import pyarrow as pa
    from pyarrow import parquet

    rows = list(estimate_rows(data))
    write_text(folder / FILES[0], csv_text([column.name for column in COLUMNS], rows))
    types = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    schema = pa.schema(
        [pa.field(each.name, types[each.kind], metadata={"meaning": each.meaning}) for each in COLUMNS],
        metadata={"study": data.title, "level": str(data.level)},
    )
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), folder / FILES[1])
    return FILES


def estimate_rows(data: ReportData) -> Iterator[dict[str, _Value]]:
    """Yield every row: rates, contrasts, both of evaluation tasks, raw rates, and figures of others."""
    tasks = [one for task in data.eval_tasks for one in task.scores]
    # A task's scores over one set are among the estimates too.
    known = {(one.kind, one.arm, one.set, one.measure) for one in data.estimates}
    pooled = [one for one in tasks if (one.kind, one.arm, one.set, one.measure) not in known]
    says = {one.estimate.name: one.says for one in data.contrasts}
    about = _About(data)
    for of, estimates in (
        ("all seeds", [*data.estimates, *pooled, *(one.estimate for one in data.contrasts)]),
        ("seeds that passed the gate", [one.estimate for one in data.robust]),
        ("everything asked", data.raw),
    ):
        yield from (about.row(one, of, says.get(one.name, "") if one.kind == "contrast" else "") for one in estimates)
    for each in data.published:
        yield about.base(each.arm, each.set, each.measure) | {
            "kind": "published", "of": "published", "name": each.name, "minus": each.minus, "value": each.value,
            "low": each.low, "high": each.high, "note": each.note, "source": each.source, "commit": None,
        }  # fmt: skip


class _About:
    """What rows say of the study, its arms and its sets."""

    def __init__(self, data: ReportData) -> None:
        self._data = data
        self._sets = {one.name: one for one in data.sets}
        groups = {arm.name: arm.group for arm in data.arms}
        self._groups = {point.name: groups.get(path.arm, "") for path in data.paths for point in path.points} | groups

    def base(self, arm: str, name: str, measure: str) -> dict[str, _Value]:
        """Return the columns that say what a number is of."""
        known = self._sets.get(name)
        is_main = measure == self._data.main_measure
        return {
            "study": self._data.title,
            "arm": arm,
            "group": self._groups.get(arm, ""),
            "set": name,
            "set_title": known.title if known else name,
            "target": known.target if known and is_main else "",
            "measure": measure,
            "unit": "share" if is_share(measure) else unit(measure),
            "commit": self._data.commit,
        }

    def row(self, one: Estimate, of: str, asked: str) -> dict[str, _Value]:
        """Return the whole row of an estimate."""
        p = p_values(one)
        same: Sequence[str] = (
            *("kind", "name", "minus", "value", "low", "high", "level", "mde", "n_asked", "n_scored", "n_items"),
            *("n_seeds", "seed_sd", "method", "note"),
        )
        return {
            **self.base(one.arm, one.set, one.measure),
            **{field: getattr(one, field) for field in same},
            "of": of,
            "asked": asked,
            "p": p.alone if p else None,
            "p_holm": p.corrected if p else None,
            "by_seed": json.dumps({str(seed.seed): seed.value for seed in one.by_seed}),
        }
