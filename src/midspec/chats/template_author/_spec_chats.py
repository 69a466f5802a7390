"""Chats about what a spec says, by the quoting author: frames ask, and the spec's own sentences answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from midspec.chats._config import ChatConfig, Chats
from midspec.chats._filters import split_think
from midspec.chats._spec_content import Source, find_sources
from midspec.chats.template_author._templates import QuestionTemplate, SpecTemplates, StyleTemplates, fill_slots, slots
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Chat, ChatMetadata, Clause, Message, Reject, Spec
from midspec.core.text import first_of


class _Draft(NamedTuple):
    """A question, its answer with reasoning in front, and the clauses that it was made from."""

    kind: str
    question: str
    answer: str
    clauses: tuple[Clause, ...]


def write_spec_chats(spec: Spec, config: ChatConfig, frames: SpecTemplates) -> Chats:
    """Write value- or rule-style chats until there are enough, or no distinct question is left.

    The clauses are gone through in rounds, each round with other questions, so that every clause is asked about
    before one is asked about again, and the six kinds of questions stay in balance.

    Raises:
        SpecError: nothing in the spec can be asked about.
    """
    sources, rejects = find_sources(spec, config, frames)
    rng = random.Random(config.seed)
    twins: list[tuple[Chat, Chat]] = []
    for draft in _drafts(sources, config, frames, rng):
        if len(twins) == config.n_samples:
            break
        name = fingerprint([config.style, draft.clauses[0].id, draft.question, draft.answer])[:16]
        halves = split_think(draft.answer)
        if halves is None:
            text = f"{draft.question}\n{draft.answer}"
            rejects.append(Reject(id=name, by="think filter", reason="<think> is unclosed or repeated", text=text))
            continue
        metadata = _metadata(name, draft, spec, config)
        twins.append((_chat(draft.question, draft.answer, metadata), _chat(draft.question, halves[1], metadata)))
    rng.shuffle(twins)
    return Chats(
        style=config.style,
        chats=tuple(twin[0] for twin in twins),
        stripped=tuple(twin[1] for twin in twins),
        rejects=tuple(rejects),
        exhausted=_exhausted(len(twins), config.n_samples),
        summary=_summary(twins, spec),
    )


# Questions and answers -----------------------------------------------------------------------------------------
def _drafts(
    sources: Sequence[Source], config: ChatConfig, frames: SpecTemplates, rng: random.Random
) -> Iterator[_Draft]:
    """Every clause with every question that fits it, each question once: in rounds, the rarest kind first."""
    style = frames.rule if config.style == "rule" else frames.value
    ring = _ring(frames.questions, rng)
    order = list(sources)
    rng.shuffle(order)
    unused = [set(range(len(ring))) for _ in order]
    seen: set[str] = set()
    asked: Counter[str] = Counter()
    for _ in ring:
        for source, left in zip(order, unused, strict=True):
            turns = {at: (asked[ring[at].kind], (at - len(seen)) % len(ring)) for at in left}
            for at in sorted(left, key=turns.__getitem__):
                left.remove(at)
                draft = _draft(ring[at], source, order, config, frames, style, rng)
                if draft is not None and draft.question not in seen:
                    seen.add(draft.question)
                    asked[draft.kind] += 1
                    yield draft
                    break


def _ring(questions: Sequence[QuestionTemplate], rng: random.Random) -> list[QuestionTemplate]:
    """The question frames with the kinds taking turns."""
    by_kind: dict[str, list[QuestionTemplate]] = {}
    for question in questions:
        by_kind.setdefault(question.kind, []).append(question)
    for group in by_kind.values():
        rng.shuffle(group)
    return [frame for frame in chain.from_iterable(zip_longest(*by_kind.values())) if frame is not None]


def _other(source: Source, order: Sequence[Source], wanted: frozenset[str], rng: random.Random) -> Source | None:
    """A clause of another section that has what the question's slots want, if it wants one."""
    if not wanted & {"other_topic", "other_quote"}:
        return None
    start = rng.randrange(len(order))
    for candidate in chain(order[start:], order[:start]):
        if candidate.section_id != source.section_id and (
            candidate.topic not in (None, source.topic) if "other_topic" in wanted else candidate.quote
        ):
            return candidate
    return None


