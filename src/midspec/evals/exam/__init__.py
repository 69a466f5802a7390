"""Exams: questions that a model answers in its own words, read without a judge and then judged.

Enter: an `Exam` and its config, a model, judges. Leave: an Inspect log, which is the source of truth, and what is read
from it: score rows, answers word for word, and what every judge replied. A log is read again, or judged again by other
judges, without asking the model anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.evals.exam._all import exam_named, exam_names
from midspec.evals.exam._reading import measure_names
from midspec.evals.exam._types import Exam, ExamConfig, Graded, Question, Rubric, Said

if TYPE_CHECKING:
    from midspec.evals.exam._log import ExamLog, log_settings, logged_questions, read_exam
    from midspec.evals.exam._run import rescore, run_exam
    from midspec.evals.exam._task import exam_task

__all__ = [
    "Exam",
    "ExamConfig",
    "ExamLog",
    "Graded",
    "Question",
    "Rubric",
    "Said",
    "exam_named",
    "exam_names",
    "exam_task",
    "log_settings",
    "logged_questions",
    "measure_names",
    "read_exam",
    "rescore",
    "run_exam",
]

_HOMES = {
    "ExamLog": "_log",
    "exam_task": "_task",
    "log_settings": "_log",
    "logged_questions": "_log",
    "read_exam": "_log",
    "rescore": "_run",
    "run_exam": "_run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
