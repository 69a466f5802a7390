"""Sentences of a paragraph, in any script, without a model.

A full stop ends a sentence unless it belongs to an abbreviation, an initial, a number or a quotation that goes on;
a stop that stands alone between spaces (`nova values america .`) always does; so does a full stop of a script that
puts no space after it (`。`). Time is linear in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right

__all__ = ["split_sentences"]

_CLOSERS = "\"'”’»)\\]*_`"
_CANDIDATE = re.compile(
    rf"(?P<wide>[。！？｡।॥؟۔።]+[」』”’）】\"')\]*_]*\s*)|(?P<stop>[.!?…]+)(?P<close>[{_CLOSERS}]*)\s+"
)
_PROTECTED = re.compile(
    r"`[^`]{1,300}`|\([^()]{1,300}\)|“[^“”]{1,300}”|(?<![\w\"])\"[^\"]{1,300}\"(?!\w)|「[^「」]{1,300}」|『[^『』]{1,300}』"
)
# A rule's number and name (`SP2: Sanctioned limits.`) are no sentence yet: they belong to the one after them.
_RULE_LABEL = re.compile(r"[*_]*[A-Z]{1,5}-?\d+(?:\.\d+)*[a-z]?[*_]*[.:)]?\s+\S+(?: \S+){0,3}\Z|[*_]*[A-Z]{1,5}-?\d+\Z")
_LAST_WORD = re.compile(r"[\w.&-]*\Z")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEVER_LAST = _words(
    "mr mrs ms dr prof rev hon gov sen rep gen capt lt sgt st vs v cf viz e.g i.e eg ie approx resp incl esp"
)
_BEFORE_NUMBER = _words("no nos fig figs sec secs art arts ch chap vol p pp par para eq ex")
_SELDOM_LAST = _words("etc al u.s u.k u.n e.u a.m p.m ph.d inc ltd co corp jr sr dept est ed eds")
_STARTERS = _words(
    "A An And As At But Each Every For He Her His How I If In It Its No Not Of On Or Our She So Some That The Their "
    "Then There These They This Those To We What When Where Which While Who Why With You Your"
)


def split_sentences(text: str) -> list[str]:
    """The sentences of one paragraph, trimmed, in order; together they hold every character that is no space."""
    spans = [(match.start(), match.end()) for match in _PROTECTED.finditer(text)]
    starts = [start for start, _ in spans]
    sentences, begin = [], 0
    for match in _CANDIDATE.finditer(text):
        index = bisect_right(starts, match.start()) - 1
        inside = index >= 0 and match.end() <= spans[index][1]
        if not inside and _ends(text, begin, match):
            sentences.append(text[begin : match.end()].strip())
            begin = match.end()
    sentences.append(text[begin:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends(text: str, begin: int, match: re.Match[str]) -> bool:
    """Whether the candidate stop ends the sentence that began at `begin`."""
    if match["wide"] is not None:
        return True
    follows = text[match.end() : match.end() + 24]
    if not follows or not text[begin : match.start()].strip():
        return bool(follows) and text[begin : match.start()] != "" and match["stop"] != "."
    if len(match["stop"]) == 1 and text[match.start() - 1].isspace():
        return True
    if match["stop"] == "." and _RULE_LABEL.match(text[begin : match.start()][:120]):
        return False
    if match["stop"] == "." and _abbreviates(text, begin, match, follows):
        return False
    return not follows[0].islower() or _starts_lower(text, begin)


def _starts_lower(text: str, begin: int) -> bool:
    first = next((char for char in text[begin : begin + 8] if char.isalpha()), "")
    return first.islower()


def _abbreviates(text: str, begin: int, match: re.Match[str], follows: str) -> bool:
    found = _LAST_WORD.search(text[max(begin, match.start() - 24) : match.start()])
    word = found[0] if found else ""
    lower = word.lower()
    if lower in _NEVER_LAST or (lower in _BEFORE_NUMBER and follows[0].isdigit()):
        return True
    if lower in _SELDOM_LAST:
        return follows.split()[0].rstrip(",") not in _STARTERS
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    is_number = text[begin : match.start()].strip() == word and (word.isdigit() or is_initial)
    return is_number or (is_initial and follows[0].isupper() and follows.split()[0] not in _STARTERS)
