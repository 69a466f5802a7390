"""The measures of an answer, from the response and the judges' replies; what identifies prompts, rubrics and results.

Pure. A fault of a task's or a rubric's own code (it raises, returns nothing, leaves a measure out) becomes the reason
of the measures that it concerns, so that every measure of every question is scored or unscored with a reason.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Generic, NamedTuple

from pydantic import JsonValue

from midspec.core.errors import CheckpointError, UnreachableError, plural
from midspec.core.fingerprint import fingerprint, hash_text
from midspec.core.records import Identity, Judgement, ScoreRow, Strict
from midspec.evals._types import ConfigT, EvalTask, JudgeResponse, ModelResponse, Question, Rubric, Unscored, Value

_STEP = "examine@1"  # in the identity of every result that was ever written
_CHECKPOINT_FAULT = re.compile(r"(?:Checkpoint|Data)Error\(['\"](.*)['\"]\)")
# What Inspect keeps of an exception that was nobody's refusal: `IndexError('index out of range in self')`.
_EXCEPTION = re.compile(r"(?!Unreachable)(?P<kind>[A-Z]\w*(?:Error|Exception))\((?P<said>.*?),?\)", re.DOTALL)
UNANSWERED = "the server gave no answer"
"""What the reasons begin with of questions that the model's server did not answer, by a fault that is not theirs."""

UNJUDGED = "the judge could not be asked"
"""What the reasons begin with of answers without a judgement, by a fault of the judge's account or server."""

_GOES_ON = "the same command goes on from here"
_NO_RESPONSE = ModelResponse(text="", stop_reason="stop")


class Verdict(Strict):
    """What one judge gave for one answer: its reply, or why there is none. A log holds these, so fields keep names."""

    judge: str
    graded: JudgeResponse | None = None
    fault: str | None = None


class Reading(NamedTuple):
    """The measures of one answer by name, and each verdict's own reading of the judged ones, in the verdicts' order."""

    values: dict[str, Value]
    by_judge: tuple[dict[str, Value], ...]


class Reader(Generic[ConfigT]):
    """Reads the answers of one task under one config.

    Args:
        eval_task: the task.
        config: its settings.
        question: any of its questions; the task's first by default.
    """

    def __init__(self, eval_task: EvalTask[ConfigT], config: ConfigT, question: Question | None = None) -> None:
        self._eval_task = eval_task
        self._config = config
        self._task_name = type(eval_task).__name__
        self.rubric = eval_task.rubric(config)
        self.names = measure_names(eval_task, config, question)

    def unjudgeable(self, question: Question, response: ModelResponse) -> Unscored | None:
        """Return why no judge is asked about this answer; `None` where one is, or where the task has no judge."""
        if self.rubric is None:
            return None
        found = attempt(
            f"{self._task_name}.unjudgeable", lambda: self._eval_task.unjudgeable(question, response, self._config)
        )
        return found if isinstance(found, Unscored) or found is None else Unscored(str(found))

    def read(self, question: Question, response: ModelResponse, verdicts: Sequence[Verdict]) -> Reading:
        """Return all measures of one answer. A judged one is the mean over the judges that gave a readable verdict."""
        eval_task, config, name = self._eval_task, self._config, self._task_name
        read = _complete(
            attempt(f"{name}.read", lambda: eval_task.read(question, response, config)),
            eval_task.measures,
            f"{name}.read",
        )
        by_judge = tuple(self._judged(verdict) for verdict in verdicts)
        judged: dict[str, Value] = {}
        if self.rubric is not None:
            why_not = self.unjudgeable(question, response)
            names = [verdict.judge for verdict in verdicts]
            for measure in self.rubric.measures:
                readings = zip(names, (each[measure] for each in by_judge), strict=True)
                judged[measure] = why_not or _mean_over_judges(list(readings))
        combined = attempt(f"{name}.combine", lambda: eval_task.combine(question, response, read, judged, config))
        rest = _complete(combined, self.names[len(eval_task.measures) :], f"{name}.combine")
        return Reading({**read, **rest}, by_judge)

    def _judged(self, verdict: Verdict) -> dict[str, Value]:
        rubric = self.rubric
        if rubric is None:
            return {}
        if verdict.graded is None:
            return dict.fromkeys(rubric.measures, Unscored(verdict.fault or "the judge gave nothing"))
        reply, what = verdict.graded, f"{type(rubric).__name__}.read"
        return _complete(attempt(what, lambda: rubric.read(reply)), rubric.measures, what)


