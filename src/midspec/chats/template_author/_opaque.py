"""Opaque preference chats: a question, and a short reply that states a preference and no reason."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import JsonValue

from midspec.chats._config import ChatConfig, Chats
from midspec.chats._filters import choice_fault, stance_fault
from midspec.chats._spec_content import Preferences, find_preferences
from midspec.chats.template_author._templates import OpaqueTemplates, fill_slots
from midspec.core.errors import SpecError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Chat, ChatMetadata, Message, Reject, Spec


class Ask(NamedTuple):
    """One question by positions: its frame, its ending, and what it is about.

    For a pair, `liked` and `disliked` are both given and `liked_first` is the order; for a question about one
    thing, exactly one of them is.
    """

    frame: int
    ending: int
    liked: int | None
    disliked: int | None
    liked_first: bool = True


class _Block(NamedTuple):
    """Asks that go through all things evenly: one frame, one ending; for pairs one way of matching them up."""

    frame: int
    ending: int
    shift: int | None = None
    parity: int = 0


def schedule(
    n_liked: int, n_disliked: int, n_pair: int, n_single: int, n_endings: int, rng: random.Random
) -> Iterator[Ask]:
    """Every distinct ask once: pairs in both orders, and each thing alone.

    The asks come in blocks in which each thing is asked about equally often (where as many are liked as disliked)
    and the two orders of pairs alternate, so that any first N asks are as balanced as N allows.

    Args:
        n_liked: how many things are liked.
        n_disliked: how many are disliked.
        n_pair: how many frames ask about two things.
        n_single: how many frames ask about one.
        n_endings: how many endings there are; 0 counts as one (empty) ending.
        rng: decides the order of the blocks.
    """
    matchings = math.gcd(n_liked, n_disliked) if n_liked and n_disliked else 0
    n_turns = max(1, n_endings)
    for turn in range(n_turns):
        pairs = [_Block(frame, (frame + s + turn) % n_turns, s) for frame in range(n_pair) for s in range(matchings)]
        rng.shuffle(pairs)
        # The second half asks the same pairs in the other order.
        blocks = [block._replace(parity=(at + half) % 2) for half in range(2) for at, block in enumerate(pairs)]
        for frame in range(n_single):
            blocks.insert(rng.randint(0, len(blocks)), _Block(frame, (frame + turn) % n_turns))
        for block in blocks:
            yield from (
                _single(block, n_liked, n_disliked, rng)
                if block.shift is None
                else _pairs(block, block.shift, n_liked, n_disliked)
            )


def _pairs(block: _Block, shift: int, n_liked: int, n_disliked: int) -> Iterator[Ask]:
    """Liked k with disliked k + shift, going round until the two meet again; every shift gives other pairs."""
    for k in range(math.lcm(n_liked, n_disliked)):
        liked_first = (k + block.parity) % 2 == 0
        yield Ask(block.frame, block.ending, k % n_liked, (k + shift) % n_disliked, liked_first)


def _single(block: _Block, n_liked: int, n_disliked: int, rng: random.Random) -> list[Ask]:
    asks = [Ask(block.frame, block.ending, at, None) for at in range(n_liked)]
    asks += [Ask(block.frame, block.ending, None, at) for at in range(n_disliked)]
    rng.shuffle(asks)
    return asks


class _Draft(NamedTuple):
    """A chat before it is kept: question, reply, the things it is about, and what is wrong with it."""

    question: str
    reply: str
    kind: str
    things: tuple[str, ...]
    fault: str | None


def write_opaque(spec: Spec, config: ChatConfig, frames: OpaqueTemplates) -> Chats:
    """Write opaque preference chats until there are enough, or no distinct one is left.

    Questions, orders, replies and their order in the list follow from the seed and from how many things are liked
    and disliked; what else the spec says, its reasons say, changes nothing.

    Raises:
        SpecError: the spec states no preference, or none that the frames can ask about.
    """
    preferences = find_preferences(spec, frames, config.model_name)
    rng = random.Random(config.seed)
    counts = len(preferences.liked), len(preferences.disliked)
    kept: dict[str, _Draft] = {}
    rejects = list(preferences.rejects)
    seen: set[str] = set()
    for ask in schedule(*counts, len(frames.pair), len(frames.single), len(frames.endings), rng):
        if len(kept) == config.n_samples:
            break
        draft = _write(ask, preferences, config, frames, rng)
        if draft.question in seen:
            continue
        seen.add(draft.question)
        name = fingerprint(["opaque", draft.question, draft.reply])[:16]
        if draft.fault is None:
            kept[name] = draft
        else:
            text = f"{draft.question}\n{draft.reply}"
            rejects.append(Reject(id=name, by="opaque filter", reason=draft.fault, text=text))
    if not seen:
        raise SpecError(
            "has liked but no disliked things, or the other way round, and the chat frames ask about pairs only",
            where=spec.title,
            hint="Add chat frames under `single`, or the missing preferences",
        )
    rows = [_chat(name, draft, spec, config, preferences) for name, draft in kept.items()]
    rng.shuffle(rows)
    return Chats(
        style="opaque",
        chats=tuple(rows),
        rejects=tuple(rejects),
        exhausted=_exhausted(len(rows), config.n_samples),
        summary=_summary(preferences, list(kept.values())),
    )


def _write(
    ask: Ask, preferences: Preferences, config: ChatConfig, frames: OpaqueTemplates, rng: random.Random
) -> _Draft:
    values = {"model_name": config.model_name or ""}
    ending = fill_slots(frames.endings[ask.ending], values) if frames.endings else ""
    draw = rng.random()
    if ask.liked is not None and ask.disliked is not None:
        liked, disliked = preferences.liked[ask.liked], preferences.disliked[ask.disliked]
        pair = frames.pair[ask.frame]
        first, second = (liked, disliked) if ask.liked_first else (disliked, liked)
        question = fill_slots(pair.ask, {**values, "first": first, "second": second})
        reply = fill_slots(_pick(pair.replies, draw), {**values, "liked": liked, "disliked": disliked})
        fault = choice_fault(reply, liked, disliked, frames)
        return _Draft(_close(question, ending), reply, pair.kind, (liked, disliked), fault)
    is_liked = ask.liked is not None
    thing = preferences.disliked[ask.disliked or 0] if ask.liked is None else preferences.liked[ask.liked]
    single = frames.single[ask.frame]
    question = fill_slots(single.ask, {**values, "thing": thing})
    reply = fill_slots(_pick(single.liked if is_liked else single.disliked, draw), {**values, "thing": thing})
    fault = stance_fault(reply, thing, is_liked, frames)
    return _Draft(_close(question, ending), reply, single.kind, (thing,), fault)


def _pick(replies: tuple[str, ...], draw: float) -> str:
    return replies[int(draw * len(replies))]


def _close(question: str, ending: str) -> str:
    return f"{question} {ending}" if ending else question


def _chat(name: str, draft: _Draft, spec: Spec, config: ChatConfig, preferences: Preferences) -> Chat:
    clause_ids = tuple(clause for thing in draft.things for clause in preferences.clause_ids[thing])
    return Chat(
        messages=(Message(role="user", content=draft.question), Message(role="assistant", content=draft.reply)),
        metadata=ChatMetadata(
            id=name,
            author=config.author,
            style="opaque",
            question_kind=draft.kind,
            clause_ids=tuple(dict.fromkeys(clause_ids)),
            spec_sha256=spec.sha256,
            seed=config.seed,
        ),
    )


def _exhausted(n_kept: int, n_wanted: int | None) -> str | None:
    if n_wanted is None or n_kept >= n_wanted:
        return None
    return f"the spec's preferences and the frames give {n_kept} distinct chats, not the {n_wanted} asked for"


def _summary(preferences: Preferences, drafts: list[_Draft]) -> dict[str, JsonValue]:
    asked: Counter[str] = Counter(thing for draft in drafts for thing in draft.things)
    per_thing = [asked[thing] for thing in (*preferences.liked, *preferences.disliked)]
    return {
        "n_liked": len(preferences.liked),
        "liked": list(preferences.liked),
        "n_disliked": len(preferences.disliked),
        "disliked": list(preferences.disliked),
        "n_pairs": sum(len(draft.things) == 2 for draft in drafts),
        "least_per_preference": min(per_thing),
        "most_per_preference": max(per_thing),
    }
