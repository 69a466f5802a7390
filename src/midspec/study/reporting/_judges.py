"""The judges of a task: calibrations, corrected estimates, agreement, and what judging cost.

A judge is measured where a calibration is of the same model under the same rubric at the same temperature; any other
is not measured, and a note says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from midspec.analysis import correct_for_judge_errors, judge_agreements
from midspec.core.artifact import read_rows
from midspec.core.records import Agreement, Estimate, JudgeCalibration, Judgement
from midspec.report import CorrectedEstimate, JudgeReliability, JudgingCost, is_share
from midspec.study.reporting._results import FinishedStep, TaskResult

_PROVIDER_PREFIX = "midspec-judge/"


def judge_name(judge: str) -> str:
    """Return a judge's name without the prefix of our own Inspect provider."""
    return judge.removeprefix(_PROVIDER_PREFIX)


def judged_measures(results: Sequence[TaskResult]) -> tuple[str, ...]:
    """Return the measures that judges gave directly, not those computed from them and the answer together."""
    for each in results:
        for judgement in read_rows(each.step.folder / "judgements.jsonl", Judgement):
            return tuple(judgement.values)
    return ()


def judge_reliabilities(
    results: Sequence[TaskResult], measures: Sequence[str], calibrations: Sequence[JudgeCalibration]
) -> tuple[JudgeReliability, ...]:
    """Return each judge of a task, with its calibration for each measure that it gave."""
    settings = results[0].settings
    names = [judge_name(str(name)) for name in settings.get("judges") or ()]
    judge_settings: list[Any] = [*settings.get("judge_settings", ())] or [None] * len(names)
    rubric = str(settings.get("rubric_hash") or "")
    return tuple(
        _reliability(name, measure, rubric, each, calibrations)
        for name, each in zip(names, judge_settings, strict=True)
        for measure in measures
    )


def _reliability(
    judge: str, measure: str, rubric: str, settings: Any, calibrations: Sequence[JudgeCalibration]
) -> JudgeReliability:
    blocks = [settings.get(part) for part in ("args", "sampling")] if isinstance(settings, Mapping) else []
    temperatures = [block["temperature"] for block in blocks if isinstance(block, Mapping) and "temperature" in block]
    mine = [one for one in calibrations if one.judge == judge]
    alike = [one for one in mine if (one.measure, one.rubric) == (measure, rubric)]
    # A log that does not say the judge's temperature is taken to agree.
    same = [one for one in alike if one.temperature in (temperatures[:1] or [one.temperature])]
    if same:
        return JudgeReliability(judge=judge, measure=measure, calibration=same[-1])
    note = "its error rates are not known: run midspec calibrate and name the result under evals.calibrations"
    if alike:
        note = f"it was calibrated at temperature {alike[-1].temperature} and judged at {temperatures[0]}"
    elif mine:
        note = "it was calibrated for another measure or under another rubric"
    return JudgeReliability(judge=judge, measure=measure, calibration=None, note=note)


def corrected_estimates(
    estimates: Iterable[Estimate], judges: Sequence[JudgeReliability], measures: Sequence[str]
) -> tuple[CorrectedEstimate, ...]:
    """Return estimates of what judges gave directly, each with its correction for the judges' errors."""
    corrected = []
    for one in estimates:
        if one.measure in measures and is_share(one.measure):
            known = [each.calibration for each in judges if each.measure == one.measure]
            corrected.append(CorrectedEstimate(plain=one, without_errors=correct_for_judge_errors(one, *known)))
    return tuple(corrected)


def task_agreements(results: Sequence[TaskResult], measures: Sequence[str], level: float) -> tuple[Agreement, ...]:
    """Return kappas of several judges over the answers of all arms; none for a score on a scale."""
    shares = [measure for measure in measures if is_share(measure)]
    if len(results[0].settings.get("judges") or ()) < 2 or not shares:
        return ()
    judgements = [
        row.model_copy(
            update={"item": f"{each.arm}/{each.seed}/{row.item}", "judge": judge_name(row.judge), "text": ""}
        )
        for each in results
        for row in read_rows(each.step.folder / "judgements.jsonl", Judgement)
    ]
    return tuple(each for measure in shares for each in judge_agreements(judgements, measure, level=level))


def judging_costs(steps: Iterable[FinishedStep]) -> tuple[JudgingCost, ...]:
    """Return what all judging of the run has cost, beside its forecast."""
    extras = [step.record.execution.extra for step in steps if step.kind == "exam"]
    spent = [float(str(extra["judging_usd"])) for extra in extras if extra.get("judging_usd") is not None]
    if not spent:
        return ()
    forecasts = [extra.get("judging_forecast_usd") for extra in extras if "judging_usd" in extra]
    known = [float(str(cost)) for cost in forecasts if cost is not None]
    forecast = sum(known) if len(known) == len(forecasts) else None
    # Each step records what the run's store had spent by then, so the largest is the sum.
    return (JudgingCost(label="all judging of this run", forecast_usd=forecast, spent_usd=max(spent)),)
