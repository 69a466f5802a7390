"""How often a judge errs: it is asked about transcripts whose verdicts are known, through the rubric of the evaluation.

In: a judge, a rubric, transcripts with labels. Out: `JudgeCalibration` in `calibration.json`, and every verdict in
`verdicts.jsonl`, so that one can read where it errs. A reply without one readable verdict is in no rate: it is counted
by its reason, as an evaluation would count it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.errors import DataError, MissingError
from midspec.core.fingerprint import fingerprint
from midspec.core.progress import ProgressCallback
from midspec.core.records import ErrorRates, Identity, JudgeCalibration, Share, Strict
from midspec.evals._measures import rubric_hash
from midspec.evals._types import ModelResponse, Question, Rubric, Unscored, Value
from midspec.evals.judges._calibration_set import Transcript
from midspec.evals.judges._grader import Grader, GraderConfig, open_grader
from midspec.generation import Pool
from midspec.llm import Access

CALIBRATION = "calibration.json"
STAGE = "calibration of a judge"
_STEP = "calibrate@1"
_VERDICTS = "verdicts.jsonl"
_PROVIDER = "midspec-judge/"

Unjudgeable = Callable[[Question, ModelResponse], str | None]


class Verdict(Strict):
    """What a judge said of one transcript.

    Attributes:
        id: the transcript's.
        kind: as labelled.
        difficulty: as labelled.
        heldout: as labelled.
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


class _View(NamedTuple):
    """Through what a judge sees transcripts: the rubric, its measure, and what it is not shown."""

    rubric: Rubric
    measure: str
    unjudgeable: Unjudgeable


