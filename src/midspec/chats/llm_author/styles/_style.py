"""What a style of chats is to the line that writes them: prompts to send, and how to read and check the replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel, JsonValue

from midspec.core.records import Reject, Strict
from midspec.llm import parse_json_reply, response_schema

Mark = Literal["pass", "fail", "unclear"]


class Ask(NamedTuple):
    """What is asked after the prefix, and the JSON schema of the reply if it is to be JSON."""

    prompt: str
    form: dict[str, JsonValue] | None = None


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
    """A question as it came: its kind and words, the other thing that it names, and what is wrong with it.

    `ending` is what is said after it when it is asked; it plays no part in whether two questions are the same.
    """

    kind: str
    text: str
    other: str = ""
    ending: str = ""
    fault: str | None = None

    @property
    def asked(self) -> str:
        """The whole user turn."""
        return f"{self.text} {self.ending}" if self.ending else self.text


class TopicList(NamedTuple):
    """Topics that a reply gave, and what of it was left out."""

    topics: tuple[Topic, ...]
    rejects: tuple[Reject, ...] = ()


class Verdict(NamedTuple):
    """The judge's marks by criterion, and its notes."""

    marks: Mapping[str, Mark]
    notes: str


class ChatStyle(Protocol):
    """One style of chats. All methods are pure: the same texts in give the same texts out."""

    @property
    def prefix(self) -> str:
        """What every request begins with, of author and judge."""
        ...

    @property
    def given(self) -> tuple[Topic, ...]:
        """Topics that need not be asked for; empty where the author names them."""
        ...

    @property
    def is_even(self) -> bool:
        """Whether each topic must give equally many chats (and there is one list of topics, of whatever length)."""
        ...

    def ask_topics(self, shown: Sequence[str], n_wanted: int, /) -> Ask:
        """Ask for topics other than those shown."""
        ...

    def read_topics(self, text: str) -> TopicList:
        """Read that list; raises `Unreadable`."""
        ...

    def ask_questions(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> Ask:
        """Ask for questions of a topic other than those shown."""
        ...

    def read_questions(self, text: str, topic: Topic, /) -> tuple[Question, ...]:
        """Read that list, each question with its fault; raises `Unreadable`."""
        ...

    def ask_reply(self, topic: Topic, question: Question, /) -> Ask:
        """Ask for the answer to a question."""
        ...

    def read_reply(self, text: str) -> str:
        """What the assistant's turn says, with its reasoning where the style has one; raises `Unreadable`."""
        ...

    def fault(self, topic: Topic, question: Question, content: str, /) -> str | None:
        """What keeps the answer from being used, as far as a program can tell, or `None`."""
        ...

    def ask_verdict(self, topic: Topic, question: Question, content: str, /) -> Ask:
        """Ask the judge about a chat."""
        ...

    def read_verdict(self, text: str) -> Verdict:
        """Read the verdict; raises `Unreadable`."""
        ...

    def stripped(self, content: str, /) -> str | None:
        """The answer without its reasoning, or `None` in a style that has no twins."""
        ...


def json_ask(prompt: str, kind: type[BaseModel]) -> Ask:
    """A prompt whose reply is JSON of this kind."""
    return Ask(prompt, response_schema(kind))


def read_marks(text: str, kind: type[Strict]) -> Verdict:
    """A verdict from JSON with `notes` and a mark for each criterion; raises `Unreadable`."""
    fields = parse_json_reply(text, kind).model_dump()
    notes = str(fields.pop("notes"))
    return Verdict(fields, notes)


def reasons_against(verdict: Verdict) -> str | None:
    """Why a chat is not kept, or `None` where every criterion passed. What is unclear is held, and not kept."""
    failed = [name for name, mark in verdict.marks.items() if mark == "fail"]
    unclear = [name for name, mark in verdict.marks.items() if mark == "unclear"]
    notes = " ".join(verdict.notes.split())
    if failed:
        return f"fails {' and '.join(failed)}: {notes}"
    return f"held, unclear whether {' and '.join(unclear)}: {notes}" if unclear else None