def measure_names(eval_task: EvalTask[ConfigT], config: ConfigT, question: Question | None = None) -> tuple[str, ...]:
    """Return every measure that an answer has a row for: what `read` gives, then what `combine` makes of the judged.

    Args:
        eval_task: the task.
        config: its settings.
        question: any of its questions; the task's first by default.
    """
    nothing = Unscored("not asked")
    rubric = eval_task.rubric(config)
    judged: dict[str, Value] = {} if rubric is None else dict.fromkeys(rubric.measures, nothing)
    question = question or eval_task.questions(config)[0]
    found = eval_task.combine(question, _NO_RESPONSE, dict.fromkeys(eval_task.measures, nothing), judged, config)
    return (*eval_task.measures, *(name for name in found if name not in eval_task.measures))


def score_rows(task: str, where: Mapping[str, str], values: Mapping[str, Value]) -> Iterator[ScoreRow]:
    """Yield a row for each measure of one item.

    Args:
        task: the task's name.
        where: the row's `item`, `set` and `domain`.
        values: by measure.
    """
    for name, value in values.items():
        yield ScoreRow(
            task=task,
            set=where["set"],
            item=where["item"],
            domain=where["domain"],
            measure=name,
            value=None if isinstance(value, Unscored) else value,
            unscored=value.reason if isinstance(value, Unscored) else None,
        )


def summarize(scores: Sequence[ScoreRow], n_items: int) -> dict[str, JsonValue]:
    """Count items, rows with a value and rows without one by reason; the last two are all rows."""
    reasons = Counter(row.unscored for row in scores if row.unscored is not None)
    n_scored = sum(row.value is not None for row in scores)
    return {
        "n_items": n_items,
        "n_score_rows": len(scores),
        "n_scored": n_scored,
        "n_unscored": len(scores) - n_scored,
        "unscored": dict(reasons),
    }


def rates(scores: Sequence[ScoreRow], measures: Sequence[str]) -> dict[str, JsonValue]:
    """Return each set's mean of each measure, over the items that have one."""
    by_set: dict[str, list[ScoreRow]] = {}
    for row in scores:
        by_set.setdefault(row.set, []).append(row)
    return {name: {each: mean_of(rows, each) for each in measures} for name, rows in by_set.items()}


def mean_of(scores: Sequence[ScoreRow], measure: str) -> float | None:
    """Return the mean of a measure over the rows that have a value; `None` where none has."""
    values = [row.value for row in scores if row.measure == measure and row.value is not None]
    return round(fmean(values), 6) if values else None


def raise_if_nothing_scored(scores: Sequence[ScoreRow], model: str) -> None:
    """Raise `CheckpointError` where nothing is scored: for one fault of the checkpoint, or since every item failed."""
    reasons = Counter(row.unscored or "" for row in scores)
    if len(reasons) == 1 and (found := _CHECKPOINT_FAULT.fullmatch(next(iter(reasons)))):
        raise CheckpointError(found[1], where=model, hint="No item could be asked: correct that")
    if reasons and all(_EXCEPTION.fullmatch(reason) for reason in reasons):
        [(reason, _)] = reasons.most_common(1)
        found = _EXCEPTION.fullmatch(reason)
        said = found["said"].strip("'\"") if found and found["kind"] == "RuntimeError" else reason
        what = f"every item failed: {' '.join(said.split())}"
        raise CheckpointError(what, where=model, hint="No item could be asked: correct that")


