"""Text statistics that several rooms need: words and phrases found whole, words and tokens counted."""

from __future__ import annotations

import re
from functools import lru_cache

# Characters of scripts that are written without spaces: each counts as a word.
_WIDE = re.compile("[\u3040-\u9fff\uac00-\ud7a3]")
# First bytes, in UTF-8, of the characters from U+3000 to U+DFFF.
_WIDE_LEADS = bytes(range(0xE3, 0xEE))
TOKENS_PER_WORD = 4 / 3
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


def n_words(text: str) -> int:
    """Count what stands between spaces, and each character of a script that is written without them."""
    n_spaced = len(text.split())
    if text.isascii():
        return n_spaced
    # A million documents are counted so, most with a few curly quotes: is there any wide character at all?
    data = text.encode("utf-8", "surrogatepass")
    return n_spaced + (len(_WIDE.findall(text)) if len(data) > len(data.translate(None, _WIDE_LEADS)) else 0)


def estimate_tokens(text: str, tokens_per_word: float = TOKENS_PER_WORD) -> int:
    """Estimate the tokens of a text without a tokenizer: 4/3 a word, OpenAI's rule of thumb (100 tokens ~ 75 words)."""
    return round(n_words(text) * tokens_per_word)
