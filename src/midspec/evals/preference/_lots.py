"""Turns at a model: many samples ask in lots, so that what is answered is kept before the next lot is asked."""

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
        self._there: Counter[int] = Counter()
        # One event a lot: were there one for all, every lot that is done would wake all samples that wait.
        self._turns: dict[int, anyio.Event] = {}

    @asynccontextmanager
    async def turn(self, index: int) -> AsyncIterator[int]:
        """Wait for the turn of the item at `index`; gives how many are asked in its lot."""
        lot = index // self._size
        self._there[lot] += 1
        try:
            while min(self._there) < lot:
                await self._turns.setdefault(lot, anyio.Event()).wait()
            yield min(self._size, self._n_items - lot * self._size)
        finally:
            self._leave(lot)

    def _leave(self, lot: int) -> None:
        self._there[lot] -= 1
        if not self._there[lot]:
            del self._there[lot]
            self._turns.pop(lot, None)
            if self._there and (event := self._turns.pop(min(self._there), None)) is not None:
                event.set()
