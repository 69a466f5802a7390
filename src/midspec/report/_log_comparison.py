"""A comparison of logs in words, as a page, and as files for other tools.

"No difference" is never said without a bound: where two arms are not told apart, the sentence says what is not ruled
out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midspec.analysis import format_p
from midspec.core.artifact import Built, writable, write_json, write_text
from midspec.core.errors import plural
from midspec.core.records import ArmRate, LogComparison, LogDifference, LoggedScore
from midspec.report._format import csv_text, percent
from midspec.report._html import render

_MINUS = "−"
_CORRECTIONS = {"holm": "Holm's", "bh": "Benjamini and Hochberg's"}
# A forest plot: its width and margin in units of the drawing, and the height of a row.
_WIDTH, _MARGIN, _ROW = 300.0, 8.0, 16
_COLUMNS = (
    "score",
    "model",
    "model_raw",
    "dataset",
    "task",
    "epoch",
    "log_path",
    "run",
    "cluster",
    "eval_task",
    "scorer",
)
# What HiBayES does by default with `hibayes.csv`: a binomial model of correct answers by model and sample.
_HIBAYES = """\
# For hibayes-full --config hibayes.yaml --out FOLDER, from this folder. `model` is the arm, `task` the sample's id.
data_loader:
  paths:
    extracted_data: [hibayes.csv]
"""
_HIBAYES_BINOMIAL = """\
data_process:
  processors:
    - groupby: {groupby_columns: [model, task]}
    - extract_observed_feature: {feature_name: n_correct}
    - extract_features: {categorical_features: [model, task], continuous_features: [n_total]}
model:
  models:
    - name: linear_group_binomial
      config: {main_effects: [model, task], effect_coding_for_main_effects: false}
check:  # the defaults also draw, and wait for an answer
  checkers: [r_hat, divergences, ess_bulk, ess_tail, waic]
communicate:
  communicators: [forest_plot, summary_table]
