"""Panel `knowledge`: facts with short answers; its control has the answer in the question.

Where both fall, the model no longer answers in a word; where only the panel falls, it has forgotten.
"""

from __future__ import annotations

from typing import ClassVar, final

from midspec.evals._status import STATUS_MEASURES, aloud, status
from midspec.evals._values import Unscored, Value
from midspec.evals.exam._types import Exam, Question, Said
from midspec.evals.panel._items import PanelConfig, panel_questions, prompt, unscorable
from midspec.evals.panel._short import read_short, short_answer_of

__all__ = ["Knowledge"]


@final
class Knowledge(Exam[PanelConfig]):
    """`right`: 1 or 0; `unparsable`: whether an answer was there that says neither."""

    name: ClassVar[str] = "panel_knowledge"
    config: ClassVar[type[PanelConfig]] = PanelConfig
    measures: ClassVar[tuple[str, ...]] = ("right", "unparsable", *STATUS_MEASURES)

    def questions(self, config: PanelConfig) -> tuple[Question, ...]:
        """36 facts of eight domains, and 20 questions about a sentence or two that hold the answer."""
        return panel_questions("knowledge", config, ending=prompt("short_answer"))

    def read(self, question: Question, said: Said, config: PanelConfig) -> dict[str, Value]:
        """Right or wrong by the accepted forms; unscored where refused, empty, cut off or unparsable."""
        missing = unscorable(said, config)
        right = missing or read_short(aloud(said), short_answer_of(question.about))
        unparsable = float(missing is None and isinstance(right, Unscored))
        return {"right": right, "unparsable": unparsable, **status(said, config.refusal_markers)}
