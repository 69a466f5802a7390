"""Everything that a report shows, gathered from the records and rows of a run's steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from midspec.core.artifact import read_record, read_rows
from midspec.core.errors import DataError
from midspec.core.records import Answer, Contrast, Estimate, Record
from midspec.report import (
    ArmAnswer,
    ArmInfo,
    Caveat,
    ContrastResult,
    GateResult,
    Panel,
    Reasons,
    ReportData,
    SetInfo,
    LabelledValue,
    AnswerComparison,
    verdict,
)
from midspec.study._config import Arm, StudyConfig
from midspec.study._load import parse_study
from midspec.study._preregistration import contrasts_changed
from midspec.study._steps import Step
from midspec.study.jobs._reasons import TABLE
from midspec.study.reporting._health import GateScore, health, overlaps, warnings
from midspec.study.reporting._judges import judging_costs, read_calibrations
from midspec.study.reporting._settings import preference_setting_differences, difference_sentences
from midspec.study.reporting._task_report import is_of_tasks, task_reports

_KINDS = ("free", "why", "choice")


def side_by_side(
    config: StudyConfig, folders: Mapping[str, Path], gates: Sequence[GateScore], main_set: str
) -> tuple[AnswerComparison, ...]:
    """Questions of the main set, evenly spread over its items, one for each item, free ones and "why?" first.

    All answers are of one seed: the first one whose base passed the gate. Nothing else chooses what is shown.
    """
    seed = shown_seed(config, gates)
    said = {arm: _answers(folders[Step(kind="eval", label=arm, seed=seed).name], main_set) for arm in config.arms}
    first = next(iter(said.values()))
    items = list(dict.fromkeys(item for item, _kind in first))
    kinds = [kind for kind in _KINDS if any(found == kind for _item, found in first)]
    count = min(config.report.samples, len(items))
    chosen = [items[index * len(items) // count] for index in range(count)]
    return tuple(_one(said, item, kinds[index % len(kinds)], seed) for index, item in enumerate(chosen) if kinds)


def shown_seed(config: StudyConfig, gates: Sequence[GateScore]) -> int:
    """The first seed whose base passed the gate; the first of all where none did."""
    failed = {gate.seed for gate in gates if not gate.passed}
    return next((seed for seed in config.seeds if seed not in failed), config.seeds[0])


def _answers(folder: Path, main_set: str) -> dict[tuple[str, str], Answer]:
    """The first answer of each item and kind of question."""
    found: dict[tuple[str, str], Answer] = {}
    for answer in read_rows(folder / "answers.jsonl", Answer):
        if answer.set == main_set:
            found.setdefault((answer.item, answer.kind), answer)
    return found


def _one(said: Mapping[str, Mapping[tuple[str, str], Answer]], item: str, kind: str, seed: int) -> AnswerComparison:
    asked = next(answers for answers in said.values() if (item, kind) in answers)
    question = asked[item, kind].question
    if kind == "why" and (item, "choice") in asked:
        question = f"{asked[item, 'choice'].question} … {question}"
    answers = [ArmAnswer(arm=arm, text=found[item, kind].text) for arm, found in said.items() if (item, kind) in found]
    return AnswerComparison(question=question, item=item, seed=seed, answers=tuple(answers))


class _Results(NamedTuple):
    """What the analysis left."""

    estimates: tuple[Estimate, ...]
    contrasts: tuple[Estimate, ...]
    robust: tuple[Estimate, ...]
    gates: tuple[GateScore, ...]


def assemble(
    text: str,
    folders: Mapping[str, Path],
    items: Mapping[int, Path],
    *,
    first: object = None,
    calibrations: Sequence[Path] = (),
) -> ReportData:
    """The report's data.

    Args:
        text: the study file.
        folders: for each finished step of the run, by name, where its result is.
        items: for each seed, the file of the evaluation's items.
        first: the contrasts that the run began with, where they are not those of the study file.
        calibrations: files (or their folders) that `midspec calibrate` left.

    Raises:
        DataError: a step has no record, or a calibration or a table of reasons is none.
        MissingError: there is no such calibration.
    """
    config = parse_study(text, home=Path()).config
    records = {name: _record(folder) for name, folder in folders.items()}
    results = _results(folders["analysis"])
    found = overlaps(folders, records, items)
    panels = _panels(config, results.estimates)
    eval_tasks = task_reports(
        config,
        folders,
        records,
        (results.estimates, results.contrasts),
        read_calibrations(calibrations),
        shown_seed(config, results.gates),
    )
    unlike = [*difference_sentences("preference", preference_setting_differences(records, config))]
    unlike += [
        sentence for eval_task in eval_tasks for sentence in difference_sentences(eval_task.name, eval_task.differences)
    ]
    asked = config.report
    changed = "" if first is None else contrasts_changed(first, config.contrasts)
    return ReportData(
        title=config.title or config.name,
        question=tuple(" ".join(part.split()) for part in config.question.split("\n\n") if part.strip()),
        main_set=asked.main_set or panels[0].set,
        main_measure=asked.main_measure or panels[0].measure,
        main_contrasts=asked.main_contrasts,
        arms=tuple(_arm(name, arm) for name, arm in config.arms.items()),
        sets=tuple(SetInfo(name=name, **entry.model_dump()) for name, entry in asked.sets.items()),
        panels=panels,
        estimates=results.estimates,
        contrasts=_said(results.contrasts, config.contrasts),
        gates=tuple(GateResult(**gate.model_dump()) for gate in results.gates),
        robust=_said(results.robust, config.contrasts),
        samples=side_by_side(config, folders, results.gates, asked.main_set or panels[0].set),
        eval_tasks=eval_tasks,
        reasons=read_reasons(folders["analysis"].parent.parent / "reasons"),
        judging_costs=judging_costs(records),
        health=(*health(records), *(entry.shown for entry in found)),
        warnings=(*filter(None, [changed]), *warnings(config, records, results.gates, found), *unlike),
        contrasts_changed=bool(changed),
        caveats=tuple(Caveat(**entry.model_dump()) for entry in asked.caveats),
        deviations=asked.deviations,
        config_yaml=text,
        seed_kind=asked.seed_kind or _seed_kind(config),
        level=asked.level,
        hashes=tuple(LabelledValue(label=name, value=record.digest) for name, record in records.items()),
        versions=records["analysis"].versions | _versions(records.values()),
        commit=records["analysis"].commit,
        seconds=_seconds(records),
    )


def _record(folder: Path) -> Record:
    record = read_record(folder)
    if record is None:
        raise DataError("there is no finished step", where=str(folder), hint="Run midspec run on the study again")
    return record


def _results(folder: Path) -> _Results:
    def estimates(name: str) -> tuple[Estimate, ...]:
        return tuple(read_rows(folder / name, Estimate))

    return _Results(
        estimates("estimates.jsonl"),
        estimates("contrasts.jsonl"),
        estimates("robust.jsonl"),
        tuple(read_rows(folder / "gates.jsonl", GateScore)),
    )


def read_reasons(folder: Path) -> Reasons | None:
    """What `midspec reasons RUN --out RUN/reasons` left, where it was run before the report was made.

    Raises:
        DataError: the table is none.
    """
    path = folder / TABLE
    if not path.is_file():
        return None
    try:
        return Reasons.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError("holds no table of reasons", where=str(path), hint="Run midspec reasons again") from error


def _arm(name: str, arm: Arm) -> ArmInfo:
    stages = [stage for stage, used in (("midtrain", arm.midtrain), ("finetune", arm.finetune)) if used]
    data = {
        "documents": ", ".join(arm.midtrain),
        "chats": ", ".join(arm.finetune),
        "spec in context": arm.context or "",
    }
    difference_sentences = "; ".join(f"{kind}: {names}" for kind, names in data.items() if names)
    group = arm.group or next(iter(arm.midtrain), arm.context or "")
    return ArmInfo(
        name=name, group=group, stages=tuple(stages), data=difference_sentences, control=arm.control, note=arm.note
    )


def _panels(config: StudyConfig, estimates: Sequence[Estimate]) -> tuple[Panel, ...]:
    """The panels that the study asked for; else one for each set, of the primary measure."""
    arms = tuple(config.arms)
    if config.report.panels:
        return tuple(
            Panel(title=p.title, set=p.set, measure=p.measure, arms=p.arms or arms, reference=p.reference)
            for p in config.report.panels
        )
    measure = config.report.main_measure or "choice_logprob"
    sets = dict.fromkeys(one.set for one in estimates if not is_of_tasks(config, one.set))
    return tuple(Panel(title=name, set=name, measure=measure, arms=arms) for name in sets)


def _said(estimates: Iterable[Estimate], asked: Sequence[Contrast]) -> tuple[ContrastResult, ...]:
    says = {contrast.name: contrast.says for contrast in asked}
    return tuple(ContrastResult(estimate=one, says=says.get(one.name, ""), verdict=verdict(one)) for one in estimates)


def _seed_kind(config: StudyConfig) -> str:
    own_documents = any(entry.per_seed for entry in config.corpora.values())
    own_chats = any(entry.per_seed for entry in config.chats.values())
    redrawn = ["its own world and base model"] if config.base.world else []
    redrawn += ["its own documents"] if own_documents else []
    redrawn += ["its own chats"] if own_chats else []
    return ", ".join([*redrawn, "its own training order"])


def _versions(records: Iterable[Record]) -> dict[str, str]:
    return {name: version for record in records for name, version in record.versions.items()}


def _seconds(records: Mapping[str, Record]) -> dict[str, float]:
    """Seconds by kind of step, summed over steps that may have run side by side."""
    total: dict[str, float] = {}
    for name, record in records.items():
        kind = name.partition("/")[0]
        total[kind] = round(total.get(kind, 0.0) + record.execution.seconds, 3)
    return total