"""


def amount(value: float | None, *, is_share: bool, signed: bool = True) -> str:
    """Format a value or a difference: points of a share, three digits of anything else."""
    if value is None:
        return "–"
    shown = f"{100 * value:+.1f}" if is_share else f"{value:+.3g}"
    shown = shown if signed and float(shown) else shown[1:] if shown[0] == "+" or not float(shown) else shown
    return shown.replace("-", _MINUS)


def interval_words(one: LogDifference | ArmRate) -> str:
    """Format an interval, `+1.2 to +7.4`; empty where there is none."""
    if one.low is None or one.high is None:
        return ""
    signed = isinstance(one, LogDifference)
    ends = [amount(end, is_share=one.is_share, signed=signed) for end in (one.low, one.high)]
    if isinstance(one, LogDifference) and one.is_shown:  # an end that is no 0 must not be read as one
        for at, end in enumerate((one.low, one.high)):
            if end and not float(ends[at].replace(_MINUS, "-")):
                ends[at] = f"{100 * end:+.1g}".replace("-", _MINUS)
    return " to ".join(ends)


def p_words(p: float | None) -> str:
    """Format a p value."""
    return "no p" if p is None else f"p {format_p(p)}"


def difference_verdict(one: LogDifference, comparison: LogComparison) -> str:
    """Say in a sentence or two what a difference shows: above, below, no larger than a bound, or undecided."""
    if one.value is None or one.low is None or one.high is None:
        return f"{one.plus} and {one.minus} on {_place(one)}: not answered ({one.note or 'no interval'})."
    corrected = one.p is not None and len(comparison.differences) > 1 and comparison.correction in _CORRECTIONS
    family = f"{_CORRECTIONS[comparison.correction]} correction for {len(comparison.differences)}" if corrected else ""
    after = f", {p_words(one.p_corrected)} after {family}" if family else ""
    found = f"{one.level:.0%} interval {interval_words(one)}; {p_words(one.p)}{after}"
    tested = one.equivalence
    within = ""
    if tested is not None:
        low, high = (amount(end, is_share=one.is_share) for end in (tested.low, tested.high))
        tests = f"{tested.level:.0%} interval {low} to {high}; {p_words(tested.p_corrected)}"
        within = f"smaller than {_size(tested.bound, one)} either way ({tests})"
    is_within = tested is not None and tested.is_shown
    if one.is_shown:
        side = "above" if one.value > 0 else "below"
        more = f" The difference is {within}." if is_within else ""
        return f"{one.plus} is {_size(one.value, one)} {side} {one.minus} on {_place(one)} ({found}).{more}"
    if is_within:
        return f"{one.plus} and {one.minus} are equivalent on {_place(one)}: the difference is {within}."
    value = amount(one.value, is_share=one.is_share)
    most = f"a difference of up to {_size(max(abs(one.low), abs(one.high)), one)} is not ruled out"
    power = "" if one.mde is None else f", and a true one of {_size(one.mde, one)} would be found 4 times in 5"
    if one.is_share and (one.mde or 0) > 1:
        power = ", and with so few samples no true difference at all would be found 4 times in 5"
    return f"{one.plus} and {one.minus} are not told apart on {_place(one)} ({value}, {found}): {most}{power}."


def _size(value: float, one: LogDifference) -> str:
    """Format how large a difference is, with the unit of a share."""
    return f"{amount(abs(value), is_share=one.is_share, signed=False)}{' points' if one.is_share else ''}"


def _place(one: LogDifference | ArmRate) -> str:
    return f"{one.task} by {one.scorer}"


def comparison_lines(comparison: LogComparison) -> list[str]:
    """Return what the command prints: what was read and what has no score, the rates, and each difference in words."""
    lines = [f"! {note}" for note in comparison.notes]
    lines += [f"! {one}" for one in unscored_lines(comparison)]
    lines += ["", f"Means ({comparison.level:.0%} interval)"]
    width = max(len(f"{rate.arm} on {_place(rate)}") for rate in comparison.rates)
    for rate in comparison.rates:
        value = amount(rate.value, is_share=rate.is_share, signed=False)
        name, span = f"{rate.arm} on {_place(rate)}", interval_words(rate) or rate.note
        counts = f"{plural(rate.n_runs, 'run')}, {plural(rate.n_items, 'sample')}"
        lines.append(f"  {name:<{width}}  {value:>6}  [{span}]  {rate.n_scored} of {rate.n_asked} scored, {counts}")
    lines += ["", "Differences"]
    for one in comparison.differences:
        lines += [f"- {difference_verdict(one, comparison)}", f"  {pairs_words(one)}"]
        lines += [f"  {text}" for text in (check_words(one), needed_words(one)) if text]
    return lines


def unscored_lines(comparison: LogComparison) -> list[str]:
    """Say of each log how many scores are missing, and why."""
    found = []
    for log in comparison.logs:
        for scorer, reasons in log.unscored.items():
            said = "; ".join(f"{n} {reason}" for reason, n in list(reasons.items())[:3])
            n = sum(reasons.values())
            found.append(f"{log.file}: {n} of {log.n_planned} have no score by {scorer} ({said})")
    return found


def pairs_words(one: LogDifference) -> str:
    """Say what a difference rests on."""
    clusters = f" in {plural(one.n_clusters, 'cluster')}" if one.n_clusters < one.n_pairs else ""
    effect = f" (design effect {one.design_effect:.2f})" if one.design_effect is not None else ""
    runs = "1 run each" if one.n_runs == (1, 1) else f"{one.n_runs[0]} and {plural(one.n_runs[1], 'run')}"
    runs += f", up to {plural(one.n_epochs, 'epoch')}" if one.n_epochs > 1 else ""
    counts = one.discordance
    exact = (
        f"; {plural(counts.n_plus, 'sample')} better, {counts.n_minus} worse (McNemar's exact {p_words(counts.p)})"
        if counts
        else ""
    )
    note = f"; {one.note}" if one.note else ""
    return f"{one.n_pairs} of {plural(one.n_asked, 'sample')} paired{clusters}{effect}; {runs}{exact}{note}"


def check_words(one: LogDifference) -> str:
    """Say what the hierarchical model gives, and what varies by it."""
    model = one.mixed_model
    if model is None:
        return ""
    value, se = (
        amount(number, is_share=one.is_share, signed=number is model.value) for number in (model.value, model.se)
    )
    ours = amount(one.se, is_share=one.is_share, signed=False)
    parts = "; ".join(f"{name} {amount(sd, is_share=one.is_share, signed=False)}" for name, sd in components(one))
    end = "" if model.is_converged else " (it did not converge)"
    return (
        f"cross-check by a mixed model: {value}, standard error {se} (here {ours}){end}; standard deviations: {parts}"
    )


def components(one: LogDifference) -> list[tuple[str, float]]:
    """Return the standard deviations of what varies, by name, without those that the design can't tell apart."""
    model = one.mixed_model
    if model is None:
        return []
    several = model.item_by_arm_sd is not None or model.item_by_run_sd is not None
    named = {
        "clusters": model.cluster_sd,
        "clusters by arm": model.cluster_by_arm_sd,
        "samples": model.item_sd,
        "samples by arm": model.item_by_arm_sd,
        "runs": model.run_sd,
        "samples by run": model.item_by_run_sd,
        "the same sample asked again" if several else "all else": model.residual_sd,
    }
    return [(name, sd) for name, sd in named.items() if sd is not None]


