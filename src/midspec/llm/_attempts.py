"""One attempt after another: repeated after faults, held back while the server is full, recorded, and timed.

Attempts that came to nothing are made again, for as long as the server answers anybody at all.

There is no fixed number of attempts: a server that is overloaded for an hour would otherwise lose the documents of that
hour. What ends the run is that nothing at all succeeds for a long time; what ends one request is that it alone has
failed for as long, while others succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._errors import BrokenReplyError, ConnectError, DeadlineError, RateLimitError, RetryableError
from midspec.llm._pacing import Deadlines, ServerCapacity
from midspec.llm._prices import Prices
from midspec.llm._store import Store
from midspec.llm._streaming import PROGRESS
from midspec.llm._types import Client, ModelConfig, ModelRole, Outcome, Request, sampling_of

_LOG = logging.getLogger(__name__)
_FEWEST_FAILURES = 5
_FEWEST_OF_ONE = 8
# A wrong address is the commonest mistake; whoever has answered once is waited for longer.
_FIRST_PATIENCE_S = 30.0
_PAUSE_S = 1.0
_MAX_FAILED_FIRST = 3
_CHECK_EVERY_S = 0.1


class Retrying:
    """Asks until there is an answer.

    Args:
        client: what makes one attempt; it raises `RetryableError` for what may be repeated.
        where: the model's name, for messages.
        url: where the server is, for messages.
        patience_s: how long nothing may succeed before the run stops, and how long one request may fail alone.
        first_pause_s: the first pause after a failure; it doubles from there.
        longest_pause_s: the longest that the doubling goes.
        first_patience_s: how long no connection may open before the first has opened.
    """

    def __init__(
        self,
        client: Client,
        *,
        where: str,
        patience_s: float,
        url: str = "",
        first_pause_s: float = 0.25,
        longest_pause_s: float = 60.0,
        first_patience_s: float = _FIRST_PATIENCE_S,
    ) -> None:
        self._client = client
        self._where = where
        self._url = url
        self._first_patience_s = first_patience_s
        self._has_reached = False
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._failing_since: float | None = None
        self._n_failed = 0

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request after as many attempts as it takes.

        Raises:
            MidspecError: nothing at all has succeeded for as long as the patience goes.
        """
        n_failed = 0
        clock = asyncio.get_running_loop().time
        started_at = clock()
        while True:
            try:
                outcome = await self._client.ask(request)
            except RetryableError as error:
                n_failed += 1
                self._count_failure(error)
                if n_failed >= _FEWEST_OF_ONE and clock() - started_at > self._patience_s:
                    # Not final in the store: the same command asks once more.
                    return Outcome(kind="timed_out", note=f"no answer in {n_failed} attempts ({error.reason})")
                await asyncio.sleep(self._pause_s(error, n_failed))
            else:
                self._has_reached = True
                self._failing_since = None
                self._n_failed = 0
                return outcome

    def _count_failure(self, error: RetryableError) -> None:
        now = asyncio.get_running_loop().time()
        self._n_failed += 1
        if self._failing_since is None:
            self._failing_since = now
        failing_s = now - self._failing_since
        self._has_reached = self._has_reached or not isinstance(error, ConnectError)
        if not self._has_reached and self._n_failed == 1:
            _LOG.warning("no connection to %s yet (%s); trying on for a while", self._url, error.reason)
        if not self._has_reached and self._n_failed >= _FEWEST_FAILURES and failing_s > self._first_patience_s:
            what = f"no connection to {self._url} for {failing_s:.0f} s ({error.reason})"
            raise MidspecError(what, where=self._where, hint="Check the base URL, and that the server runs") from None
        if self._n_failed >= _FEWEST_FAILURES and failing_s > self._patience_s:
            what = f"nothing has been answered for {failing_s:.0f} s ({error.reason})"
            raise MidspecError(what, where=self._where, hint="The same command goes on from here") from None

    def _pause_s(self, error: RetryableError, n_failed: int) -> float:
        if error.wait_s is not None:
            return error.wait_s * random.uniform(1.0, 1.05)
        if isinstance(error, DeadlineError):
            return 0.0  # the deadline was the pause
        # The limiter holds back what a busy server does not carry; a long pause on top would idle its slots.
        longest_s = min(5.0, self._longest_pause_s) if isinstance(error, RateLimitError) else self._longest_pause_s
        return min(longest_s, self._first_pause_s * 2.0 ** min(n_failed - 1, 30)) * random.uniform(0.5, 1.0)

    async def close(self) -> None:
        """Close what is wrapped."""
        await self._client.close()


class Limited:
    """Holds requests back until there is room for them.

    Args:
        client: what sends one attempt; it raises `RateLimitError` where the server takes no more.
        wanted: how many requests shall be in flight at once.
    """

    def __init__(self, client: Client, wanted: int) -> None:
        self._client = client
        self._capacity = ServerCapacity(wanted)
        self._n_out = 0
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
        return self._capacity.limit

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
        epoch = self._capacity.epoch
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
        if self._n_out >= self._capacity.limit:
            self._capacity.count_success()
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
        if self._stopped or self._n_out >= self._capacity.limit:
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
            self._capacity.count_rejection(self._n_out, epoch)
            if self._n_out == 0:  # nothing is carried at all: everybody waits
                self._pause(error)
        self._admit()

    def _admit(self) -> None:
        while self._has_room() and (queue := self._retries or self._waiting):
            turn = queue.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)

    def _pause(self, error: RateLimitError) -> None:
        loop = asyncio.get_running_loop()
        pause_s = (_PAUSE_S if error.wait_s is None else error.wait_s) * random.uniform(1.0, 1.1)
        self._open_at = max(self._open_at, loop.time() + pause_s)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._open_at, self._reopen)

    def _reopen(self) -> None:
        self._open_at = 0.0
        self._admit()


