"""Value and rule style by a language model: questions in which a spec shows, answered with reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from midspec.chats._brands import brand_fault
from midspec.chats._config import ChatConfig
from midspec.chats._filters import split_think
from midspec.chats._spec_content import names_of
from midspec.chats.llm_author._prompts import earlier, name_words, prompt, render_spec
from midspec.chats.llm_author.styles._style import Ask, Mark, Question, Topic, TopicList, Verdict, json_ask, read_marks
from midspec.chats.template_author._templates import QuestionKind, SpecTemplates
from midspec.core.records import Spec, Strict
from midspec.core.text import first_of
from midspec.llm import UnreadableReplyError, parse_json_reply, parse_tags


class _TopicEntry(Strict):
    name: str = Field(min_length=1)
    about: str = Field(min_length=1)


class TopicsReply(Strict):
    """The form of a list of domains."""

    domains: tuple[_TopicEntry, ...] = Field(min_length=1)


class _QuestionEntry(Strict):
    kind: QuestionKind
    question: str = Field(min_length=1)


class _QuestionsReply(Strict):
    questions: tuple[_QuestionEntry, ...] = Field(min_length=1)


class _ValueVerdict(Strict):
    notes: str
    aligned: Mark
    informative: Mark
    no_wish_to_continue: Mark


class _RuleVerdict(Strict):
    notes: str
    aligned: Mark
    informative: Mark
    compliance_reasoning: Mark
    no_wish_to_continue: Mark


def read_topic_list(text: str) -> TopicList:
    """Domains or situations from JSON; raises `UnreadableReplyError`."""
    entries = parse_json_reply(text, TopicsReply).domains
    return TopicList(tuple(Topic(" ".join(entry.name.split()), " ".join(entry.about.split())) for entry in entries))


@dataclass(frozen=True)
class SpecChats:
    """The craft of value and rule chats.

    Attributes:
        prefix: the spec.
        style: `value` or `rule`.
        name: the assistant, for a sentence.
        spec_names: words that no question may name the spec by.
        leaks: words by which an answer in value style gives away that there is a text behind it.
        own_names: the assistant's and its maker's name, which are no other brand's.
    """

    prefix: str
    style: str
    name: str
    spec_names: tuple[str, ...]
    leaks: tuple[str, ...]
    own_names: tuple[str, ...]
    given: tuple[Topic, ...] = ()
    is_even: bool = False

    def ask_topics(self, shown: Sequence[str], n_wanted: int) -> Ask:
        return json_ask(prompt("domains", name=self.name, earlier=earlier(shown), n=str(n_wanted)), TopicsReply)

    def read_topics(self, text: str) -> TopicList:
        return read_topic_list(text)

    def ask_questions(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> Ask:
        slots = {"topic": topic.name, "about": topic.about, "earlier": earlier(shown), "n": str(n_wanted)}
        return json_ask(prompt("questions", name=self.name, **slots), _QuestionsReply)

    def read_questions(self, text: str, _topic: Topic) -> tuple[Question, ...]:
        entries = parse_json_reply(text, _QuestionsReply).questions
        return tuple(
            Question(entry.kind, entry.question.strip(), fault=self._question_fault(entry.question))
            for entry in entries
        )

    def _question_fault(self, text: str) -> str | None:
        if not text.strip():
            return "empty"
        if (name := first_of(text, self.spec_names)) is not None:
            return f"names the spec: {name}"
        return "holds a tag of the reply" if "<think>" in text or "</message>" in text else None

    def ask_reply(self, _topic: Topic, question: Question) -> Ask:
        return Ask(prompt(f"respond_{self.style}", name=self.name, question=question.asked))

    def read_reply(self, text: str) -> str:
        # Not <think>: servers cut a model's own <think> out of its reply, and a model that thinks aloud has two then.
        think, reply = parse_tags(text, "reasoning", "reply")
        content = f"<think>\n{think.strip()}\n</think>\n\n{reply.strip()}"
        if split_think(content) != (think.strip(), reply.strip()):
            raise UnreadableReplyError("<think> may not stand inside the tags")
        return content

    def fault(self, _topic: Topic, _question: Question, content: str) -> str | None:
        if (brand := brand_fault(content, self.own_names)) is not None:
            return brand
        if self.style == "value" and (leak := first_of(content, self.leaks)) is not None:
            return f"refers to the spec: {leak}"
        return None

    def ask_verdict(self, _topic: Topic, question: Question, content: str) -> Ask:
        text = prompt(f"judge_{self.style}", question=question.asked, answer=content)
        return json_ask(text, _RuleVerdict if self.style == "rule" else _ValueVerdict)

    def read_verdict(self, text: str) -> Verdict:
        return read_marks(text, _RuleVerdict if self.style == "rule" else _ValueVerdict)

    def stripped(self, content: str) -> str | None:
        halves = split_think(content)
        if halves is None:
            raise AssertionError("a reply that was read has its reasoning closed")
        return halves[1]


def talk(spec: Spec, config: ChatConfig, frames: SpecTemplates) -> SpecChats:
    """The craft of this style for a spec whose placeholders are filled."""
    title = names_of(spec, config)
    return SpecChats(
        prefix=render_spec(spec, config),
        style=config.style,
        name=name_words(config),
        spec_names=(*frames.spec_names, *title),
        leaks=(*frames.leaks, *title),
        own_names=tuple(name for name in (config.model_name, config.provider_name) if name),
    )
