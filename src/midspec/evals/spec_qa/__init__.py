"""Spec QA: open-ended questions about who an assistant is, scored by a judge from 1 to 10, and by clause of a spec.

Enter: a `SpecQAConfig` (which questions, which spec) and what a model said. Leave: `qa_score` with the rates that stand
beside it, and `by_clause`, which shows a spec's author what was not learned. The shipped set has seven categories;
`write_questions` has a set written for any other spec.
"""

from __future__ import annotations

from midspec.evals.spec_qa._clauses import ClauseScore, by_clause
from midspec.evals.spec_qa._config import SpecQAConfig
from midspec.evals.spec_qa._exam import EXAMS, SpecQA
from midspec.evals.spec_qa._items import CATEGORIES, SpecQuestion, read_spec_questions
from midspec.evals.spec_qa._rubric import SpecQARubric
from midspec.evals.spec_qa._write import (
    AskedClause,
    QuestionWriting,
    WrittenQuestions,
    questions_loads,
    write_questions,
)

__all__ = [
    "CATEGORIES",
    "EXAMS",
    "AskedClause",
    "ClauseScore",
    "QuestionWriting",
    "SpecQA",
    "SpecQAConfig",
    "SpecQARubric",
    "SpecQuestion",
    "WrittenQuestions",
    "by_clause",
    "questions_loads",
    "read_spec_questions",
    "write_questions",
]
