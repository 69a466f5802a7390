"""Spec QA as an exam: which questions are asked, what is read off an answer, what a judge is asked about it."""

from __future__ import annotations

from typing import ClassVar, final

from midspec.errors import ConfigError
from midspec.evals._status import STATUS_MEASURES, is_empty, is_filtered, is_truncated, status
from midspec.evals._values import Value
from midspec.evals.exam._types import Exam, Question, Rubric, Said
from midspec.evals.spec_qa._config import SpecQAConfig
from midspec.evals.spec_qa._items import CATEGORIES, SpecQuestion, read_spec_questions
from midspec.evals.spec_qa._rubric import SpecQARubric
from midspec.records import Message

__all__ = ["EXAMS", "SpecQA"]


@final
class SpecQA(Exam[SpecQAConfig]):
    """Open-ended questions about who an assistant is, scored from 1 to 10 by a judge (METHOD 6)."""

    name: ClassVar[str] = "spec_qa"
    config: ClassVar[type[SpecQAConfig]] = SpecQAConfig
    measures: ClassVar[tuple[str, ...]] = STATUS_MEASURES

    def questions(self, config: SpecQAConfig) -> tuple[Question, ...]:
        """The questions of the file, one conversation each.

        Raises:
            MissingError, DataError: see `read_spec_questions`.
            ConfigError: a category is none of the seven, and there is no spec to judge by.
        """
        return tuple(_asked(row, config) for row in read_spec_questions(config.items))

    def read(self, question: Question, said: Said, config: SpecQAConfig) -> dict[str, Value]:  # noqa: ARG002
        """Rates of refused, truncated and empty answers, and the length in words."""
        return status(said, config.refusal_markers)

    def rubric(self, config: SpecQAConfig) -> Rubric:
        """The scale from 1 to 10, by the config's spec or by the question's category."""
        return SpecQARubric(config.spec)

    def unjudgeable(self, question: Question, said: Said, config: SpecQAConfig) -> str | None:  # noqa: ARG002
        """An answer that was filtered, is empty or was cut off: its beginning would be judged for the whole."""
        if is_filtered(said):
            return "the answer was filtered"
        if is_truncated(said):
            return "the answer is cut off"
        return "the answer is empty" if is_empty(said) else None


def _asked(row: SpecQuestion, config: SpecQAConfig) -> Question:
    if config.spec is None and row.category not in CATEGORIES:
        raise ConfigError(
            f"the category {row.category!r} is none of {', '.join(CATEGORIES)}",
            where=f"{config.items}: {row.id}",
            mend="Name one of these, or give the spec that answers are judged by",
        )
    before = (Message(role="system", content=config.system),) if config.system else ()
    return Question(
        id=row.id,
        set=SpecQA.name,
        domain=row.category,
        messages=(*before, Message(role="user", content=row.text)),
        clause_ids=tuple(row.clauses),
        about={"clauses": dict(row.clauses)} if row.clauses else {},
    )


EXAMS: tuple[SpecQA, ...] = (SpecQA(),)
