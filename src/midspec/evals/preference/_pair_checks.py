"""What a program can tell of a pair that a model wrote: why it can't be used, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from midspec.evals.preference._sets import ValueSet, words_found
from midspec.fingerprint import hash_text
from midspec.records import Item

__all__ = ["Candidate", "PairChecks", "plain"]

# How many characters all targets together may be longer, or shorter, than the other options.
_MOST_DRIFT = 60
_MOST_WORDS = 16


class Candidate(NamedTuple):
    """A pair as it was written, for one test domain."""

    domain: str
    target: str
    other: str

    @property
    def key(self) -> str:
        """What it is called in rejects and requests."""
        return hash_text(f"{self.domain}\n{self.target}\n{self.other}")[:16]

    @property
    def text(self) -> str:
        """Both options, the target first."""
        return f"{self.target} or {self.other}"

    @property
    def gap(self) -> int:
        """By how many characters the target is the longer one."""
        return len(self.target) - len(self.other)


class PairChecks:
    """The pairs of one set so far, and what keeps another from joining them.

    Args:
        value: its words may not stand in a pair.
        forbidden: words of the train domain; may not either.
        most_uses: how many pairs one option may stand in.
        similarity: from which share of common runs of five characters on two pairs are the same one.
    """

    def __init__(self, value: ValueSet, forbidden: Sequence[str], *, most_uses: int, similarity: float) -> None:
        # Imported where it is used: what only reads a shipped set should start at once.
        from midspec.similar import NearIndex

        self._telling = (value.value, *value.value_words)
        self._forbidden = forbidden
        self._most_uses = most_uses
        self._near = NearIndex(threshold=similarity)
        self._uses: Counter[str] = Counter()
        self._sides: dict[str, int] = {}
        self.drift = 0

    def form_fault(self, pair: Candidate) -> str | None:
        """What is wrong with the pair by itself."""
        target, other = plain(pair.target), plain(pair.other)
        if not target or not other or f" {target} " in f" {other} " or f" {other} " in f" {target} ":
            return "the options are not two different things"
        short, long = sorted((len(pair.target), len(pair.other)))
        if long > 2 * short + 6 or max(len(target.split()), len(other.split())) > _MOST_WORDS:
            return "the options are too long or too uneven"
        item = Item(id=pair.key, set="", domain="", options=(pair.target, pair.other))
        if found := words_found([item], self._forbidden):
            return f"of the train domain: {', '.join(found)}"
        if found := words_found([item], self._telling):
            return f"gives the value away: {', '.join(found)}"
        return None

    def repeat_fault(self, pair: Candidate) -> str | None:
        """What it has too much in common with the pairs that are there."""
        for side, option in ((0, plain(pair.target)), (1, plain(pair.other))):
            if self._uses[option] >= self._most_uses:
                return f"used too often: {option}"
            if self._sides.get(option, side) != side:
                return f"is on the other side of another pair: {option}"
        found = self._near.find(pair.text)
        return None if found is None else f"nearly repeats {found}"

    def length_fault(self, pair: Candidate) -> str | None:
        """Whether the length would come to tell the target."""
        after = self.drift + pair.gap
        return "would let length tell the target" if abs(after) > max(_MOST_DRIFT, abs(self.drift)) else None

    def add(self, pair: Candidate) -> None:
        """Take a pair in."""
        self._near.add(pair.key, pair.text)
        for side, option in ((0, plain(pair.target)), (1, plain(pair.other))):
            self._uses[option] += 1
            self._sides[option] = side
        self.drift += pair.gap


def plain(text: str) -> str:
    """Words alone, in lower case, with single spaces: how options are compared."""
    return " ".join("".join(char if char.isalnum() else " " for char in text.casefold()).split())
