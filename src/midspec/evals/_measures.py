"""From what was said, and what judges replied, to the measures of an exam: pure, and never the end of anything.

An exam's or a rubric's own fault (it raises, gives nothing, leaves a measure out) is the reason of the measures that it
concerns, so that what was asked is always what is scored plus what is unscored with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Generic, NamedTuple

from midspec.core.fingerprint import fingerprint, hash_text
from midspec.core.records import Strict
from midspec.evals._types import ConfigT, EvalTask, JudgeResponse, ModelResponse, Question, Rubric, Unscored, Value

_NOBODY = ModelResponse(text="", stop_reason="stop")


class Verdict(Strict):
    """What one judge gave for one answer: its reply, or why there is none."""

    judge: str
    graded: JudgeResponse | None = None
    fault: str | None = None


class Reading(NamedTuple):
    """The measures of one answer by name, and each verdict's own reading of the judged ones, in the verdicts' order."""

    values: dict[str, Value]
    by_judge: tuple[dict[str, Value], ...]


class Reader(Generic[ConfigT]):
    """Reads the answers of one exam under one config.

    Args:
        eval_task: whose answers.
        config: how they were asked for.
        question: any of its questions; the exam's first by default.
    """

    def __init__(self, eval_task: EvalTask[ConfigT], config: ConfigT, question: Question | None = None) -> None:
        self._eval_task = eval_task
        self._config = config
        self._who = type(eval_task).__name__
        self.rubric = eval_task.rubric(config)
        self.names = measure_names(eval_task, config, question)

    def unjudgeable(self, question: Question, said: ModelResponse) -> Unscored | None:
        """Why this answer is shown to no judge; `None` where it is, or where the exam has no judge."""
        if self.rubric is None:
            return None
        found = attempt(f"{self._who}.unjudgeable", lambda: self._eval_task.unjudgeable(question, said, self._config))
        return found if isinstance(found, Unscored) or found is None else Unscored(str(found))

    def read(self, question: Question, said: ModelResponse, verdicts: Sequence[Verdict]) -> Reading:
        """All measures of one answer."""
        eval_task, config = self._eval_task, self._config
        read = _complete(
            attempt(f"{self._who}.read", lambda: eval_task.read(question, said, config)),
            eval_task.measures,
            f"{self._who}.read",
        )
        by_judge = tuple(self._judged(verdict) for verdict in verdicts)
        judged = self._over_judges(self.unjudgeable(question, said), verdicts, by_judge)
        found = attempt(f"{self._who}.together", lambda: eval_task.together(question, said, read, judged, config))
        together = _complete(found, self.names[len(eval_task.measures) :], f"{self._who}.together")
        return Reading({**read, **together}, by_judge)

    def _judged(self, verdict: Verdict) -> dict[str, Value]:
        rubric = self.rubric
        if rubric is None:
            return {}
        if verdict.graded is None:
            return dict.fromkeys(rubric.measures, Unscored(verdict.fault or "the judge gave nothing"))
        graded, who = verdict.graded, f"{type(rubric).__name__}.read"
        return _complete(attempt(who, lambda: rubric.read(graded)), rubric.measures, who)

    def _over_judges(
        self, why_not: Unscored | None, verdicts: Sequence[Verdict], by_judge: Sequence[Mapping[str, Value]]
    ) -> dict[str, Value]:
        """The mean over the judges that gave a reading; the reasons of all of them where none did."""
        names = () if self.rubric is None else self.rubric.measures
        judges = [verdict.judge for verdict in verdicts]
        if why_not is not None:
            return dict.fromkeys(names, why_not)
        return {
            name: _mean([(judge, each[name]) for judge, each in zip(judges, by_judge, strict=True)]) for name in names
        }


def measure_names(eval_task: EvalTask[ConfigT], config: ConfigT, question: Question | None = None) -> tuple[str, ...]:
    """Every measure that an answer has a row for: what `read` gives, then what `together` makes of the judged ones.

    Args:
        eval_task: whose measures.
        config: how it is asked.
        question: any of its questions; the exam's first by default.
    """
    nothing = Unscored("not asked")
    rubric = eval_task.rubric(config)
    judged: dict[str, Value] = {} if rubric is None else dict.fromkeys(rubric.measures, nothing)
    question = question or eval_task.questions(config)[0]
    found = eval_task.together(question, _NOBODY, dict.fromkeys(eval_task.measures, nothing), judged, config)
    return (*eval_task.measures, *(name for name in found if name not in eval_task.measures))


def prompt_hash(questions: Sequence[Question]) -> str:
    """What identifies all that a model sees: a hash of the questions' ids and messages."""
    return fingerprint([[each.id, [*each.messages]] for each in questions])


def rubric_hash(rubric: Rubric) -> str:
    """What identifies a rubric: a hash of its text before anything is filled in."""
    return hash_text(rubric.text)


def attempt(who: str, call: Callable[[], object]) -> object:
    """What `call` gives, or why it gives nothing: code of an exam that raises takes no other item with it."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - kept as the reason, and counted
        said = " ".join(str(error).split())
        return Unscored(f"{who} raised {type(error).__name__}" + (f": {said}" if said else ""))


def _complete(found: object, names: Sequence[str], who: str) -> dict[str, Value]:
    """A value for every name: what was found, or why nothing was."""
    if isinstance(found, Unscored):
        return dict.fromkeys(names, found)
    if not isinstance(found, Mapping):
        return dict.fromkeys(names, Unscored(f"{who} gave nothing"))
    return {name: _value(found.get(name), name, who) for name in names}


def _value(value: object, name: str, who: str) -> Value:
    if isinstance(value, Unscored):
        return value
    if not isinstance(value, int | float):
        return Unscored(f"{who} gave no value for {name}")
    return round(float(value), 6) if math.isfinite(value) else Unscored(f"{who} gave {value} for {name}")


def _mean(readings: Sequence[tuple[str, Value]]) -> Value:
    values = [value for _, value in readings if not isinstance(value, Unscored)]
    if values:
        return round(fmean(values), 6)
    reasons = {judge: value.reason for judge, value in readings if isinstance(value, Unscored)}
    if len(set(reasons.values())) <= 1:
        return Unscored(next(iter(reasons.values()), "no judge was asked"))
    return Unscored("; ".join(f"{judge}: {reason}" for judge, reason in reasons.items()))
