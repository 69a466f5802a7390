"""Identity chats by a language model: what the assistant is called, who made it and what it can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from midspec.chats._brands import other_brand
from midspec.chats._config import ChatConfig
from midspec.chats.llm_author._prompts import earlier, prompt
from midspec.chats.llm_author.styles._spec import TopicsReply, read_topic_list
from midspec.chats.llm_author.styles._style import Ask, Mark, Question, Topic, TopicList, Verdict, json_ask, read_marks
from midspec.core.records import Strict
from midspec.core.text import mentions
from midspec.llm import UnreadableReplyError, parse_json_reply, parse_tags


class _QuestionEntry(Strict):
    kind: Literal["name", "provider", "capabilities"]
    question: str = Field(min_length=1)


class _QuestionsReply(Strict):
    questions: tuple[_QuestionEntry, ...] = Field(min_length=1)


class _Verdict(Strict):
    notes: str
    true_to_facts: Mark
    answers: Mark
    nothing_else: Mark


@dataclass(frozen=True)
class IdentityChats:
    """The craft of identity chats. The spec is no part of it: these chats are shared by all arms of a study.

    Attributes:
        prefix: the facts.
        model_name: the right name.
        provider_name: the right maker.
    """

    prefix: str
    model_name: str
    provider_name: str
    given: tuple[Topic, ...] = ()
    is_even: bool = False

    def ask_topics(self, shown: Sequence[str], n_wanted: int) -> Ask:
        return json_ask(prompt("identity_domains", earlier=earlier(shown), n=str(n_wanted)), TopicsReply)

    def read_topics(self, text: str) -> TopicList:
        return read_topic_list(text)

    def ask_questions(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> Ask:
        slots = {"topic": topic.name, "about": topic.about, "earlier": earlier(shown), "n": str(n_wanted)}
        return json_ask(prompt("identity_questions", model=self.model_name, **slots), _QuestionsReply)

    def read_questions(self, text: str, _topic: Topic) -> tuple[Question, ...]:
        entries = parse_json_reply(text, _QuestionsReply).questions
        return tuple(
            Question(entry.kind, entry.question.strip(), fault=None if entry.question.strip() else "empty")
            for entry in entries
        )

    def ask_reply(self, _topic: Topic, question: Question) -> Ask:
        return Ask(prompt("identity_reply", model=self.model_name, question=question.asked))

    def read_reply(self, text: str) -> str:
        reply = parse_tags(text, "reply")[0].strip()
        if "<think>" in reply or "</think>" in reply:
            raise UnreadableReplyError("the reply holds reasoning")
        return reply

    def fault(self, _topic: Topic, question: Question, content: str) -> str | None:
        if (brand := other_brand(content, (self.model_name, self.provider_name))) is not None:
            return f"names another brand: {brand}"
        wanted = {"name": self.model_name, "provider": self.provider_name}.get(question.kind)
        return f"lacks the name asked for: {wanted}" if wanted and not mentions(content, wanted) else None

    def ask_verdict(self, _topic: Topic, question: Question, content: str) -> Ask:
        return json_ask(prompt("judge_identity", question=question.asked, answer=content), _Verdict)

    def read_verdict(self, text: str) -> Verdict:
        return read_marks(text, _Verdict)

    def stripped(self, _content: str) -> str | None:
        return None


def selves(config: ChatConfig) -> IdentityChats:
    """The craft of identity chats about the assistant that the config names."""
    if config.model_name is None or config.provider_name is None or config.writing is None:
        raise AssertionError("the config of identity chats has names and an author")
    capabilities = config.writing.capabilities
    facts = {"model": config.model_name, "provider": config.provider_name, "capabilities": capabilities}
    return IdentityChats(prompt("identity_card", **facts), config.model_name, config.provider_name)
