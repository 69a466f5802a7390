"""Money that is set aside for requests in flight, shared by all clients of one store."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Purse"]


class Purse:
    """What the requests in flight may cost at the worst, set aside before they are sent."""

    def __init__(self) -> None:
        self.held_usd = 0.0
        self._n_held = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def hold(self, usd: float, left_usd: Callable[[], float]) -> bool:
        """Set `usd` aside once `left_usd()` (cap minus spent) allows it; waits while what is in flight may give change.

        Returns:
            False if it does not fit although nothing is in flight any more.
        """
        while not self._fits(usd, left_usd):
            if self._n_held == 0:
                self._wake()
                return False
            await self._change()
        self.held_usd += usd
        self._n_held += 1
        self._wake()
        return True

    def _fits(self, usd: float, left_usd: Callable[[], float]) -> bool:
        try:
            return usd <= left_usd() - self.held_usd
        except BaseException:
            self._wake()  # Whoever waits behind it must hear of it too.
            raise

    def release(self, usd: float) -> None:
        """Give back what was set aside: the outcome is recorded, so its cost counts as spent."""
        self._n_held -= 1
        # Sums of floats do not come back to 0 by themselves.
        self.held_usd = self.held_usd - usd if self._n_held else 0.0
        self._wake()

    async def _change(self) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._wake()  # The turn that came with the cancellation goes to the next one.
            raise

    def _wake(self) -> None:
        """Let the one that has waited longest look again; each that is served wakes the next."""
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
