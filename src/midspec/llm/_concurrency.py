"""How many requests are in flight: as many as are wanted, or as many as the server carries if those are fewer.

The limit starts at what is wanted. A 429 says that the server carries what was in flight without the rejected request;
rejections of requests that were sent before the last cut belong to the same cut and take one off each. Upwards it goes
fast to just below the level that was last rejected, then one at a time, and ever more seldom while that is rejected
again. A lone rejection stops nobody else; when nothing is in flight any more, everybody waits for as long as the
server asks.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

from midspec.llm._errors import RateLimitError, RetryableError
from midspec.llm._types import Client, Outcome, Request

_LONGEST_ROUNDS = 16
_PAUSE_S = 1.0


class Limited:
    """Holds requests back until there is room for them.

    Args:
        client: what sends one attempt; it raises `RateLimitError` where the server takes no more.
        wanted: how many requests shall be in flight at once.
    """

    def __init__(self, client: Client, wanted: int) -> None:
        self._client = client
        self._wanted = wanted
        self._limit = wanted
        self._n_out = 0
        self._epoch = 0
        self._rejected_at: int | None = None
        self._rounds = 1
        self._n_good = 0
        self._n_step = 1
        self._open_at = 0.0
        self._stopped = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._retries: deque[asyncio.Future[None]] = deque()
        self._failed: set[tuple[str, int]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """Return how many may be in flight at present."""
        return self._limit

    @property
    def n_out(self) -> int:
        """Return how many are in flight at present."""
        return self._n_out

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt when there is room for it; one that comes back after a failure goes before the others."""
        key = (request.task, request.turn)
        is_again = key in self._failed
        if self._has_room() and not self._retries and (is_again or not self._waiting):
            self._take()
        else:
            await self._wait_for_room(self._retries if is_again else self._waiting)
        epoch = self._epoch
        try:
            outcome = await self._client.ask(request)
        except RetryableError as error:
            self._failed.add(key)
            self._leave(error, epoch)
            raise
        except BaseException:
            self._leave()
            raise
        self._failed.discard(key)
        if self._n_out >= self._limit:
            self._count_success()
        self._open_at = 0.0
        self._leave()
        return outcome

    async def close(self) -> None:
        """Close what is wrapped."""
        if self._timer is not None:
            self._timer.cancel()
        await self._client.close()

    # Stopping --------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Send nothing more; whoever waits goes on waiting."""
        self._stopped = True

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    # Room ------------------------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        if self._stopped or self._n_out >= self._limit:
            return False
        return not self._open_at or asyncio.get_running_loop().time() >= self._open_at

    async def _wait_for_room(self, queue: deque[asyncio.Future[None]]) -> None:
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place was given just as the one who waited went away
            raise

    def _take(self) -> None:
        self._n_out += 1
        self._idle.clear()

    def _leave(self, error: RetryableError | None = None, epoch: int = 0) -> None:
        self._n_out -= 1
        if self._n_out == 0:
            self._idle.set()
        # The limit is cut before its place goes to the next one.
        if isinstance(error, RateLimitError):
            self._reject(error, epoch)
        self._admit()

    def _admit(self) -> None:
        while self._has_room() and (queue := self._retries or self._waiting):
            turn = queue.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)

    # What the server carries -----------------------------------------------------------------------------------

    def _count_success(self) -> None:
        """An answer came while the limit was full: when enough of them have come, more is tried."""
        if self._limit >= self._wanted:
            return
        self._n_good += 1
        top = self._rejected_at
        if top is not None and self._limit < top - 1:
            self._raise_to(self._limit + 1)  # one for each answer doubles the limit in a round
        elif self._n_good >= self._limit * (self._rounds if top is not None else 1):
            self._n_good = 0
            if top is not None and self._limit >= top:
                self._rejected_at, self._rounds, self._n_step = None, 1, 1
            self._raise_to(self._limit + self._n_step)
            if self._rejected_at is None:
                self._n_step *= 2

    def _raise_to(self, limit: int) -> None:
        self._limit = min(self._wanted, limit)
        self._admit()

    def _reject(self, error: RateLimitError, epoch: int) -> None:
        """The server took one no more. The request has left already: what is in flight is what the server carries."""
        self._n_good = 0
        self._n_step = 1
        if epoch == self._epoch:
            self._epoch += 1
            again = self._rejected_at is not None and abs(self._n_out + 1 - self._rejected_at) <= 1
            self._rounds = min(_LONGEST_ROUNDS, self._rounds * 2) if again else 1
            self._limit = max(1, min(self._limit, self._n_out))
        else:
            self._limit = max(1, self._limit - 1)
        self._rejected_at = self._limit + 1
        if self._n_out == 0:  # nothing is carried at all: everybody waits
            loop = asyncio.get_running_loop()
            pause_s = (_PAUSE_S if error.wait_s is None else error.wait_s) * random.uniform(1.0, 1.1)
            self._open_at = max(self._open_at, loop.time() + pause_s)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(self._open_at, self._reopen)

    def _reopen(self) -> None:
        self._open_at = 0.0
        self._admit()
