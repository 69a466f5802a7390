"""Panel `length`: texts of about 25 to 200 words; its control asks for exactly one, two or three words."""

from __future__ import annotations

from typing import ClassVar, final

from pydantic import Field

from midspec.evals._status import STATUS_MEASURES, aloud, n_words, status
from midspec.evals._values import Value
from midspec.evals.exam._types import Exam, Question, Said
from midspec.evals.panel._items import PanelConfig, panel_questions, unscorable
from midspec.records import Strict

__all__ = ["Length", "LengthConfig"]


class LengthConfig(PanelConfig):
    """As for all panels, and how near to the asked length is near enough.

    Attributes:
        tolerance: the share of the asked length by which an answer may miss it, rounded down to whole words; of one
            to three words that is none.
    """

    tolerance: float = Field(default=0.25, ge=0, lt=1 / 3)


class _Asked(Strict):
    words: int


@final
class Length(Exam[LengthConfig]):
    """`within`: 1 where the length is within the tolerance; `ratio`: words said to words asked for."""

    name: ClassVar[str] = "panel_length"
    config: ClassVar[type[LengthConfig]] = LengthConfig
    measures: ClassVar[tuple[str, ...]] = ("within", "ratio", *STATUS_MEASURES)

    def questions(self, config: LengthConfig) -> tuple[Question, ...]:
        """Eight texts each of about 25, 50, 100 and 200 words, and 20 answers of one to three."""
        return panel_questions("length", config)

    def read(self, question: Question, said: Said, config: LengthConfig) -> dict[str, Value]:
        """Words are counted between white space; unscored where refused, empty or cut off."""
        asked = _Asked.model_validate(question.about).words
        found = n_words(aloud(said))
        missing = unscorable(said, config)
        within = missing or float(abs(found - asked) <= int(config.tolerance * asked))
        return {"within": within, "ratio": missing or found / asked, **status(said, config.refusal_markers)}