def needed_words(one: LogDifference) -> str:
    """Say how many samples find a difference of some sizes 4 times in 5."""
    unit = "point" if one.is_share else "unit"
    shown = [
        f"{size} {unit}{'' if size == '1' else 's'}: {'no number' if n is None else f'{n:,}'}"
        for size, n in one.items_for.items()
    ]
    return f"samples needed to find a difference 4 times in 5: {', '.join(shown)}" if shown else ""


class _Line(NamedTuple):
    """A row of the forest plot, in units of the drawing."""

    label: str
    y: float
    low: float
    high: float
    value: float


def write_log_comparison(comparison: LogComparison, scores: Sequence[LoggedScore], folder: Path) -> Built:
    """Write a comparison as `comparison.html`, `comparison.json`, tables of all estimates, and files for HiBayES.

    `estimates.csv` has a row for each mean and each difference; `estimates.parquet` is the same where pyarrow is
    installed. `hibayes.csv` has a row for each score, `hibayes.yaml` is a configuration that loads it.

    Args:
        comparison: what was found.
        scores: all scores behind it.
        folder: where to write; made if it is not there.

    Raises:
        FolderError: the folder can't be written.
    """
    rows = [_flat(one, "mean") for one in comparison.rates] + [
        _flat(one, "difference") for one in comparison.differences
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    outputs = ["comparison.html", "comparison.json", "estimates.csv", "hibayes.csv", "hibayes.yaml"]
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "comparison.html", render("log_comparison.html.j2", _content(comparison), comparison))
        write_json(folder / "comparison.json", comparison)
        write_text(folder / "estimates.csv", csv_text(names, rows))
        scored = [score for score in scores if score.value is not None]
        write_text(folder / "hibayes.csv", csv_text(_COLUMNS, _hibayes_rows(comparison, scored)))
        one_table = len({(score.task, score.scorer) for score in scored}) == 1
        is_binary = one_table and all(score.value in {0.0, 1.0} for score in scored)
        write_text(folder / "hibayes.yaml", _HIBAYES + (_HIBAYES_BINOMIAL if is_binary else ""))
        if importlib.util.find_spec("pyarrow") is not None:
            import pyarrow as pa
            from pyarrow import parquet

            table = pa.table({name: [row.get(name) for row in rows] for name in names})
            # Files of two comparisons are read together: a column without a value has the type that it has with some.
            for at, name in enumerate(names):
                if pa.types.is_null(table.schema.types[at]):
                    of = pa.int64() if name.startswith("items_for") else pa.float64()
                    table = table.set_column(at, name, table[name].cast(of))
            parquet.write_table(table, folder / "estimates.parquet")
            outputs.append("estimates.parquet")
    return Built(outputs=tuple(outputs), summary={"n_differences": len(comparison.differences)})


