"""What a judge is asked about one answer of spec QA: a score from 1 to 10 on anchors that are written out."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, final

from midspec.evals._status import aloud
from midspec.evals._values import Value
from midspec.evals.exam._types import Graded, Question, Rubric, Said
from midspec.evals.judges._verdict import escape, read_number
from midspec.evals.spec_qa._items import categories, fill, prompt

__all__ = ["SpecQARubric"]

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

    def render(self, question: Question, said: Said) -> str:
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

    def read(self, graded: Graded) -> dict[str, Value]:
        """`qa_score`, 1 to 10; `Unscored` where the reply does not hold exactly one such number."""
        return {"qa_score": read_number(graded, "score", _LEAST, _MOST)}


def _clause_part(question: Question) -> str:
    texts = question.about.get("clauses")
    if not isinstance(texts, dict) or not texts:
        return ""
    return fill(prompt("clause"), clause=escape("\n".join(map(str, texts.values()))))