def calibration_identity(
    config: GraderConfig, rubric: Rubric, rows: Sequence[Transcript], *, measure: str | None = None
) -> Identity:
    """What identifies a calibration, for `artifact.build`: judge, rubric and transcripts, and not the server."""
    inputs = {"rows": _digest(rows), "rubric": rubric_hash(rubric)}
    return Identity(
        step=_STEP, inputs=inputs, config={**config.model_dump(mode="json"), "measure": _of(rubric, measure)}
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
        store: the file of kept replies.
        measure: the rubric's measure that answers for the label, 1 for harmful; its first by default.
        unjudgeable: why an evaluation would not show an answer to a judge, or `None`; all are shown by default.
        on_progress: is told (done, of how many, what) after each.

    Raises:
        ConfigError: the judge can't be asked at all, or the budget is used up before the end.
        DataError: no transcripts, two of one id, or a rubric whose measure is not 0 or 1.
    """

    async def run() -> tuple[JudgeCalibration, list[Verdict], float]:
        async with open_grader(config, access, store, stage=STAGE) as (grader, opened):
            found, verdicts = await calibrate(
                grader,
                rubric,
                rows,
                measure=measure,
                unjudgeable=unjudgeable,
                width=access.concurrency,
                on_progress=on_progress,
            )
            return found, verdicts, opened.spent_usd()

    found, verdicts, spent_usd = asyncio.run(run())
    write_json(folder / CALIBRATION, found)
    write_rows(folder / _VERDICTS, verdicts)
    return Built(
        outputs=(CALIBRATION, _VERDICTS),
        summary={
            "judge": found.judge,
            "n_transcripts": len(rows),
            "n_asked": found.overall.n,
            "n_unread": sum(found.overall.unread.values()),
            "false_positive_rate": found.overall.false_positive.rate,
            "false_negative_rate": found.overall.false_negative.rate,
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
) -> tuple[JudgeCalibration, list[Verdict]]:
    """Ask an open judge about every transcript; see `calibrate_judge`. The verdicts are in the order of `rows`.

    Raises:
        DataError: no transcripts, two of one id, or a rubric whose measure is not 0 or 1.
        MidspecError: nothing more can be asked of the judge; what was answered is in the store.
    """
    if not rows:
        raise DataError("there are none to measure the judge on", where="transcripts", hint="Give some with labels")
    if len({row.id for row in rows}) < len(rows):
        raise DataError("two have the same id", where="transcripts", hint="Give each its own")
    view = _View(rubric, _of(rubric, measure), unjudgeable or (lambda _question, _said: None))
    found: dict[str, Verdict] = {}
    pool = Pool(width)

    def work(row: Transcript) -> Callable[[], Awaitable[None]]:
        async def one() -> None:
            found[row.id] = await _verdict(grader, view, row)
            if on_progress is not None:
                on_progress(len(found), len(rows), f"judged {row.id}")

        return one

    for row in rows:
        pool.add(work(row))
    await pool.run()
    verdicts = [found[row.id] for row in rows]
    return _stated(grader.config, view, rows, verdicts), verdicts


def load_calibration(path: Path) -> JudgeCalibration:
    """A calibration that was written: its folder or its file.

    Raises:
        MissingError: there is none.
        DataError: it is no calibration.
    """
    file = path / CALIBRATION if path.is_dir() else path
    try:
        return JudgeCalibration.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise MissingError("there is no calibration", where=str(file), hint="Run `midspec calibrate`") from error
    except ValidationError as error:
        raise DataError(
            "is no calibration of a judge", where=str(file), hint="Run `midspec calibrate` again"
        ) from error


def calibration_of(judge: str, rubric: str, known: Iterable[JudgeCalibration]) -> JudgeCalibration | None:
    """The calibration that speaks for a judge under a rubric, or `None`: not measured.

    Args:
        judge: as a log has it, with or without our provider before it.
        rubric: the rubric's hash.
        known: calibrations that there are; the last that fits is taken.
    """
    name = judge.removeprefix(_PROVIDER)
    fitting = [one for one in known if one.judge == name and one.rubric == rubric]
    return fitting[-1] if fitting else None


async def _verdict(grader: Grader, view: _View, row: Transcript) -> Verdict:
    """What the judge says of one transcript."""
    plain = {"id": row.id, "kind": row.kind, "difficulty": row.difficulty, "heldout": row.heldout}
    harmful = row.labels.verdict == "yes"
    why = view.unjudgeable(row.question, row.said)
    if why is not None:
        return Verdict(**plain, harmful=harmful, said=None, unread=why, asked=False, reply="")
    reply = await grader.ask(view.rubric.render(row.question, row.said))
    if reply.error:
        read: Value = _without_its_words(reply.error)
    else:
        graded = reply.graded(grader.config.model, rubric_hash(view.rubric))
        read = view.rubric.read(graded)[view.measure]
    said = read if isinstance(read, Unscored) else _yes(read, view.measure)
    return Verdict(
        **plain,
        harmful=harmful,
        said=None if isinstance(said, Unscored) else said,
        unread=said.reason if isinstance(said, Unscored) else None,
        asked=True,
        reply=reply.text,
    )


def _without_its_words(error: str) -> Unscored:
    """The reason without the server's own words, which differ from one request to the next."""
    return Unscored(f"the judge gave no reply ({error.partition(':')[0]})")


def _yes(value: Value, measure: str) -> bool:
    if value not in (0, 1):
        raise DataError(f"is {value}, neither 0 nor 1", where=measure, hint="Calibrate a measure that says yes or no")
    return value == 1


def _of(rubric: Rubric, measure: str | None) -> str:
    chosen = measure or rubric.measures[0]
    if chosen not in rubric.measures:
        raise DataError(f"{chosen} is none of {', '.join(rubric.measures)}", where=rubric.name, hint="Name one of them")
    return chosen


def _digest(rows: Sequence[Transcript]) -> str:
    return fingerprint([row.model_dump(mode="json") for row in rows])


def _stated(
    config: GraderConfig, view: _View, rows: Sequence[Transcript], verdicts: Sequence[Verdict]
) -> JudgeCalibration:
    return JudgeCalibration(
        judge=config.model,
        temperature=config.temperature,
        rubric=rubric_hash(view.rubric),
        measure=view.measure,
        rows=_digest(rows),
        overall=_rates(verdicts),
        seen=_rates(each for each in verdicts if not each.heldout),
        heldout=_rates(each for each in verdicts if each.heldout),
        by_difficulty=_split(verdicts, lambda each: each.difficulty),
        by_kind=_split(verdicts, lambda each: each.kind),
        not_asked=_counted(each.unread for each in verdicts if not each.asked),
    )


def _split(verdicts: Sequence[Verdict], key: Callable[[Verdict], str]) -> dict[str, ErrorRates]:
    return {
        name: _rates(each for each in verdicts if key(each) == name)
        for name in dict.fromkeys(key(each) for each in verdicts)
    }


def _rates(verdicts: Iterable[Verdict]) -> ErrorRates:
    asked = [each for each in verdicts if each.asked]
    harmless = [each.said for each in asked if not each.harmful and each.said is not None]
    harmful = [each.said for each in asked if each.harmful and each.said is not None]
    return ErrorRates(
        n=len(asked),
        false_positive=Share.counted(sum(harmless), len(harmless)),
        false_negative=Share.counted(len(harmful) - sum(harmful), len(harmful)),
        unread=_counted(each.unread for each in asked if each.said is None),
    )


def _counted(reasons: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(reason or "" for reason in reasons).items()))
