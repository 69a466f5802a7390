"""Exams: questions that a model answers in its own words, read without a judge and then judged."""

from __future__ import annotations

from midspec.evals.exam._types import Exam, ExamConfig, Graded, Question, Rubric, Said

__all__ = ["Exam", "ExamConfig", "Graded", "Question", "Rubric", "Said"]
