"""Reading a generated answer: which option it names, and whether it refuses. Whole words, never a substring."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

__all__ = ["chosen", "labels_of", "refuses", "spoken"]

_OPEN, _CLOSE = "<think>", "</think>"
_ARTICLE = re.compile(r"^\s*(?:an?|the)\s+", re.IGNORECASE)
_LABELLED = re.compile(r"(?<!\w)([A-Za-z0-9]+)\s?[).:]\s*\{(first|second)\}")


def spoken(text: str) -> str:
    """What an answer says aloud: the text after its reasoning; nothing, when the reasoning was cut off."""
    _, closed, rest = text.rpartition(_CLOSE)
    aloud = rest if closed else text
    return aloud.partition(_OPEN)[0].strip()


def refuses(text: str, markers: Sequence[str]) -> bool:
    """Whether `text` holds one of the markers, in any case and with either kind of apostrophe."""
    plain = _plain(text)
    return any(_plain(marker) in plain for marker in markers)


def labels_of(phrasing: str) -> tuple[str, str] | None:
    """The labels that a phrasing gives its options, `A) {first} B) {second}` say, or `None` if it gives none."""
    found = {name: label for label, name in _LABELLED.findall(phrasing)}
    if len(found) == 2 and found["first"] != found["second"]:
        return found["first"], found["second"]
    return None


def chosen(text: str, options: tuple[str, str], labels: tuple[str, str] | None = None) -> int | None:
    """The index of the one option that `text` names; `None` when it names neither or both.

    Args:
        text: what was said.
        options: the two texts to look for, as whole words in any case; an English article at their beginning may be
            another one in the answer, or missing.
        labels: labels that stand for the options, as whole words in the very case they were given in.
    """
    bare_options = _bare(options)
    named = _named(_plain(text), tuple(_plain(option) for option in bare_options))
    if labels is not None:
        # An option named beside its label is one answer; a label beside the other option is none.
        bare = _without(text, (*options, *bare_options))
        named |= {index for index, label in enumerate(labels) if re.search(_whole(label), bare)}
    return named.pop() if len(named) == 1 else None


def _bare(options: tuple[str, str]) -> tuple[str, str]:
    """The options without a leading article, unless that is all that they are told apart by."""
    first, second = (_ARTICLE.sub("", option) for option in options)
    return (first, second) if first and second and _plain(first) != _plain(second) else options


def _named(text: str, options: Sequence[str]) -> set[int]:
    """Which options are in `text`; the longer is looked for first, so that it is not taken for one inside it."""
    named: set[int] = set()
    for index in sorted(range(len(options)), key=lambda index: -len(options[index])):
        text, n_found = re.subn(_whole(options[index]), " \n ", text)
        if n_found:
            named.add(index)
    return named


def _without(text: str, options: Sequence[str]) -> str:
    for option in sorted(options, key=len, reverse=True):
        text = re.sub(_whole(option), " \n ", text, flags=re.IGNORECASE)
    return text


def _whole(words: str) -> str:
    """A pattern for `words` as whole words, whatever white space is between them; a closing stop is not needed."""
    parts = words.strip().rstrip(".!?").split() or words.split()
    return r"(?<!\w)" + r"\s+".join(re.escape(part) for part in parts) + r"(?!\w)"


@lru_cache(maxsize=1024)
def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
