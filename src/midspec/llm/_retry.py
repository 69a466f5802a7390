"""Attempts that came to nothing are made again, for as long as the server answers anybody at all.

There is no fixed number of attempts: a server that is overloaded for an hour would otherwise lose the documents of that
hour. What ends the run is that nothing at all succeeds for a long time; what ends one request is that it alone has
failed for as long, while others succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random

from midspec.core.errors import MidspecError
from midspec.llm._errors import ConnectError, DeadlineError, RateLimitError, RetryableError
from midspec.llm._types import Client, Outcome, Request

_LOG = logging.getLogger(__name__)

_FEWEST_FAILURES = 5
_FEWEST_OF_ONE = 8
# A wrong address is the commonest mistake; whoever has answered once is waited for longer.
_FIRST_PATIENCE_S = 30.0


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


_STAGE_SAMPLES = 20
_FEWEST_SAMPLES = 5
# Together the p99.99 where sigma is 0.6: of 8,000 good replies one is broken off, and a hang costs nine medians.
_N_SIGMAS = 3.4
_MARGIN = 1.15
_SHORTEST_S = 1.0
_LATE_IN_A_ROW = 3
_CHECK_EVERY_S = 0.1


class _Latency:
    """Mean and variance of the logarithm of a latency, as they come in; and how long the replies could have been."""

    __slots__ = ("log_mean", "log_squares", "n", "tokens_mean")

    def __init__(self) -> None:
        self.n = 0
        self.log_mean = self.log_squares = self.tokens_mean = 0.0

    def add(self, seconds: float, max_tokens: int) -> None:
        self.n += 1
        log = math.log(max(seconds, 1e-4))
        off = log - self.log_mean
        self.log_mean += off / self.n
        self.log_squares += off * (log - self.log_mean)
        self.tokens_mean += (max_tokens - self.tokens_mean) / self.n

    def high_s(self, *, doubt: float, least_sigma: float) -> float:
        """Return the p99.9 in seconds with a margin, further up the fewer samples there are."""
        sigma = max(least_sigma, math.sqrt(self.log_squares / max(1, self.n - 1)))
        sigma *= 1 + doubt / math.sqrt(self.n)
        return _MARGIN * math.exp(min(self.log_mean + _N_SIGMAS * sigma, 30.0))


class Deadlines:
    """What is known of the latencies of every stage.

    Args:
        longest_s: the longest deadline, and the one that holds before anything is known.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._stages: dict[str, _Latency] = {}
        self._all = _Latency()
        self._stretch: dict[str, float] = {}
        self._n_late_in_a_row: dict[str, int] = {}
        self._widened_at: dict[str, float] = {}

    def seconds(self, stage: str, max_tokens: int) -> float:
        """Return how long an attempt of `stage` may take."""
        own = self._stages.get(stage)
        if own is not None and own.n >= _STAGE_SAMPLES:
            base_s = own.high_s(doubt=1.0, least_sigma=0.2)
        elif self._all.n >= _FEWEST_SAMPLES:
            longer = max(1.0, max_tokens / self._all.tokens_mean)
            base_s = self._all.high_s(doubt=4.0, least_sigma=0.4) * longer
        else:
            return self._longest_s
        return min(self._longest_s, max(_SHORTEST_S, base_s * self._stretch.get(stage, 1.0)))

    def answered(self, stage: str, seconds: float, max_tokens: int) -> None:
        """Count an attempt that was answered after `seconds`."""
        self._stages.setdefault(stage, _Latency()).add(seconds, max_tokens)
        self._all.add(seconds, max_tokens)
        if stage in self._n_late_in_a_row:
            self._n_late_in_a_row[stage] = 0
        if (stretch := self._stretch.get(stage, 1.0)) > 1.0:
            self._stretch[stage] = max(1.0, stretch * 0.98)

    def late(self, stage: str, sent_at: float, now: float) -> None:
        """Count an attempt sent at `sent_at` that was not answered in time (both on the event loop's clock)."""
        # Those that were sent before the last widening say nothing about the wider deadline.
        if sent_at < self._widened_at.get(stage, float("-inf")):
            return
        self._n_late_in_a_row[stage] = self._n_late_in_a_row.get(stage, 0) + 1
        if self._n_late_in_a_row[stage] >= _LATE_IN_A_ROW:
            self._n_late_in_a_row[stage] = 0
            self._widened_at[stage] = now
            self._stretch[stage] = min(2.0 * self._stretch.get(stage, 1.0), 1e6)


class _Attempt:
    __slots__ = ("max_tokens", "sent_at", "stage", "stretch", "timer")

    def __init__(self, request: Request, sent_at: float, stretch: float, timer: asyncio.Timeout) -> None:
        self.stage, self.max_tokens = request.stage, request.max_tokens
        self.sent_at, self.stretch, self.timer = sent_at, stretch, timer


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
            if now - attempt.sent_at > min(allowed_s, self._longest_s) and attempt.timer.when() is None:
                attempt.timer.reschedule(0.0)
        if self._in_flight:
            self._schedule_check()

    async def close(self) -> None:
        """Close what is wrapped."""
        if self._next_check is not None:
            self._next_check.cancel()
        await self._client.close()
