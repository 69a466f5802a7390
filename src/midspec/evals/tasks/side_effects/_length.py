"""Panel `length`: texts of about 25 to 200 words; its control asks for exactly one, two or three words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

from pydantic import Field

from midspec.core.records import Strict
from midspec.evals._status import STATUS_MEASURES, aloud, is_truncated, n_words, status
from midspec.evals._types import EvalTask, ModelResponse, Question, Unscored, Value
from midspec.evals.tasks.side_effects._items import PanelConfig, panel_questions, unscorable


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
class Length(EvalTask[LengthConfig]):
    """`within`: 1 where the length is within the tolerance; `ratio`: words said to words asked for."""

    name: ClassVar[str] = "panel_length"
    config: ClassVar[type[LengthConfig]] = LengthConfig
    measures: ClassVar[tuple[str, ...]] = ("within", "ratio", *STATUS_MEASURES)

    def questions(self, config: LengthConfig) -> tuple[Question, ...]:
        """Eight texts each of about 25, 50, 100 and 200 words, and 20 answers of one to three."""
        return panel_questions("length", config)

    def read(self, question: Question, said: ModelResponse, config: LengthConfig) -> dict[str, Value]:
        """Words are counted between white space; unscored where refused, empty or cut off."""
        asked = _Asked.model_validate(question.about).words
        found = n_words(aloud(said))
        missing = unscorable(said, config)
        within = missing or float(abs(found - asked) <= int(config.tolerance * asked))
        return {"within": within, "ratio": missing or found / asked, **status(said, config.refusal_markers)}


_TIMES = 4
_LEAST_WORDS, _LONGEST_PERIOD = 16, 60


class TerminationConfig(PanelConfig):
    """As for all panels; 1,024 tokens are more than any of these answers needs."""

    max_new_tokens: int = Field(default=1024, ge=1)


@final
class Termination(EvalTask[TerminationConfig]):
    """`ended`: 1 where the answer ended by itself, 0 where it was cut at the limit; `loops`: it ends in repetitions."""

    name: ClassVar[str] = "panel_termination"
    config: ClassVar[type[TerminationConfig]] = TerminationConfig
    measures: ClassVar[tuple[str, ...]] = ("ended", "loops", *STATUS_MEASURES)

    def questions(self, config: TerminationConfig) -> tuple[Question, ...]:
        """36 requests that a page answers at most, and 24 that a word does."""
        return panel_questions("termination", config)

    def read(self, question: Question, said: ModelResponse, config: TerminationConfig) -> dict[str, Value]:  # noqa: ARG002
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
