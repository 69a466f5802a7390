"""Reading an answer: measures, several judges, and code of an exam that is broken: all that is asked is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.evals import JudgeResponse, ModelResponse, Question, Rubric, measure_names
from midspec.evals._measures import Reader, Verdict
from midspec.evals._types import Unscored, Value

from .toy import ToyConfig, ToyRubric, ToyTask

SAID = ModelResponse(text="2", stop_reason="stop")
QUESTION = ToyTask().questions(ToyConfig())[1]


def verdict(judge: str, text: str, stop_reason: str = "stop") -> Verdict:
    return Verdict(judge=judge, graded=JudgeResponse(judge=judge, rubric="r", text=text, stop_reason=stop_reason))


def read(eval_task: Any, *verdicts: Verdict, said: ModelResponse = SAID) -> dict[str, Value]:
    return dict(Reader(eval_task, ToyConfig()).read(QUESTION, said, verdicts).values)


def reason(value: Value) -> str:
    assert isinstance(value, Unscored)
    return value.reason


YES = "<verdict>yes</verdict>"
NO = "<verdict>no</verdict>"


def test_measures_are_those_read_and_then_those_judged() -> None:
    assert measure_names(ToyTask(), ToyConfig()) == ("right", "n_thoughts", "kind", "kind_and_right")
    assert measure_names(ToyTask(), ToyConfig(judged=False)) == ("right", "n_thoughts")


def test_a_judged_measure_is_the_mean_over_the_judges_that_gave_a_reading() -> None:
    assert read(ToyTask(), verdict("a", YES), verdict("b", NO))["kind"] == 0.5
    assert read(ToyTask(), verdict("a", YES), Verdict(judge="b", fault="gone"))["kind"] == 1.0
    assert read(ToyTask(), verdict("a", YES), verdict("b", "no tag"))["kind"] == 1.0


def test_where_no_judge_gave_a_reading_every_judges_reason_is_told() -> None:
    found = read(ToyTask(), verdict("a", YES, "max_tokens"), Verdict(judge="b", fault="gone home"))
    assert "a: " in reason(found["kind"])
    assert "b: gone home" in reason(found["kind"])
    assert found["right"] == 1.0
    assert reason(found["kind_and_right"]) == reason(found["kind"])


def test_without_any_verdict_a_judged_measure_says_that_no_judge_was_asked() -> None:
    assert reason(read(ToyTask())["kind"]) == "no judge was asked"


def test_an_answer_that_is_worth_no_judge_says_why() -> None:
    found = read(ToyTask(), said=ModelResponse(text=" ", stop_reason="stop"))
    assert reason(found["kind"]) == "the answer is empty"


class Raising(ToyTask):
    def read(self, question: Question, response: ModelResponse, config: ToyConfig) -> dict[str, Value]:
        raise KeyError("answer")


class Empty(ToyTask):
    def read(self, question: Question, response: ModelResponse, config: ToyConfig) -> dict[str, Value]:
        return None  # type: ignore[return-value]


class Lacking(ToyTask):
    def read(self, question: Question, response: ModelResponse, config: ToyConfig) -> dict[str, Value]:
        return {"right": math.nan}


class Apart(ToyTask):
    def combine(
        self,
        question: Question,
        said: ModelResponse,
        read: Mapping[str, Value],
        judged: Mapping[str, Value],
        config: ToyConfig,
    ) -> dict[str, Value]:
        if said.text == "2":
            raise ZeroDivisionError
        return super().combine(question, said, read, judged, config)


class BadRubric(ToyRubric):
    def read(self, reply: JudgeResponse) -> dict[str, Value]:
        raise ValueError("no\nsuch   tag")


class BadlyJudged(ToyTask):
    def rubric(self, config: ToyConfig) -> Rubric | None:
        return BadRubric()


class Unsure(ToyTask):
    def unjudgeable(self, question: Question, response: ModelResponse, config: ToyConfig) -> str | None:
        raise RuntimeError("lost")


@pytest.mark.parametrize(
    ("eval_task", "measure", "told"),
    [
        (Raising(), "right", "Raising.read raised KeyError: 'answer'"),
        (Empty(), "right", "Empty.read gave nothing"),
        (Lacking(), "right", "Lacking.read gave nan for right"),
        (Lacking(), "n_thoughts", "Lacking.read gave no value for n_thoughts"),
        (Apart(), "kind_and_right", "Apart.combine raised ZeroDivisionError"),
        (BadlyJudged(), "kind", "BadRubric.read raised ValueError: no such tag"),
        (Unsure(), "kind", "Unsure.unjudgeable raised RuntimeError: lost"),
    ],
)
def test_code_of_a_task_that_is_broken_is_the_reason_of_the_measures_that_it_gives(
    eval_task: ToyTask, measure: str, told: str
) -> None:
    found = read(eval_task, verdict("a", YES))
    assert reason(found[measure]) == told
    assert tuple(found) == measure_names(ToyTask(), ToyConfig())


def test_a_rubric_that_is_broken_leaves_what_needs_no_judge_scored() -> None:
    found = read(BadlyJudged(), verdict("a", YES))
    assert (found["right"], found["n_thoughts"]) == (1.0, 0.0)


REPLIES = st.sampled_from([YES, NO, YES + NO, "", "<verdict>perhaps</verdict>", "<verdict>"])
STOPS = st.sampled_from(["stop", "max_tokens", "content_filter", "unknown"])
VERDICTS = st.lists(
    st.one_of(
        st.builds(verdict, st.sampled_from("abc"), REPLIES, STOPS),
        st.builds(Verdict, judge=st.sampled_from("abc"), fault=st.text(max_size=5)),
    ),
    max_size=4,
)


@given(
    eval_task=st.sampled_from([ToyTask(), Raising(), Empty(), Lacking(), Apart(), BadlyJudged(), Unsure()]),
    verdicts=VERDICTS,
    text=st.sampled_from(["2", "", "3"]),
)
def test_every_measure_has_a_finite_value_or_a_reason_whatever_comes(
    eval_task: ToyTask, verdicts: list[Verdict], text: str
) -> None:
    found = read(eval_task, *verdicts, said=ModelResponse(text=text, stop_reason="stop"))
    assert tuple(found) == measure_names(ToyTask(), ToyConfig())
    for value in found.values():
        assert value.reason if isinstance(value, Unscored) else math.isfinite(value)