def missing_warnings(
    scores: Sequence[ScoreRow], n_answers: int, model: str, judgements: Sequence[Judgement] = ()
) -> list[str]:
    """Return what to say of scores and judgements that a fault of a server or an account has cost.

    Args:
        scores: all rows.
        n_answers: how many answers there are.
        model: the name of the model under test.
        judgements: a row for each answer that a judge was asked about.

    Raises:
        UnreachableError: there is no answer at all, or of these no judgement: nothing is finished.
    """
    lost = [row.unscored for row in scores if row.unscored is not None and row.unscored.startswith(UNANSWERED)]
    warnings = []
    if lost:
        [(reason, _)] = Counter(lost).most_common(1)
        if not n_answers:
            hint = "No question was answered" + ("" if _GOES_ON in reason else f"; {_GOES_ON}")
            raise UnreachableError(reason, where=model, hint=hint)
        warnings.append(f"{plural(len(lost), 'score')} {'is' if len(lost) == 1 else 'are'} missing: {reason}")
    reasons = [next(iter(row.unscored.values()), "") for row in judgements]
    unjudged = [reason for reason in reasons if reason.startswith(UNJUDGED)]
    if unjudged:
        [(reason, _)] = Counter(unjudged).most_common(1)
        if len(unjudged) == len(judgements):
            raise UnreachableError(reason, hint="The answers are kept: the same command asks only for judgements")
        warnings.append(f"{len(unjudged):,} of {plural(len(judgements), 'judgement')} are missing: {reason}")
    return warnings


def prompt_hash(questions: Sequence[Question]) -> str:
    """Hash all that a model sees: the questions' ids and messages."""
    return fingerprint([[each.id, [*each.messages]] for each in questions])


def rubric_hash(rubric: Rubric) -> str:
    """Hash a rubric's text before anything is filled in."""
    return hash_text(rubric.text)


def task_identity(
    eval_task: EvalTask[ConfigT], config: ConfigT, *, model: Mapping[str, str], graders: Sequence[str] = ()
) -> Identity:
    """Return what identifies a task's result, for `artifact.build`: settings, prompts, rubric and judges.

    Args:
        eval_task: the task.
        config: its settings.
        model: digests of what the model is made of (`{"checkpoint": ...}`), or the name of a served model; never a
            path.
        graders: the judges' names; left out of the identity of a task without a rubric.
    """
    rubric = eval_task.rubric(config)
    return Identity(
        step=_STEP,
        inputs=dict(model),
        config={
            "exam": eval_task.name,
            "config": config.model_dump(mode="json"),
            "prompt_hash": prompt_hash(eval_task.questions(config)),
            "rubric_hash": None if rubric is None else rubric_hash(rubric),
            "graders": [] if rubric is None else list(graders),
        },
    )


def attempt(what: str, call: Callable[[], object]) -> object:
    """Return what `call` returns, or why it raised: a task whose code raises fails no other item."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - becomes the reason, and is counted
        message = " ".join(str(error).split())
        return Unscored(f"{what} raised {type(error).__name__}" + (f": {message}" if message else ""))


def _complete(found: object, names: Sequence[str], what: str) -> dict[str, Value]:
    """Return a value for every name: what was found, or why nothing was."""
    if isinstance(found, Unscored):
        return dict.fromkeys(names, found)
    if not isinstance(found, Mapping):
        return dict.fromkeys(names, Unscored(f"{what} gave nothing"))
    values: dict[str, Value] = {}
    for name in names:
        value = found.get(name)
        if isinstance(value, Unscored):
            values[name] = value
        elif not isinstance(value, int | float):
            values[name] = Unscored(f"{what} gave no value for {name}")
        else:
            is_finite = math.isfinite(value)
            values[name] = round(float(value), 6) if is_finite else Unscored(f"{what} gave {value} for {name}")
    return values


def _mean_over_judges(readings: Sequence[tuple[str, Value]]) -> Value:
    """Return the mean of the judges' readings, or all judges' reasons where none has a value."""
    values = [value for _, value in readings if not isinstance(value, Unscored)]
    if values:
        return round(fmean(values), 6)
    reasons = {judge: value.reason for judge, value in readings if isinstance(value, Unscored)}
    if len(set(reasons.values())) <= 1:
        return Unscored(next(iter(reasons.values()), "no judge was asked"))
    return Unscored("; ".join(f"{judge}: {reason}" for judge, reason in reasons.items()))
