"""Replies that run on: caps that fit what was asked for, and replies that repeat themselves.

A weak model that is asked for a list often does not end it. SmolLM2-135M, asked for two domains with a cap of 16,384
tokens, wrote until the deadline of 600 s and past its context. So a list's first cap is what its entries need, three
times over; and a reply whose end is one passage over and over is told from one that was merely cut: a higher cap would
only make it longer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil, log2

from midspec.core.text import estimate_tokens
from midspec.llm._store import Store
from midspec.llm._types import Outcome, Request

REPEATED = "repetition"
"""The stop reason of a reply that repeats itself, in place of the server's own."""

# How much of a text's end must be one passage over and over, and how often. No document, table or list that was looked
# at comes near: a padded cell or a row of dashes has some 100 characters, a refrain is sung four times.
_FEWEST_CHARS, _FEWEST_TIMES = 600, 5
# The same where only the numbers differ ("Domain 17", "Domain 18"). Runs of clause numbers are legitimate lists of that
# kind: a domain of 40 runs has 1,000 characters.
_FEWEST_CHARS_NUMBERED, _FEWEST_TIMES_NUMBERED = 2000, 12
_LONGEST_TAIL = 6000
_SHOWN_CHARS = 60
_DIGITS = re.compile(r"\d+")

_TIMES_EXPECTED, _SPARE_TOKENS = 3, 512
_OPEN_THOUGHT = re.compile(r"^\s*<think(?:ing)?>(?!.*</think)", re.S)


def repeated_end(text: str) -> str | None:
    """Return the passage that `text` ends by repeating, or `None` if it does not.

    What differs in numbers only counts as the same, if there is much of it.
    """
    tail = text[-_LONGEST_TAIL:]
    found = _repeated(tail, _FEWEST_CHARS, _FEWEST_TIMES)
    if found is None and _DIGITS.search(tail):
        found = _repeated(_DIGITS.sub("0", tail), _FEWEST_CHARS_NUMBERED, _FEWEST_TIMES_NUMBERED)
    return found


def _repeated(tail: str, fewest_chars: int, fewest_times: int) -> str | None:
    """Return the shortest passage of which a long enough end of `tail` consists; all ends are tried at once."""
    backwards = tail[::-1]
    # The prefix function of Knuth, Morris and Pratt: an end of n characters has the period n - borders[n - 1].
    borders = _borders(backwards)
    for n in range(fewest_chars, len(backwards) + 1):
        period = n - borders[n - 1]
        if n >= fewest_times * period:
            return backwards[:period][::-1]
    return None


def _borders(text: Sequence[str]) -> list[int]:
    borders = [0] * len(text)
    length = 0
    for at in range(1, len(text)):
        while length and text[at] != text[length]:
            length = borders[length - 1]
        length += text[at] == text[length]
        borders[at] = length
    return borders


def marked(outcome: Outcome) -> Outcome:
    """Return `outcome`, with `REPEATED` as its stop reason if it was cut while it repeated itself."""
    if outcome.kind != "truncated" or outcome.stop_reason == REPEATED:
        return outcome
    passage = repeated_end(outcome.text)
    if passage is None:
        return outcome
    shown = " ".join(passage.split())[:_SHOWN_CHARS] or "white space"
    note = f"the reply repeats itself ({shown!r} over and over)"
    return outcome.model_copy(update={"stop_reason": REPEATED, "note": note})


class ReplyCaps:
    """The caps of one author's replies whose lengths are known beforehand.

    The first cap is three times what the asked number of entries needs, and some. Where a reply is cut because its cap
    went to hidden reasoning, the author is one that reasons: from then on the caps are those of the settings.
    """

    def __init__(self) -> None:
        self._reasons = False

    def fit(self, request: Request, n_expected: int, store: Store) -> Request:
        """Return `request` with a cap that fits a reply of about `n_expected` tokens; never a higher one."""
        n_fitting = _TIMES_EXPECTED * n_expected + _SPARE_TOKENS
        if n_fitting >= request.max_tokens:
            return request
        if self._reasons:
            # What was cut before that was known is gone on with from there, not paid for again.
            found = store.answer(request.task, request.turn)
            if found is None or found.kind != "truncated":
                return request
        return request.model_copy(update={"max_tokens": n_fitting})

    def saw(self, outcome: Outcome) -> None:
        """Learn from a reply that was cut."""
        self._reasons = self._reasons or reasons_hidden(outcome)


def reasons_hidden(outcome: Outcome) -> bool:
    """Say whether a reply that was cut spent most of its cap on what is not in its text, or in a thought not ended."""
    if outcome.kind != "truncated" or outcome.stop_reason == REPEATED:
        return False
    if not outcome.text.strip() or _OPEN_THOUGHT.match(outcome.text):
        return True
    return outcome.usage is not None and outcome.usage.n_output > 2 * max(50, estimate_tokens(outcome.text))


class CapGrowth:
    """How the cap of one conversation grows: doubled after each cut, as often as leads from the settings' to the most.

    The number of doublings is that of the settings whatever the first cap was, since each is a turn of its own in the
    store. A reply that repeats itself is asked for once more with the same cap; sampled anew, it may end.

    Args:
        full: the cap of the settings.
        most: the highest.
    """

    def __init__(self, full: int, most: int) -> None:
        self._full, self._most = full, most
        self._n_left = max(0, ceil(log2(most / full)))
        self._has_repeated = False

    def next(self, cap: int, outcome: Outcome) -> int | None:
        """Return the cap with which to ask again after `outcome` at `cap`, or `None` if that makes no sense."""
        if outcome.kind != "truncated":
            return None
        if outcome.stop_reason == REPEATED:
            is_first, self._has_repeated = not self._has_repeated, True
            return cap if is_first else None
        if not self._n_left or cap >= self._most:
            return None
        self._n_left -= 1
        return min(self._most, 2 * (max(cap, self._full) if reasons_hidden(outcome) else cap))
