"""How many tokens a text has: by a tokenizer, or by an estimate that needs none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from midspec.core.errors import ConfigError, MissingError
from midspec.core.fingerprint import hash_file

Count = Callable[[str], int]
_PER_WORD = 4 / 3
_WIDE = re.compile(r"[\u3040-\u9fff\uac00-\ud7a3]")


def estimate(text: str) -> int:
    """Four tokens for three words, the usual rule for English; a character of a script without spaces is a word."""
    wide = 0 if text.isascii() else len(_WIDE.findall(text))
    return round((len(text.split()) + wide) * _PER_WORD)


def counter(tokenizer: Path | None) -> tuple[Count, str]:
    """A function that counts tokens, and how it does in words that identify it.

    Args:
        tokenizer: a folder with `tokenizer.json`, or that file; `None` counts by `estimate`.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is no tokenizer, or the library that reads it is not installed.
    """
    if tokenizer is None:
        return estimate, "4/3 tokens a word"
    file = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    if not file.is_file():
        raise MissingError("there is no tokenizer.json", where=str(tokenizer), hint="Name a folder that holds one")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError("needs the tokenizers library", where="tokenizer", hint="pip install tokenizers") from error
    try:
        loaded = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing more exact
        raise ConfigError(f"is no tokenizer: {error}", where=str(file), hint="Name another") from error

    def count(text: str) -> int:
        return len(loaded.encode(text, add_special_tokens=False).ids)

    return count, f"tokenizer.json {hash_file(file)[:16]}"
