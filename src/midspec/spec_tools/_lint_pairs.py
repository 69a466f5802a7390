"""Faults between two clauses of a spec: repeated, contradictory, or absolute beside an exception."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

from midspec.core.records import Clause, LintKind
from midspec.spec_tools._clause_words import ClauseWords, jaccard, stem

# Found on tests/spec_tools/planted_faults.yaml and the shipped specs: below these, clauses with the same form and
# another object (`likes brown butter`, `dislikes brown sugar`: 0.5) are taken for one.
_DUPLICATE, _CONFLICT, _EXCEPTION = 0.8, 0.6, 0.75
_MIN_SHARED, _MIN_SHARED_EXCEPTION = 2, 3
_CONDITION = re.compile(r"\b(?P<way>if|when|whenever|unless|until)(?P<not> not)?\b", re.IGNORECASE)
_CASE_ENDS, _CASE_WORD = re.compile(r"[,.;:]"), re.compile(r"\b(?!(?:the|they|user|users|this|that|are)\b)\w{3,}")
_FOR_WHOM = re.compile(r"\b(?:to|for|with) (?:an? |the |all |any )?(\w+)", re.IGNORECASE)


class PairFault(NamedTuple):
    """A fault between two clauses: its kind, what was seen, and the later and the earlier clause."""

    kind: LintKind
    what: str
    clause: ClauseWords
    other: Clause


def pair_faults(clauses: list[ClauseWords]) -> Iterator[PairFault]:
    """Compare every two clauses; of two that are alike at most one fault is found."""
    first_of: dict[str, ClauseWords] = {}
    for one in clauses:
        words = " ".join(one.clause.text.casefold().split()).strip(" .")
        # Labels of one word repeat in any list.
        if first_of.setdefault(words, one) is not one and " " in words:
            yield PairFault("duplicate", "says the same as an earlier clause", one, first_of[words].clause)
    clauses = list(first_of.values())
    for first, second in sorted(_candidates(clauses)):
        if found := _fault(clauses[first], clauses[second]):
            kind, what = found
            yield PairFault(kind, what, clauses[second], clauses[first].clause)


def _candidates(clauses: list[ClauseWords]) -> set[tuple[int, int]]:
    """Return the pairs that may be at fault: a spec of 2,000 clauses has two million others.

    Of two clauses that share the share `_CONFLICT` of the words of one, one of its few rarest is in the other
    (prefix filtering: Chaudhuri, Ganti and Kaushik, 2006).
    """
    holding: dict[str, list[int]] = {}
    for at, one in enumerate(clauses):
        for word in one.content:
            holding.setdefault(word, []).append(at)
    bounded = [(at, bound) for at, one in enumerate(clauses) for bound in one.bounds]
    upper, lower = ([(at, bound) for at, bound in bounded if bound.is_upper == wanted] for wanted in (True, False))
    pairs = {
        (min(at, other), max(at, other))
        for at, one in upper
        for other, two in lower
        if one.unit == two.unit and at != other
    }
    for at, one in enumerate(clauses):
        by_rarity = sorted(one.content, key=lambda word: (len(holding[word]), word))
        n_rarest = len(by_rarity) - ceil(_CONFLICT * len(by_rarity)) + 1
        for word in by_rarity[:n_rarest]:
            pairs.update((min(at, other), max(at, other)) for other in holding[word] if other != at)
    return pairs


def _fault(one: ClauseWords, other: ClauseWords) -> tuple[LintKind, str] | None:
    alike = jaccard(one.content, other.content)
    shared = one.content & other.content
    if bounds := _crossed(one, other):
        return "conflict", bounds
    # Of two limits on one number the limits say whether they exclude each other, negations included.
    are_limits = {bound.unit for bound in one.bounds} & {bound.unit for bound in other.bounds}
    opposed = frozenset[str]() if are_limits else (one.negated ^ other.negated) & shared
    if not opposed and alike >= _DUPLICATE and len(shared) > _MIN_SHARED:
        if one.numbers == other.numbers and one.negated == other.negated:
            return "duplicate", "says nearly the same as an earlier clause"
        return None
    if not opposed or _complete_each_other(one, other):
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


def _crossed(one: ClauseWords, other: ClauseWords) -> str:
    """Return how two limits on one number exclude each other, or an empty text, also where they are for others."""
    whom = [{stem(found) for found in _FOR_WHOM.findall(each.main)} & each.content for each in (one, other)]
    if whom[0] and whom[1] and whom[0].isdisjoint(whom[1]):
        return ""
    for mine in one.bounds:
        for theirs in other.bounds:
            if mine.unit != theirs.unit or mine.is_upper == theirs.is_upper:
                continue
            upper, lower = (mine, theirs) if mine.is_upper else (theirs, mine)
            shared = (one.content & other.content) - {mine.unit}
            if lower.number > upper.number and shared:
                return f"asks for at least {lower.number} where an earlier clause, or this, allows {upper.number}"
    return ""


def _complete_each_other(one: ClauseWords, other: ClauseWords) -> bool:
    """Return whether one clause holds where the other does not: "if asked, ..." and "unless asked, ..."."""
    ways: list[set[bool]] = []
    words: list[set[str]] = []
    for each in (one, other):
        found = list(_CONDITION.finditer(each.main))
        ways.append({(case["way"].lower() in ("unless", "until")) != bool(case["not"]) for case in found})
        cases = (_CASE_ENDS.split(each.main[case.end() :], maxsplit=1)[0] for case in found)
        words.append({stem(word) for case in cases for word in _CASE_WORD.findall(case.lower())})
    if words[0] and words[1] and words[0].isdisjoint(words[1]):
        return False  # "if the user is a child" and "unless it is late"
    return bool(ways[0] and ways[1] and ways[0].isdisjoint(ways[1]))