class Recorded:
    """Records every attempt and what it cost: a row before it is sent, closed before its outcome goes anywhere.

    Args:
        client: what makes one attempt.
        store: where the rows go.
        model: the model that is asked.
        role: what it is asked as.
        prices: what tokens cost.
    """

    def __init__(self, client: Client, store: Store, model: ModelConfig, role: ModelRole, prices: Prices) -> None:
        self._client = client
        self._store = store
        self._model = model.model
        self._sampling = sampling_of(model)
        self._role = role
        self._prices = prices
        self._all_failed: list[int] | None = []  # rows of a run in which nothing else has happened yet

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt and write its row. A row that is never closed was in flight at a kill.

        Raises:
            RetryableError: the attempt came to nothing and may be repeated.
            MidspecError: the server refuses for good, or takes none of the first three requests.
        """
        row = self._store.open(request, self._model, self._role, self._sampling)
        try:
            outcome = await self._client.ask(request)
        except (DeadlineError, BrokenReplyError) as error:
            # It may have been billed all the same, and of how much nobody will hear.
            self._store.close(row, Outcome(kind="timed_out", note=error.reason))
            raise
        except (RetryableError, MidspecError) as error:
            self._store.again(row, str(error))
            raise
        if outcome.usage is not None:
            cost_usd = self._prices.cost(self._model, outcome.usage)
            outcome = outcome.model_copy(update={"cost_usd": cost_usd})
        self._store.close(row, outcome)
        if outcome.kind != "failed":
            self._all_failed = None
        elif self._all_failed is not None:
            self._all_failed.append(row)
            self._check_settings(self._all_failed, outcome)
        return outcome

    def _check_settings(self, failed_rows: list[int], outcome: Outcome) -> None:
        """End a run whose every request is refused: the server does not take the settings, whatever the texts."""
        if len(failed_rows) >= _MAX_FAILED_FIRST:
            for row in failed_rows:
                self._store.again(row, outcome.note)  # with other settings they are asked again
            what = f"the server takes none of the requests ({outcome.note})"
            raise ConfigError(
                what, where=self._model, hint="Check the model's name, temperature, extra fields and caps"
            )

    async def close(self) -> None:
        """Close what is wrapped; the store is its owner's."""
        await self._client.close()


class _Attempt:
    __slots__ = ("last_at", "max_tokens", "sent_at", "stage", "stretch", "timer")

    def __init__(self, request: Request, sent_at: float, stretch: float, timer: asyncio.Timeout) -> None:
        self.stage, self.max_tokens = request.stage, request.max_tokens
        self.sent_at, self.stretch, self.timer = sent_at, stretch, timer
        # When the last of it came, where it is streamed: what is still coming is not late.
        self.last_at = sent_at

    def note_progress(self) -> None:
        self.last_at = asyncio.get_running_loop().time()


class Timed:
    """Breaks off attempts that are past their stage's deadline, those included that were sent before it was known.

    Args:
        client: what makes one attempt.
        longest_s: the longest that an attempt may take.
    """

    def __init__(self, client: Client, longest_s: float) -> None:
        self._client = client
        self._longest_s = longest_s
        self.deadlines = Deadlines(longest_s)
        self._in_flight: set[_Attempt] = set()
        self._n_late: dict[tuple[str, int], int] = {}
        self._next_check: asyncio.TimerHandle | None = None

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt.

        Raises:
            DeadlineError: no answer within the deadline.
        """
        key = (request.task, request.turn)
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(None) as timer:
                attempt = _Attempt(request, clock(), 2.0 ** self._n_late.get(key, 0), timer)
                self._in_flight.add(attempt)
                PROGRESS.set(attempt.note_progress)
                if self._next_check is None:
                    self._schedule_check()
                try:
                    outcome = await self._client.ask(request)
                finally:
                    self._in_flight.discard(attempt)
        except TimeoutError:
            now = clock()
            self._n_late[key] = min(self._n_late.get(key, 0) + 1, 20)
            self.deadlines.late(request.stage, attempt.sent_at, now)
            raise DeadlineError(f"no answer after {now - attempt.sent_at:.1f} s") from None
        if outcome.kind != "failed":
            self.deadlines.answered(request.stage, clock() - attempt.sent_at, request.max_tokens)
        self._n_late.pop(key, None)
        return outcome

    def _schedule_check(self) -> None:
        self._next_check = asyncio.get_running_loop().call_later(_CHECK_EVERY_S, self._break_off)

    def _break_off(self) -> None:
        """Break off what is overdue; one check of all of them, ten times a second, while any is in flight."""
        self._next_check = None
        now = asyncio.get_running_loop().time()
        seconds: dict[tuple[str, int], float] = {}
        for attempt in self._in_flight:
            kind = (attempt.stage, attempt.max_tokens)
            if kind not in seconds:
                seconds[kind] = self.deadlines.seconds(*kind)
            allowed_s = seconds[kind] * attempt.stretch
            if now - attempt.last_at > min(allowed_s, self._longest_s) and attempt.timer.when() is None:
                attempt.timer.reschedule(0.0)
        if self._in_flight:
            self._schedule_check()

    async def close(self) -> None:
        """Close what is wrapped."""
        if self._next_check is not None:
            self._next_check.cancel()
        await self._client.close()
