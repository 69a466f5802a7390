"""Finding words and phrases in text: whole, whatever their case."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["first_of", "mentions"]


def first_of(text: str, phrases: Iterable[str]) -> str | None:
    """The first of `phrases` that stands in `text` as whole words, or `None`."""
    return next((phrase for phrase in phrases if phrase and _whole(phrase).search(text)), None)


def mentions(text: str, phrase: str) -> bool:
    """Whether `phrase` stands in `text` as whole words."""
    return first_of(text, (phrase,)) is not None


@lru_cache(maxsize=4096)
def _whole(phrase: str) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
