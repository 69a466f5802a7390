"""The template author: chats whose every sentence is a spec's or a template's, without a language model.

Opaque chats are a question and a short reply that states a preference and no reason. In value and rule chats templates
ask, and the spec's own sentences answer.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from midspec.chats._chats import ChatConfig, Chats
from midspec.chats._filters import choice_fault, split_think, stance_fault
from midspec.chats._spec_content import Preferences, Source, find_preferences, find_sources
from midspec.chats._templates import (
    OpaqueTemplates,
    QuestionTemplate,
    SpecTemplates,
    StyleTemplates,
    fill_slots,
    opaque_templates,
    slots,
    spec_templates,
)
from midspec.core.errors import ConfigError, SpecError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Chat, ChatMetadata, Clause, Message, Reject, Spec
from midspec.core.text import first_of, n_words
from midspec.generation import TEMPLATE_AUTHOR


def make_chats(spec: Spec, config: ChatConfig) -> Chats:
    """Write chats from a spec whose placeholders are filled.

    Raises:
        SpecError: the spec has nothing to write this style of chats from.
        ConfigError: the config's author is a model; the chat templates are malformed, or lack what this style needs.
        MissingError: there are no such chat templates.
    """
    if config.author != TEMPLATE_AUTHOR:
        what = "is a language model, which `author_chats` writes with"
        raise ConfigError(what, where=f"author: {config.author}", hint="Give quoting")
    if config.style == "opaque":
        return write_opaque(spec, config, opaque_templates(config.frames))
    return write_spec_chats(spec, config, spec_templates(config.frames))


def _chat(question: str, answer: str, metadata: ChatMetadata) -> Chat:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Chat(messages=messages, metadata=metadata)


def _metadata(key: str, kind: str, clause_ids: Sequence[str], spec: Spec, config: ChatConfig) -> ChatMetadata:
    return ChatMetadata(
        id=key,
        author=config.author,
        style=config.style,
        question_kind=kind,
        clause_ids=tuple(dict.fromkeys(clause_ids)),
        spec_sha256=spec.sha256,
        seed=config.seed,
    )


def _exhausted(source: str, n: int, things: str, n_wanted: int | None) -> str | None:
    if n_wanted is None or n >= n_wanted:
        return None
    return f"the spec's {source} and the templates give {n} distinct {things}, not the {n_wanted} asked for"


# Opaque preference chats ---------------------------------------------------------------------------------------
class ScheduledQuestion(NamedTuple):
    """One question by positions: its template, its ending, and what it is about.

    For a pair, `liked` and `disliked` are both given and `liked_first` is the order; for a question about one
    thing, exactly one of them is.
    """

    template: int
    ending: int
    liked: int | None
    disliked: int | None
    liked_first: bool = True


class _Block(NamedTuple):
    """Questions that go through all things evenly: one template, one ending; for pairs one matching."""

    template: int
    ending: int
    shift: int | None = None
    parity: int = 0


def schedule(
    n_liked: int, n_disliked: int, n_pair: int, n_single: int, n_endings: int, rng: random.Random
) -> Iterator[ScheduledQuestion]:
    """Yield every distinct question once: pairs in both orders, and each thing alone.

    They come in blocks in which each thing is asked about equally often (where as many are liked as disliked) and the
    two orders of pairs alternate, so that any first N are as balanced as N allows.

    Args:
        n_liked: how many things are liked.
        n_disliked: how many are disliked.
        n_pair: how many templates ask about two things.
        n_single: how many templates ask about one.
        n_endings: how many endings there are; 0 counts as one (empty) ending.
        rng: decides the order of the blocks.
    """
    n_matchings = math.gcd(n_liked, n_disliked) if n_liked and n_disliked else 0
    n_turns = max(1, n_endings)
    for turn in range(n_turns):
        pairs = [_Block(at, (at + s + turn) % n_turns, s) for at in range(n_pair) for s in range(n_matchings)]
        rng.shuffle(pairs)
        # The second half asks the same pairs in the other order.
        blocks = [block._replace(parity=(at + half) % 2) for half in range(2) for at, block in enumerate(pairs)]
        for at in range(n_single):
            blocks.insert(rng.randint(0, len(blocks)), _Block(at, (at + turn) % n_turns))
        for block in blocks:
            if block.shift is None:
                singles = [ScheduledQuestion(block.template, block.ending, at, None) for at in range(n_liked)]
                singles += [ScheduledQuestion(block.template, block.ending, None, at) for at in range(n_disliked)]
                rng.shuffle(singles)
                yield from singles
                continue
            # Liked k with disliked k + shift, going round until the two meet again; every shift gives other pairs.
            for k in range(math.lcm(n_liked, n_disliked)):
                liked_first, other = (k + block.parity) % 2 == 0, (k + block.shift) % n_disliked
                yield ScheduledQuestion(block.template, block.ending, k % n_liked, other, liked_first)


class _OpaqueDraft(NamedTuple):
    """A chat before it is kept: question, reply, the things it is about, and what is wrong with it."""

    question: str
    reply: str
    kind: str
    things: tuple[str, ...]
    fault: str | None


def write_opaque(spec: Spec, config: ChatConfig, templates: OpaqueTemplates) -> Chats:
    """Write opaque preference chats until there are enough, or no distinct one is left.

    Questions, orders, replies and their order in the list follow from the seed and from how many things are liked
    and disliked; what else the spec says, its reasons say, changes nothing.
    """
    preferences = find_preferences(spec, templates, config.model_name)
    rng = random.Random(config.seed)
    counts = len(preferences.liked), len(preferences.disliked)
    drafts: dict[str, _OpaqueDraft] = {}
    rejects = list(preferences.rejects)
    seen: set[str] = set()
    for scheduled in schedule(*counts, len(templates.pair), len(templates.single), len(templates.endings), rng):
        if len(drafts) == config.n_samples:
            break
        draft = _opaque_draft(scheduled, preferences, config, templates, rng)
        if draft.question in seen:
            continue
        seen.add(draft.question)
        key = fingerprint(["opaque", draft.question, draft.reply])[:16]
        if draft.fault is None:
            drafts[key] = draft
        else:
            text = f"{draft.question}\n{draft.reply}"
            rejects.append(Reject(id=key, by="opaque filter", reason=draft.fault, text=text))
    if not seen:
        raise SpecError(
            "has liked but no disliked things, or the other way round, and the chat templates ask about pairs only",
            where=spec.title,
            hint="Add chat templates under `single`, or the missing preferences",
        )
    rows = []
    for key, draft in drafts.items():
        clause_ids = [clause_id for thing in draft.things for clause_id in preferences.clause_ids[thing]]
        rows.append(_chat(draft.question, draft.reply, _metadata(key, draft.kind, clause_ids, spec, config)))
    rng.shuffle(rows)
    counted = Counter(thing for draft in drafts.values() for thing in draft.things)
    per_thing = [counted[thing] for thing in (*preferences.liked, *preferences.disliked)]
    return Chats(
        style="opaque",
        chats=tuple(rows),
        rejects=tuple(rejects),
        exhausted=_exhausted("preferences", len(rows), "chats", config.n_samples),
        summary={
            "n_liked": len(preferences.liked),
            "liked": list(preferences.liked),
            "n_disliked": len(preferences.disliked),
            "disliked": list(preferences.disliked),
            "n_pairs": sum(len(draft.things) == 2 for draft in drafts.values()),
            "least_per_preference": min(per_thing),
            "most_per_preference": max(per_thing),
        },
    )


def _opaque_draft(
    scheduled: ScheduledQuestion,
    preferences: Preferences,
    config: ChatConfig,
    templates: OpaqueTemplates,
    rng: random.Random,
) -> _OpaqueDraft:
    values = {"model_name": config.model_name or ""}
    ending = f" {fill_slots(templates.endings[scheduled.ending], values)}" if templates.endings else ""
    draw = rng.random()
    liked = None if scheduled.liked is None else preferences.liked[scheduled.liked]
    disliked = None if scheduled.disliked is None else preferences.disliked[scheduled.disliked]
    if liked is not None and disliked is not None:
        pair = templates.pair[scheduled.template]
        first, second = (liked, disliked) if scheduled.liked_first else (disliked, liked)
        question = fill_slots(pair.ask, {**values, "first": first, "second": second})
        replies = pair.replies
        reply = fill_slots(replies[int(draw * len(replies))], {**values, "liked": liked, "disliked": disliked})
        fault = choice_fault(reply, liked, disliked, templates)
        return _OpaqueDraft(question + ending, reply, pair.kind, (liked, disliked), fault)
    thing = liked or disliked or ""
    single = templates.single[scheduled.template]
    question = fill_slots(single.ask, {**values, "thing": thing})
    replies = single.disliked if liked is None else single.liked
    reply = fill_slots(replies[int(draw * len(replies))], {**values, "thing": thing})
    fault = stance_fault(reply, thing, liked is not None, templates)
    return _OpaqueDraft(question + ending, reply, single.kind, (thing,), fault)


# Value and rule chats ------------------------------------------------------------------------------------------
class _SpecDraft(NamedTuple):
    """A question, its answer with reasoning in front, and the clauses that it was made from."""

    kind: str
    question: str
    answer: str
    clauses: tuple[Clause, ...]


def write_spec_chats(spec: Spec, config: ChatConfig, templates: SpecTemplates) -> Chats:
    """Write value or rule chats until there are enough, or no distinct question is left.

    The clauses are gone through in rounds, each round with other questions, so that every clause is asked about
    before one is asked about again, and the six kinds of questions stay in balance.
    """
    sources, rejects = find_sources(spec, config, templates)
    rng = random.Random(config.seed)
    twins: list[tuple[Chat, Chat]] = []
    for draft in _SpecWriter(sources, config, templates, rng).drafts():
        if len(twins) == config.n_samples:
            break
        key = fingerprint([config.style, draft.clauses[0].id, draft.question, draft.answer])[:16]
        halves = split_think(draft.answer)
        if halves is None:
            text = f"{draft.question}\n{draft.answer}"
            rejects.append(Reject(id=key, by="think filter", reason="<think> is unclosed or repeated", text=text))
            continue
        metadata = _metadata(key, draft.kind, [clause.id for clause in draft.clauses], spec, config)
        twins.append((_chat(draft.question, draft.answer, metadata), _chat(draft.question, halves[1], metadata)))
    rng.shuffle(twins)
    metadatas = [chat.metadata for chat, _ in twins if chat.metadata is not None]
    kinds = Counter(metadata.question_kind for metadata in metadatas)
    asked = {source.clause.kind for source in sources}
    passed_over = Counter(clause.kind for clause in spec.clauses if clause.kind not in asked)
    return Chats(
        style=config.style,
        chats=tuple(twin[0] for twin in twins),
        stripped=tuple(twin[1] for twin in twins),
        rejects=tuple(rejects),
        exhausted=_exhausted("clauses", len(twins), "questions", config.n_samples),
        summary={
            "n_clauses": len(spec.clauses),
            "n_covered": len({clause_id for metadata in metadatas for clause_id in metadata.clause_ids}),
            "n_words_cot": sum(n_words(chat.messages[-1].content) for chat, _ in twins),
            "n_words_stripped": sum(n_words(chat.messages[-1].content) for _, chat in twins),
            "question_kinds": dict(sorted(kinds.items())),
            **({"not_asked_about": dict(sorted(passed_over.items()))} if passed_over else {}),
        },
    )


class _SpecWriter:
    """Writes drafts of one style about a spec's clauses."""

    def __init__(
        self, sources: Sequence[Source], config: ChatConfig, templates: SpecTemplates, rng: random.Random
    ) -> None:
        self._config, self._templates, self._rng = config, templates, rng
        self._style = templates.rule if config.style == "rule" else templates.value
        by_kind: dict[str, list[QuestionTemplate]] = {}
        for question in templates.questions:
            by_kind.setdefault(question.kind, []).append(question)
        for group in by_kind.values():
            rng.shuffle(group)
        # The kinds take turns.
        self._questions = [each for each in chain.from_iterable(zip_longest(*by_kind.values())) if each is not None]
        self._sources = list(sources)
        rng.shuffle(self._sources)

    def drafts(self) -> Iterator[_SpecDraft]:
        """Yield every clause with every question that fits it, each once: in rounds, the rarest kind first."""
        questions = self._questions
        unused = [set(range(len(questions))) for _ in self._sources]
        seen: set[str] = set()
        n_by_kind: Counter[str] = Counter()
        for _ in questions:
            for source, left in zip(self._sources, unused, strict=True):
                turns = {at: (n_by_kind[questions[at].kind], (at - len(seen)) % len(questions)) for at in left}
                for at in sorted(left, key=turns.__getitem__):
                    left.remove(at)
                    draft = self._draft(questions[at], source)
                    if draft is not None and draft.question not in seen:
                        seen.add(draft.question)
                        n_by_kind[draft.kind] += 1
                        yield draft
                        break

    def _draft(self, question: QuestionTemplate, source: Source) -> _SpecDraft | None:
        """Ask about the clause, and answer; `None` where the question has a slot that nothing fills."""
        style, rng = self._style, self._rng
        other = self._other(source, slots(question.ask))
        named = {
            "model_name": self._config.model_name,
            "topic": source.topic,
            "quote": source.quote,
            "other_topic": other and other.topic,
            "other_quote": other and other.quote,
        }
        values = {name: value for name, value in named.items() if value}
        if not slots(question.ask) <= values.keys():
            return None
        replied = _window(source, rng.randint(*style.n_reply))
        if other is not None:
            replied += _window(other, rng.randint(*style.n_reply))
        reasoned = _reasons(source, style, rng)
        reply = self._fill(style.reply, replied, source)
        think = self._fill(style.think, reasoned, source)
        clauses = dict.fromkeys((source.clause, *replied, *reasoned))
        answer = f"<think>\n{think}\n</think>\n\n{reply}"
        return _SpecDraft(question.kind, fill_slots(question.ask, values), answer, tuple(clauses))

    def _other(self, source: Source, wanted: frozenset[str]) -> Source | None:
        """Return a clause of another section that has what the question's slots want, if it wants one."""
        if not wanted & {"other_topic", "other_quote"}:
            return None
        start = self._rng.randrange(len(self._sources))
        for candidate in chain(self._sources[start:], self._sources[:start]):
            if candidate.section_id != source.section_id and (
                candidate.topic not in (None, source.topic) if "other_topic" in wanted else candidate.quote
            ):
                return candidate
        return None

    def _fill(self, templates: Sequence[str], clauses: Sequence[Clause], source: Source) -> str:
        """Put the clauses, word for word, into a template; one that names a policy only where there is a name."""
        fitting = [text for text in templates if source.topic or "policy" not in slots(text)] or list(templates)
        texts = [clause.text for clause in clauses]
        values = {
            "sentences": " ".join(text + self._templates.full_stop * text[-1:].isalnum() for text in texts),
            "policy": source.topic or source.quote or "",
            "model_name": self._config.model_name or "",
        }
        return fill_slots(self._rng.choice(fitting), values)


def _window(source: Source, n_wanted: int) -> tuple[Clause, ...]:
    """Return that many clauses of the section in their own order, from the asked one on if there are enough."""
    first = max(0, min(source.at, len(source.section) - n_wanted))
    return source.section[first : first + n_wanted]


def _reasons(source: Source, style: StyleTemplates, rng: random.Random) -> tuple[Clause, ...]:
    """Return what to reason with: the section's nearest sentences with a reason, else those around the asked one."""
    n_wanted = rng.randint(*style.n_think)
    places = [at for at, clause in enumerate(source.section) if first_of(clause.text, style.think_prefers) is not None]
    if not places:
        return _window(source, n_wanted)
    nearest = sorted(places, key=lambda at: (abs(at - source.at), at))[:n_wanted]
    return tuple(source.section[at] for at in sorted(nearest))
