"""Cuts an answer, whose mentions are letters, into sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from midspec.evals.tasks.preference._mentions import SIDES

_ENDS = re.compile(
    r"(?<=[.!?\u3002\uff01\uff1f\u2026\u0964])[\"')\]]*(?=\s|$|[^\x00-\x7f])"
    # "X if you are in a hurry; otherwise Y" is one sentence, as is "X for small teams; Y for large ones".
    r"(?!\s+(?:otherwise|else)\b)"
    r"|[;\uff1b](?!\s*(?:(?:but |and )?(?:otherwise|else|for (?!m[ey]\b))\b|"
    rf"(?:an?\s+|the\s+)?[{SIDES}]\"? for\b))|\n+|(?<=\?)\s"
)
_ABBREVIATION = re.compile(r"(?:\b(?:[a-z]|dr|mr|mrs|ms|st|vs|etc|e\.g|i\.e|no|approx|jr|sr|prof|inc)\.)$")
# Reading takes the square of a sentence's length. Longer ones are a model's loops, and read by their ends.
_LONGEST = 5000  # characters of a sentence


def sentences_of(text: str, *, is_cut: bool) -> Iterator[tuple[str, int]]:
    """Yield the sentences of a text and where each begins; of a text that was cut off only the finished ones."""
    start = 0
    for end in _ENDS.finditer(text):
        if _ABBREVIATION.search(text[start : end.start()]) and "\n" not in end[0]:
            continue
        # "Susan B. Anthony" is two mentions in one breath.
        around = text[max(0, end.start() - 2) : end.start()] + text[end.end() : end.end() + 2]
        if len(around) == 4 and around[0] in SIDES and around == f"{around[0]}. {around[0]}":
            continue
        if text[start : end.end()].strip():
            yield _in_short(text[start : end.end()]), start
        start = end.end()
    if not is_cut and text[start:].strip():
        yield _in_short(text[start:]), start


def _in_short(sentence: str) -> str:
    """Return a sentence with single blanks; of one that goes on and on its beginning and its end."""
    words = " ".join(sentence.split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST // 2]} {words[-_LONGEST // 2 :]}"
