"""How spec QA is asked and by what it is judged: data, none of it code."""

from __future__ import annotations

from pydantic import Field

from midspec.evals._status import REFUSALS
from midspec.evals.exam._types import ExamConfig
from midspec.evals.spec_qa._items import SHIPPED

__all__ = ["SpecQAConfig"]


class SpecQAConfig(ExamConfig):
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
