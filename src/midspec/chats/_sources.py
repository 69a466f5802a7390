"""What a spec gives to be asked about and to be quoted."""

from __future__ import annotations

import re
from typing import NamedTuple

from midspec.chats._config import ChatConfig
from midspec.chats._format import SpecFrames
from midspec.chats._words import first_of
from midspec.errors import SpecError
from midspec.records import Clause, Reject, Section, Spec

__all__ = ["Source", "find_sources", "names_of"]

_NUMBERING = re.compile(r"^(?:\d+(?:\.\d+)*[.):]?|[ivxIVX]+[.)])\s+(?=\S)")
_MARKUP = "*_`# \t"


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


def find_sources(spec: Spec, config: ChatConfig, frames: SpecFrames) -> tuple[list[Source], list[Reject]]:
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
            left_out.append(_reject(section.id, name, topic))
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
        raise SpecError("has no sentence to ask about", where=spec.title, mend="Give a spec with whole sentences")
    return sources, rejects


def _quotable(
    section: Section, kinds: set[str], config: ChatConfig, names: tuple[str, ...]
) -> tuple[tuple[Clause, ...], list[Reject]]:
    clauses = [clause for clause in section.clauses if clause.kind in kinds]
    if config.style == "rule":
        return tuple(clauses), []
    named = {clause.id: name for clause in clauses if (name := first_of(clause.text, names)) is not None}
    rejects = [_reject(clause.id, named[clause.id], clause.text) for clause in clauses if clause.id in named]
    return tuple(clause for clause in clauses if clause.id not in named), rejects


def _quote_fault(text: str, names: tuple[str, ...], frames: SpecFrames) -> str | None:
    if (name := first_of(text, names)) is not None:
        return f"names the spec: {name}"
    n_words = len(text.split())
    return f"too long to be asked about: {n_words} words" if n_words > frames.max_quote_words else None


def names_of(spec: Spec, config: ChatConfig) -> tuple[str, ...]:
    """The spec's title, where it is a name of its own: not one word, and not the model's or the provider's."""
    known = {name.casefold() for name in (config.model_name, config.provider_name) if name}
    title = " ".join(spec.title.strip(_MARKUP).split())
    return (title,) if len(title.split()) > 1 and title.casefold() not in known else ()


def _topic(section: Section, spec: Spec) -> str | None:
    """The section's heading without numbering and markup, if it has one that is not the whole spec's."""
    if section.level == 0 or section.title == spec.title:
        return None
    return _NUMBERING.sub("", section.title.strip(_MARKUP)) or None


def _reject(name: str, word: str, text: str) -> Reject:
    return Reject(id=name, by="question filter", reason=f"names the spec: {word}", text=text)
