"""Faults between two clauses of a spec: repeated, contradictory, or absolute beside an exception."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from midspec.core.records import Clause
from midspec.spec_tools._clause_words import ClauseWords, overlap

# Found on tests/spec_tools/planted_faults.yaml and the shipped specs: below these, clauses with the same form and
# another object (`likes brown butter`, `dislikes brown sugar`: 0.5) are taken for one.
_DUPLICATE, _CONFLICT, _EXCEPTION = 0.8, 0.6, 0.75
_MIN_SHARED, _MIN_SHARED_EXCEPTION = 2, 3


class PairFault(NamedTuple):
    """A fault between two clauses: its kind, what was seen, and the later and the earlier clause."""

    kind: str
    what: str
    clause: ClauseWords
    other: Clause


def pair_faults(clauses: list[ClauseWords]) -> Iterator[PairFault]:
    """Compare every two clauses; of two that are alike at most one fault is found."""
    by_word: dict[str, set[int]] = {}
    for at, one in enumerate(clauses):
        for word in one.content:
            by_word.setdefault(word, set()).add(at)
    # Only pairs that share a word can be at fault: a spec of 2,000 clauses has two million others.
    pairs = {pair for places in by_word.values() for pair in combinations(sorted(places), 2)}
    for first, second in sorted(pairs):
        if found := _fault(clauses[first], clauses[second]):
            kind, what = found
            yield PairFault(kind, what, clauses[second], clauses[first].clause)


def _fault(one: ClauseWords, other: ClauseWords) -> tuple[str, str] | None:
    alike = overlap(one.content, other.content)
    shared = one.content & other.content
    if _is_same(one, other):
        return "duplicate", "says the same as an earlier clause, word for word"
    if bounds := _crossed(one, other):
        return "conflict", bounds
    opposed = (one.negated ^ other.negated) & shared
    if not opposed and alike >= _DUPLICATE and len(shared) > _MIN_SHARED:
        if one.numbers == other.numbers and one.negated == other.negated:
            return "duplicate", "says nearly the same as an earlier clause"
        return None
    if not opposed:
        return None
    contains = len(shared) / min(len(one.content), len(other.content))
    firm, loose = (one, other) if one.is_absolute else (other, one)
    if firm.is_absolute and loose.allows and contains >= _EXCEPTION and len(shared) >= _MIN_SHARED_EXCEPTION:
        return "exception", "one of the two is absolute, and the other is an exception to it"
    # Where each has a word of its own (`likes brown butter`, `dislikes brown sugar`) they are about different things.
    is_same_thing = shared in (one.content, other.content) or alike >= _EXCEPTION
    if alike >= _CONFLICT and len(shared) >= _MIN_SHARED and is_same_thing:
        return "conflict", f"contradicts an earlier clause about {', '.join(sorted(opposed))}"
    return None


def _is_same(one: ClauseWords, other: ClauseWords) -> bool:
    """Whether two clauses have the same words in the same order; labels of one word repeat in any list."""
    words = [" ".join(each.clause.text.casefold().split()).strip(" .") for each in (one, other)]
    return words[0] == words[1] and len(words[0].split()) > 1


def _crossed(one: ClauseWords, other: ClauseWords) -> str:
    """Return how two limits on one number exclude each other, or an empty text."""
    for mine in one.bounds:
        for theirs in other.bounds:
            if mine.unit != theirs.unit or mine.is_upper == theirs.is_upper:
                continue
            upper, lower = (mine, theirs) if mine.is_upper else (theirs, mine)
            shared = (one.content & other.content) - {mine.unit}
            if lower.number > upper.number and shared:
                return f"asks for at least {lower.number} where an earlier clause, or this, allows {upper.number}"
    return ""
