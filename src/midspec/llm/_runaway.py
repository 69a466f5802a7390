"""Replies that run on: caps that fit what was asked for, and replies that repeat themselves.

A weak model that is asked for a list often does not end it. SmolLM2-135M, asked for two domains with a cap of 16,384
tokens, wrote until the deadline of 600 s and past its context. So a list's first cap is what its entries need, twice
over; and a reply whose end is one passage over and over is told from one that was merely cut: a higher cap would
only make it longer.
"""

from __future__ import annotations

import re
import zlib
from math import ceil, log2

from midspec.core.text import estimate_tokens
from midspec.llm._server_words import read_json
from midspec.llm._store import Store
from midspec.llm._types import Outcome, Request

REPEATED = "repetition"
"""The stop reason of a reply that repeats itself, in place of the server's own."""

# The end of a text repeats itself if so many characters pack (zlib) into so small a share. Measured on 38,000 ends of
# documents, code, tables and JSON: 0.12, 0.12, 0.085 and 0.08 at the least; loops of SmolLM2 have 0.03 to 0.08.
_PACKED = ((600, 0.08), (1200, 0.08), (2400, 0.055), (4800, 0.05))
_SHOWN_CHARS = 60

_TIMES_EXPECTED, _SPARE_TOKENS = 2, 512
_OPEN_THOUGHT = re.compile(r"^\s*<think(?:ing)?>(?!.*</think)", re.S)


def repeats_itself(text: str) -> bool:
    """Say whether `text` ends by repeating a passage over and over, or one that differs in case and white space only.

    Passages that differ in their numbers are not taken for one: so do the rows of a table.
    """
    end = text[-2 * _PACKED[-1][0] :]
    return _is_packed(end) or _is_packed(" ".join(end.casefold().split()))


def _is_packed(text: str) -> bool:
    for n_chars, share in _PACKED:
        if len(text) < n_chars:
            return False
        end = text[-n_chars:].encode("utf-8", "replace")
        if len(zlib.compress(end)) < share * len(end):
            return True
    return False


def marked(outcome: Outcome) -> Outcome:
    """Return `outcome`, with `REPEATED` as its stop reason if it was cut while it repeated itself.

    Grammars of servers allow white space without end behind JSON; JSON that is whole before it was not cut.
    """
    if outcome.kind != "truncated":
        return outcome
    if (whole := outcome.text.rstrip()) != outcome.text and whole[-1:] in {"}", "]"} and read_json(whole, None):
        return outcome.model_copy(
            update={"kind": "ok", "note": "cut in the white space behind its JSON, which is whole"}
        )
    if outcome.stop_reason == REPEATED or not repeats_itself(outcome.text):
        return outcome
    shown = " ".join(outcome.text[-_SHOWN_CHARS:].split()) or "white space"
    note = f"the reply repeats itself over and over; it ends in {shown!r}"
    return outcome.model_copy(update={"stop_reason": REPEATED, "note": note})


class ReplyCaps:
    """The caps of one author's replies whose lengths are known beforehand.

    The first cap is twice what the asked number of entries needs, and some. Where a reply is cut because its cap
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
