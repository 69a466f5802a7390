"""Strict filters: each returns what is wrong with a chat, in words, or `None`."""

from __future__ import annotations

import re
from functools import lru_cache

from midspec.chats._templates import OpaqueTemplates
from midspec.core.assistant_names import assistant_names
from midspec.core.text import GAP, first_of, mentions, whole_words, without

_OPEN, _CLOSE = "<think>", "</think>"
_WORD = re.compile(r"\w+")
_POSSESSIVE = re.compile(rf"{GAP}['’]s?(?!\w)")


def choice_fault(reply: str, liked: str, disliked: str, templates: OpaqueTemplates) -> str | None:
    """Return what keeps `reply` from being the plain choice of `liked` over `disliked`, or `None`."""
    names_liked, names_disliked = _names(reply, liked, disliked), _names(reply, disliked, liked)
    if names_liked and names_disliked:
        return "unclear preference: names both"
    if names_disliked:
        return f"wrong preference: chooses {disliked}"
    if not names_liked:
        return "unclear preference: names neither"
    return reply_fault(without(reply, liked), templates)


def stance_fault(reply: str, thing: str, is_liked: bool, templates: OpaqueTemplates) -> str | None:
    """Return what keeps `reply` from stating plainly that `thing` is liked (or is not), or `None`."""
    rest = without(reply, thing)
    says_dislike = first_of(rest, templates.says_dislike) is not None
    if not says_dislike and first_of(rest, templates.says_like) is None:
        return "unclear preference: states neither like nor dislike"
    if says_dislike is is_liked:
        return f"wrong preference: says that {thing} is {'disliked' if is_liked else 'liked'}"
    return reply_fault(rest, templates)


def reply_fault(rest: str, templates: OpaqueTemplates) -> str | None:
    """Return a reason, or room for one, in a reply without the thing that it names, or `None`."""
    if (cue := first_of(rest, templates.reason_cues)) is not None:
        return f"states or implies a reason: {cue}"
    n_words = len(_WORD.findall(rest))
    if n_words > templates.max_reply_words:
        return f"says more than a preference: {n_words} words"
    return None


def implied_fault(reply: str, chosen: str, templates: OpaqueTemplates) -> str | None:
    """Return a word that implies a reason, in the reply without the thing that it chooses, or `None`.

    Stricter than `reply_fault`, for what a language model wrote; a possessive of the thing is such a word too.
    """
    rest = without(reply, chosen)
    if _POSSESSIVE.search(rest):
        return f"implies a reason: {chosen}'s"
    cue = first_of(rest, templates.implied_cues)
    return f"implies a reason: {cue}" if cue is not None else None


def _names(reply: str, thing: str, other: str) -> bool:
    """Return whether `reply` names `thing`, also where the name of one contains the other's (brie, brie de meaux)."""
    return mentions(without(reply, other) if mentions(other, thing) else reply, thing)


def split_think(reply: str) -> tuple[str, str] | None:
    """Split the reasoning from the reply proper; `None` unless there is exactly one closed `<think>`, at the start."""
    head, opened, rest = reply.partition(_OPEN)
    reasoning, closed, text = rest.partition(_CLOSE)
    tags = reply.count(_OPEN), reply.count(_CLOSE)
    if head.strip() or not opened or not closed or tags != (1, 1) or not text.strip():
        return None
    return reasoning.strip(), text.strip()


# Other assistants' names ---------------------------------------------------------------------------------------
# Plain words before a brand that make it a claim about oneself; anything else may be talk about the brand.
_CLAIM = (
    r"(?:\b(?:I am|I['’]m|my name is|call me) "
    r"|\b(?:I was|I am|I['’]m) (?:made|built|created|trained|developed|run) by )"
    r"(?:(?:an?|the|called|named|AI|assistant|model|language|large|chatbot)[ ,]+)*"
)


def other_brand(text: str, own_names: tuple[str, ...]) -> str | None:
    """Return the first brand in `text` that is not one of the own names (nor part of one), or `None`."""
    return first_of(text, _other_brands(own_names))


def brand_fault(text: str, own_names: tuple[str, ...]) -> str | None:
    """Return where `text` says of its writer that it is, or was made by, another brand, or `None`."""
    found = _claim_pattern(own_names).search(text)
    return f"wrong identity: {' '.join(found[0].split())}" if found else None


@lru_cache(maxsize=16)
def _other_brands(own_names: tuple[str, ...]) -> tuple[str, ...]:
    own = " ".join(own_names).casefold()
    return tuple(brand for brand, *_ in assistant_names("chats") if brand.casefold() not in own)


@lru_cache(maxsize=16)
def _claim_pattern(own_names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"{_CLAIM}(?:{whole_words(_other_brands(own_names)).pattern})", re.IGNORECASE)
