"""Panel `instructions`: requests whose form a program can check; its control asks for a few words to be repeated."""

from __future__ import annotations

from typing import ClassVar, final

from midspec.evals._status import STATUS_MEASURES, aloud, status
from midspec.evals._values import Value
from midspec.evals.exam._types import Exam, Question, Said
from midspec.evals.panel._checks import Check, holds
from midspec.evals.panel._items import PanelConfig, panel_questions, unscorable
from midspec.records import Strict

__all__ = ["Instructions"]


class _Asked(Strict):
    checks: tuple[Check, ...]


@final
class Instructions(Exam[PanelConfig]):
    """`followed`: 1 where every instruction of the request is kept to, else 0."""

    name: ClassVar[str] = "panel_instructions"
    config: ClassVar[type[PanelConfig]] = PanelConfig
    measures: ClassVar[tuple[str, ...]] = ("followed", *STATUS_MEASURES)

    def questions(self, config: PanelConfig) -> tuple[Question, ...]:
        """36 requests of nine kinds, and 20 texts to repeat."""
        return panel_questions("instructions", config)

    def read(self, question: Question, said: Said, config: PanelConfig) -> dict[str, Value]:
        """Checked by program; unscored where refused, empty or cut off."""
        text, checks = aloud(said), _Asked.model_validate(question.about).checks
        followed = unscorable(said, config) or float(all(holds(check, text) for check in checks))
        return {"followed": followed, **status(said, config.refusal_markers)}
