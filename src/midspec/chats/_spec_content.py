"""What a spec's assistant likes and dislikes, found by the patterns of a frames file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from midspec.chats._config import ChatConfig
from midspec.chats.template_author._templates import OpaqueTemplates, SpecTemplates
from midspec.core.errors import SpecError
from midspec.core.records import Clause, Reject, Section, Spec
from midspec.core.text import first_of

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


def find_preferences(spec: Spec, frames: OpaqueTemplates, model_name: str | None) -> Preferences:
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
            hint="Give a spec with preferences, the model's name, or chat frames with other patterns",
        )
    return Preferences(liked, disliked, clause_ids, tuple(rejects))


def stated_preferences(
    spec: Spec, frames: OpaqueTemplates, model_name: str | None
) -> tuple[list[Stated], list[Reject]]:
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


def thing_fault(thing: str, frames: OpaqueTemplates) -> str:
    """Why this is not the name of a thing, or nothing."""
    if frames.no_thing and (word := re.search(frames.no_thing, thing)):
        return f"not the name of a thing: {word[0].strip()}"
    return "too many words to be the name of a thing" if len(thing.split()) > frames.max_thing_words else ""


def _things(text: str, frames: OpaqueTemplates) -> list[str]:
    parts = re.split(frames.separators, text) if frames.separators else [text]
    cleaned = [" ".join(part.strip(_MARKUP).split()) for part in parts]
    if frames.leading:
        cleaned = [re.sub(rf"^(?:{frames.leading})", "", part) for part in cleaned]
    return [part.strip(_MARKUP) for part in cleaned if part.strip(_MARKUP)]


def _reject(clause_id: str, reason: str, text: str) -> Reject:
    return Reject(id=clause_id, by="preferences", reason=reason, text=text)


_NUMBERING = re.compile(r"^(?:\d+(?:\.\d+)*[.):]?|[ivxIVX]+[.)])\s+(?=\S)")
_MARKUP_SOURCES = "*_`# \t"


class Source(NamedTuple):
    """A clause to ask about, with its section's title and quotable clauses, and its place among them.

    `topic` is `None` where the section has no heading of its own; `quote` is `None` where the clause is too long, or
    names the spec.
    """

    clause: Clause
    section_id: str
    topic: str | None
    quote: str | None
    section: tuple[Clause, ...]
    at: int


def find_sources(spec: Spec, config: ChatConfig, frames: SpecTemplates) -> tuple[list[Source], list[Reject]]:
    """Every clause that can be asked about, in the order of the text, and what was left out.

    Sentences and list items are quoted; table rows are where there is nothing else, and code never is.

    Raises:
        SpecError: nothing in the spec can be asked about.
    """
    names = (*frames.spec_names, *names_of(spec, config))
    kinds = {"sentence", "item"} if any(clause.kind in ("sentence", "item") for clause in spec.clauses) else {"row"}
    sources: list[Source] = []
    rejects: list[Reject] = []
    for section in spec.sections:
        clauses, left_out = _quotable(section, kinds, config, names)
        topic = _topic(section, spec)
        if topic and (name := first_of(topic, names)):
            left_out.append(_reject_of_sources(section.id, name, topic))
            topic = None
        rejects += left_out
        for at, clause in enumerate(clauses):
            fault = _quote_fault(clause.text, names, frames)
            quote = None if fault else " ".join(clause.text.split())
            if topic or quote:
                sources.append(Source(clause, section.id, topic, quote, clauses, at))
            else:
                rejects.append(Reject(id=clause.id, by="question filter", reason=fault or "", text=clause.text))
    if not sources:
        raise SpecError("has no sentence to ask about", where=spec.title, hint="Give a spec with whole sentences")
    return sources, rejects


def _quotable(
    section: Section, kinds: set[str], config: ChatConfig, names: tuple[str, ...]
) -> tuple[tuple[Clause, ...], list[Reject]]:
    clauses = [clause for clause in section.clauses if clause.kind in kinds]
    if config.style == "rule":
        return tuple(clauses), []
    named = {clause.id: name for clause in clauses if (name := first_of(clause.text, names)) is not None}
    rejects = [_reject_of_sources(clause.id, named[clause.id], clause.text) for clause in clauses if clause.id in named]
    return tuple(clause for clause in clauses if clause.id not in named), rejects


def _quote_fault(text: str, names: tuple[str, ...], frames: SpecTemplates) -> str | None:
    if (name := first_of(text, names)) is not None:
        return f"names the spec: {name}"
    n_words = len(text.split())
    return f"too long to be asked about: {n_words} words" if n_words > frames.max_quote_words else None


def names_of(spec: Spec, config: ChatConfig) -> tuple[str, ...]:
    """The spec's title, where it is a name of its own: not one word, and not the model's or the provider's."""
    known = {name.casefold() for name in (config.model_name, config.provider_name) if name}
    title = " ".join(spec.title.strip(_MARKUP_SOURCES).split())
    return (title,) if len(title.split()) > 1 and title.casefold() not in known else ()


def _topic(section: Section, spec: Spec) -> str | None:
    """The section's heading without numbering and markup, if it has one that is not the whole spec's."""
    if section.level == 0 or section.title == spec.title:
        return None
    return _NUMBERING.sub("", section.title.strip(_MARKUP_SOURCES)) or None


def _reject_of_sources(name: str, word: str, text: str) -> Reject:
    return Reject(id=name, by="question filter", reason=f"names the spec: {word}", text=text)
