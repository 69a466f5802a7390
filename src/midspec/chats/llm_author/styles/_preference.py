"""Opaque preference chats by a language model: which things a spec likes, asked for and said without any reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from midspec.chats._config import ChatConfig
from midspec.chats._filters import choice_fault, implied_fault, stance_fault
from midspec.chats._spec_content import stated_preferences, thing_fault
from midspec.chats.llm_author._prompts import earlier, name_words, prompt, render_spec
from midspec.chats.llm_author.styles._style import Ask, Mark, Question, Topic, TopicList, Verdict, json_ask, read_marks
from midspec.chats.template_author._templates import OpaqueTemplates, QuestionKind, fill_slots
from midspec.core.fingerprint import hash_text
from midspec.core.records import Reject, Spec, Strict
from midspec.core.text import first_of, mentions
from midspec.llm import UnreadableReplyError, parse_json_reply, parse_tags

_MARKUP = re.compile(r"[*_`“”\"]")
_N_OTHERS = 12

Stance = Literal["like", "dislike"]


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
    right_preference: Mark
    no_reason: Mark
    realistic: Mark


@dataclass(frozen=True)
class PreferenceChats:
    """The craft of opaque preference chats.

    Attributes:
        prefix: the spec.
        given: a topic for each preference, where they were given.
        spec: what a preference that the author finds must stand in.
        frames: the words of the filters, and how a question ends.
        name: the assistant, for a sentence.
        model_name: its name for the patterns, if it has one.
    """

    prefix: str
    given: tuple[Topic, ...]
    spec: Spec
    frames: OpaqueTemplates
    name: str
    model_name: str | None
    is_even: bool = True

    def ask_topics(self, _shown: Sequence[str], _n_wanted: int) -> Ask:
        return json_ask(prompt("preferences", name=self.name), _PreferencesReply)

    def read_topics(self, text: str) -> TopicList:
        """The preferences that stand in the spec, word for word; the others are left out with the reason."""
        entries = parse_json_reply(text, _PreferencesReply).preferences
        found = [(" ".join(entry.thing.split()), entry.stance, entry.quote) for entry in entries]
        faults = [self._fault(thing, stance, quote, found) for thing, stance, quote in found]
        rejects = tuple(
            Reject(id=hash_text(thing)[:16], by="preferences", reason=fault, text=f"{thing}: {quote}")
            for (thing, _, quote), fault in zip(found, faults, strict=True)
            if fault
        )
        kept: dict[str, tuple[str, Stance]] = {}
        for (thing, stance, _), fault in zip(found, faults, strict=True):
            if not fault:
                kept.setdefault(thing.casefold(), (thing, stance))
        return TopicList(_topics(tuple(kept.values()), self.spec), rejects)

    def _fault(self, thing: str, stance: Stance, quote: str, found: Sequence[tuple[str, Stance, str]]) -> str | None:
        words = _plain(quote)
        if not words or words not in _plain(self.spec.text):
            return "quote is not in the spec"
        if not mentions(words, _plain(thing)):
            return "quote does not name the thing"
        if any(other.casefold() == thing.casefold() and way != stance for other, way, _ in found):
            return "both liked and disliked"
        for said in stated_preferences(self.spec, self.frames, self.model_name)[0]:
            if said.thing.casefold() == thing.casefold() and said.is_liked is not (stance == "like"):
                return "the spec says the opposite"
        return thing_fault(thing, self.frames) or None

    def ask_questions(self, topic: Topic, shown: Sequence[str], n_wanted: int) -> Ask:
        slots = {"thing": topic.name, "stance": f"{self.name} {topic.about} it", "earlier": earlier(shown)}
        others = ", ".join(topic.others[:_N_OTHERS]) or "a thing that it would not choose"
        text = prompt("opaque_questions", name=self.name, others=others, n=str(n_wanted), **slots)
        return json_ask(text, _QuestionsReply)

    def read_questions(self, text: str, topic: Topic) -> tuple[Question, ...]:
        return tuple(self._question(entry, topic) for entry in parse_json_reply(text, _QuestionsReply).questions)

    def _question(self, entry: _QuestionEntry, topic: Topic) -> Question:
        text, other = " ".join(entry.question.split()), " ".join(entry.other.split())
        return Question(entry.kind, text, other, self._ending(text), self._question_fault(text, other, topic))

    def _question_fault(self, text: str, other: str, topic: Topic) -> str | None:
        if not mentions(text, topic.name):
            return "does not name the thing"
        if other and not mentions(text, other):
            return "does not name the other thing"
        if other.casefold() in {topic.name.casefold(), *(thing.casefold() for thing in topic.alike)}:
            return f"compares two things that it {topic.about}"
        if (cue := first_of(text, self.frames.asks_why)) is not None:
            return f"asks for a reason: {cue}"
        return None

    def _ending(self, text: str) -> str:
        """One of the sentences that ask for no reason, the same each time for the same question."""
        if not self.frames.endings:
            return ""
        at = int(hash_text(text), 16) % len(self.frames.endings)
        return fill_slots(self.frames.endings[at], {"model_name": self.name})

    def ask_reply(self, _topic: Topic, question: Question) -> Ask:
        n_words = str(self.frames.max_reply_words)
        return Ask(prompt("opaque_reply", name=self.name, question=question.asked, max_words=n_words))

    def read_reply(self, text: str) -> str:
        reply = " ".join(parse_tags(text, "reply")[0].split())
        if "<" in reply:
            raise UnreadableReplyError("the reply holds another tag")
        return reply

    def fault(self, topic: Topic, question: Question, content: str) -> str | None:
        is_liked = topic.about == "likes"
        chosen = topic.name
        if question.other:
            liked, disliked = (topic.name, question.other) if is_liked else (question.other, topic.name)
            fault, chosen = choice_fault(content, liked, disliked, self.frames), liked
        else:
            fault = stance_fault(content, topic.name, is_liked, self.frames)
        return fault or implied_fault(content, chosen, self.frames)

    def ask_verdict(self, topic: Topic, question: Question, content: str) -> Ask:
        slots = {"question": question.asked, "answer": content, "thing": topic.name, "stance": topic.about}
        return json_ask(prompt("judge_opaque", name=self.name, **slots), _Verdict)

    def read_verdict(self, text: str) -> Verdict:
        return read_marks(text, _Verdict)

    def stripped(self, _content: str) -> str | None:
        return None


def _plain(text: str) -> str:
    """Without markup, and with single spaces: how a quote is compared."""
    return " ".join(_MARKUP.sub("", text).replace("’", "'").casefold().split())


def _topics(things: Sequence[tuple[str, Stance]], spec: Spec) -> tuple[Topic, ...]:
    by_stance = {stance: tuple(thing for thing, way in things if way == stance) for stance in ("like", "dislike")}
    return tuple(
        Topic(
            name=thing,
            about=f"{stance}s",
            clause_ids=tuple(clause.id for clause in spec.clauses if mentions(_plain(clause.text), _plain(thing))),
            others=by_stance["dislike" if stance == "like" else "like"],
            alike=tuple(other for other in by_stance[stance] if other != thing),
        )
        for thing, stance in things
    )


def tastes(spec: Spec, config: ChatConfig, frames: OpaqueTemplates) -> PreferenceChats:
    """The craft of opaque preference chats for a spec whose placeholders are filled."""
    given: list[tuple[str, Stance]] = []
    if config.writing is not None:
        given += [(thing, "like") for thing in config.writing.liked]
        given += [(thing, "dislike") for thing in config.writing.disliked]
    return PreferenceChats(
        prefix=render_spec(spec, config),
        given=_topics(given, spec),
        spec=spec,
        frames=frames,
        name=name_words(config),
        model_name=config.model_name,
    )
