"""The cache of prefixes: an entry is visible only when the first answer of its prefix is complete."""

from __future__ import annotations

import hashlib

from ._asked import CHARS_PER_TOKEN, Asked
from ._settings import Settings


class PrefixCache:
    """Counts what a provider would read from its cache; what it could have read if entries were visible at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._visible: set[bytes] = set()
        self._arrived: set[bytes] = set()

    def look(self, asked: Asked) -> tuple[int, int, int, list[bytes]]:
        """Tokens read, tokens of a mark that are written, tokens that earlier arrivals shared, and keys to `learn`."""
        if not self._settings.cache:
            return 0, 0, 0, []
        marks = asked.breaks if asked.protocol == "anthropic" else self._steps(asked.prompt)
        least = self._settings.cache_least * CHARS_PER_TOKEN
        keys, lengths = [], [mark for mark in marks if mark >= least]
        hashed, at = hashlib.blake2b(asked.model.encode(), digest_size=12), 0
        for mark in lengths:
            hashed.update(asked.prompt[at:mark].encode())
            at = mark
            keys.append(hashed.digest())
        n_read = self._longest(keys, lengths, self._visible)
        n_shared = self._longest(keys, lengths, self._arrived)
        n_written = lengths[-1] // CHARS_PER_TOKEN - n_read if lengths and asked.protocol == "anthropic" else 0
        self._arrived.update(keys)
        return n_read, n_written, n_shared, keys

    def learn(self, keys: list[bytes]) -> None:
        """The answer is complete: its prefixes can be read from now on."""
        self._visible.update(keys)

    def _steps(self, prompt: str) -> range:
        step = self._settings.cache_step * CHARS_PER_TOKEN
        return range(step, len(prompt) + 1, step)

    @staticmethod
    def _longest(keys: list[bytes], lengths: list[int], known: set[bytes]) -> int:
        for key, length in zip(reversed(keys), reversed(lengths), strict=True):
            if key in known:
                return length // CHARS_PER_TOKEN
        return 0
