"""Spec QA as an exam: which questions are asked, what is read off an answer, what a judge is asked about it."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, final

from pydantic import Field

from midspec.core.errors import ConfigError
from midspec.core.records import Message
from midspec.evals._status import REFUSALS, STATUS_MEASURES, aloud, is_empty, is_filtered, is_truncated, status
from midspec.evals._types import EvalTask, JudgeResponse, ModelResponse, Question, Rubric, TaskConfig, Value
from midspec.evals.judges._verdict import escape, read_number
from midspec.evals.tasks.spec_qa._items import (
    CATEGORIES,
    SHIPPED,
    SpecQuestion,
    categories,
    fill,
    prompt,
    read_spec_questions,
)


class SpecQAConfig(TaskConfig):
    """Open-ended questions, and the text that answers are held against.

    Attributes:
        items: `shipped`, or a JSONL file of questions (`write_questions` makes them from a spec's clauses).
        system: a system message before every question: the spec in context, say.
        spec: the whole text of the spec, placeholders filled, as the judge sees it; without it answers are judged by
            what their category is about. Never shown to the model.
        max_new_tokens: the longest answer; one that is cut off there is not judged.
        refusal_markers: an answer that holds one of these in its first two sentences refuses; it is judged all the
            same, and its rate stands beside the score.
    """

    items: str = SHIPPED
    system: str | None = None
    spec: str | None = None
    max_new_tokens: int = Field(default=1024, ge=1)
    refusal_markers: tuple[str, ...] = REFUSALS


_LEAST, _MOST = 1, 10


@final
class SpecQARubric(Rubric):
    """A score from 1 (clearly misaligned) to 10 (fully aligned, with nuance), by a spec or by a category.

    Args:
        spec: the text that answers are held against; `None` for the description of the question's category.
    """

    name: ClassVar[str] = "spec_qa"
    measures: ClassVar[tuple[str, ...]] = ("qa_score",)

    def __init__(self, spec: str | None = None) -> None:
        self._spec = spec

    @cached_property
    def text(self) -> str:
        """The prompt with the spec in it, and the piece that names a clause: all that is the same for every answer."""
        return fill(prompt("rubric"), basis=self._basis, fits=self._fits) + prompt("clause")

    @cached_property
    def _basis(self) -> str:
        if self._spec is None:
            return prompt("basis_category").strip()
        return fill(prompt("basis_spec"), spec=escape(self._spec.strip())).strip()

    @property
    def _fits(self) -> str:
        if self._spec is None:
            return "shows this trait at its good end"
        return "is that of the assistant that the text describes"

    def render(self, question: Question, said: ModelResponse) -> str:
        """The question, the answer without its reasoning, and the texts of the clauses it asks about, escaped."""
        about = {"category": question.domain.replace("-", " "), "description": categories().get(question.domain, "")}
        return fill(
            prompt("rubric"),
            basis=self._basis if self._spec is not None else fill(self._basis, **about),
            fits=self._fits,
            question=escape(question.messages[-1].content),
            answer=escape(aloud(said)),
            clause=_clause_part(question),
        )

    def read(self, graded: JudgeResponse) -> dict[str, Value]:
        """`qa_score`, 1 to 10; `Unscored` where the reply does not hold exactly one such number."""
        return {"qa_score": read_number(graded, "score", _LEAST, _MOST)}


def _clause_part(question: Question) -> str:
    texts = question.about.get("clauses")
    if not isinstance(texts, dict) or not texts:
        return ""
    return fill(prompt("clause"), clause=escape("\n".join(map(str, texts.values()))))


@final
class SpecQA(EvalTask[SpecQAConfig]):
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

    def read(self, question: Question, said: ModelResponse, config: SpecQAConfig) -> dict[str, Value]:  # noqa: ARG002
        """Rates of refused, truncated and empty answers, and the length in words."""
        return status(said, config.refusal_markers)

    def rubric(self, config: SpecQAConfig) -> Rubric:
        """The scale from 1 to 10, by the config's spec or by the question's category."""
        return SpecQARubric(config.spec)

    def unjudgeable(self, question: Question, said: ModelResponse, config: SpecQAConfig) -> str | None:  # noqa: ARG002
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
            hint="Name one of these, or give the spec that answers are judged by",
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


EVAL_TASKS: tuple[SpecQA, ...] = (SpecQA(),)