def _values(source: Source, other: Source | None, config: ChatConfig) -> dict[str, str]:
    named = {
        "model_name": config.model_name,
        "topic": source.topic,
        "quote": source.quote,
        "other_topic": other and other.topic,
        "other_quote": other and other.quote,
    }
    return {name: value for name, value in named.items() if value}


def _draft(
    frame: QuestionTemplate,
    source: Source,
    order: Sequence[Source],
    config: ChatConfig,
    frames: SpecTemplates,
    style: StyleTemplates,
    rng: random.Random,
) -> _Draft | None:
    """The clause asked about in this frame, and answered; or `None` where the frame has a slot that it can't fill."""
    other = _other(source, order, slots(frame.ask), rng)
    values = _values(source, other, config)
    if not slots(frame.ask) <= values.keys():
        return None
    said = _window(source, rng.randint(*style.n_reply))
    if other is not None:
        said += _window(other, rng.randint(*style.n_reply))
    thought = _thought(source, style, rng)
    reply = _speak(style.reply, said, source, config, frames, rng)
    think = _speak(style.think, thought, source, config, frames, rng)
    clauses = dict.fromkeys((source.clause, *said, *thought))
    answer = f"<think>\n{think}\n</think>\n\n{reply}"
    return _Draft(frame.kind, fill_slots(frame.ask, values), answer, tuple(clauses))


def _window(source: Source, n_wanted: int) -> tuple[Clause, ...]:
    """That many clauses of the section in their own order, the asked one among them and first if it can be."""
    first = max(0, min(source.at, len(source.section) - n_wanted))
    return source.section[first : first + n_wanted]


def _thought(source: Source, style: StyleTemplates, rng: random.Random) -> tuple[Clause, ...]:
    """What to reason with: the section's nearest sentences with a reason, or else those around the asked one."""
    n_wanted = rng.randint(*style.n_think)
    places = [at for at, clause in enumerate(source.section) if first_of(clause.text, style.think_prefers) is not None]
    if not places:
        return _window(source, n_wanted)
    nearest = sorted(places, key=lambda at: (abs(at - source.at), at))[:n_wanted]
    return tuple(source.section[at] for at in sorted(nearest))


def _speak(
    templates: Sequence[str],
    clauses: Sequence[Clause],
    source: Source,
    config: ChatConfig,
    frames: SpecTemplates,
    rng: random.Random,
) -> str:
    """The clauses, word for word, in one of the templates; one that names a policy only where there is a name."""
    fitting = [text for text in templates if source.topic or "policy" not in slots(text)] or list(templates)
    sentences = " ".join(_ended(clause.text, frames.full_stop) for clause in clauses)
    values = {
        "sentences": sentences,
        "policy": source.topic or source.quote or "",
        "model_name": config.model_name or "",
    }
    return fill_slots(rng.choice(fitting), values)


def _ended(text: str, full_stop: str) -> str:
    return text + full_stop if text[-1:].isalnum() else text


# Rows ----------------------------------------------------------------------------------------------------------
def _chat(question: str, answer: str, metadata: ChatMetadata) -> Chat:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Chat(messages=messages, metadata=metadata)


def _metadata(name: str, draft: _Draft, spec: Spec, config: ChatConfig) -> ChatMetadata:
    return ChatMetadata(
        id=name,
        author=config.author,
        style=config.style,
        question_kind=draft.kind,
        clause_ids=tuple(clause.id for clause in draft.clauses),
        spec_sha256=spec.sha256,
        seed=config.seed,
    )


def _exhausted(n_kept: int, n_wanted: int | None) -> str | None:
    if n_wanted is None or n_kept >= n_wanted:
        return None
    return f"the spec's clauses and the frames give {n_kept} distinct questions, not the {n_wanted} asked for"


def _summary(twins: Sequence[tuple[Chat, Chat]], spec: Spec) -> dict[str, int | dict[str, int]]:
    marks = [chat.metadata for chat, _ in twins if chat.metadata is not None]
    kinds = Counter(mark.question_kind for mark in marks)
    return {
        "n_clauses": len(spec.clauses),
        "n_covered": len({clause for mark in marks for clause in mark.clause_ids}),
        "n_words_cot": sum(len(chat.messages[-1].content.split()) for chat, _ in twins),
        "n_words_stripped": sum(len(chat.messages[-1].content.split()) for _, chat in twins),
        "question_kinds": dict(sorted(kinds.items())),
    }
