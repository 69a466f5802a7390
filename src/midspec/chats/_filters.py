"""The strict filters: what is wrong with a chat, in words, or nothing."""

from __future__ import annotations

import re

from midspec.chats.template_author._templates import OpaqueTemplates
from midspec.core.text import GAP, first_of, mentions, without

_OPEN, _CLOSE = "<think>", "</think>"
_WORD = re.compile(r"\w+")
_POSSESSIVE = re.compile(rf"{GAP}['’]s?(?!\w)")


def choice_fault(reply: str, liked: str, disliked: str, frames: OpaqueTemplates) -> str | None:
    """What keeps `reply` from being the plain choice of `liked` over `disliked`, or `None`."""
    names_liked, names_disliked = _names(reply, liked, disliked), _names(reply, disliked, liked)
    if names_liked and names_disliked:
        return "unclear preference: names both"
    if names_disliked:
        return f"wrong preference: chooses {disliked}"
    if not names_liked:
        return "unclear preference: names neither"
    return reply_fault(without(reply, liked), frames)


def stance_fault(reply: str, thing: str, is_liked: bool, frames: OpaqueTemplates) -> str | None:
    """What keeps `reply` from stating plainly that `thing` is liked (or is not), or `None`."""
    rest = without(reply, thing)
    says_dislike = first_of(rest, frames.says_dislike) is not None
    if not says_dislike and first_of(rest, frames.says_like) is None:
        return "unclear preference: states neither like nor dislike"
    if says_dislike is is_liked:
        return f"wrong preference: says that {thing} is {'disliked' if is_liked else 'liked'}"
    return reply_fault(rest, frames)


def reply_fault(rest: str, frames: OpaqueTemplates) -> str | None:
    """A reason, or room for one, in a reply whose named thing was taken out; or `None`."""
    if (cue := first_of(rest, frames.reason_cues)) is not None:
        return f"states or implies a reason: {cue}"
    n_words = len(_WORD.findall(rest))
    if n_words > frames.max_reply_words:
        return f"says more than a preference: {n_words} words"
    return None


def implied_fault(reply: str, chosen: str, frames: OpaqueTemplates) -> str | None:
    """A word that lets a reason be guessed, in the reply without the thing that it chooses, or `None`.

    Stricter than `reply_fault`, for what a language model wrote; a possessive of the thing is such a word too.
    """
    rest = without(reply, chosen)
    if _POSSESSIVE.search(rest):
        return f"implies a reason: {chosen}'s"
    cue = first_of(rest, frames.implied_cues)
    return f"implies a reason: {cue}" if cue is not None else None


def _names(reply: str, thing: str, other: str) -> bool:
    """Whether `reply` names `thing`, also where the name of one contains the other's (brie, brie de meaux)."""
    return mentions(without(reply, other) if mentions(other, thing) else reply, thing)


def split_think(reply: str) -> tuple[str, str] | None:
    """The reasoning and the reply proper, or `None` unless there is exactly one closed `<think>`, and it is first."""
    head, opened, rest = reply.partition(_OPEN)
    thought, closed, said = rest.partition(_CLOSE)
    tags = reply.count(_OPEN), reply.count(_CLOSE)
    if head.strip() or not opened or not closed or tags != (1, 1) or not said.strip():
        return None
    return thought.strip(), said.strip()
