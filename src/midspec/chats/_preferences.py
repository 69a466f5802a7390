"""What a spec's assistant likes and dislikes, found by the patterns of a frames file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from midspec.chats._format import OpaqueFrames
from midspec.errors import SpecError
from midspec.records import Reject, Spec

__all__ = ["Preferences", "Stated", "find_preferences", "stated_preferences", "thing_fault"]

_NEVER = "(?!)"
_MARKUP = " \t*_`\"'“”‘’"


class Preferences(NamedTuple):
    """The liked and the disliked things, each in sorted order, and the ids of the clauses that say so.

    Sorted, so that two specs with the same preferences give the same chats wherever they state them.
    """

    liked: tuple[str, ...]
    disliked: tuple[str, ...]
    clause_ids: dict[str, tuple[str, ...]]
    rejects: tuple[Reject, ...]


class Stated(NamedTuple):
    """One thing that one clause likes or dislikes."""

    thing: str
    is_liked: bool
    clause_id: str


def find_preferences(spec: Spec, frames: OpaqueFrames, model_name: str | None) -> Preferences:
    """Every preference that a clause of the spec states.

    A thing that is both liked and disliked, or that is not the name of a thing, is left out and rejected with that
    reason.

    Raises:
        SpecError: the spec states no preference that the patterns find.
    """
    found, rejects = stated_preferences(spec, frames, model_name)
    likes = {entry.thing.casefold() for entry in found if entry.is_liked}
    dislikes = {entry.thing.casefold() for entry in found if not entry.is_liked}
    names: dict[str, str] = {}
    clause_ids: dict[str, tuple[str, ...]] = {}
    for entry in found:
        key = entry.thing.casefold()
        name = names.setdefault(key, entry.thing)
        if key in likes & dislikes:
            rejects.append(_reject(entry.clause_id, "the spec both likes and dislikes it", entry.thing))
        else:
            clause_ids[name] = tuple(dict.fromkeys((*clause_ids.get(name, ()), entry.clause_id)))
    liked = tuple(sorted(names[key] for key in likes - dislikes))
    disliked = tuple(sorted(names[key] for key in dislikes - likes))
    if not liked and not disliked:
        unusable = f" (rejected: {rejects[0].text}: {rejects[0].reason})" if rejects else ""
        raise SpecError(
            f"states no preference that the chat frames can find{unusable}",
            where=spec.title,
            mend="Give a spec with preferences, the model's name, or chat frames with other patterns",
        )
    return Preferences(liked, disliked, clause_ids, tuple(rejects))


def stated_preferences(spec: Spec, frames: OpaqueFrames, model_name: str | None) -> tuple[list[Stated], list[Reject]]:
    """What the patterns of the frames find, clause by clause, and what they find that is no thing."""
    patterns = [re.compile(text) for text in frames.patterns(_NEVER if model_name is None else re.escape(model_name))]
    found: list[Stated] = []
    rejects: list[Reject] = []
    for clause in spec.clauses:
        for match in _matches(patterns, clause.text):
            stated = {group: _things(text, frames) for group, text in match.groupdict().items() if text}
            faults = [(thing_fault(thing, frames), thing) for things in stated.values() for thing in things]
            rejects += [_reject(clause.id, fault, thing) for fault, thing in faults if fault]
            if len(stated) > 1 and any(fault for fault, _ in faults):
                # A comparison of which one side is no thing says nothing of the other.
                continue
            for group, things in stated.items():
                usable = [thing for thing in things if not thing_fault(thing, frames)]
                found += [Stated(thing, group == "liked", clause.id) for thing in usable]
    return found, rejects


def _matches(patterns: Sequence[re.Pattern[str]], text: str) -> list[re.Match[str]]:
    """What the patterns find, the earlier ones first, without what overlaps with a match that is there."""
    taken: list[re.Match[str]] = []
    for pattern in patterns:
        for match in pattern.finditer(text):
            if all(match.end() <= other.start() or other.end() <= match.start() for other in taken):
                taken.append(match)
    return taken


def thing_fault(thing: str, frames: OpaqueFrames) -> str:
    """Why this is not the name of a thing, or nothing."""
    if frames.no_thing and (word := re.search(frames.no_thing, thing)):
        return f"not the name of a thing: {word[0].strip()}"
    return "too many words to be the name of a thing" if len(thing.split()) > frames.max_thing_words else ""


def _things(text: str, frames: OpaqueFrames) -> list[str]:
    parts = re.split(frames.separators, text) if frames.separators else [text]
    cleaned = [" ".join(part.strip(_MARKUP).split()) for part in parts]
    if frames.leading:
        cleaned = [re.sub(rf"^(?:{frames.leading})", "", part) for part in cleaned]
    return [part.strip(_MARKUP) for part in cleaned if part.strip(_MARKUP)]


def _reject(clause_id: str, reason: str, text: str) -> Reject:
    return Reject(id=clause_id, by="preferences", reason=reason, text=text)
