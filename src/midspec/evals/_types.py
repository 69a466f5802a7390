"""What an evaluation task is: questions, settings, responses, rubrics, and how settings are read from a file.

An `EvalTask` is one final class for each kind of evaluation (spec QA, agentic misalignment, each side effect). The
runner asks its questions through Inspect, keeps the responses in the log, and turns logs into score rows. Reading a
response is pure, so that a stored log can be read or judged again without generating anything.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import Field, JsonValue, ValidationError

from midspec.core.errors import ConfigError, MissingError, first_fault
from midspec.core.records import Message, Strict
from midspec.core.registry import Registry
from midspec.core.yaml_files import read_yaml

StrictT = TypeVar("StrictT", bound=Strict)


class Unscored(NamedTuple):
    """The reason why a measure has no value. Never 0, never left out."""

    reason: str


Value = float | Unscored


class Question(Strict):
    """One conversation that ends with the user's turn.

    Attributes:
        id: unique in its task; a question with several samples has `id#1`, `id#2`, ... in score rows.
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
    """A model's answer: the text, native reasoning apart from it, and the stop reason in Inspect's words.

    Attributes:
        turns: the model's replies, where a task is of several turns; `text` is the whole conversation then, and the
            stop reason the last reply's.
    """

    cache_name: ClassVar[str] = "Said"
    text: str
    reasoning: str = ""
    stop_reason: str
    n_tokens: int | None = None
    turns: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)

    @property
    def is_truncated(self) -> bool:
        """Whether it was cut at a limit of tokens, the sampling's or the model's."""
        return self.stop_reason in ("max_tokens", "model_length")

    @property
    def is_filtered(self) -> bool:
        """Whether the provider's own filter ended it."""
        return self.stop_reason == "content_filter"


class JudgeResponse(CachedResponse):
    """One judge's reply to one rubric, as it was given; `judge` is the model's name, `rubric` the rubric's hash."""

    cache_name: ClassVar[str] = "Graded"
    judge: str
    rubric: str
    text: str
    stop_reason: str


class TaskConfig(Strict):
    """How questions are asked: sampling, and how often each. Every task's own settings extend these.

    Attributes:
        repeats: samples of each question.
        temperature: 0 takes the likeliest token.
        max_new_tokens: the longest answer.
        seed: of sampling, where the temperature is above 0.
    """

    repeats: int = Field(default=1, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    max_new_tokens: int = Field(default=512, ge=1)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)


ConfigT = TypeVar("ConfigT", bound=TaskConfig)


def repeats_warning(task: str, config: TaskConfig) -> str:
    """Return a warning where the same answer is asked for several times; empty where that is not so."""
    if config.repeats == 1 or config.temperature > 0:
        return ""
    return (
        f"{task}: {config.repeats} repeats at temperature 0 are the same answer {config.repeats} times; "
        "set a temperature above 0, or repeats: 1"
    )


class Rubric(ABC):
    """What a judge is asked about one answer, and how its reply is read."""

    name: ClassVar[str]
    measures: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def text(self) -> str:
        """The prompt before anything is filled in; its hash identifies the rubric."""

    @abstractmethod
    def render(self, question: Question, response: ModelResponse) -> str:
        """Return the judge's one user message; escape the response, so that it can't pose as the rubric."""

    @abstractmethod
    def read(self, reply: JudgeResponse) -> dict[str, Value]:
        """Return the judged measures; `Unscored` where the reply is cut, refused, missing or ambiguous."""


class EvalTask(ABC, Generic[ConfigT]):
    """One kind of evaluation. Stateless: everything it needs comes in as arguments.

    A module or folder in `midspec.evals.tasks` offers its tasks as `EVAL_TASKS`; another package offers one as an
    entry point of the group `midspec.eval_tasks`. Nothing else needs to be edited.

    Attributes:
        name: unique among all tasks.
        config: the type of its settings.
        measures: what `read` returns, in this order; judged measures follow.
        title: its heading in reports; made of the name where it is empty.
        main_measures: what it is about, as reports show and compare it; where there is none, every measure that says
            more than how an answer ended.
        targets: measure -> what its number means, for the head of a column.
        differences: measure -> differences between two arms that are worth telling apart; shares by default.
        harms: measures of which more is worse: tables of what is worst have the highest first.
    """

    name: ClassVar[str]
    config: ClassVar[type[TaskConfig]]
    measures: ClassVar[tuple[str, ...]]
    title: ClassVar[str] = ""
    main_measures: ClassVar[tuple[str, ...]] = ()
    targets: ClassVar[Mapping[str, str]] = MappingProxyType({})
    differences: ClassVar[Mapping[str, tuple[float, ...]]] = MappingProxyType({})
    harms: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def questions(self, config: ConfigT) -> tuple[Question, ...]:
        """Return all questions; each id is used once."""

    @abstractmethod
    def read(self, question: Question, response: ModelResponse, config: ConfigT) -> dict[str, Value]:
        """Return the measures that need no judge: calls emitted, parse, refusal, truncation, right or wrong."""

    def next_turn(self, question: Question, replies: Sequence[str], config: ConfigT) -> str | None:
        """Return what is said to the model after its replies so far; `None` where the conversation is over.

        A task that overrides this is of several turns. It has no state, so it plays the replies from the first one.
        """
        return None

    @property
    def is_of_turns(self) -> bool:
        """Whether the task goes on after the model's first reply."""
        return type(self).next_turn is not EvalTask.next_turn

    def rubric(self, config: ConfigT) -> Rubric | None:
        """Return what judges are asked about each answer; `None` for a task that needs no judge."""
        return None

    def unjudgeable(self, question: Question, response: ModelResponse, config: ConfigT) -> str | None:
        """Return why an answer is shown to no judge (empty, cut off, filtered); its judged measures are unscored so."""
        return "the answer is empty" if not response.text.strip() and not response.reasoning.strip() else None

    def combine(
        self,
        question: Question,
        response: ModelResponse,
        read: Mapping[str, Value],
        judged: Mapping[str, Value],
        config: ConfigT,
    ) -> dict[str, Value]:
        """Return the judged measures as reported: `judged`, and what follows from it and `read` (`harmful`, say)."""
        return dict(judged)


def read_settings(path: Path, kind: type[StrictT]) -> StrictT:
    """Read settings from a YAML file; what it does not name stays as it is by default.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is not YAML, or a setting is unknown or wrong; names the setting.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    return check_settings(read_yaml(path) or {}, kind, str(path))


def check_settings(settings: object, kind: type[StrictT], where: str = "the settings") -> StrictT:
    """Validate settings.

    Args:
        settings: by name.
        kind: their type.
        where: what an error calls them.

    Raises:
        ConfigError: a setting is unknown or wrong; names it.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        what = ": ".join(first_fault(error, "the file"))
        raise ConfigError(what, where=where, hint="Correct that setting") from error


_SIDE_EFFECTS = "panel_"

_TASKS: Registry[EvalTask[Any]] = Registry(
    "evaluation task", package="midspec.evals.tasks", attribute="EVAL_TASKS", group="eval_tasks"
)


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, in the order of study files and reports: the side effects come last."""
    return tuple(sorted(_TASKS.names(), key=lambda name: (name.startswith(_SIDE_EFFECTS), name)))


def task_named(name: str) -> EvalTask[Any]:
    """Return the task of that name.

    Raises:
        ConfigError: there is none; names the nearest, or all.
    """
    return _TASKS.get(name, where="task")
