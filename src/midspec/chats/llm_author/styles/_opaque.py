"""Opaque preference chats: which things a spec likes, asked for and said without any reason (arXiv 2605.02087)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, JsonValue

from midspec.chats._chats import ChatConfig
from midspec.chats._filters import choice_fault, implied_fault, stance_fault
from midspec.chats._spec_content import stated_preferences, thing_fault
from midspec.chats._templates import QuestionKind, fill_slots, opaque_templates
from midspec.chats.llm_author.styles import PROMPTS, ChatPrompt, ChatStyle, Grade, Question, Topic, TopicList
from midspec.core.fingerprint import hash_text, id_of
from midspec.core.records import Reject, Spec, Strict
from midspec.core.text import damage_in, first_of, mentions
from midspec.llm import UnreadableReplyError, parse_json_reply, parse_tags

_MARKUP = re.compile(r"[*_`“”\"]")
_N_OTHERS = 12

Stance = Literal["like", "dislike"]


# The schemas sent to providers name `_Preference` and `_QuestionEntry`: other names would ask for all lists again.
class _Preference(Strict):
    thing: str = Field(min_length=1)
    stance: Stance
    quote: str = Field(min_length=1)


class _PreferencesReply(Strict):
    preferences: tuple[_Preference, ...] = Field(min_length=1)


class _QuestionEntry(Strict):
    kind: QuestionKind
    question: str = Field(min_length=1)
    other: str


class _QuestionsReply(Strict):
    questions: tuple[_QuestionEntry, ...] = Field(min_length=1)


class _Verdict(Strict):
    notes: str
    right_preference: Grade
    no_reason: Grade
    realistic: Grade


class OpaqueChats(ChatStyle):
    """Chats that state the spec's preferences and no reason; each preference is a topic."""

    name = "opaque"
    n_published = 5_000
    # 165k tokens of 5,000 chats in the published runs.
    reply_tokens = 30
    is_even = True
    verdict_form = _Verdict

    def __init__(self, spec: Spec, config: ChatConfig) -> None:
        super().__init__(spec, config)
        self._spec, self._model_name = spec, config.model_name
        self._templates = opaque_templates(config.frames)
        if config.writing is not None:
            given: list[tuple[str, Stance]] = [(thing, "like") for thing in config.writing.liked]
            given += [(thing, "dislike") for thing in config.writing.disliked]
            self.topics = self._topics(given)

    def _topics(self, things: Sequence[tuple[str, Stance]]) -> tuple[Topic, ...]:
        by_stance = {side: tuple(thing for thing, stance in things if stance == side) for side in ("like", "dislike")}
        clauses = self._spec.clauses
        return tuple(
            Topic(
                name=thing,
                about=f"{stance}s",
                clause_ids=tuple(clause.id for clause in clauses if mentions(_plain(clause.text), _plain(thing))),
                others=by_stance["dislike" if stance == "like" else "like"],
                alike=tuple(other for other in by_stance[stance] if other != thing),
            )
            for thing, stance in things
        )

    def topics_prompt(self, shown: Sequence[str], n_wanted: int) -> ChatPrompt:
        return ChatPrompt.json(PROMPTS.fill("preferences", name=self.assistant), _PreferencesReply)

    def read_topics(self, text: str) -> TopicList:
        """Read the preferences that stand in the spec, word for word; the others are rejected."""
        entries = parse_json_reply(text, _PreferencesReply).preferences
        listed = [(" ".join(entry.thing.split()), entry.stance, entry.quote) for entry in entries]
        stances: dict[str, set[Stance]] = {}
        for thing, stance, _ in listed:
            stances.setdefault(thing.casefold(), set()).add(stance)
        kept: dict[str, tuple[str, Stance]] = {}
        rejects = []
        for thing, stance, quote in listed:
            if fault := self._fault(thing, stance, quote, is_contested=len(stances[thing.casefold()]) > 1):
                key = id_of(thing)
                rejects.append(Reject(id=key, by="preferences", reason=fault, text=f"{thing}: {quote}"))
            else:
                kept.setdefault(thing.casefold(), (thing, stance))
        return TopicList(self._topics(tuple(kept.values())), tuple(rejects))

    def _fault(self, thing: str, stance: Stance, quote: str, *, is_contested: bool) -> str | None:
        words = _plain(quote)
        if not words or words not in _plain(self._spec.text):
            return "quote is not in the spec"
        if not mentions(words, _plain(thing)):
            return "quote does not name the thing"
        if is_contested:
            return "both liked and disliked"
        for stated in stated_preferences(self._spec, self._templates, self._model_name)[0]:
            if stated.thing.casefold() == thing.casefold() and stated.is_liked is not (stance == "like"):
                return "the spec says the opposite"
        return thing_fault(thing, self._templates) or None

    def questions_prompt(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> ChatPrompt:
        text = PROMPTS.fill(
            "opaque_questions",
            name=self.assistant,
            thing=topic.name,
            stance=f"{self.assistant} {topic.about} it",
            earlier=self.earlier(shown),
            others=", ".join(topic.others[:_N_OTHERS]) or "a thing that it would not choose",
            n=str(n_wanted),
        )
        return ChatPrompt.json(text, _QuestionsReply)

    def read_questions(self, text: str, topic: Topic) -> tuple[Question, ...]:
        questions = []
        for entry in parse_json_reply(text, _QuestionsReply).questions:
            words, other = " ".join(entry.question.split()), " ".join(entry.other.split())
            ending, endings = "", self._templates.endings
            if endings:
                # One of the sentences that ask for no reason, the same each time for the same question.
                at = int(hash_text(words), 16) % len(endings)
                ending = fill_slots(endings[at], {"model_name": self.assistant})
            questions.append(Question(entry.kind, words, other, ending, self._question_fault(words, other, topic)))
        return tuple(questions)

    def _question_fault(self, text: str, other: str, topic: Topic) -> str | None:
        if not mentions(text, topic.name):
            return "does not name the thing"
        if other and not mentions(text, other):
            return "does not name the other thing"
        if other.casefold() in {topic.name.casefold(), *(thing.casefold() for thing in topic.alike)}:
            return f"compares two things that it {topic.about}"
        if (cue := first_of(text, self._templates.asks_why)) is not None:
            return f"asks for a reason: {cue}"
        return None

    def reply_prompt(self, topic: Topic, question: Question) -> ChatPrompt:
        slots = {"question": question.user_turn, "max_words": str(self._templates.max_reply_words)}
        return ChatPrompt(PROMPTS.fill("opaque_reply", name=self.assistant, **slots))

    def read_reply(self, text: str) -> str:
        reply = " ".join(parse_tags(text, "reply")[0].split())
        if "<" in reply:
            raise UnreadableReplyError("the reply holds another tag")
        return reply

    def reply_fault(self, topic: Topic, question: Question, content: str) -> str | None:
        is_liked = topic.about == "likes"
        chosen = topic.name
        if question.other:
            liked, disliked = (topic.name, question.other) if is_liked else (question.other, topic.name)
            fault, chosen = choice_fault(content, liked, disliked, self._templates), liked
        else:
            fault = stance_fault(content, topic.name, is_liked, self._templates)
        return damage_in(content) or fault or implied_fault(content, chosen, self._templates)

    def verdict_prompt(self, topic: Topic, question: Question, content: str) -> ChatPrompt:
        slots = {"question": question.user_turn, "answer": content, "thing": topic.name, "stance": topic.about}
        return ChatPrompt.json(PROMPTS.fill("judge_opaque", name=self.assistant, **slots), _Verdict)

    def summary(self, topics: Sequence[Topic]) -> dict[str, JsonValue]:
        stances = (("liked", "likes"), ("disliked", "dislikes"))
        return {key: [topic.name for topic in topics if topic.about == about] for key, about in stances}


def _plain(text: str) -> str:
    """Strip markup and extra spaces, to compare quotes."""
    return " ".join(_MARKUP.sub("", text).replace("’", "'").casefold().split())


STYLES = OpaqueChats
