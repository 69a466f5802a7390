"""What a clause says, as far as words alone tell: its content words, what it negates, how firmly, and its numbers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from midspec.core.records import Clause, Section, Spec
from midspec.core.text import word_set

_STOP = word_set(
    "a an the this that these those it its itself he she they them their his her him who whom whose which what where "
    "when how why whether if then than as at by for from in into of off on onto out over to up with within about after "
    "before between during through under until upon and or but nor so yet also too only just even very more most much "
    "many some any all each every both either neither other another such same own one ones be is are was were been "
    "being am do does did done doing have has had having will would can could may might must shall should need needs "
    "not no never without always there here again once we us our you your i me my let lets get gets"
    " because since while unless except however therefore thus case cases circumstances"
)
_COUNTED = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS = {"no": 0, "one": 1, "once": 1, "twice": 2} | {word: n for n, word in enumerate(_COUNTED, start=2)}
# Negated forms of other words, so that liking and disliking one thing are opposites.
_OPPOSITES = {"dislik": "lik", "hat": "lov", "forbid": "allow", "refus": "accept", "distrust": "trust"}
_TOKEN = re.compile(r"\{\w+\}|[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+")
_NEGATION = re.compile(
    r"\b(?:not|never|cannot|neither|nor|without|avoids?|under no circumstances|in no case|at no time)\b|n['’]t\b",
    re.IGNORECASE,
)
REASON = re.compile(
    r"(?:^|,|;|\s)\s*(?:because|so that|in order (?:to|that)|for the reason that|which is why|that is why|due to"
    r"|for this reason)\b|,\s*(?:since|as|for)\b",
    re.IGNORECASE,
)
"""Where a reason begins."""
_ABSOLUTE = re.compile(
    r"\b(?:never|always|under no circumstances|in no case|in every case|without exception|at all times)\b",
    re.IGNORECASE,
)
_ALLOWS = re.compile(
    r"\b(?:may|can|unless|except|is (?:free|allowed|permitted) to|if|when|where|only)\b", re.IGNORECASE
)
_BOUND = re.compile(
    r"\b(?P<way>at most|no more than|not more than|up to|no fewer than|not fewer than|no less than|not less than"
    r"|fewer than|less than|at least|more than)\s+(?P<n>\d{1,3}(?:,\d{3})+|\d+|[a-z]+)"
    r"(?:\s+(?P<times>hundred|thousand))?\s+(?P<unit>[a-z]+)",
    re.IGNORECASE,
)
_UPPER = frozenset(("at most", "no more than", "not more than", "up to", "fewer than", "less than"))
# Ways that leave out the number they name, so that the limit is the one beside it.
_STRICT = {"fewer than": -1, "less than": -1, "more than": 1}
_TIMES = {"hundred": 100, "thousand": 1000}
_DENIED = re.compile(r"(?:\b(?:not|never|cannot|without|avoids?)|n['’]t)(?: \w+){0,2} $", re.IGNORECASE)
_COMMON_SHARE, _MIN_CLAUSES_FOR_COMMON = 0.4, 8


def stem(word: str) -> str:
    """Return what the forms of an English word have in common: `deletes`, `deleted` and `deleting` give `delet`."""
    word = re.sub(r"['’]s?$", "", word.lower())
    for suffix, least in (("ies", 3), ("ing", 4), ("ed", 4), ("es", 4), ("s", 3), ("e", 3), ("y", 3)):
        if word.endswith(suffix) and len(word) - len(suffix) >= least - 1 and not word.endswith("ss"):
            word = word[: -len(suffix)]
            break
    return word


def content_stems(text: str) -> frozenset[str]:
    """Return the stems of a text's content words."""
    return frozenset(stem(word) for word in _TOKEN.findall(text) if _is_content(word))


def _is_content(word: str) -> bool:
    return not word.startswith("{") and not word.isdigit() and word.lower() not in _STOP


@dataclass(frozen=True)
class Bound:
    """A limit on a number: `at most six sentences`."""

    is_upper: bool
    number: int
    unit: str


@dataclass(frozen=True)
class ClauseWords:
    """A clause and what its words say.

    Attributes:
        clause, section: itself, and where it stands.
        names: stems that name the assistant, left out of the content.
    """

    clause: Clause
    section: Section
    names: frozenset[str]

    @cached_property
    def main(self) -> str:
        """Return the clause without the reason that it gives."""
        found = REASON.search(self.clause.text)
        before = self.clause.text[: found.start()] if found else ""
        # A reason may come first; then all of it counts.
        return before if before.strip() else self.clause.text

    @property
    def has_reason(self) -> bool:
        """Return whether the clause says why."""
        return REASON.search(self.clause.text) is not None

    @cached_property
    def content(self) -> frozenset[str]:
        """Return the stems of its content words, opposites by one word for both (`dislikes` counts as `likes`)."""
        return frozenset(_OPPOSITES.get(one, one) for one in content_stems(self.main)) - self.names

    @cached_property
    def negated(self) -> frozenset[str]:
        """Return the stems of the words that it negates: the first content word after each negation, and opposites."""
        found: Counter[str] = Counter()
        for match in _NEGATION.finditer(self.main):
            after = (stem(word) for word in _TOKEN.findall(self.main[match.end() :]) if _is_content(word))
            found.update([_OPPOSITES.get(word, word) for word in after if word not in self.names][:1])
        found.update(_OPPOSITES[one] for one in content_stems(self.main) if one in _OPPOSITES)
        return frozenset(word for word, times in found.items() if times % 2)

    @property
    def is_absolute(self) -> bool:
        """Return whether it admits no exception of its own."""
        return bool(_ABSOLUTE.search(self.main)) and not re.search(r"\b(?:unless|except)\b", self.main)

    @property
    def allows(self) -> bool:
        """Return whether it is a permission, or holds under a condition alone."""
        return bool(_ALLOWS.search(self.main))

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """Return the limits on numbers that it sets."""
        found = []
        for match in _BOUND.finditer(self.main):
            way, said = match["way"].lower(), match["n"].lower().replace(",", "")
            times = _TIMES.get((match["times"] or "").lower(), 1)
            number = int(said) if said.isdigit() else 1 if said == "a" and times > 1 else _NUMBERS.get(said)
            if number is None:
                continue
            is_upper, number = way in _UPPER, number * times + _STRICT.get(way, 0)
            if _DENIED.search(self.main[: match.start()]):
                is_upper, number = not is_upper, number + (1 if is_upper else -1)
            found.append(Bound(is_upper, number, stem(match["unit"])))
        return tuple(found)

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Return every number in it, in order."""
        words = (word.lower() for word in _TOKEN.findall(self.main))
        return tuple(
            int(word) if word.isdigit() else _NUMBERS[word] for word in words if word.isdigit() or word in _NUMBERS
        )


def read_words(spec: Spec) -> list[ClauseWords]:
    """Read every sentence and item of a spec, in its order."""
    pairs = [
        (clause, section)
        for section in spec.sections
        for clause in section.clauses
        if clause.kind in ("sentence", "item")
    ]
    # What is in so many clauses tells nothing: the assistant's name.
    counts = Counter(one for clause, _ in pairs for one in content_stems(clause.text))
    is_long = len(pairs) >= _MIN_CLAUSES_FOR_COMMON
    names = frozenset(one for one, n in counts.items() if is_long and n >= _COMMON_SHARE * len(pairs))
    return [ClauseWords(clause, section, names) for clause, section in pairs]


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the Jaccard similarity of two sets."""
    return len(one & other) / (len(one | other) or 1)
