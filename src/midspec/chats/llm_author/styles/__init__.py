"""Styles of chats that a language model can write: prompts, and how to read and check the replies.

Each module of this package offers its styles as `STYLES`; another installed package offers one through an entry point
of the group `midspec.chat_styles`. Nothing else lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, Field, JsonValue

from midspec.chats._chats import ChatConfig
from midspec.core.records import Reject, Spec, Strict
from midspec.generation import PromptFolder
from midspec.llm import parse_json_reply, response_schema

__all__ = ["ChatPrompt", "ChatStyle", "Question", "Topic", "TopicList", "TopicsReply", "Verdict"]

PROMPTS = PromptFolder("midspec.chats")
# A topic's earlier questions are shown up to this many, the latest ones: the whole list of a large pool would cost
# more than the duplicates that it prevents.
N_SHOWN = 500

Grade = Literal["pass", "fail", "unclear"]


class ChatPrompt(NamedTuple):
    """What is asked after the prefix, and the JSON schema of the reply if it is to be JSON."""

    text: str
    form: dict[str, JsonValue] | None = None

    @classmethod
    def json(cls, text: str, form: type[BaseModel]) -> Self:
        """Make a prompt whose reply is JSON of this form."""
        return cls(text, response_schema(form))


class Topic(NamedTuple):
    """What questions are about: a domain or a situation; or a thing that is liked or disliked.

    For a thing, `about` is `likes` or `dislikes`, `clause_ids` are the clauses that say so, `others` are the things of
    the other stance and `alike` those of the same.
    """

    name: str
    about: str
    clause_ids: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()


class Question(NamedTuple):
    """A question of a reply: its kind and words, the other thing that it names, and what is wrong with it.

    `ending` is added when it is asked; it plays no part in whether two questions are the same.
    """

    kind: str
    text: str
    other: str = ""
    ending: str = ""
    fault: str | None = None

    @property
    def user_turn(self) -> str:
        """Return the whole user turn."""
        return f"{self.text} {self.ending}" if self.ending else self.text


class TopicList(NamedTuple):
    """Topics that a reply gave, and what of it was left out."""

    topics: tuple[Topic, ...]
    rejects: tuple[Reject, ...] = ()


class Verdict(NamedTuple):
    """The judge's grades by criterion, and its notes."""

    grades: Mapping[str, Grade]
    notes: str

    def fault(self) -> str | None:
        """Return why a chat is not kept, or `None` where every criterion passed; an unclear grade does not pass."""
        failed = [name for name, grade in self.grades.items() if grade == "fail"]
        unclear = [name for name, grade in self.grades.items() if grade == "unclear"]
        notes = " ".join(self.notes.split())
        if failed:
            return f"fails {' and '.join(failed)}: {notes}"
        return f"held, unclear whether {' and '.join(unclear)}: {notes}" if unclear else None


# The schema sent to providers names `_TopicEntry`: another class name would ask for every list again.
class _TopicEntry(Strict):
    name: str = Field(min_length=1)
    about: str = Field(min_length=1)


class TopicsReply(Strict):
    """The form of a list of domains."""

    domains: tuple[_TopicEntry, ...] = Field(min_length=1)


class ChatStyle(ABC):
    """One style of chats. Methods are pure: the same arguments give the same result, so that a run can be replayed.

    What reads a reply raises `UnreadableReplyError` where it has another form; the model is then asked again.

    Attributes:
        name: as in `ChatConfig.style`.
        n_published: chats in the published runs, the default of `n_samples`.
        reply_tokens: mean tokens of an answer, for forecasts.
        has_twins: whether answers hold reasoning, so that each chat is also saved without it.
        uses_spec: whether the chats depend on the spec; their rows name it then.
        needs_names: whether the assistant and its maker must have names.
        is_even: whether each topic must give equally many chats; there is then one list of topics, of any length.
        domains_file: the prompt file by which the author names topics.
        verdict_form: the JSON of a verdict: `notes`, and a grade for each criterion.
        assistant: the assistant's name for a sentence.
        prefix: what every request of author and judge begins with.
        topics: topics that need not be asked for; empty where the author names them.
    """

    name: ClassVar[str]
    n_published: ClassVar[int] = 10_000
    reply_tokens: ClassVar[int] = 800
    has_twins: ClassVar[bool] = False
    uses_spec: ClassVar[bool] = True
    needs_names: ClassVar[bool] = False
    is_even: ClassVar[bool] = False
    domains_file: ClassVar[str] = "domains"
    verdict_form: ClassVar[type[Strict]]

    def __init__(self, spec: Spec, config: ChatConfig) -> None:
        self.assistant = config.model_name or "the assistant"
        made_by = f", made by {config.provider_name}" if config.provider_name else ""
        named = f"the AI assistant {config.model_name}" if config.model_name else "an AI assistant"
        self.prefix = PROMPTS.fill("spec", assistant=f"{named}{made_by}", spec=spec.text.strip("\n"))
        self.topics: tuple[Topic, ...] = ()

    def topics_prompt(self, shown: Sequence[str], n_wanted: int) -> ChatPrompt:
        """Ask for topics other than those shown, by default for domains; not called where `topics` are given."""
        slots = {"name": self.assistant, "earlier": self.earlier(shown), "n": str(n_wanted)}
        return ChatPrompt.json(PROMPTS.fill(self.domains_file, **slots), TopicsReply)

    def read_topics(self, text: str) -> TopicList:
        """Read the reply to `topics_prompt`; by default domains in the form of `TopicsReply`."""
        entries = parse_json_reply(text, TopicsReply).domains
        return TopicList(tuple(Topic(" ".join(entry.name.split()), " ".join(entry.about.split())) for entry in entries))

    @abstractmethod
    def questions_prompt(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> ChatPrompt:
        """Ask for questions of a topic other than those shown."""

    @abstractmethod
    def read_questions(self, text: str, topic: Topic) -> tuple[Question, ...]:
        """Read the reply to `questions_prompt`, each question with its fault."""

    @abstractmethod
    def reply_prompt(self, topic: Topic, question: Question) -> ChatPrompt:
        """Ask for the answer to a question."""

    @abstractmethod
    def read_reply(self, text: str) -> str:
        """Read the assistant's turn, with its reasoning where the style has one."""

    def reply_fault(self, topic: Topic, question: Question, content: str) -> str | None:
        """Return what code finds wrong with an answer, or `None`."""
        return None

    @abstractmethod
    def verdict_prompt(self, topic: Topic, question: Question, content: str) -> ChatPrompt:
        """Ask the judge about a chat."""

    def read_verdict(self, text: str) -> Verdict:
        """Read the reply to `verdict_prompt`, in the form of `verdict_form`."""
        grades = parse_json_reply(text, self.verdict_form).model_dump()
        notes = str(grades.pop("notes"))
        return Verdict(grades, notes)

    def strip_reasoning(self, content: str) -> str:
        """Return the answer without its reasoning; only for a style that has twins."""
        return content

    def summary(self, topics: Sequence[Topic]) -> dict[str, JsonValue]:
        """Return what the summary of a pool says beside its counts."""
        return {}

    @staticmethod
    def earlier(entries: Sequence[str]) -> str:
        """Return the part of a prompt that lists what exists already and is not to be written again."""
        lines = "\n".join(f"- {' '.join(entry.split())}" for entry in entries[-N_SHOWN:])
        return PROMPTS.fill("earlier", list=lines) if lines else ""