def _flat(one: ArmRate | LogDifference, kind: str) -> dict[str, Any]:
    """Return an estimate as one row of plain values; parts of a difference have the part's name in front."""
    row: dict[str, Any] = {"kind": kind}
    for name, value in one.model_dump(mode="json").items():
        if isinstance(value, Mapping):
            row |= {f"{name}_{key}": entry for key, entry in value.items()}
        elif isinstance(value, list):
            row |= {f"{name}_{part}": entry for part, entry in zip(("plus", "minus"), value, strict=True)}
        elif name not in {"equivalence", "discordance", "mixed_model"}:
            row[name] = value
    return row


def _hibayes_rows(comparison: LogComparison, scores: Sequence[LoggedScore]) -> Iterable[dict[str, Any]]:
    """Yield the rows that HiBayES's own reader of logs would make, with our runs, clusters and scorers beside them."""
    logs = {(log.task, log.arm, log.run): log for log in comparison.logs}
    for score in scores:
        log = logs[score.task, score.arm, score.run]
        yield {
            "score": score.value,
            "model": score.arm,
            "model_raw": log.model,
            "dataset": log.dataset,
            "task": score.item,
            "epoch": score.epoch,
            "log_path": log.file,
            "run": score.run,
            "cluster": score.cluster,
            "eval_task": score.task,
            "scorer": score.scorer,
        }


def _content(comparison: LogComparison) -> dict[str, Any]:
    """Lay a comparison out for the template."""
    arms = list(dict.fromkeys(log.arm for log in comparison.logs))
    tables = list(dict.fromkeys(_place(one) for one in comparison.differences))
    groups = [[one for one in comparison.differences if one.is_share == share] for share in (True, False)]
    facts = [
        plural(len(arms), "arm"),
        plural(len(comparison.logs), "log"),
        plural(len(tables), "task and scorer") if len(tables) == 1 else f"{len(tables)} tasks and scorers",
        f"{comparison.level:.0%} intervals",
    ]
    n_lost = sum(n for log in comparison.logs for reasons in log.unscored.values() for n in reasons.values())
    n_asked = sum(rate.n_asked for rate in comparison.rates)
    return {
        "title": " against ".join(arms) if len(arms) < 4 else f"{len(arms)} arms compared",
        "data": comparison,
        "facts": facts,
        "lost": f"{n_lost:,} of {n_asked:,} scores are missing ({percent(n_lost / n_asked)})" if n_lost else "",
        "warnings": [*comparison.notes, *unscored_lines(comparison)],
        "verdicts": [difference_verdict(one, comparison) for one in comparison.differences],
        "plots": [_forest(group, comparison) for group in groups if any(one.low is not None for one in group)],
        "correction": _CORRECTIONS.get(comparison.correction),
        "place": _place,
        "amount": amount,
        "interval": interval_words,
        "p_words": p_words,
        "pairs_words": pairs_words,
        "needed": needed_words,
        "components": components,
    }


def _forest(group: Sequence[LogDifference], comparison: LogComparison) -> dict[str, Any]:
    """Lay out the forest plot of differences in one unit."""
    ends = [abs(end) for one in group for end in (one.low, one.high) if end is not None]
    is_share = group[0].is_share
    bound = comparison.equivalence_points
    bound = bound / 100 if bound is not None and is_share else bound
    most = max([*ends, bound or 0.0]) or 1.0

    def x(value: float) -> float:
        return round(_MARGIN + (_WIDTH - 2 * _MARGIN) * (value / most + 1) / 2, 2)

    lines = [
        _Line(f"{one.name}, {_place(one)}", _ROW * (at + 0.5), x(one.low), x(one.high), x(one.value))
        for at, one in enumerate(one for one in group if one.low is not None)
        if one.value is not None and one.low is not None and one.high is not None
    ]
    band = (x(-bound), x(bound) - x(-bound)) if bound is not None else None
    limits = [amount(sign * most, is_share=is_share) for sign in (-1, 1)]
    unit = "points" if is_share else "units of the score"
    return {"lines": lines, "band": band, "zero": x(0), "height": _ROW * len(lines), "limits": limits, "unit": unit}
