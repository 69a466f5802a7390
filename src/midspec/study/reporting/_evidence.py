"""Gather what a report shows beside its rates: raw rates, side effects, seams, published figures and costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from midspec.analysis import DataSaving, data_saving, rates
from midspec.core.artifact import TAKEN_OVER
from midspec.core.errors import DataError
from midspec.core.records import ArmScore, Estimate, ScoreRow
from midspec.evals import task_names
from midspec.llm import Store
from midspec.report import Column, PublishedFigure, Seam, StageCost, TaskReport, is_share
from midspec.study._chains import arm_points
from midspec.study._config import StudyConfig
from midspec.study._load import Study
from midspec.study.reporting._methods import bibtex, methods_paragraphs
from midspec.study.reporting._results import FinishedStep, RunResults, read_task_result, score_rows
from midspec.study.reporting._seam import seam_probes

_WRITTEN, _PARSED = "choice_generated", "parsed"
# What pairs to choose from show beside the choice: whether answers have their form, and whether they hang together.
_PAIR_SIDE_EFFECTS = {
    "parsed": "answers that could be read",
    "refused": "answers that refuse",
    "truncated": "answers that were cut off",
    "option_mass": "probability of the two options",
    "order_consistency": "same choice in both orders",
}
_PANEL = "panel_"


def evidence(
    study: Study,
    run: RunResults,
    estimates: tuple[Sequence[Estimate], Sequence[Estimate]],
    tasks: Sequence[TaskReport],
    main: tuple[str, str],
    store: Path | None,
) -> dict[str, Any]:
    """Return what stands beside a report's rates, as fields of `ReportData`.

    Args:
        study: what was run.
        run: its finished steps.
        estimates: rates and contrasts of its analysis.
        tasks: its evaluation tasks.
        main: the set and the measure that its claim is about.
        store: of the run's requests to models.
    """
    costs = stage_costs(run.steps, store)
    return {
        "raw": raw_rates(study.config, run, tasks),
        "side_effects": side_effects(estimates[0], tasks, main[0]),
        "seams": seams(study.config),
        "seam_probes": seam_probes(study.config, run),
        "published": published(study.config, *main),
        "costs": costs,
        "seconds": {one.stage: one.seconds for one in costs if one.n_steps},
        "methods": methods_paragraphs(study, run, *estimates),
        "bibtex": bibtex(study, run.analysis.record),
    }


def raw_rates(config: StudyConfig, run: RunResults, tasks: Sequence[TaskReport]) -> tuple[Estimate, ...]:
    """Estimate rates over everything asked: an answer that could not be read counts as not having the measure.

    Of pairs, the written choice; of tasks, the shares among their main measures, where any score is missing.
    """
    rows = list(_raw_choices(run))
    for task in tasks:
        shares = [column for column in task.columns if is_share(column.measure)]
        if any(one.unscored for one in task.status):
            rows += _raw_task_scores(run, task.name, [(one.set, one.measure) for one in shares])
    return tuple(rates(rows, level=config.report.level)) if rows else ()


def _raw_choices(run: RunResults) -> Iterator[ArmScore]:
    """Yield the share of all questions about an item that were answered with the target."""
    for (arm, seed), step in run.pair_evals.items():
        found: dict[str, dict[str, ScoreRow]] = {}
        for row in score_rows(step, (_WRITTEN, _PARSED)):
            found.setdefault(row.item, {})[row.measure] = row
        for rows in found.values():
            written, parsed = rows.get(_WRITTEN), rows.get(_PARSED)
            if written is not None and parsed is not None and parsed.value is not None:
                value = (written.value or 0.0) * parsed.value
                update = {"value": value, "unscored": None}
                yield ArmScore(**(written.model_dump() | update), arm=arm, seed=seed)


def _raw_task_scores(run: RunResults, task: str, wanted: Sequence[tuple[str, str]]) -> Iterator[ArmScore]:
    """Yield one score a question and (set, measure), a sample without a value counting as 0."""
    for (arm, name, seed), step in run.task_evals.items():
        if name != task:
            continue
        result = read_task_result(name, arm, seed, step)
        for set_name, measure in wanted:
            for question, samples in result.samples.items():
                values = samples.values.get(measure, [])
                if values and set_name in (task, f"{task}/{samples.set}"):
                    mean = sum(value or 0.0 for value in values) / len(values)
                    about = {
                        "task": task,
                        "set": set_name,
                        "item": f"{samples.set}/{question}",
                        "domain": samples.domain,
                    }
                    yield ArmScore(**about, measure=measure, value=mean, arm=arm, seed=seed)


def side_effects(estimates: Iterable[Estimate], tasks: Sequence[TaskReport], main_set: str) -> tuple[Column, ...]:
    """Return what training on a spec should leave alone: the form of answers, panels of side effects, and controls."""
    known = {(one.set, one.measure) for one in estimates if one.value is not None}
    pairs = [
        Column(title=title, set=main_set, measure=measure)
        for measure, title in _PAIR_SIDE_EFFECTS.items()
        if (main_set, measure) in known
    ]
    panels = [
        column.model_copy(update={"title": f"{task.title}: {column.title}"})
        for task in tasks
        for column in task.columns
        if column.control or (task.name.startswith(_PANEL) and task.name in task_names())
    ]
    return (*pairs, *panels)


def seams(config: StudyConfig) -> tuple[Seam, ...]:
    """Return each arm that went on after its documents, with what it was right after these: a point or an arm."""
    by_chain = {(arm.chain, arm.context): name for name, arm in config.arms.items()}
    found = []
    for name, arm in config.arms.items():
        n_documents = next((i for i, stage in enumerate(arm.chain) if stage.kind != "midtrain"), len(arm.chain))
        if not 0 < n_documents < len(arm.chain):
            continue
        ends = [each.name for each in arm_points(name, arm) if (each.stage, each.update) == (n_documents - 1, None)]
        before = by_chain.get((arm.chain[:n_documents], arm.context))
        if seam := next(iter(ends), before):
            found.append(Seam(arm=name, seam=seam))
    return tuple(found)


def published(config: StudyConfig, main_set: str, main_measure: str) -> tuple[PublishedFigure, ...]:
    """Return the published figures of a study file, on the main set and measure where they name none."""
    return tuple(
        PublishedFigure(
            **(
                entry.model_dump()
                | {"set": entry.set or main_set, "measure": entry.measure or main_measure, "minus": entry.minus or None}
            )
        )
        for entry in config.report.published
    )


def savings(config: StudyConfig, estimates: Iterable[Estimate]) -> tuple[tuple[DataSaving, ...], tuple[str, ...]]:
    """Return by which factors arms need fewer chats, from their rates by base; and a sentence for each without one."""
    rates_of = {
        (one.arm, one.set, one.measure): {each.seed: each.value for each in one.by_seed if each.value is not None}
        for one in estimates
    }
    found, missing = [], []
    for entry in config.report.savings:
        without, treated = (
            {n: rates_of.get((arm, entry.set, entry.measure), {}) for n, arm in arms.items()}
            for arms in (entry.without, entry.treated)
        )
        names = (entry.name, entry.set, entry.measure)
        try:
            found.append(data_saving(without, treated, names=names, level=config.report.level))
        except DataError as error:  # a first look at one seed, or seeds that fail the gate, still have a report
            missing.append(f"How many times fewer chats are needed after {entry.name} is not known: {error.what}.")
    return tuple(found), tuple(missing)


def stage_costs(steps: Mapping[str, FinishedStep], store: Path | None) -> tuple[StageCost, ...]:
    """Return CPU time by kind of step, and requests and dollars by stage and model, as the run's store has them.

    A result that was taken over from another run counts as what it took there, so that studies can be compared.
    """
    by_kind: dict[str, list[tuple[float, float | None]]] = {}
    own = {str(step.folder) for step in steps.values()}
    for step in steps.values():
        ran = step.record.execution
        made = ran.extra.get(TAKEN_OVER)
        took: tuple[Any, Any] = (ran.seconds, ran.cpu_s)
        if isinstance(made, dict) and made["folder"] not in own:
            took = (made["seconds"], made["cpu_s"])
        by_kind.setdefault(step.kind, []).append(took)
    costs = []
    for kind, group in by_kind.items():
        known = [cpu_s for _, cpu_s in group if cpu_s is not None]
        costs.append(
            StageCost(
                stage=kind,
                n_steps=len(group),
                cpu_s=round(sum(known), 3) if len(known) == len(group) else None,
                seconds=round(sum(seconds for seconds, _ in group), 3),
            )
        )
    if store is not None and store.is_file():
        with Store(store) as opened:
            for row in opened.ledger():
                if row.n_asked:
                    usd = None if row.cost_usd is None or row.n_unpriced else row.cost_usd
                    name = row.stage.replace("_", " ")
                    costs.append(StageCost(stage=name, model=row.model, n_requests=row.n_asked, cost_usd=usd))
    return tuple(costs)
