"""Find questions that repeat an earlier one: by words and, where there are embeddings, by meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from midspec.chats._chats import Writing
from midspec.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]

_N_EMBEDDED_AT_ONCE = 256
_N_ROWS = 1024


class Novelty:
    """The questions of one scope so far.

    Args:
        writing: from which similarity on two questions are the same.
        embed: turns texts into vectors; without it only words are compared.
        accepted: keys and texts of questions that an earlier run accepted, in its order.
    """

    def __init__(self, writing: Writing, embed: Embed | None, accepted: Iterable[tuple[str, str]]) -> None:
        # Imported here, as numpy is below: reading a config does without.
        from midspec.core.near_duplicates import NearIndex

        self._near = NearIndex(threshold=writing.duplicate_similarity)
        self._vectors = _UnitVectors(writing.duplicate_cosine)
        self._embed = embed
        self._lock = asyncio.Lock()
        self._waiting: list[tuple[str, str]] = []
        self.keys: set[str] = set()
        for key, text in accepted:
            self.keys.add(key)
            self._near.add(key, text)
            if embed is not None:
                self._waiting.append((key, text))

    async def vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        """Return a unit vector for each text, or `None` for each without a model that embeds.

        Raises:
            DataError: there are not as many vectors as texts.
        """
        if self._embed is None:
            return [None] * len(texts)
        async with self._lock:
            while self._waiting:
                some = self._waiting[:_N_EMBEDDED_AT_ONCE]
                for (key, _), vector in zip(some, await self._units([text for _, text in some]), strict=True):
                    self._vectors.add(key, vector)
                del self._waiting[: len(some)]
        return list(await self._units(texts))

    async def _units(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        import numpy as np

        if self._embed is None or not texts:
            return []
        rows = np.asarray(await self._embed(texts), dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(texts):
            what, hint = f"gave {len(rows)} vectors for {len(texts)} texts", "Name another model that embeds"
            raise DataError(what, where="the embedding model", hint=hint)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        lengths[lengths == 0] = 1
        return list(rows / lengths)

    def repeats(self, text: str, vector: NDArray[np.float32] | None) -> str | None:
        """Return the key of an earlier question that this one repeats, or `None`."""
        repeated = self._near.find(text)
        return self._vectors.find(vector) if repeated is None and vector is not None else repeated

    def add(self, key: str, text: str, vector: NDArray[np.float32] | None) -> None:
        """Add a question."""
        self.keys.add(key)
        self._near.add(key, text)
        if vector is not None:
            self._vectors.add(key, vector)


class _UnitVectors:
    """Unit vectors in the order in which they came, in half precision: 2 kB for 1,024 dimensions."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._keys: list[str] = []
        self._rows: NDArray[np.float16] | None = None

    def add(self, key: str, vector: NDArray[np.float32]) -> None:
        import numpy as np

        if self._rows is None:
            self._rows = np.empty((_N_ROWS, len(vector)), dtype=np.float16)
        if len(self._keys) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[len(self._keys)] = vector
        self._keys.append(key)

    def find(self, vector: NDArray[np.float32]) -> str | None:
        """Return the key of the vector nearest to this one, if its cosine is over the threshold."""
        if self._rows is None:
            return None
        best, nearest = self._threshold, None
        for start in range(0, len(self._keys), _N_ROWS):
            cosines = self._rows[start : min(start + _N_ROWS, len(self._keys))].astype("float32") @ vector
            at = int(cosines.argmax())
            if cosines[at] > best:
                best, nearest = float(cosines[at]), self._keys[start + at]
        return nearest
