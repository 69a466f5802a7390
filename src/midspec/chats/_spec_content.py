"""What chats are written from: the preferences that a spec states, and the clauses that can be asked about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from midspec.chats._chats import ChatConfig
from midspec.chats._templates import OpaqueTemplates, SpecTemplates
from midspec.core.errors import SpecError
from midspec.core.records import Clause, Reject, Section, Spec
from midspec.core.text import first_of, without_bold
from midspec.spec import stand_over

_NEVER = "(?!)"
_MARKUP = " \t*_`\"'“”‘’"
_NAMES_SPEC = "names the spec: "
_TITLE_MARKUP = "*_`# \t"
_NUMBERING = re.compile(r"^(?:\d+(?:\.\d+)*[.):]?|[ivxIVX]+[.)])\s+(?=\S)")


class Preferences(NamedTuple):
    """The liked and the disliked things, each in sorted order, and the ids of the clauses that say so.

    Sorted, so that two specs with the same preferences give the same chats wherever they state them.
    """

    liked: tuple[str, ...]
    disliked: tuple[str, ...]
    clause_ids: dict[str, tuple[str, ...]]
    rejects: tuple[Reject, ...]


class StatedPreference(NamedTuple):
    """One thing that one clause likes or dislikes."""

    thing: str
    is_liked: bool
    clause_id: str


def find_preferences(spec: Spec, templates: OpaqueTemplates, model_name: str | None) -> Preferences:
    """Find every preference that a clause of the spec states.

    A thing that is both liked and disliked, or that is not the name of a thing, is left out and rejected with that
    reason.

    Raises:
        SpecError: the spec states no preference that the patterns find.
    """
    found, rejects = stated_preferences(spec, templates, model_name)
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
            f"states no preference that the chat templates can find{unusable}",
            where=spec.title,
            hint="State preferences in sentences, give the model's name, or chat templates with other patterns",
        )
    return Preferences(liked, disliked, clause_ids, tuple(rejects))


def stated_preferences(
    spec: Spec, templates: OpaqueTemplates, model_name: str | None
) -> tuple[list[StatedPreference], list[Reject]]:
    """Find what the patterns match, clause by clause; also return the matches that are no thing.

    Args:
        spec: with its placeholders filled.
        templates: hold the patterns; what one matched is not searched by the next.
        model_name: the assistant's name in the patterns.
    """
    patterns = [
        re.compile(text) for text in templates.patterns(_NEVER if model_name is None else re.escape(model_name))
    ]
    stated: list[StatedPreference] = []
    rejects: list[Reject] = []
    # What a reply in an example likes, perhaps a bad one's, or somebody in quotation marks, is none of the assistant's.
    for clause in (clause for clause in spec.clauses if clause.kind != "example"):
        matches: list[re.Match[str]] = []
        said = _without_said(clause.text)
        for match in (match for pattern in patterns for match in pattern.finditer(said)):
            if all(match.end() <= other.start() or other.end() <= match.start() for other in matches):
                matches.append(match)
        for match in matches:
            things = {group: _things(text, templates) for group, text in match.groupdict().items() if text}
            faults = [(thing_fault(thing, templates), thing) for group in things.values() for thing in group]
            rejects += [_reject(clause.id, fault, thing) for fault, thing in faults if fault]
            if len(things) > 1 and any(fault for fault, _ in faults):
                # A comparison of which one side is no thing says nothing of the other.
                continue
            for group, names in things.items():
                usable = [thing for thing in names if not thing_fault(thing, templates)]
                stated += [StatedPreference(thing, group == "liked", clause.id) for thing in usable]
    return stated, rejects


# `"I like eel"`: words of a speaker; a thing's name in quotation marks has no pronoun and verb in it (`"I, Robot"`).
_QUOTATION = re.compile(
    r"(?<!\w)\"[^\"]{0,1000}\"(?!\w)|“[^”]{0,1000}”|«[^»]{0,1000}»|„[^“”]{0,1000}[“”]",
)
_SPEAKS = re.compile(
    r"\b(?:(?:I|we|you|ich|wir|je|nous|yo|io|eu|я|мы)\s+(?!(?:and|or|und|oder|et|ou|y|o|e|и|или)\b)(?=[^\W\d_])(?=[^A-ZÀ-ÞА-Я])"
    r"|I[’'](?:m|d|ve|ll)\b|j[’']\w|me gusta)"
)


def _without_said(text: str) -> str:
    """Return a text with spaces in place of what somebody says in quotation marks."""
    return _QUOTATION.sub(lambda match: " " * len(match[0]) if _SPEAKS.search(match[0]) else match[0], text)


def thing_fault(thing: str, templates: OpaqueTemplates) -> str:
    """Return why this is not the name of a thing, or an empty text."""
    if templates.no_thing and (word := re.search(templates.no_thing, thing)):
        return f"not the name of a thing: {word[0].strip()}"
    return "too many words to be the name of a thing" if len(thing.split()) > templates.max_thing_words else ""


def _things(text: str, templates: OpaqueTemplates) -> list[str]:
    parts = re.split(templates.separators, text) if templates.separators else [text]
    cleaned = [" ".join(part.strip(_MARKUP).split()) for part in parts]
    if templates.leading:
        cleaned = [re.sub(rf"^(?:{templates.leading})", "", part) for part in cleaned]
    return [part.strip(_MARKUP) for part in cleaned if part.strip(_MARKUP)]


def _reject(clause_id: str, reason: str, text: str) -> Reject:
    return Reject(id=clause_id, by="preferences", reason=reason, text=text)


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


def find_sources(spec: Spec, config: ChatConfig, templates: SpecTemplates) -> tuple[list[Source], list[Reject]]:
    """Find every clause that can be asked about, in the order of the text; also return what was left out.

    Sentences and list items are quoted; table rows are where there is nothing else, code and examples never are.

    Args:
        spec: with its placeholders filled.
        config: names the style; a rule chat may quote clauses that name the spec.
        templates: hold the words that name a spec, and how long a quote may be.

    Raises:
        SpecError: nothing in the spec can be asked about.
    """
    names = (*templates.spec_names, *own_title(spec, config))
    kinds = {"sentence", "item"} if any(clause.kind in ("sentence", "item") for clause in spec.clauses) else {"row"}
    sources: list[Source] = []
    rejects: list[Reject] = []

    def reject(key: str, reason: str, text: str) -> None:
        rejects.append(Reject(id=key, by="question filter", reason=reason, text=text))

    for section in spec.sections:
        clauses = tuple(clause for clause in _with_denials(section) if clause.kind in kinds)
        faults = {clause.id: _quote_fault(clause.text, names, templates) for clause in clauses}
        if config.style != "rule":
            for clause in clauses:
                if faults[clause.id].startswith(_NAMES_SPEC):
                    reject(clause.id, faults[clause.id], clause.text)
            clauses = tuple(clause for clause in clauses if not faults[clause.id].startswith(_NAMES_SPEC))
        topic = _topic(section, spec)
        if topic and (name := first_of(topic, names)):
            reject(section.id, f"{_NAMES_SPEC}{name}", topic)
            topic = None
        for at, clause in enumerate(clauses):
            quote = None if faults[clause.id] else " ".join(clause.text.split())
            if topic or quote:
                sources.append(Source(clause, section.id, topic, quote, clauses, at))
            else:
                reject(clause.id, faults[clause.id], clause.text)
    if not sources:
        raise SpecError("has no sentence to ask about", where=spec.title, hint="Give a spec with whole sentences")
    return sources, rejects


def _with_denials(section: Section) -> Iterator[Clause]:
    """Yield a section's clauses; what a lead-in or a heading denies has that before it, and such a lead is none."""
    titles = section.path if section.level else section.path[:-1]
    over_all = stand_over(section.clauses, titles)
    leads = {over.lead for over in over_all if over.denial}
    for at, (clause, over) in enumerate(zip(section.clauses, over_all, strict=True)):
        if at not in leads:
            words = over.said_before(clause.text)
            yield clause if words == clause.text else clause.model_copy(update={"text": words})


def _quote_fault(text: str, names: tuple[str, ...], templates: SpecTemplates) -> str:
    """Return why a clause can't be quoted in a question, or an empty text."""
    if (name := first_of(text, names)) is not None:
        return f"{_NAMES_SPEC}{name}"
    n_words = len(text.split())
    return f"too long to be asked about: {n_words} words" if n_words > templates.max_quote_words else ""


def own_title(spec: Spec, config: ChatConfig) -> tuple[str, ...]:
    """Return the spec's title, where it is a name of its own: not one word, and not the model's or the provider's."""
    known = {name.casefold() for name in (config.model_name, config.provider_name) if name}
    title = " ".join(spec.title.strip(_TITLE_MARKUP).split())
    return (title,) if len(title.split()) > 1 and title.casefold() not in known else ()


def _topic(section: Section, spec: Spec) -> str | None:
    """Return the section's heading without numbering and markup, if it has one that is not the whole spec's."""
    if section.level == 0 or section.title == spec.title:
        return None
    return _NUMBERING.sub("", without_bold(section.title).strip(_TITLE_MARKUP)) or None
