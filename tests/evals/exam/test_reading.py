"""Reading an answer: measures, several judges, and code of an exam that is broken: all that is asked is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.evals import Graded, Question, Rubric, Said, measure_names
from midspec.evals._measures import Reader, Verdict
from midspec.evals._types import Unscored, Value

from .toy import ToyConfig, ToyExam, ToyRubric

SAID = Said(text="2", stop_reason="stop")
QUESTION = ToyExam().questions(ToyConfig())[1]


def verdict(judge: str, text: str, stop_reason: str = "stop") -> Verdict:
    return Verdict(judge=judge, graded=Graded(judge=judge, rubric="r", text=text, stop_reason=stop_reason))


def read(exam: Any, *verdicts: Verdict, said: Said = SAID) -> dict[str, Value]:
    return dict(Reader(exam, ToyConfig()).read(QUESTION, said, verdicts).values)


def reason(value: Value) -> str:
    assert isinstance(value, Unscored)
    return value.reason


YES = "<verdict>yes</verdict>"
NO = "<verdict>no</verdict>"


def test_measures_are_those_read_and_then_those_judged() -> None:
    assert measure_names(ToyExam(), ToyConfig()) == ("right", "n_thoughts", "kind", "kind_and_right")
    assert measure_names(ToyExam(), ToyConfig(judged=False)) == ("right", "n_thoughts")


def test_a_judged_measure_is_the_mean_over_the_judges_that_gave_a_reading() -> None:
    assert read(ToyExam(), verdict("a", YES), verdict("b", NO))["kind"] == 0.5
    assert read(ToyExam(), verdict("a", YES), Verdict(judge="b", fault="gone"))["kind"] == 1.0
    assert read(ToyExam(), verdict("a", YES), verdict("b", "no tag"))["kind"] == 1.0


def test_where_no_judge_gave_a_reading_every_judges_reason_is_told() -> None:
    found = read(ToyExam(), verdict("a", YES, "max_tokens"), Verdict(judge="b", fault="gone home"))
    assert "a: " in reason(found["kind"])
    assert "b: gone home" in reason(found["kind"])
    assert found["right"] == 1.0
    assert reason(found["kind_and_right"]) == reason(found["kind"])


def test_without_any_verdict_a_judged_measure_says_that_no_judge_was_asked() -> None:
    assert reason(read(ToyExam())["kind"]) == "no judge was asked"


def test_an_answer_that_is_worth_no_judge_says_why() -> None:
    found = read(ToyExam(), said=Said(text=" ", stop_reason="stop"))
    assert reason(found["kind"]) == "the answer is empty"


class Raising(ToyExam):
    def read(self, question: Question, said: Said, config: ToyConfig) -> dict[str, Value]:
        raise KeyError("answer")


class Empty(ToyExam):
    def read(self, question: Question, said: Said, config: ToyConfig) -> dict[str, Value]:
        return None  # type: ignore[return-value]


class Lacking(ToyExam):
    def read(self, question: Question, said: Said, config: ToyConfig) -> dict[str, Value]:
        return {"right": math.nan}


class Apart(ToyExam):
    def together(
        self, question: Question, said: Said, read: Mapping[str, Value], judged: Mapping[str, Value], config: ToyConfig
    ) -> dict[str, Value]:
        if said.text == "2":
            raise ZeroDivisionError
        return super().together(question, said, read, judged, config)


class BadRubric(ToyRubric):
    def read(self, graded: Graded) -> dict[str, Value]:
        raise ValueError("no\nsuch   tag")


class BadlyJudged(ToyExam):
    def rubric(self, config: ToyConfig) -> Rubric | None:
        return BadRubric()


class Unsure(ToyExam):
    def unjudgeable(self, question: Question, said: Said, config: ToyConfig) -> str | None:
        raise RuntimeError("lost")


@pytest.mark.parametrize(
    ("exam", "measure", "told"),
    [
        (Raising(), "right", "Raising.read raised KeyError: 'answer'"),
        (Empty(), "right", "Empty.read gave nothing"),
        (Lacking(), "right", "Lacking.read gave nan for right"),
        (Lacking(), "n_thoughts", "Lacking.read gave no value for n_thoughts"),
        (Apart(), "kind_and_right", "Apart.together raised ZeroDivisionError"),
        (BadlyJudged(), "kind", "BadRubric.read raised ValueError: no such tag"),
        (Unsure(), "kind", "Unsure.unjudgeable raised RuntimeError: lost"),
    ],
)
def test_code_of_an_exam_that_is_broken_is_the_reason_of_the_measures_that_it_gives(
    exam: ToyExam, measure: str, told: str
) -> None:
    found = read(exam, verdict("a", YES))
    assert reason(found[measure]) == told
    assert tuple(found) == measure_names(ToyExam(), ToyConfig())


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
    exam=st.sampled_from([ToyExam(), Raising(), Empty(), Lacking(), Apart(), BadlyJudged(), Unsure()]),
    verdicts=VERDICTS,
    text=st.sampled_from(["2", "", "3"]),
)
def test_every_measure_has_a_finite_value_or_a_reason_whatever_comes(
    exam: ToyExam, verdicts: list[Verdict], text: str
) -> None:
    found = read(exam, *verdicts, said=Said(text=text, stop_reason="stop"))
    assert tuple(found) == measure_names(ToyExam(), ToyConfig())
    for value in found.values():
        assert value.reason if isinstance(value, Unscored) else math.isfinite(value)
