"""What an exam is: questions that a model answers in its own words, what is read off an answer, what a judge is asked.

An `EvalTask` is one final class a kind of evaluation (spec QA, agentic misalignment, each side effect); the engine
beside this file asks its questions through Inspect, keeps what was said in the log, and turns logs into score rows.
Reading is pure, so that a stored log can be read again, or judged again, without generating anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, NamedTuple, TypeVar

from pydantic import Field, JsonValue

from midspec.core.records import Message, Strict


class Unscored(NamedTuple):
    """The reason why a measure has no value. Never 0, never left out."""

    reason: str


Value = float | Unscored


class Question(Strict):
    """One conversation that ends with the user's turn.

    Attributes:
        id: its own; a question asked several times has a number behind it in score rows (`id#1`).
        set: what one rate is over (a scenario, a panel).
        domain: its cell or category; samples of one domain are not independent.
        messages: what the model sees, word for word.
        clause_ids: the spec clauses that it asks about, where it has some.
        about: what reading and judging need to know (the goal, the right answer), never shown to the model.
    """

    id: str
    set: str
    domain: str
    messages: tuple[Message, ...] = Field(min_length=1)
    clause_ids: tuple[str, ...] = ()
    about: dict[str, JsonValue] = Field(default_factory=dict)


class CachedResponse(Strict):
    """What a response cache can hold.

    Attributes:
        cache_name: is part of every key in a cache that was written, so it never changes, whatever the class is called.
    """

    cache_name: ClassVar[str]


class ModelResponse(CachedResponse):
    """What came back: the text, native reasoning apart from it, and why it ended there (Inspect's words)."""

    cache_name: ClassVar[str] = "Said"
    text: str
    reasoning: str = ""
    stop_reason: str
    n_tokens: int | None = None


class JudgeResponse(CachedResponse):
    """One judge's reply to one rubric, as it was given; `judge` is the model's name, `rubric` the rubric's hash."""

    cache_name: ClassVar[str] = "Graded"
    judge: str
    rubric: str
    text: str
    stop_reason: str


class TaskConfig(Strict):
    """How questions are asked: sampling, and how often each. Every exam's own settings extend these.

    Attributes:
        repeats: samples of each question.
        temperature: 0 takes the likeliest token.
        max_new_tokens: the longest answer.
        seed: of sampling, where the temperature is above 0.
    """

    repeats: int = Field(default=1, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    max_new_tokens: int = Field(default=512, ge=1)
    seed: int = 0


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class Rubric(ABC):
    """What a judge is asked about one answer, and how its reply is read."""

    name: ClassVar[str]
    measures: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def text(self) -> str:
        """The prompt before anything is filled in; its hash identifies the rubric."""

    @abstractmethod
    def render(self, question: Question, said: ModelResponse) -> str:
        """The judge's one user message; whatever the model said is escaped, so that it can't pose as the rubric."""

    @abstractmethod
    def read(self, graded: JudgeResponse) -> dict[str, Value]:
        """The judged measures; `Unscored` with the reason where the reply is cut, refused, missing or ambiguous."""


class EvalTask(ABC, Generic[ConfigT]):
    """One kind of evaluation. Stateless: all that it knows comes in as arguments."""

    name: ClassVar[str]
    config: ClassVar[type[TaskConfig]]
    measures: ClassVar[tuple[str, ...]]
    """What `read` gives, in this order; judged measures follow."""

    @abstractmethod
    def questions(self, config: ConfigT) -> tuple[Question, ...]:
        """All that is asked, with ids that are each used once."""

    @abstractmethod
    def read(self, question: Question, said: ModelResponse, config: ConfigT) -> dict[str, Value]:
        """What needs no judge: calls emitted, parse, refusal, truncation, right or wrong."""

    def rubric(self, config: ConfigT) -> Rubric | None:  # noqa: ARG002 - an exam without a judge needs no setting
        """What judges are asked about each answer; `None` for an exam that needs no judge."""
        return None

    def unjudgeable(self, question: Question, said: ModelResponse, config: ConfigT) -> str | None:  # noqa: ARG002
        """Why an answer is not worth a judge (empty, cut off, filtered): its judged measures are unscored so."""
        return "the answer is empty" if not said.text.strip() and not said.reasoning.strip() else None

    def together(
        self,
        question: Question,  # noqa: ARG002
        said: ModelResponse,  # noqa: ARG002
        read: Mapping[str, Value],  # noqa: ARG002
        judged: Mapping[str, Value],
        config: ConfigT,  # noqa: ARG002
    ) -> dict[str, Value]:
        """The judged measures as reported: `judged`, and what follows from it and `read` together (`harmful`, say)."""
        return dict(judged)
