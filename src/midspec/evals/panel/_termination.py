"""Panel `termination`: whether an answer ends by itself; its control asks for a word, a number, or yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from pydantic import Field

from midspec.evals._status import STATUS_MEASURES, aloud, is_truncated, status
from midspec.evals._values import Unscored, Value
from midspec.evals.exam._types import Exam, Question, Said
from midspec.evals.panel._items import PanelConfig, panel_questions

__all__ = ["Termination", "TerminationConfig", "loops"]

_TIMES = 4
_LEAST_WORDS, _LONGEST_PERIOD = 16, 60


class TerminationConfig(PanelConfig):
    """As for all panels; 1,024 tokens are more than any of these answers needs."""

    max_new_tokens: int = Field(default=1024, ge=1)


@final
class Termination(Exam[TerminationConfig]):
    """`ended`: 1 where the answer ended by itself, 0 where it was cut at the limit; `loops`: it ends in repetitions."""

    name: ClassVar[str] = "panel_termination"
    config: ClassVar[type[TerminationConfig]] = TerminationConfig
    measures: ClassVar[tuple[str, ...]] = ("ended", "loops", *STATUS_MEASURES)

    def questions(self, config: TerminationConfig) -> tuple[Question, ...]:
        """36 requests that a page answers at most, and 24 that a word does."""
        return panel_questions("termination", config)

    def read(self, question: Question, said: Said, config: TerminationConfig) -> dict[str, Value]:  # noqa: ARG002
        """By the stop reason alone; unscored where it says neither (filtered, unknown)."""
        ended: Value = Unscored(f"it is unknown how the answer ended ({said.stop_reason})")
        if said.stop_reason == "stop" or is_truncated(said):
            ended = float(said.stop_reason == "stop")
        looped = float(loops(aloud(said) or said.text))
        return {"ended": ended, "loops": looped, **status(said, config.refusal_markers)}


def loops(text: str) -> bool:
    """Whether the last words are one passage of up to 60 words, four times or more (16 words at least) in a row."""
    words = text.casefold().split()
    # A limit of tokens may cut the last word.
    return _repeats(words) or _repeats(words[:-1])


def _repeats(words: Sequence[str]) -> bool:
    for period in range(1, min(_LONGEST_PERIOD, len(words) // _TIMES) + 1):
        size = max(_TIMES * period, _LEAST_WORDS)
        tail = words[-size:]
        if len(tail) == size and tail[period:] == tail[:-period]:
            return True
    return False
