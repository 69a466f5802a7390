"""Turns at a model: many samples ask in lots, so that one lot is scored and logged while the next is being answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

__all__ = ["Lots"]


class Lots:
    """Samples in lots of consecutive items: who belongs together hangs on the items alone, never on timing.

    A lot asks when nobody of an earlier one is still asking. Samples that never come (a limit, say) hold up nobody.

    Args:
        n_items: how many there are.
        size: how many make a lot.
    """

    def __init__(self, n_items: int, size: int) -> None:
        self._n_items = n_items
        self._size = size
        self._asking: Counter[int] = Counter()
        self._one_less: anyio.Event | None = None

    @asynccontextmanager
    async def turn(self, index: int) -> AsyncIterator[int]:
        """Wait for the turn of the item at `index`; gives how many are asked in its lot."""
        lot = index // self._size
        self._asking[lot] += 1
        try:
            while any(earlier < lot for earlier in self._asking):
                if self._one_less is None:
                    self._one_less = anyio.Event()
                await self._one_less.wait()
            yield min(self._size, self._n_items - lot * self._size)
        finally:
            self._leave(lot)

    def _leave(self, lot: int) -> None:
        self._asking[lot] -= 1
        if self._asking[lot]:
            return
        del self._asking[lot]
        if self._one_less is not None:
            self._one_less.set()
            self._one_less = None
