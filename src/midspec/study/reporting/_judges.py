"""Who judged, how often they err, what scores would be without that, how far they agree, and what judging cost.

Enter: what was taken, calibrations, estimates. Leave: the report's types. A judge is measured where a calibration is of
the same model under the same rubric at the same temperature; any other is not measured, and the note says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from midspec.analysis import correct_for_judge_errors, judge_agreements
from midspec.core.artifact import read_rows
from midspec.core.errors import DataError, MissingError
from midspec.core.records import Agreement, Estimate, JudgeCalibration, Judgement, Record
from midspec.report import CorrectedEstimate, JudgeReliability, JudgingCost, is_share
from midspec.study.reporting._task_runs import TaskResult

_THROUGH_LLM = "midspec-judge/"
_FILE = "calibration.json"


def read_calibrations(places: Iterable[Path]) -> tuple[JudgeCalibration, ...]:
    """What `midspec calibrate` left in files or their folders.

    Raises:
        MissingError: there is no such file.
        DataError: it holds no calibration.
    """
    found = []
    for place in places:
        path = place / _FILE if place.is_dir() else place
        if not path.is_file():
            raise MissingError("there is no calibration", where=str(path), hint="Run midspec calibrate")
        try:
            found.append(JudgeCalibration.model_validate_json(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError("holds no calibration", where=str(path), hint="Run midspec calibrate again") from error
    return tuple(found)


def plain_name(judge: str) -> str:
    """A judge's name without what only says that it is reached through our own provider."""
    return judge.removeprefix(_THROUGH_LLM)


def judged_measures(took: Sequence[TaskResult]) -> tuple[str, ...]:
    """What judges gave directly; what follows from it and the answer together is not among them."""
    for each in took:
        for judgement in read_rows(each.folder / "judgements.jsonl", Judgement):
            return tuple(judgement.values)
    return ()


def judge_reliabilities(
    took: Sequence[TaskResult], measures: Sequence[str], calibrations: Sequence[JudgeCalibration]
) -> tuple[JudgeReliability, ...]:
    """Each judge of an exam, with its calibration for each measure that it gave."""
    settings = took[0].settings
    names = [str(name) for name in settings.get("judges") or ()]
    asked: list[Any] = [*settings.get("judge_settings", ())]
    found = list(zip(names, asked or [None] * len(names), strict=True))
    rubric = str(settings.get("rubric_hash") or "")
    return tuple(
        _judge(plain_name(name), measure, rubric, how, calibrations) for name, how in found for measure in measures
    )


def _judge(
    judge: str, measure: str, rubric: str, how: Any, calibrations: Sequence[JudgeCalibration]
) -> JudgeReliability:
    mine = [one for one in calibrations if one.judge == judge]
    alike = [one for one in mine if (one.measure, one.rubric) == (measure, rubric)]
    told = _temperature(how)
    same = [one for one in alike if one.temperature == told or told is _UNTOLD]
    if same:
        return JudgeReliability(judge=judge, measure=measure, calibration=same[-1])
    if alike:
        note = f"it was calibrated at temperature {alike[-1].temperature} and judged at {told}"
    elif mine:
        note = "it was calibrated for another measure or under another rubric"
    else:
        note = "its error rates are not known: run midspec calibrate and name the result under evals.calibrations"
    return JudgeReliability(judge=judge, measure=measure, calibration=None, note=note)


_UNTOLD = object()


def _temperature(how: Any) -> object:
    """What a log says of the temperature that a judge was asked at."""
    if not isinstance(how, Mapping):
        return _UNTOLD
    for part in ("args", "sampling"):
        block = how.get(part)
        if isinstance(block, Mapping) and "temperature" in block:
            return block["temperature"]
    return _UNTOLD


def corrected_estimates(
    estimates: Iterable[Estimate], judges: Sequence[JudgeReliability], measures: Sequence[str]
) -> tuple[CorrectedEstimate, ...]:
    """Estimates of what judges gave directly, and the same without the judges' errors."""
    found = []
    for one in estimates:
        if one.measure in measures and is_share(one.measure):
            known = [each.calibration for each in judges if each.measure == one.measure]
            found.append(CorrectedEstimate(plain=one, without_errors=correct_for_judge_errors(one, *known)))
    return tuple(found)


def task_agreements(took: Sequence[TaskResult], measures: Sequence[str], level: float) -> tuple[Agreement, ...]:
    """Kappas of several judges over the answers of all arms; none for a score on a scale."""
    wanted = [measure for measure in measures if is_share(measure)]
    if len(took[0].settings.get("judges") or ()) < 2 or not wanted:
        return ()
    said = [
        row.model_copy(
            update={"item": f"{each.arm}/{each.seed}/{row.item}", "judge": plain_name(row.judge), "text": ""}
        )
        for each in took
        for row in read_rows(each.folder / "judgements.jsonl", Judgement)
    ]
    return tuple(found for measure in wanted for found in judge_agreements(said, measure, level=level))


def judging_costs(records: Mapping[str, Record]) -> tuple[JudgingCost, ...]:
    """What all judging of the run has cost, beside what it was forecast to cost."""
    steps = [record.execution.extra for name, record in records.items() if name.startswith("exam/")]
    spent = [float(str(extra["judging_usd"])) for extra in steps if extra.get("judging_usd") is not None]
    if not spent:
        return ()
    asked = [extra.get("judging_forecast_usd") for extra in steps if "judging_usd" in extra]
    known = [float(str(cost)) for cost in asked if cost is not None]
    forecast = sum(known) if len(known) == len(asked) else None
    # Each step says what its store had spent by then, so the largest is the sum.
    return (JudgingCost(label="all judging of this run", forecast_usd=forecast, spent_usd=max(spent)),)
