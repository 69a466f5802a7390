"""Finding words and phrases in text: whole, whatever their case and the white space between them."""

from __future__ import annotations

import re
from functools import lru_cache

GAP = "\N{HORIZONTAL ELLIPSIS}"


def first_of(text: str, phrases: tuple[str, ...]) -> str | None:
    """The first place in `text` where one of `phrases` stands as whole words, or `None`."""
    found = _whole(phrases).search(text)
    return found[0] if found else None


def mentions(text: str, phrase: str) -> bool:
    """Whether `phrase` stands in `text` as whole words."""
    return first_of(text, (phrase,)) is not None


def without(text: str, phrase: str) -> str:
    """`text` with a gap wherever `phrase` stands as whole words."""
    return _whole((phrase,)).sub(GAP, text)


@lru_cache(maxsize=1024)
def _whole(phrases: tuple[str, ...]) -> re.Pattern[str]:
    forms = [r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases if phrase.strip()]
    either = "|".join(forms) if forms else "(?!)"
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)
