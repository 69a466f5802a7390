"""How often a judge errs: ask it about transcripts with known labels, through the rubric of the evaluation.

Writes `JudgeCalibration` into `calibration.json`, and every verdict into `verdicts.jsonl`, so that one can read where
it errs. A reply without one readable verdict is in no rate: it is counted by its reason, as an evaluation counts it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import ValidationError

from midspec.core.artifact import Built, ProgressCallback, write_json, write_rows
from midspec.core.errors import DataError, MissingError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import ErrorRates, Identity, JudgeCalibration, Share, Strict
from midspec.core.text import estimate_tokens
from midspec.evals._measures import rubric_hash
from midspec.evals._types import ModelResponse, Question, Rubric, Unscored, Value
from midspec.evals.judges._calibration_set import Transcript
from midspec.evals.judges._grader import Grader, GraderConfig, open_grader
from midspec.generation import estimate_stage, gather
from midspec.llm import Access, StageEstimate

CALIBRATION = "calibration.json"
STAGE = "calibration of a judge"
_VERDICT_TOKENS = 150  # of a reply, its reasoning included
_STEP = "calibrate@1"
_VERDICTS = "verdicts.jsonl"

Unjudgeable = Callable[[Question, ModelResponse], str | None]


class LabelledVerdict(Strict):
    """A judge's verdict on one transcript, beside its label; a row of `verdicts.jsonl`.

    Attributes:
        id: the transcript's, as are `kind`, `difficulty` and `heldout`.
        harmful: the label.
        said: what the judge said, true for harmful; `None` without a verdict.
        unread: why there is no verdict.
        asked: false where an evaluation would not have shown the transcript to a judge.
        reply: the judge's reply, word for word.
    """

    id: str
    kind: str
    difficulty: str
    heldout: bool
    harmful: bool
    said: bool | None
    unread: str | None
    asked: bool
    reply: str


class _Setup(NamedTuple):
    """What a judge is asked: the rubric, the measure that answers for the label, and what it is not shown."""

    rubric: Rubric
    measure: str
    unjudgeable: Unjudgeable


def calibration_identity(
    config: GraderConfig, rubric: Rubric, rows: Sequence[Transcript], *, measure: str | None = None
) -> Identity:
    """Return what identifies a calibration, for `artifact.build`: judge, rubric and transcripts, and not the server."""
    inputs = {"rows": _digest(rows), "rubric": rubric_hash(rubric)}
    return Identity(
        step=_STEP, inputs=inputs, config={**config.model_dump(mode="json"), "measure": _chosen(rubric, measure)}
    )


def calibrate_judge(
    config: GraderConfig,
    rubric: Rubric,
    rows: Sequence[Transcript],
    folder: Path,
    *,
    access: Access,
    store: Path,
    measure: str | None = None,
    unjudgeable: Unjudgeable | None = None,
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Calibrate a judge in an event loop of its own, and write `calibration.json` and `verdicts.jsonl` into `folder`.

    A run that was stopped goes on from the store: nothing that is answered is asked again.

    Args:
        config: which judge.
        rubric: what it is asked; its hash is part of what is measured.
        rows: transcripts with labels.
        folder: where the results go; it must exist.
        access: how the judge is reached, and what it may cost.
        store: the file of stored replies.
        measure: the rubric's measure that answers for the label, 1 for harmful; its first by default.
        unjudgeable: why an evaluation would not show an answer to a judge, or `None`; all are shown by default.
        on_progress: called after each transcript.

    Raises:
        ConfigError: the judge can't be asked at all, or the budget is used up before the end.
        DataError: no transcripts, two of one id, or a rubric whose measure is not 0 or 1.
    """

    async def run() -> tuple[JudgeCalibration, list[LabelledVerdict], float]:
        async with open_grader(config, access, store, stage=STAGE) as (grader, opened):
            calibration, verdicts = await calibrate(
                grader,
                rubric,
                rows,
                measure=measure,
                unjudgeable=unjudgeable,
                width=access.concurrency,
                on_progress=on_progress,
            )
            return calibration, verdicts, opened.spent_usd()

    calibration, verdicts, spent_usd = asyncio.run(run())
    write_json(folder / CALIBRATION, calibration)
    write_rows(folder / _VERDICTS, verdicts)
    return Built(
        outputs=(CALIBRATION, _VERDICTS),
        summary={
            "judge": calibration.judge,
            "n_transcripts": len(rows),
            "n_asked": calibration.overall.n,
            "n_unread": sum(calibration.overall.unread.values()),
            "false_positive_rate": calibration.overall.false_positive.rate,
            "false_negative_rate": calibration.overall.false_negative.rate,
        },
        execution={"store_spent_usd": spent_usd},
    )


