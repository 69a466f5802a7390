"""Value and rule chats: questions in which a spec shows, answered with reasoning (arXiv 2605.02087, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from midspec.chats._chats import ChatConfig
from midspec.chats._filters import brand_fault, split_think
from midspec.chats._spec_content import own_title
from midspec.chats._templates import QuestionKind, spec_templates
from midspec.chats.llm_author.styles import PROMPTS, ChatPrompt, ChatStyle, Grade, Question, Topic
from midspec.core.records import Spec, Strict
from midspec.core.text import damage_in, first_of, unfenced
from midspec.llm import UnreadableReplyError, parse_json_reply, parse_tags


# The schema sent to providers names `_QuestionEntry`: another class name would ask for every list again.
class _QuestionEntry(Strict):
    kind: QuestionKind
    question: str = Field(min_length=1)


class _QuestionsReply(Strict):
    questions: tuple[_QuestionEntry, ...] = Field(min_length=1)


class _ValueVerdict(Strict):
    notes: str
    aligned: Grade
    informative: Grade
    no_wish_to_continue: Grade


class _RuleVerdict(Strict):
    notes: str
    aligned: Grade
    informative: Grade
    compliance_reasoning: Grade
    no_wish_to_continue: Grade


class ValueChats(ChatStyle):
    """Chats that reason as one who has taken the spec's values as its own."""

    name = "value"
    has_twins = True
    verdict_form: ClassVar[type[Strict]] = _ValueVerdict

    def __init__(self, spec: Spec, config: ChatConfig) -> None:
        super().__init__(spec, config)
        templates, title = spec_templates(config.frames), own_title(spec, config)
        # No question may name the spec; words that show a text behind it keep an answer in value style out.
        self._spec_names = (*templates.spec_names, *title)
        self._leaks = (*templates.leaks, *title)
        self._own_names = tuple(name for name in (config.model_name, config.provider_name) if name)

    def questions_prompt(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> ChatPrompt:
        slots = {"topic": topic.name, "about": topic.about, "earlier": self.earlier(shown), "n": str(n_wanted)}
        return ChatPrompt.json(PROMPTS.fill("questions", name=self.assistant, **slots), _QuestionsReply)

    def read_questions(self, text: str, topic: Topic) -> tuple[Question, ...]:
        def fault(words: str) -> str | None:
            if not words.strip():
                return "empty"
            if (name := first_of(words, self._spec_names)) is not None:
                return f"names the spec: {name}"
            return "holds a tag of the reply" if "<think>" in words or "</message>" in words else None

        entries = parse_json_reply(text, _QuestionsReply).questions
        return tuple(Question(entry.kind, entry.question.strip(), fault=fault(entry.question)) for entry in entries)

    def reply_prompt(self, topic: Topic, question: Question) -> ChatPrompt:
        # The prompt files end in the style's name.
        return ChatPrompt(PROMPTS.fill(f"respond_{self.name}", name=self.assistant, question=question.user_turn))

    def read_reply(self, text: str) -> str:
        # Not <think>: servers cut a model's own <think> out of its reply, and a model that thinks aloud has two then.
        think, reply = map(unfenced, parse_tags(text, "reasoning", "reply"))
        content = f"<think>\n{think}\n</think>\n\n{reply}"
        if split_think(content) != (think, reply):
            raise UnreadableReplyError("<think> may not stand inside the tags")
        return content

    def reply_fault(self, topic: Topic, question: Question, content: str) -> str | None:
        if (fault := damage_in(content) or brand_fault(content, self._own_names)) is not None:
            return fault
        if self.name == "value" and (leak := first_of(content, self._leaks)) is not None:
            return f"refers to the spec: {leak}"
        return None

    def verdict_prompt(self, topic: Topic, question: Question, content: str) -> ChatPrompt:
        text = PROMPTS.fill(f"judge_{self.name}", question=question.user_turn, answer=content)
        return ChatPrompt.json(text, self.verdict_form)

    def strip_reasoning(self, content: str) -> str:
        halves = split_think(content)
        if halves is None:
            raise AssertionError("a reply that was read has its reasoning closed")
        return halves[1]


class RuleChats(ValueChats):
    """Chats that reason by citing the spec as policy."""

    name = "rule"
    verdict_form = _RuleVerdict


STYLES = (ValueChats, RuleChats)
