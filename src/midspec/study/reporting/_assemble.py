"""Assemble the data of a report from the finished steps of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from midspec.core.artifact import read_rows
from midspec.core.errors import DataError, plural
from midspec.core.records import Answer, Estimate, Item
from midspec.evals import load_calibration
from midspec.report import (
    AnswerComparison,
    ArmAnswer,
    ArmInfo,
    ArmPath,
    Caveat,
    ContrastResult,
    GateResult,
    LabelledValue,
    Panel,
    PathPoint,
    Reasons,
    ReportData,
    SetInfo,
    describe_contrast,
)
from midspec.study._arms import Arm
from midspec.study._chains import ArmPoint, arm_points, stage_names, training_stages
from midspec.study._config import StudyConfig
from midspec.study._factors import Factor
from midspec.study._first_contrasts import contrasts_changed
from midspec.study._load import Study
from midspec.study._report_entry import SetEntry
from midspec.study._step import step_name
from midspec.study.jobs._reasons import TABLE
from midspec.study.reporting._evidence import evidence, savings
from midspec.study.reporting._health import held_out_overlaps, outside_overlaps, stage_health
from midspec.study.reporting._judges import judging_costs
from midspec.study.reporting._results import RunResults
from midspec.study.reporting._task_report import is_of_tasks, task_reports
from midspec.study.reporting._warnings import difference_sentences, pair_setting_differences, run_warnings

_ADAPTERS = {"continue": (), "merge": ("the adapter before merged",), "fresh": ("the adapter before left out",)}
_MAX_DOMAINS = 5
_QUESTION_KINDS = ("free", "why", "choice")


def assemble(
    study: Study,
    run: RunResults,
    items: Mapping[int, Path],
    *,
    first: object = None,
    factors: Mapping[str, Sequence[Factor]] | None = None,
    calibrations: Sequence[Path] = (),
    store: Path | None = None,
) -> ReportData:
    """Assemble the report's data.

    Args:
        study: what was run.
        run: the finished steps.
        items: for each seed, the file of the evaluation's items.
        first: the contrasts that the run began with, where they are not those of the study file.
        factors: in what the arms of each contrast differ.
        calibrations: files (or their folders) that `midspec calibrate` wrote.
        store: of the run's requests to models.

    Raises:
        DataError: a calibration or a table of reasons can't be read.
        MissingError: a calibration does not exist.
    """
    config, wanted, analysis = study.config, study.config.report, run.analysis
    files = ("estimates.jsonl", "contrasts.jsonl", "robust.jsonl")
    estimates, contrasts, robust = (tuple(read_rows(analysis.folder / name, Estimate)) for name in files)
    gates = tuple(read_rows(analysis.folder / "gates.jsonl", GateResult))
    panels = _panels(config, estimates)
    main_set, main_measure = wanted.main_set or panels[0].set, wanted.main_measure or panels[0].measure
    failed = {gate.seed for gate in gates if not gate.passed}
    seed = next((seed for seed in config.seeds if seed not in failed), config.seeds[0])
    known = [load_calibration(path) for path in calibrations]
    eval_tasks = task_reports(config, run, estimates, contrasts, known, seed)
    overlaps = (*held_out_overlaps(run.steps.values(), items), *outside_overlaps(study, items))
    changed = "" if first is None else contrasts_changed(first, config.contrasts)
    warnings = [*filter(None, [changed]), *run_warnings(config, run.steps, gates, overlaps)]
    warnings += difference_sentences("preference", pair_setting_differences(run.pair_evals, config))
    warnings += (said for each in eval_tasks for said in difference_sentences(each.name, each.differences))
    saved, unknown = savings(config, estimates)
    records = {name: step.record for name, step in run.steps.items()}
    return ReportData(
        title=config.title or config.name,
        question=tuple(" ".join(part.split()) for part in config.question.split("\n\n") if part.strip()),
        main_set=main_set,
        main_measure=main_measure,
        main_contrasts=wanted.main_contrasts,
        arms=_arms(config),
        sets=tuple(SetInfo(name=name, **entry.model_dump()) for name, entry in wanted.sets.items()),
        set_legend=tuple(_set_legend(items[config.run_seeds[0]], wanted.sets)),
        panels=panels,
        estimates=estimates,
        contrasts=_described(config, contrasts, factors or {}),
        gates=gates,
        robust=_described(config, robust, factors or {}),
        paths=arm_paths(config, run),
        samples=_answer_comparisons(config, run, seed, main_set),
        eval_tasks=eval_tasks,
        reasons=read_reasons(run.run_folder / "reasons"),
        bills=judging_costs(run.steps.values()),
        health=(*stage_health(run.steps.values()), *(each.health for each in overlaps)),
        warnings=(*warnings, *unknown),
        savings=saved,
        contrasts_changed=bool(changed),
        caveats=tuple(Caveat(**entry.model_dump()) for entry in wanted.caveats),
        deviations=wanted.deviations,
        config_yaml=study.text,
        seed_kind=wanted.seed_kind or _seed_kind(config),
        level=wanted.level,
        hashes=tuple(LabelledValue(label=name, value=record.digest) for name, record in records.items()),
        versions=analysis.record.versions | {k: v for record in records.values() for k, v in record.versions.items()},
        commit=analysis.record.commit,
        **evidence(study, run, (estimates, contrasts), eval_tasks, (main_set, main_measure), store),
    )


def _set_legend(path: Path, named: Mapping[str, SetEntry]) -> Iterator[LabelledValue]:
    """Say of each set of pairs what it is, what a rate is of, how many pairs it has, and one of them."""
    by_set: dict[str, list[Item]] = {}
    for item in read_rows(path, Item):
        by_set.setdefault(item.set, []).append(item)
    for name, pairs in by_set.items():
        domains = list(dict.fromkeys(item.domain for item in pairs))
        listed = ", ".join(domains[:_MAX_DOMAINS]) + (", ..." if len(domains) > _MAX_DOMAINS else "")
        target, other = pairs[0].options
        known = named.get(name)
        of = known.target if known and known.target else "the first of the two"
        parts = [*([known.title] if known else []), f"a rate of 1 is {of}"]
        parts.append(f"{plural(len(pairs), 'pair')} ({listed}), such as “{target}” before “{other}”")
        if reasons := pairs[0].reasons:
            parts.append(f"as its reason “{reasons[0]}” before “{reasons[1]}”")
        yield LabelledValue(label=name, value="; ".join(parts))


def _described(
    config: StudyConfig, estimates: Sequence[Estimate], factors: Mapping[str, Sequence[Factor]]
) -> tuple[ContrastResult, ...]:
    """Return contrasts with what they ask, what they found, and in what their arms differ."""
    asked = {contrast.name: contrast for contrast in config.contrasts}
    results = []
    for one in estimates:
        contrast, differ = asked.get(one.name), tuple(map(str, factors.get(one.name, ())))
        says, n_meant = (contrast.says, contrast.factors) if contrast else ("", 1)
        told = {"differ": differ, "is_mixed": len(differ) > n_meant}
        results.append(describe_contrast(one, says).model_copy(update=told))
    return tuple(results)


def _seed_kind(config: StudyConfig) -> str:
    """Say what a seed draws anew."""
    redrawn = ["its own world and base model"] if config.base.world else []
    redrawn += ["its own documents"] if any(entry.per_seed for entry in config.corpora.values()) else []
    redrawn += ["its own chats"] if any(entry.per_seed for entry in config.chats.values()) else []
    return ", ".join([*redrawn, "its own training order"])


def read_reasons(folder: Path) -> Reasons | None:
    """Read what `midspec reasons RUN --out RUN/reasons` wrote, where it ran before the report was made.

    Raises:
        DataError: the table can't be read.
    """
    path = folder / TABLE
    if not path.is_file():
        return None
    try:
        return Reasons.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError("holds no table of reasons", where=str(path), hint="Run midspec reasons again") from error


def _arms(config: StudyConfig) -> tuple[ArmInfo, ...]:
    return tuple(
        ArmInfo(
            name=name,
            group=arm.group or next((stage.midtrain[0] for stage in arm.chain if stage.midtrain), arm.context or ""),
            stages=tuple(stage.kind for stage in arm.chain),
            data=_data_words(arm),
            control=arm.control,
            note=arm.note,
        )
        for name, arm in config.arms.items()
    )


def _data_words(arm: Arm) -> str:
    """Say what an arm was trained on; of one with `stages`, stage by stage."""
    if arm.stages:
        named = zip(stage_names(arm.chain), arm.chain, strict=True)
        data = {title: ", ".join([*stage.data, *_ADAPTERS[stage.adapter]]) for title, stage in named}
    else:
        data = {"documents": ", ".join(arm.midtrain), "chats": ", ".join(arm.finetune)}
    data["spec in context"] = arm.context or ""
    return "; ".join(f"{kind}: {names}" for kind, names in data.items() if names)


def _panels(config: StudyConfig, estimates: Sequence[Estimate]) -> tuple[Panel, ...]:
    """Return the panels that the study names; else one for each set, of the primary measure."""
    arms = tuple(config.arms)
    if config.report.panels:
        return tuple(
            Panel(title=p.title, set=p.set, measure=p.measure, arms=p.arms or arms, reference=p.reference)
            for p in config.report.panels
        )
    measure = config.report.main_measure or "choice_logprob"
    sets = dict.fromkeys(one.set for one in estimates if not is_of_tasks(config, one.set))
    return tuple(Panel(title=name, set=name, measure=measure, arms=arms) for name in sets)


def _answer_comparisons(config: StudyConfig, run: RunResults, seed: int, main_set: str) -> tuple[AnswerComparison, ...]:
    """Return questions of the main set, spread evenly over its items, one an item, free ones and "why?" first.

    All answers are of `seed`: the first whose base passed the gate. Nothing else chooses what is shown.
    """
    answers: dict[str, dict[tuple[str, str], Answer]] = {}
    for arm in config.arms:
        mine = answers.setdefault(arm, {})
        for row in read_rows(run.pair_evals[arm, seed].folder / "answers.jsonl", Answer):
            if row.set == main_set:
                mine.setdefault((row.item, row.kind), row)
    first = next(iter(answers.values()))
    items = list(dict.fromkeys(item for item, _ in first))
    kinds = [kind for kind in _QUESTION_KINDS if any(each == kind for _, each in first)]
    n_shown = min(config.report.samples, len(items)) if kinds else 0
    comparisons = []
    for index in range(n_shown):
        item, kind = items[index * len(items) // n_shown], kinds[index % len(kinds)]
        of_arm = next(mine for mine in answers.values() if (item, kind) in mine)
        question = of_arm[item, kind].question
        if kind == "why" and (item, "choice") in of_arm:
            question = f"{of_arm[item, 'choice'].question} … {question}"
        texts = [
            ArmAnswer(arm=arm, text=mine[item, kind].text) for arm, mine in answers.items() if (item, kind) in mine
        ]
        comparisons.append(AnswerComparison(question=question, item=item, seed=seed, answers=tuple(texts)))
    return tuple(comparisons)


def arm_paths(config: StudyConfig, run: RunResults) -> tuple[ArmPath, ...]:
    """Return the path of each arm that is evaluated at more points than its end."""
    paths = []
    for name, arm in config.arms.items():
        points = arm_points(name, arm)
        if len(points) == 1:
            continue
        made = tuple(_updates(config, name, run))

        def updates_at(point: ArmPoint, made: tuple[int, ...] = made) -> int:
            if point.update is None:
                return sum(made[: point.stage + 1])
            return sum(made[: point.stage]) + point.update

        known = (PathPoint(name=each.name, title=each.title, updates=updates_at(each)) for each in points)
        paths.append(ArmPath(arm=name, points=tuple(known)))
    return tuple(paths)


def _updates(config: StudyConfig, name: str, run: RunResults) -> Iterator[int]:
    """Yield how many updates each stage of an arm made, in the first seed."""
    for each in training_stages(config.arms[name], config.recipes):
        step = run.steps[step_name(each.stage.kind, each.label, config.seeds[0])]
        made = step.record.summary.get("n_updates")
        yield made if isinstance(made, int) else 0