async def calibrate(
    grader: Grader,
    rubric: Rubric,
    rows: Sequence[Transcript],
    *,
    measure: str | None = None,
    unjudgeable: Unjudgeable | None = None,
    width: int = 50,
    on_progress: ProgressCallback | None = None,
) -> tuple[JudgeCalibration, list[LabelledVerdict]]:
    """Ask an open judge about every transcript; see `calibrate_judge`. The verdicts are in the order of `rows`.

    Raises:
        DataError: no transcripts, two of one id, or a rubric whose measure is not 0 or 1.
        MidspecError: nothing more can be asked of the judge; what was answered is in the store.
    """
    if not rows:
        raise DataError("there are none to measure the judge on", where="transcripts", hint="Give some with labels")
    if len({row.id for row in rows}) < len(rows):
        raise DataError("two have the same id", where="transcripts", hint="Give each its own")
    setup = _Setup(rubric, _chosen(rubric, measure), unjudgeable or (lambda _question, _response: None))

    def on_done(n_done: int, n_total: int) -> None:
        if on_progress is not None:
            on_progress(n_done, n_total, "transcripts judged")

    verdicts = await gather(lambda row: _verdict(grader, setup, row), rows, width, on_done=on_done)
    n_unasked = Counter(each.unread or "" for each in verdicts if not each.asked)
    return JudgeCalibration(
        judge=grader.config.model,
        temperature=grader.config.temperature,
        rubric=rubric_hash(rubric),
        measure=setup.measure,
        rows=_digest(rows),
        overall=_error_rates(verdicts),
        seen=_error_rates(each for each in verdicts if not each.heldout),
        heldout=_error_rates(each for each in verdicts if each.heldout),
        by_difficulty=_error_rates_by(verdicts, lambda each: each.difficulty),
        by_kind=_error_rates_by(verdicts, lambda each: each.kind),
        not_asked=dict(sorted(n_unasked.items())),
    ), verdicts


def estimate_calibration(rubric: Rubric, rows: Sequence[Transcript]) -> StageEstimate:
    """Estimate what one judge is asked when it is calibrated, if every transcript is shown to it.

    Args:
        rubric: what it is asked.
        rows: the transcripts, at least one.
    """
    prompt_tokens = fmean(estimate_tokens(rubric.render(row.question, row.said)) for row in rows)
    return estimate_stage(STAGE, len(rows), _VERDICT_TOKENS, prompt=prompt_tokens)


def load_calibration(path: Path) -> JudgeCalibration:
    """Read a calibration from its folder or its file.

    Raises:
        MissingError: there is none.
        DataError: it is no calibration.
    """
    file = path / CALIBRATION if path.is_dir() else path
    if not file.is_file():
        raise MissingError("there is no calibration", where=str(file), hint="Run `midspec calibrate`")
    try:
        return JudgeCalibration.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DataError(
            "is no calibration of a judge", where=str(file), hint="Run `midspec calibrate` again"
        ) from error


async def _verdict(grader: Grader, setup: _Setup, row: Transcript) -> LabelledVerdict:
    """Ask the judge about one transcript."""
    label = {"id": row.id, "kind": row.kind, "difficulty": row.difficulty, "heldout": row.heldout}
    harmful = row.labels.verdict == "yes"
    why_not = setup.unjudgeable(row.question, row.said)
    if why_not is not None:
        return LabelledVerdict(**label, harmful=harmful, said=None, unread=why_not, asked=False, reply="")
    reply = await grader.ask(setup.rubric.render(row.question, row.said))
    if reply.error:
        # Without the server's own words, which differ from one request to the next.
        value: Value = Unscored(f"the judge gave no reply ({reply.error.partition(':')[0]})")
    else:
        value = setup.rubric.read(reply.graded(grader.config.model, rubric_hash(setup.rubric)))[setup.measure]
    if not isinstance(value, Unscored) and value not in (0, 1):
        hint = "Calibrate a measure that says yes or no"
        raise DataError(f"is {value}, neither 0 nor 1", where=setup.measure, hint=hint)
    return LabelledVerdict(
        **label,
        harmful=harmful,
        said=None if isinstance(value, Unscored) else value == 1,
        unread=value.reason if isinstance(value, Unscored) else None,
        asked=True,
        reply=reply.text,
    )


def _chosen(rubric: Rubric, measure: str | None) -> str:
    chosen = measure or rubric.measures[0]
    if chosen not in rubric.measures:
        raise DataError(f"{chosen} is none of {', '.join(rubric.measures)}", where=rubric.name, hint="Name one of them")
    return chosen


def _digest(rows: Sequence[Transcript]) -> str:
    return fingerprint([row.model_dump(mode="json") for row in rows])


def _error_rates_by(
    verdicts: Sequence[LabelledVerdict], key: Callable[[LabelledVerdict], str]
) -> dict[str, ErrorRates]:
    groups: dict[str, list[LabelledVerdict]] = {}
    for each in verdicts:
        groups.setdefault(key(each), []).append(each)
    return {name: _error_rates(group) for name, group in groups.items()}


def _error_rates(verdicts: Iterable[LabelledVerdict]) -> ErrorRates:
    asked = [each for each in verdicts if each.asked]
    harmless = [each.said for each in asked if not each.harmful and each.said is not None]
    harmful = [each.said for each in asked if each.harmful and each.said is not None]
    unread = Counter(each.unread or "" for each in asked if each.said is None)
    return ErrorRates(
        n=len(asked),
        false_positive=Share.counted(sum(harmless), len(harmless)),
        false_negative=Share.counted(len(harmful) - sum(harmful), len(harmful)),
        unread=dict(sorted(unread.items())),
    )
