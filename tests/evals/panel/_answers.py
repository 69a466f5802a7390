"""Hand-written answers, for tests of what is read from them."""

from __future__ import annotations

from typing import Any

from midspec.evals import Exam, Question, Said
from midspec.evals._types import Unscored, Value

FILTERED = Said(text="", stop_reason="content_filter")


def said(text: str, stop_reason: str = "stop") -> Said:
    return Said(text=text, stop_reason=stop_reason)


def question_of(exam: Exam[Any], start: str, *, control: bool = False) -> Question:
    """The one question of an exam that begins so."""
    found = [
        question
        for question in exam.questions(exam.config())
        if question.messages[-1].content.startswith(start) and question.set.endswith("-control") is control
    ]
    assert len(found) == 1, start
    return found[0]


def reason(value: Value) -> str:
    """Why there is no value."""
    assert isinstance(value, Unscored), value
    return value.reason
