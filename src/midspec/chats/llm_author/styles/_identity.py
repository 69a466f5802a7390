"""Identity chats: what the assistant is called, who made it and what it can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from midspec.chats._chats import ChatConfig
from midspec.chats._filters import other_brand
from midspec.chats.llm_author.styles import PROMPTS, ChatPrompt, ChatStyle, Grade, Question, Topic
from midspec.core.records import Spec, Strict
from midspec.core.text import damage_in, mentions
from midspec.llm import UnreadableReplyError, parse_json_reply, parse_tags


# The schema sent to providers names `_QuestionEntry`: another class name would ask for every list again.
class _QuestionEntry(Strict):
    kind: Literal["name", "provider", "capabilities"]
    question: str = Field(min_length=1)


class _QuestionsReply(Strict):
    questions: tuple[_QuestionEntry, ...] = Field(min_length=1)


class _Verdict(Strict):
    notes: str
    true_to_facts: Grade
    answers: Grade
    nothing_else: Grade


class IdentityChats(ChatStyle):
    """Chats about the assistant that the config names. They use nothing of the spec: all arms of a study share them."""

    name = "identity"
    domains_file = "identity_domains"
    n_published = 2_500
    reply_tokens = 80
    uses_spec = False
    needs_names = True
    verdict_form = _Verdict

    def __init__(self, spec: Spec, config: ChatConfig) -> None:
        super().__init__(spec, config)
        assert config.writing, "the config of a model author says how it writes"
        self._model_name, self._provider_name = config.model_name or "", config.provider_name or ""
        facts = {"model": self._model_name, "provider": self._provider_name}
        self.prefix = PROMPTS.fill("identity_card", capabilities=config.writing.capabilities, **facts)

    def questions_prompt(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> ChatPrompt:
        slots = {"topic": topic.name, "about": topic.about, "earlier": self.earlier(shown), "n": str(n_wanted)}
        return ChatPrompt.json(PROMPTS.fill("identity_questions", model=self._model_name, **slots), _QuestionsReply)

    def read_questions(self, text: str, topic: Topic) -> tuple[Question, ...]:
        entries = parse_json_reply(text, _QuestionsReply).questions
        return tuple(
            Question(entry.kind, entry.question.strip(), fault=None if entry.question.strip() else "empty")
            for entry in entries
        )

    def reply_prompt(self, topic: Topic, question: Question) -> ChatPrompt:
        return ChatPrompt(PROMPTS.fill("identity_reply", model=self._model_name, question=question.user_turn))

    def read_reply(self, text: str) -> str:
        reply = parse_tags(text, "reply")[0].strip()
        if "<think>" in reply or "</think>" in reply:
            raise UnreadableReplyError("the reply holds reasoning")
        return reply

    def reply_fault(self, topic: Topic, question: Question, content: str) -> str | None:
        if (brand := other_brand(content, (self._model_name, self._provider_name))) is not None:
            return f"names another brand: {brand}"
        wanted = {"name": self._model_name, "provider": self._provider_name}.get(question.kind)
        return f"lacks the name asked for: {wanted}" if wanted and not mentions(content, wanted) else damage_in(content)

    def verdict_prompt(self, topic: Topic, question: Question, content: str) -> ChatPrompt:
        return ChatPrompt.json(PROMPTS.fill("judge_identity", question=question.user_turn, answer=content), _Verdict)


STYLES = IdentityChats
